import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.cameras import intrinsics_from_fov, project
from facekit.geometry.crop import (
    FIVE_V1,
    box_crop,
    crop_camera,
    five_crop,
    points_crop,
    square_crop,
    uncrop_camera,
    warp,
)
from facekit.types import Camera


def turned(points, angle, centre=(0.0, 0.0)):
    c, s = np.cos(angle), np.sin(angle)
    return (points - centre) @ np.array([[c, -s], [s, c]]).T + centre


def ramp(height, width):
    """An image whose value is linear in x and y: bilinear reading is exact."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.dstack([x, y, np.ones_like(x)])


def test_five_crop_puts_points_on_their_targets():
    rng = np.random.default_rng(0)
    scale, angle, shift = 3.7, 0.6, rng.normal(0, 50, 2)
    five = turned(FIVE_V1 * 40, angle) * scale + shift
    for size in (112, 224):
        assert np.allclose(five_crop(five, size=size).apply(five), FIVE_V1 * size - 0.5)


def test_five_targets_are_symmetric():
    mirrored = np.column_stack([1 - FIVE_V1[:, 0], FIVE_V1[:, 1]])[[1, 0, 2, 4, 3]]
    assert np.allclose(mirrored, FIVE_V1)


def test_square_crop_spans_the_square_and_undoes_the_roll():
    crop = square_crop(np.array([30.0, 20.0]), 64.0, size=128)
    assert np.allclose(crop.apply(np.array([30 - 32.0, 20 - 32.0])), [-0.5, -0.5])
    assert np.allclose(crop.apply(np.array([30.0, 20.0])), [63.5, 63.5])
    # A content turned clockwise by roll (y down: from +x towards +y) becomes level.
    crop = square_crop(np.array([30.0, 20.0]), 64.0, size=128, roll=0.4)
    ends = crop.apply(np.array([[30.0, 20.0], [30 + np.cos(0.4), 20 + np.sin(0.4)]]))
    assert np.allclose(ends[1] - ends[0], [2.0, 0.0])


def test_points_crop_holds_the_points_with_the_margin():
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (50, 2)) * [30, 40]
    points = turned(points, 0.5) + [100, 80]
    inside = points_crop(points, roll=0.5, size=100, margin=1.25).apply(points)
    low, high = inside.min(0), inside.max(0)
    assert np.allclose((low + high) / 2, 49.5)
    assert np.isclose((high - low).max(), 100 / 1.25)


def test_box_crop_is_the_points_crop_of_its_corners():
    box = np.array([10.0, 20.0, 30.0, 50.0])
    corners = np.array([[10.0, 20.0], [40.0, 70.0]])
    a, b = box_crop(box, size=64), points_crop(corners, roll=0.0, size=64)
    assert np.allclose(a.matrix(), b.matrix())


def test_warp_reads_the_right_pixels():
    image = ramp(60, 80)
    crop = square_crop(np.array([40.0, 30.0]), 30.0, size=20, roll=0.3)
    out = warp(image, crop, size=20)
    y, x = np.mgrid[:20, :20]
    wanted = crop.inverse().apply(np.stack([x, y], -1).astype(float).reshape(-1, 2))
    # The warp's coordinates have 1/32 pixel, hence the tolerance.
    assert np.abs(out[..., :2].reshape(-1, 2) - wanted).max() < 0.05


def test_warp_of_a_strong_reduction_agrees_with_the_ramp():
    image = ramp(700, 900)
    crop = square_crop(np.array([450.0, 350.0]), 400.0, size=40, roll=-0.2)
    out = warp(image, crop, size=40)
    y, x = np.mgrid[:40, :40]
    wanted = crop.inverse().apply(np.stack([x, y], -1).astype(float).reshape(-1, 2))
    assert np.abs(out[..., :2].reshape(-1, 2) - wanted).max() < 0.3


def test_warp_is_zero_outside_the_image():
    crop = square_crop(np.array([0.0, 0.0]), 40.0, size=40)
    out = warp(np.full((50, 50, 3), 200, np.uint8), crop, size=40)
    assert (out[:19, :] == 0).all() and (out[:, :19] == 0).all()
    assert (out[21:, 21:] == 200).all()


@pytest.mark.parametrize("roll", [0.0, 0.7, -2.0])
def test_crop_camera_sees_the_crop(roll):
    rng = np.random.default_rng(2)
    K = intrinsics_from_fov(640, 480, 50)
    camera = Camera(K, np.eye(3), np.zeros(3), 640, 480)
    points = rng.normal(0, 60, (20, 3)) + [20, -10, 600]
    crop = square_crop(np.array([330.0, 200.0]), 150.0, size=128, roll=roll)
    wanted = crop.apply(project(camera, points)[:, :2])
    seen = crop_camera(K, crop)
    inner = Camera(seen.intrinsics, seen.rotation, np.zeros(3), 128, 128)
    assert np.allclose(project(inner, points)[:, :2], wanted)
    assert np.allclose(uncrop_camera(seen, crop), K)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: five_crop(np.zeros((4, 2)), size=10), "five points"),
        (lambda: five_crop(np.ones((5, 2)), size=10), "all source points are equal"),
        (lambda: five_crop(FIVE_V1, size=0), "at least 1 pixel"),
        (lambda: square_crop(np.zeros(2), 0.0, size=10), "positive"),
        (lambda: square_crop(np.zeros(2), np.nan, size=10), "positive"),
        (lambda: points_crop(np.zeros((1, 2)), roll=0, size=10), "at least 2"),
        (lambda: box_crop(np.full(4, np.inf), size=10), "finite"),
        (
            lambda: crop_camera(np.diag([100.0, 120.0, 1]), square_crop(np.zeros(2), 4, size=8)),
            "one focal length",
        ),
    ],
)
def test_rejections(call, words):
    with pytest.raises(InputError, match=words):
        call()
