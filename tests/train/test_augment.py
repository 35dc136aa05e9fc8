import cv2
import numpy as np
import pytest
from portrait_data import draw_portrait, symmetric_shape

from facekit.train.augment import (
    build_turn_mesh,
    deformed_points,
    degrade,
    occlude,
    photometric,
    to_grey,
    turned_points,
    warp_turned,
)
from facekit.train.backgrounds import background, load_pictures, shuffled, written

MESH = build_turn_mesh(symmetric_shape()[:, :2] * 0.4)


def portrait(seed=0):
    return draw_portrait(np.random.default_rng(seed))


def test_no_turn_changes_nothing():
    image, points = portrait()
    source, target = turned_points(points, MESH, 0.0, 0.0)
    assert np.allclose(source, target[:, :2])
    out = warp_turned(image, source, target, MESH.triangles, np.eye(2, 3), size=(150, 190))
    assert np.abs(out.astype(int) - image).max() <= 1


def test_yaw_moves_the_near_points_to_image_right():
    points = portrait()[1]
    _, target = turned_points(points, MESH, 0.3, 0.0)
    moved = target[:478, 0] - points[:, 0]
    near, far = points[:, 2] < 2, points[:, 2] > 15
    assert moved[near].mean() > moved[far].mean() + 3
    _, target = turned_points(points, MESH, 0.0, 0.3)  # pitch lifts the nose: y falls
    moved = target[:478, 1] - points[:, 1]
    assert moved[near].mean() < moved[far].mean() - 3


def test_turning_keeps_distances_in_depth():
    points = portrait()[1].astype(float)
    _, target = turned_points(points, MESH, 0.5, -0.2)
    before = np.linalg.norm(points[:200] - points[200:400], axis=1)
    after = np.linalg.norm(target[:200] - target[200:400], axis=1)
    assert np.allclose(before, after)


def test_a_turned_image_shows_its_labels():
    image, points = portrait()
    for yaw in (-0.4, 0.4):
        source, target = turned_points(points, MESH, yaw, 0.1)
        out = warp_turned(image, source, target, MESH.triangles, np.eye(2, 3), size=(150, 190))
        for index in (33, 263, 468, 473):  # the drawn dots are dark, the face is light
            x, y = np.round(target[index, :2]).astype(int)
            assert out[y, x].max() < 100


def test_deformation_is_smooth_seeded_and_of_the_amount_asked_for():
    source, target = turned_points(portrait()[1], MESH, 0.0, 0.0)
    width = np.ptp(source[:468, 0])
    moves = []
    for seed in range(40):
        moved = deformed_points(source, target, np.random.default_rng(seed), amount=0.02)
        again = deformed_points(source, target, np.random.default_rng(seed), amount=0.02)
        assert (moved == again).all() and (moved[:, 2] == target[:, 2]).all()
        shift = (moved - target)[:, :2]
        moves.append(np.linalg.norm(shift, axis=1)[:478].max() / width)
        # Neighbours move alike: no fold of the picture.
        near = np.linalg.norm(source[:100, None] - source[None, :100], axis=2)
        apart = np.linalg.norm(shift[:100, None] - shift[None, :100], axis=2)
        assert (apart <= 0.9 * near + 1e-9).all()
    assert 0.01 < np.median(moves) < 0.08


def test_far_from_the_head_nothing_moves():
    image, points = portrait()
    image = cv2.copyMakeBorder(image, 60, 60, 60, 60, cv2.BORDER_REFLECT)
    source, target = turned_points(points + [60, 60, 0], MESH, 0.5, 0.0)
    out = warp_turned(image, source, target, MESH.triangles, np.eye(2, 3), size=(270, 310))
    changed = np.abs(out.astype(int) - image).max(2) > 1
    assert changed.mean() > 0.1
    y, x = np.nonzero(changed)
    assert np.hypot(x - 135, y - 145).max() < 2.5 * 60


@pytest.mark.parametrize("change", [photometric, degrade])
def test_pixel_changes_keep_shape_and_seed(change):
    image = portrait()[0][:128, :128]
    for seed in range(12):
        a = change(image.copy(), np.random.default_rng(seed))
        b = change(image.copy(), np.random.default_rng(seed))
        assert a.shape == image.shape and a.dtype == np.uint8 and (a == b).all()
    spread = [
        np.abs(change(image, np.random.default_rng(s)).astype(int) - image).mean()
        for s in range(30)
    ]
    assert max(spread) > 1


def test_photometric_keeps_the_order_of_levels_without_noise():
    image = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    image = np.repeat(image, 4, axis=0)

    class Quiet:
        """A generator whose draws change tone only: no noise, no ramp."""

        def normal(self, mean=0, spread=1, size=None):
            return np.zeros(size) if size is not None else 0.1

        def random(self):
            return 0.9

        def integers(self, *_):
            return 0

    out = photometric(image, Quiet())[0, :, 0].astype(int)
    assert (np.diff(out) >= 0).all() and out[-1] > out[0] + 100


def test_grey_has_equal_channels():
    grey = to_grey(portrait()[0])
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()


def test_occlusion_covers_a_part():
    image = portrait()[0][:128, :128]
    texture = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    shares = []
    for seed in range(20):
        out = occlude(image, np.random.default_rng(seed), texture)
        shares.append((out != image).any(axis=2).mean())
    assert 0 < np.mean(shares) < 0.5 and max(shares) < 0.9


def test_backgrounds_are_seeded_and_varied():
    pictures = [cv2.resize(portrait()[0], (80, 80))]
    images = [background(64, np.random.default_rng(s), pictures) for s in range(30)]
    again = [background(64, np.random.default_rng(s), pictures) for s in range(30)]
    assert all((a == b).all() for a, b in zip(images, again, strict=True))
    assert all(i.shape == (64, 64, 3) and i.dtype == np.uint8 for i in images)
    assert np.std([i.mean() for i in images]) > 15


def test_pictures_of_the_library_load():
    for picture in load_pictures(("brick", "chelsea", "page")):
        assert picture.ndim == 3 and picture.shape[2] == 3 and max(picture.shape) <= 768


def test_a_shuffled_face_has_other_places():
    image, points = portrait()
    out = None
    for seed in range(5):
        piece = shuffled(image, points[:, :2], np.random.default_rng(seed))
        out = piece if piece is not None else out
    assert out is not None and out.shape[0] == out.shape[1]
    tiny = points[:, :2] * 0.1
    assert shuffled(image, tiny, np.random.default_rng(0)) is None


def test_pages_have_ink_on_paper():
    for seed in range(12):
        page = written(96, np.random.default_rng(seed))
        assert page.shape == (96, 96, 3) and page.dtype == np.uint8
        assert (page == written(96, np.random.default_rng(seed))).all()
    spread = [written(96, np.random.default_rng(s)).astype(float).std() for s in range(12)]
    assert np.median(spread) > 20
