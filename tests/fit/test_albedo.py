import dataclasses

import numpy as np
import pytest

from facekit.errors import ItemError
from facekit.fit.albedo import AlbedoFitConfig, fit_albedo
from facekit.fit.vertex_colours import VertexColours
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.morphable import load_model
from facekit.render.shade import sh_basis


@pytest.fixture(scope="module")
def model():
    """The built-in head with two modes: tone, and redness of the cheeks."""
    base = load_model("builtin")
    tone = 0.3 * base.albedo_mean * [0.7, 1.0, 1.2]
    from_cheeks = (np.abs(base.mean[:, :1]) - 35) ** 2 + base.mean[:, 1:2] ** 2
    redness = 0.08 * np.exp(-from_cheeks / 800) * [1.0, 0.3, 0.3]
    modes = np.stack([tone, redness]).astype(np.float32)
    modes[:, base.regions["eyeballs"]] = 0
    return dataclasses.replace(base, albedo_modes=modes)


def photograph(model, coefficients, *, level=1.0, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    albedo = model.albedo_mean + np.tensordot(coefficients, model.albedo_modes, axes=1)
    turn = HEAD_TO_CAMERA @ euler_to_matrix(*rng.normal(0, [0.3, 0.1, 0.05]))
    normals = vertex_normals(model.mean, model.faces) @ turn.T
    basis = sh_basis(normals.astype(np.float32))
    light = np.zeros((9, 3))
    light[0] = 3.2
    light[1:4] = rng.normal(0, 0.4, (3, 1)) + [[-0.3], [-1.0], [0.0]]
    colours = albedo * np.maximum(basis @ light, 0.01) * level
    colours = colours * np.exp(rng.normal(0, noise, colours.shape))
    facing = np.where(-normals[:, 2] > 0.25, -normals[:, 2], 0)
    seen = VertexColours(colours.astype(np.float32), facing.astype(np.float32), basis)
    return seen, light * level


@pytest.mark.parametrize("truth", [(0.0, 0.0), (1.0, 1.5), (-1.2, -1.0), (0.5, -1.5)])
def test_pattern_and_tone_come_back_when_the_light_is_as_expected(model, truth):
    seen, light = photograph(model, np.array(truth))
    level = _mean_level(model, seen, light)
    config = AlbedoFitConfig(level=level, exposure_std=0.02, balance_std=0.02)
    found = fit_albedo(seen, model, config)
    np.testing.assert_allclose(found.coefficients, truth, atol=0.25)
    shade = seen.basis @ found.light / (seen.basis @ light)
    front = seen.facing > 0.5
    assert np.median(np.abs(shade[front] - 1)) < 0.05


def _mean_level(model, seen, light):
    front = seen.facing > 0
    lit = np.log(np.maximum(seen.basis[front] @ light, 1e-3))
    weights = seen.facing[front] / seen.facing[front].sum()
    return tuple(weights @ lit)


def test_exposure_is_not_taken_for_skin(model):
    """The wider the light's prior, the less a bright picture makes a bright person."""
    seen, light = photograph(model, np.zeros(2), level=1.5)
    level = np.array(_mean_level(model, seen, light)) - np.log(1.5)
    tones = [
        fit_albedo(
            seen, model, AlbedoFitConfig(level=tuple(level), exposure_std=std, balance_std=0.06)
        )
        for std in (0.05, 0.2, 1.0)
    ]
    first, second, third = (abs(t.coefficients[0]) for t in tones)
    assert first > 0.8 > 0.6 > second > third
    assert third < 0.15
    deviations = [float(np.sqrt(t.covariance[0, 0])) for t in tones]
    assert deviations == sorted(deviations)


def test_hair_and_glasses_are_left_out(model):
    seen, light = photograph(model, np.array([0.0, 1.0]))
    colours = seen.colours.copy()
    hidden = (model.mean[:, 1] > 35) & (model.mean[:, 2] > 0)
    colours[hidden] *= 0.1
    config = AlbedoFitConfig(level=_mean_level(model, seen, light), exposure_std=0.05)
    clean, covered = (fit_albedo(s, model, config) for s in (seen, seen._replace(colours=colours)))
    assert covered.used < clean.used
    np.testing.assert_allclose(covered.coefficients, clean.coefficients, atol=0.3)


def test_rejections(model):
    seen, _ = photograph(model, np.zeros(2))
    bare = dataclasses.replace(model, albedo_modes=np.zeros((0, model.num_vertices, 3), np.float32))
    with pytest.raises(ItemError, match="no albedo modes"):
        fit_albedo(seen, bare)
    with pytest.raises(ItemError, match="50 vertices"):
        fit_albedo(seen._replace(facing=np.zeros_like(seen.facing)), model)
