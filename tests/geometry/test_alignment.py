"""Similarities: found from points, composed, and their small motions."""

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.alignment import (
    SimilarityTransform,
    align_similarity,
    compose,
    similarity_motions,
)
from facekit.geometry.rotations import rotvec_to_matrix


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(3).normal(0.0, 40.0, (30, 3)) + [5.0, -8.0, 600.0]


def test_small_motions_are_the_derivatives_of_the_similarities(points: np.ndarray) -> None:
    middle, step = points.mean(axis=0), 1e-6
    motions = similarity_motions(points)
    for axis in range(3):
        np.testing.assert_allclose(motions[axis], np.broadcast_to(np.eye(3)[axis], points.shape))
        turned = (points - middle) @ rotvec_to_matrix(step * np.eye(3)[axis]).T + middle
        np.testing.assert_allclose(motions[3 + axis], (turned - points) / step, atol=1e-3)
    grown = (points - middle) * (1 + step) + middle
    np.testing.assert_allclose(motions[6], (grown - points) / step, atol=1e-3)


def test_motions_refuse_what_is_not_a_list_of_points() -> None:
    with pytest.raises(InputError, match="points"):
        similarity_motions(np.zeros((4, 2)))


def test_a_known_similarity_is_found_and_composed(points: np.ndarray) -> None:
    turn = rotvec_to_matrix(np.array([0.3, -0.5, 0.2]))
    first = SimilarityTransform(1.7, turn, np.array([10.0, -4.0, 2.0]))
    second = SimilarityTransform(0.4, turn.T @ turn.T, np.array([-1.0, 0.5, 30.0]))
    both = compose(second, first)
    np.testing.assert_allclose(both.apply(points), second.apply(first.apply(points)), rtol=1e-12)
    found = align_similarity(points, both.apply(points))
    np.testing.assert_allclose(found.matrix(), both.matrix(), atol=1e-9)
