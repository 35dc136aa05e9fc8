import numpy as np
import pytest

from facekit.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 2.0, 3.1, np.pi - 1e-9])
def test_a_rotation_vector_comes_back(angle):
    rng = np.random.default_rng(0)
    for _ in range(5):
        axis = rng.normal(size=3)
        vector = angle * axis / np.linalg.norm(axis)
        np.testing.assert_allclose(matrix_to_rotvec(rotvec_to_matrix(vector)), vector, atol=1e-7)


def test_a_half_turn_has_one_of_its_two_axes():
    for axis in np.eye(3):
        found = matrix_to_rotvec(rotvec_to_matrix(np.pi * axis))
        np.testing.assert_allclose(np.abs(found), np.pi * axis, atol=1e-7)
