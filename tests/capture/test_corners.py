import cv2
import numpy as np
import pytest

from facekit.capture.corners import SADDLE, TAG, refine_corners
from facekit.render.shade import linear_to_srgb


def picture(kind, corner, axes, *, blur=0.7, noise=1.5, size=48, seed=0, shade=0.0):
    """A corner sampled 8 x 8 in each pixel, blurred, noisy, sRGB-coded."""
    factor = 8
    y, x = (np.mgrid[0 : size * factor, 0 : size * factor] + 0.5) / factor - 0.5
    board = np.linalg.solve(axes, np.stack([(x - corner[0]).ravel(), (y - corner[1]).ravel()]))
    bx, by = board
    dark = bx * by > 0 if kind == SADDLE else (bx > 0) & (by > 0)
    fine = np.where(dark, 0.03, 0.6).reshape(size * factor, -1).astype(np.float32)
    light = cv2.GaussianBlur(fine, (0, 0), blur * factor)
    light = light.reshape(size, factor, size, factor).mean((1, 3))
    light = light * (1 + shade * (np.arange(size) / size - 0.5))
    coded = linear_to_srgb(light) * 255
    coded = coded + noise * np.random.default_rng(seed).standard_normal(coded.shape)
    return np.clip(coded + 0.5, 0, 255).astype(np.uint8)


AXES = [
    np.array([[2.0, 0.1], [-0.1, 2.1]]),
    np.array([[1.5, 1.2], [-1.0, 1.6]]),
    np.array([[0.8, 0.1], [0.5, 2.0]]),
    np.array([[-1.4, 1.0], [1.1, 1.5]]),
]


@pytest.mark.parametrize("kind", [SADDLE, TAG])
@pytest.mark.parametrize("axes", AXES)
def test_corners_are_found_to_hundredths_of_a_pixel(kind, axes):
    errors = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        corner = 23.5 + rng.uniform(-1, 1, 2)
        image = picture(kind, corner, axes, seed=seed)
        found = refine_corners(
            image,
            (corner + rng.normal(0, 0.3, 2))[None],
            axes[None],
            kind=kind,
            reach=np.array([8.0, 8.0]),
            clear=np.array([20.0, 20.0]),
        )
        assert found.valid[0]
        errors.append(found.points[0] - corner)
        # Far fewer pixels are used than there are: the deviation it states is its own.
        assert np.sqrt(np.trace(found.covariance[0])) < 0.05
        assert abs(found.blur_px[0] - np.hypot(0.7, 0.29)) < 0.15
    rms = np.sqrt((np.square(errors)).sum(1).mean())
    assert rms < (0.02 if kind == SADDLE else 0.04)


def test_light_that_grows_across_the_picture_does_not_move_the_corner():
    axes, corner = AXES[0], np.array([23.3, 24.1])
    shaded = picture(SADDLE, corner, axes, noise=0, shade=0.4)
    found = refine_corners(
        shaded, corner[None], axes[None], kind=SADDLE, reach=np.full(2, 8.0), clear=np.full(2, 20.0)
    )
    assert np.linalg.norm(found.points[0] - corner) < 0.03


def test_where_there_is_no_corner_none_is_found():
    grey = np.full((48, 48), 120, np.uint8)
    noisy = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
    for image in (grey, noisy):
        found = refine_corners(
            image,
            np.array([[24.0, 24.0], [1.0, 1.0], [-5.0, 90.0]]),
            np.tile(AXES[0], (3, 1, 1)),
            kind=SADDLE,
            reach=np.full(2, 8.0),
            clear=np.full(2, 20.0),
        )
        assert not found.valid.any()
        np.testing.assert_array_equal(found.points[1], [1.0, 1.0])
