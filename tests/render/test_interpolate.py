import numpy as np
import pytest
import toy

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.interpolate import (
    interpolate,
    interpolate_at,
    normal_map,
    sample_texture,
    unit,
)
from facekit.render.rasterise import rasterise
from facekit.types import Camera


@pytest.fixture(scope="module")
def picture():
    vertices, faces = toy.ellipsoid()
    camera = Camera(
        np.array([[160, 0, 31.5], [0, 160, 31.5], [0, 0, 1]]),
        HEAD_TO_CAMERA @ euler_to_matrix(0.3, 0.1, 0.0),
        np.array([0, 0, 700.0]),
        64,
        64,
    )
    points = project(camera, vertices)
    return vertices, faces, camera, rasterise(points, faces, 64, 64)


def test_a_linear_function_of_space_is_reproduced(picture):
    vertices, faces, camera, fragments = picture
    seen = interpolate(fragments, faces, vertices)
    # The interpolated position projects onto the pixel that it was interpolated for.
    row, column = np.nonzero(fragments.covered)
    back = project(camera, seen[row, column].astype(float))
    np.testing.assert_allclose(back[:, 0], column, atol=2e-3)
    np.testing.assert_allclose(back[:, 1], row, atol=2e-3)
    slope = np.array([[0.3], [-1.2], [0.5]])
    np.testing.assert_allclose(
        interpolate(fragments, faces, vertices @ slope)[row, column],
        seen[row, column] @ slope,
        atol=1e-3,
    )


def test_pixels_without_a_face_get_the_fill(picture):
    vertices, faces, _, fragments = picture
    filled = interpolate(fragments, faces, vertices, fill=-7)
    assert (filled[~fragments.covered] == -7).all()
    assert filled.dtype == np.float32


def test_points_give_what_the_picture_gives(picture):
    vertices, faces, _, fragments = picture
    at = interpolate_at(
        fragments.triangle[30], fragments.barycentric[30], faces, vertices.astype(np.float32)
    )
    np.testing.assert_array_equal(at, interpolate(fragments, faces, vertices)[30])


def test_normals_of_a_sphere_point_outwards():
    vertices, faces = toy.ellipsoid()
    sphere = vertices / toy.RADII
    points = np.stack([30 + 25 * sphere[:, 0], 30 - 25 * sphere[:, 1], 100 - sphere[:, 2]], axis=1)
    fragments = rasterise(points, faces, 61, 61)
    normals = normal_map(fragments, faces, sphere)
    row, column = np.nonzero(fragments.covered)
    np.testing.assert_allclose(np.linalg.norm(normals[row, column], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(normals[row, column, 0], (column - 30) / 25, atol=0.02)
    np.testing.assert_allclose(normals[row, column, 1], (30 - row) / 25, atol=0.02)


def test_a_zero_vector_stays_zero():
    np.testing.assert_array_equal(
        unit(np.array([[0.0, 0, 0], [0, 3, 4]])), [[0, 0, 0], [0, 0.6, 0.8]]
    )


def test_textures_are_sampled_at_texel_centres_and_between():
    texture = np.arange(12, dtype=float).reshape(3, 4, 1)
    centres = np.array([[(x + 0.5) / 4, 1 - (y + 0.5) / 3] for y in range(3) for x in range(4)])
    np.testing.assert_allclose(sample_texture(texture, centres)[:, 0], np.arange(12), atol=1e-5)
    between = np.array([[1 / 4, 1 - 1 / 3]])
    np.testing.assert_allclose(sample_texture(texture, between), [[(0 + 1 + 4 + 5) / 4]], atol=1e-5)
    outside = np.array([[-3.0, 4.0], [9.0, -9.0]])
    np.testing.assert_allclose(sample_texture(texture, outside)[:, 0], [0, 11])
    np.testing.assert_allclose(sample_texture(np.ones((1, 1, 3)), outside), 1)


def test_bad_input_is_rejected(picture):
    vertices, faces, _, fragments = picture
    with pytest.raises(InputError, match="pass the faces that were rasterised"):
        interpolate(fragments, faces[:5], vertices)
    with pytest.raises(InputError, match="attributes"):
        interpolate(fragments, faces, vertices[:, 0])
    with pytest.raises(InputError, match="vertex indices"):
        interpolate(fragments, faces, vertices[:5])
    with pytest.raises(InputError, match="barycentric"):
        interpolate_at(np.zeros(2, np.int32), np.zeros((3, 3)), faces, vertices)
    with pytest.raises(InputError, match="texture"):
        sample_texture(np.zeros((3, 3)), np.zeros((1, 2)))
    with pytest.raises(InputError, match="at least one texel"):
        sample_texture(np.zeros((0, 3, 3)), np.zeros((1, 2)))
