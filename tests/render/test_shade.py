import numpy as np
import pytest

from facekit.errors import InputError
from facekit.render.shade import (
    ambient_sh,
    directional_light_sh,
    linear_to_srgb,
    mirror_light,
    roll_light,
    sh_basis,
    sh_shading,
    specular,
    srgb_to_linear,
    to_uint8,
)


def sphere(count=20_000):
    """Directions spread evenly over the sphere."""
    number = np.arange(count) + 0.5
    up = 1 - 2 * number / count
    turn = np.pi * (1 + 5**0.5) * number
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)


def test_srgb_known_values_and_round_trip():
    np.testing.assert_allclose(
        srgb_to_linear([0, 0.04045, 0.5, 1]), [0, 0.0031308, 0.214041, 1], atol=1e-5
    )
    values = np.linspace(0, 1, 500)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=2e-6)


def test_bytes_survive_the_round_trip():
    levels = np.arange(256)
    np.testing.assert_array_equal(to_uint8(srgb_to_linear(levels / 255)), levels)
    np.testing.assert_array_equal(to_uint8([-1.0, 2.0]), [0, 255])


def test_the_nine_harmonics_are_orthonormal():
    directions = sphere()
    basis = sh_basis(directions).astype(float)
    gram = 4 * np.pi * basis.T @ basis / len(directions)
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-3)


def test_a_distant_light_is_the_best_nine_term_fit_of_its_cosine():
    directions = sphere()
    toward = np.array([0.6, -0.64, 0.48])
    toward /= np.linalg.norm(toward)
    light = directional_light_sh(toward, np.array([1.0, 0.5, 0.2]))
    exact = np.maximum(directions @ toward, 0)
    best = 4 * np.pi * sh_basis(directions).astype(float).T @ exact / len(directions)
    np.testing.assert_allclose(light[:, 0], best, atol=2e-3)
    np.testing.assert_allclose(light[:, 1], 0.5 * light[:, 0])
    error = np.abs(sh_shading(directions, light)[:, 0] - exact)
    assert 0.09 < error.max() < 0.094


def test_ambient_light_shades_every_normal_alike():
    shading = sh_shading(sphere(100), ambient_sh(np.array([0.3, 0.2, 0.1])))
    np.testing.assert_allclose(shading, np.tile([0.3, 0.2, 0.1], (100, 1)), atol=1e-6)


def test_highlights_lie_where_the_mirror_direction_is():
    normals = sphere(50_000).astype(np.float32)
    view = np.tile(np.array([0, 0, -1.0], np.float32), (len(normals), 1))
    light = np.array([0.8, 0, -0.6])
    half = (light + [0, 0, -1]) / np.linalg.norm(light + [0, 0, -1])
    shine = specular(normals, view, light, roughness=0.3)
    assert normals[shine.argmax()] @ half > 0.99
    assert (shine >= 0).all()
    assert (shine[normals @ light.astype(np.float32) <= 0] == 0).all()
    # A rougher surface spreads its highlight.
    rough = specular(normals, view, light, roughness=0.7)
    assert rough.max() < 0.2 * shine.max()


def test_a_light_of_another_shape_is_rejected():
    with pytest.raises(InputError, match="light"):
        sh_shading(np.zeros((4, 3)), np.zeros((3, 9)))


def test_a_rolled_light_shades_the_rolled_head_alike():
    rng = np.random.default_rng(4)
    normals = rng.standard_normal((50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = rng.standard_normal((9, 3))
    c, s = np.cos(0.7), np.sin(0.7)
    turn = np.array([[c, -s], [s, c]])
    rolled = normals.copy()
    rolled[:, :2] = normals[:, :2] @ turn.T
    np.testing.assert_allclose(
        sh_shading(rolled, roll_light(light, turn)), sh_shading(normals, light), atol=1e-5
    )


def test_a_mirrored_light_shades_the_mirrored_head_alike():
    rng = np.random.default_rng(5)
    normals = rng.standard_normal((50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = rng.standard_normal((9, 3))
    np.testing.assert_allclose(
        sh_shading(normals * [-1, 1, 1], mirror_light(light)), sh_shading(normals, light), atol=1e-5
    )
