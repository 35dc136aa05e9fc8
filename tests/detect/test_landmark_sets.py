import numpy as np
import pytest

from facekit.detect.landmark_sets import (
    FLIP68,
    FLIP478,
    dense_to_ibug68,
    dense_to_iris,
    dense_weights68,
    ibug68_to_five,
)
from facekit.errors import InputError


def test_flips_are_involutions():
    for flip in (FLIP68, FLIP478):
        assert (flip[flip] == np.arange(len(flip))).all()
    assert (np.arange(68) == FLIP68).sum() == 10  # chin, bridge 4, nose base, lips 4
    assert FLIP68[36] == 45 and FLIP68[48] == 54 and FLIP68[17] == 26 and FLIP68[0] == 16
    assert FLIP478[33] == 263 and FLIP478[468] == 473 and FLIP478[469] == 476


def test_mapping_commutes_with_mirroring():
    dense = np.random.default_rng(0).normal(size=(3, 478, 3))
    mirrored = dense[:, FLIP478] * [-1, 1, 1]
    expected = dense_to_ibug68(dense)[:, FLIP68] * [-1, 1, 1]
    assert np.allclose(dense_to_ibug68(mirrored), expected)
    iris = dense_to_iris(dense)[:, ::-1] * [-1, 1, 1]
    assert np.allclose(dense_to_iris(mirrored), iris)


def test_weights_are_convex_and_equal_the_mapping():
    matrix = dense_weights68()
    assert matrix.min() >= 0 and np.allclose(matrix.sum(1), 1)
    assert ((matrix > 0).sum(1) <= 2).all()
    dense = np.random.default_rng(1).normal(size=(478, 2))
    assert np.allclose(matrix @ dense, dense_to_ibug68(dense))


def test_five_points():
    points = np.random.default_rng(2).normal(size=(68, 2))
    five = ibug68_to_five(points)
    assert np.allclose(five[0], (points[36] + points[39]) / 2)
    assert np.allclose(five[1], (points[42] + points[45]) / 2)
    assert np.allclose(five[2:], points[[30, 48, 54]])


def test_dtype_is_kept():
    assert dense_to_ibug68(np.zeros((478, 2), np.float32)).dtype == np.float32
    assert dense_to_ibug68(np.zeros((478, 2), int)).dtype == np.float64


def test_other_counts_are_rejected():
    with pytest.raises(InputError, match="dense landmarks"):
        dense_to_ibug68(np.zeros((468, 2)))
    with pytest.raises(InputError, match="ibug68"):
        ibug68_to_five(np.zeros((51, 2)))


def test_labels_of_portraits_lie_where_the_names_say(data_folder):
    with np.load(data_folder / "portraits/labels_us_officials.npz") as labels:
        dense = labels["landmarks478"][:, :, :2].astype(float)
        detector, yaw = labels["five_points"], labels["yaw_deg"]
    eyes = np.linalg.norm(dense[:, 33] - dense[:, 263], axis=1)
    points = dense_to_ibug68(dense)
    # Another detector's five points are near the five made from the 68.
    error = np.linalg.norm(ibug68_to_five(points) - detector, axis=2) / eyes[:, None]
    assert np.median(error, axis=0).max() < 0.08
    level = np.abs(detector[:, 0, 1] - detector[:, 1, 1]) < 3
    upright = points[level & (np.abs(yaw) < 4)]
    order = upright.mean(0)
    assert (np.diff(order[17:27, 0]) > 0).all()  # brows run from image left to right
    assert (np.diff(order[27:31, 1]) > 0).all()  # the bridge runs down
    steps = np.linalg.norm(np.diff(order[:17], axis=0), axis=1)
    assert steps.max() < 1.6 * steps.min()  # the jaw's points are about evenly spaced
    # The mean face is its own mirror image.
    centred = order - order[27:31].mean(0)
    assert np.abs(centred - centred[FLIP68] * [-1, 1]).max() < 0.06 * eyes.mean()
