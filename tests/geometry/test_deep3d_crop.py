import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.deep3d_crop import STANDARD_FIVE, deep3d_crop, deep3d_intrinsics


def projected(scale, shift, turn=0.0):
    """The standard face by a weak-perspective camera, y down."""
    c, s = np.cos(turn), np.sin(turn)
    flat = STANDARD_FIVE[:, :2] * [1, -1] @ np.array([[c, s], [-s, c]])
    return scale * flat + shift


def test_a_decimetre_takes_102_pixels_and_the_origin_is_the_middle():
    crop = deep3d_crop(projected(37.0, np.array([210.0, 95.0])))
    assert crop.scale == pytest.approx(102 / 37)
    np.testing.assert_allclose(crop.apply(np.array([[210.0, 95.0]])), [[111.5, 111.5]], atol=1e-9)
    np.testing.assert_allclose(
        crop.apply(projected(37.0, np.array([210.0, 95.0]))), projected(102, [111.5, 111.5])
    )


def test_heads_are_not_turned_upright():
    crop = deep3d_crop(projected(37.0, np.array([50.0, 50.0]), turn=0.4))
    np.testing.assert_array_equal(crop.rotation, np.eye(2))
    assert crop.scale == pytest.approx(102 / 37)


def test_it_goes_with_the_size_and_the_image():
    five = projected(20.0, np.array([80.0, 70.0])) + np.random.default_rng(0).normal(0, 0.4, (5, 2))
    whole, half = deep3d_crop(five), deep3d_crop(five, size=112)
    # The same piece of the image: edges at -0.5 and size - 0.5.
    np.testing.assert_allclose((whole.apply(five) + 0.5) / 2 - 0.5, half.apply(five), atol=1e-9)
    moved = deep3d_crop(2 * five + 5)
    np.testing.assert_allclose(moved.apply(2 * five + 5), whole.apply(five), atol=1e-9)
    assert deep3d_intrinsics()[0].tolist() == [1015, 0, 111.5]
    assert deep3d_intrinsics(112)[0, 0] == 507.5


def test_refusals():
    with pytest.raises(InputError, match="all equal"):
        deep3d_crop(np.full((5, 2), 3.0))
    with pytest.raises(InputError, match="at least 1"):
        deep3d_crop(projected(20, 50), size=0)
    with pytest.raises(InputError):
        deep3d_crop(np.zeros((4, 2)))
