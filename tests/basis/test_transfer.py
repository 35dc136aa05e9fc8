import numpy as np
import pytest
from toy_heads import toy_modes, toy_template

from facekit.basis.transfer import DeformationTransfer
from facekit.errors import InputError
from facekit.geometry.rotations import euler_to_matrix

TEMPLATE = toy_template()
REST, FACES = TEMPLATE.vertices, TEMPLATE.faces


def bump(vertices):
    """A displacement that leaves most of the head exactly in place."""
    distance = np.linalg.norm(vertices - vertices[vertices[:, 2].argmax()], axis=1)
    size = np.clip(1 - distance / 60.0, 0, None) ** 2
    return size[:, None] * [4.0, -6.0, 3.0]


def test_a_head_to_itself_is_exact():
    deformed = REST + bump(REST)
    found = DeformationTransfer(REST, REST, FACES).transfer(deformed)
    np.testing.assert_allclose(found, deformed, atol=1e-5)


def test_no_deformation_leaves_the_target():
    target = REST + toy_modes(REST, 1)[0]
    found = DeformationTransfer(REST, target, FACES).transfer(REST)
    np.testing.assert_allclose(found, target, atol=1e-5)


def test_a_larger_head_moves_in_proportion():
    found = DeformationTransfer(REST, 1.5 * REST, FACES).transfer(REST + bump(REST))
    np.testing.assert_allclose(found, 1.5 * (REST + bump(REST)), atol=2e-3)


def test_a_linear_map_of_everything_is_carried_over():
    # No vertex stays, so the head's mean moves as on the source.
    matrix = 1.1 * euler_to_matrix(0.2, -0.1, 0.05)
    target = REST * [1.1, 0.9, 1.0] + [5.0, 0.0, 0.0]
    found = DeformationTransfer(REST, target, FACES).transfer(REST @ matrix.T)
    expected = target @ matrix.T
    offset = (REST @ matrix.T - REST).mean(axis=0) + target.mean(axis=0) - expected.mean(axis=0)
    np.testing.assert_allclose(found, expected + offset, atol=1e-3)


def test_vertices_that_stay_on_the_source_stay_on_the_target():
    target = REST + toy_modes(REST, 1)[0]
    moved = bump(REST)
    found = DeformationTransfer(REST, target, FACES).transfer(REST + moved)
    still = (moved == 0).all(axis=1)
    assert still.sum() > 50
    np.testing.assert_allclose(found[still], target[still], atol=0.01)


def test_parts_apart_are_carried_each_by_itself():
    shift = np.array([500.0, 0, 0])
    both = np.concatenate([REST, REST + shift])
    faces = np.concatenate([FACES, FACES + len(REST)])
    deformed = np.concatenate([REST + bump(REST), REST + shift + [0, 7.0, 0]])
    found = DeformationTransfer(both, both, faces).transfer(deformed)
    np.testing.assert_allclose(found, deformed, atol=1e-3)


def test_flat_triangles_are_named():
    flat = REST.copy()
    flat[FACES[4]] = flat[FACES[4, 0]]
    with pytest.raises(InputError, match="no area"):
        DeformationTransfer(flat, REST, FACES)
    with pytest.raises(InputError, match="target has no area"):
        DeformationTransfer(REST, flat, FACES)
