"""The pose that a landmark fit starts from, against least squares and a polar decomposition."""

import numpy as np
import pytest

from facekit.errors import ItemError
from facekit.fit.landmark_start import start_pose
from facekit.geometry.rotations import HEAD_TO_CAMERA, rotvec_to_matrix

FOCAL, CENTRE = np.array([800.0, 820.0]), np.array([320.0, 240.0])
JAW = np.where(np.arange(68) < 17, 0.2, 1.0)


def plain_twin(points, observed, trust):
    """The same equations by ``lstsq`` and ``svd``."""
    weights = JAW * trust
    model, image = (np.average(a, axis=0, weights=weights) for a in (points, observed))
    both = [(a - m) * weights[:, None] for a, m in ((points, model), (observed, image))]
    affine = np.linalg.lstsq(*both, rcond=None)[0].T
    u, _, v = np.linalg.svd(affine, full_matrices=False)
    rows = u @ v
    rotation = np.concatenate([rows, np.cross(*rows)[None]])
    depth = FOCAL.sum() / np.linalg.norm(affine, axis=1).sum()
    ray = np.append((image - CENTRE) / FOCAL, 1.0)
    return rotation, depth * ray - rotation @ model


@pytest.fixture
def head():
    return np.random.default_rng(3).normal(size=(68, 3)) * [50, 60, 40] + [0, 10, 60]


def seen(points, rotation, translation):
    at = points @ rotation.T + translation
    return at[:, :2] / at[:, 2:] * FOCAL + CENTRE


@pytest.mark.parametrize("seed", range(8))
def test_it_is_least_squares_and_the_nearest_rotation(head, seed):
    rng = np.random.default_rng(seed)
    rotation = rotvec_to_matrix(rng.normal(0, 0.3, 3)) @ HEAD_TO_CAMERA
    observed = seen(head, rotation, np.array([20.0, -30.0, 700.0])) + rng.normal(0, 2, (68, 2))
    trust = rng.uniform(0, 1, 68)
    found, wanted = (
        start_pose(head, observed, trust, FOCAL, CENTRE),
        plain_twin(head, observed, trust),
    )
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-10)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-9)


def test_far_away_it_is_the_pose(head):
    rotation = rotvec_to_matrix(np.array([0.2, -0.5, 0.3])) @ HEAD_TO_CAMERA
    place = np.array([3e3, -2e3, 1e5])
    found, where = start_pose(head, seen(head, rotation, place), np.ones(68), FOCAL, CENTRE * 1.0)
    np.testing.assert_allclose(found, rotation, atol=0.05)
    np.testing.assert_allclose(where, place, rtol=0.03)


def test_a_face_that_shows_its_back_is_turned_to_the_camera(head):
    rotation = rotvec_to_matrix(np.array([0.0, 2.6, 0.0])) @ HEAD_TO_CAMERA
    observed = seen(head, rotation, np.array([0.0, 0.0, 900.0]))
    found, _ = start_pose(head, observed, np.ones(68), FOCAL, CENTRE)
    np.testing.assert_allclose(found[2], HEAD_TO_CAMERA[2])
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(found) == pytest.approx(1)


def test_what_shows_no_pose_is_named(head):
    observed = seen(head, HEAD_TO_CAMERA, np.array([0.0, 0.0, 900.0]))
    for points, where, trust, match in (
        (head, observed, np.zeros(68), "confidence 0"),
        (head, np.tile(observed[:1], (68, 1)), np.ones(68), "a point or a line"),
        (head, observed * [1, 0], np.ones(68), "a point or a line"),
        (head * [1, 0, 0], observed, np.ones(68), "a point or a line"),
    ):
        with pytest.raises(ItemError, match=match):
            start_pose(points, where, trust, FOCAL, CENTRE)
