import dataclasses

import numpy as np
import pytest

from facekit.basis.albedo import learn_albedo
from facekit.basis.skin_observations import AlbedoConfig, split_levels
from facekit.errors import InputError
from facekit.fit.skin_light import solve_light
from facekit.fit.vertex_colours import VertexColours
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.morphable import load_model
from facekit.render.shade import sh_basis
from facekit.simulate.skin import tone_of_ita

CONFIG = AlbedoConfig(modes=2, rounds=3, hollows=0.0)


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


def random_light(rng):
    """Light from above and in front, with some direction, in three nearly equal channels."""
    light = np.zeros((9, 3))
    light[0] = 3.2
    light[1:4] = rng.normal(0, 0.5, (3, 1)) + [[-0.3], [-1.0], [0.0]]
    light[4:] = rng.normal(0, 0.12, (5, 1))
    return light * np.exp(rng.normal(0, 0.02, 3))


def people(model, count, *, exposure=0.2, seed=0):
    """Photographs of heads with a known albedo: mean, redness of the cheeks, and tone."""
    rng = np.random.default_rng(seed)
    mean = 0.8 * model.albedo_mean.astype(float) + 0.04
    redness = 0.05 * np.exp(
        -((np.abs(model.mean[:, :1]) - 35) ** 2 + model.mean[:, 1:2] ** 2) / 800
    )
    redness = redness * [1.0, 0.2, 0.2]
    normals = vertex_normals(model.mean, model.faces)
    photos, truth = [], []
    for _ in range(count):
        tone = rng.normal(0, 0.3) * np.array([0.7, 1.0, 1.2])
        albedo = (mean + rng.normal() * redness) * np.exp(tone)
        turn = HEAD_TO_CAMERA @ euler_to_matrix(*rng.normal(0, [0.3, 0.1, 0.05]))
        turned = normals @ turn.T
        basis = sh_basis(turned.astype(np.float32))
        level = np.exp(rng.normal(0, exposure))
        colours = albedo * np.maximum(basis @ random_light(rng), 0.01) * level
        facing = np.where(-turned[:, 2] > 0.25, -turned[:, 2], 0)
        colours = colours * np.exp(rng.normal(0, 0.02, colours.shape))
        hair = rng.random() < 0.2
        colours[hair & (model.mean[:, 1] > 55)] *= 0.15
        photos.append(VertexColours(colours.astype(np.float32), facing.astype(np.float32), basis))
        truth.append(albedo)
    return photos, mean, np.array(truth)


def test_mean_and_modes_come_back(model):
    photos, mean, truth = people(model, 120)
    learned = learn_albedo(model, photos, CONFIG)
    face = learned.known
    assert face.sum() > 0.6 * model.regions["face"].sum()
    # The pattern of the mean, whatever its brightness.
    ratio = np.log(learned.mean[face] / mean[face])
    assert (ratio - np.median(ratio, axis=0)).std() < 0.04
    # People's albedo lies in the space of the modes: tone, and the redness of cheeks.
    wanted = (truth[:, face] * np.exp(np.median(ratio, axis=0)) - learned.mean[face]).reshape(
        120, -1
    )
    modes = learned.modes[:, face].reshape(2, -1)
    scores = np.linalg.lstsq(modes.T, wanted.T, rcond=None)[0]
    left = wanted - scores.T @ modes
    assert (left**2).sum() < 0.05 * (wanted**2).sum()
    assert learned.explained[-1] > 0.9


def test_hair_is_not_learned_as_skin(model):
    photos, mean, _ = people(model, 60)
    learned = learn_albedo(model, photos, CONFIG)
    top = learned.known & (model.mean[:, 1] > 56)
    rest = learned.known & ~top
    ratio = np.log(learned.mean / mean).mean(1)
    assert top.sum() > 50
    assert abs(np.median(ratio[top]) - np.median(ratio[rest])) < 0.04


def test_the_result_is_symmetric_whole_and_as_bright_as_skin(model):
    photos, *_ = people(model, 40)
    learned = learn_albedo(model, photos, CONFIG)
    np.testing.assert_allclose(learned.mean, learned.mean[model.mirror], atol=2e-3)
    assert np.isfinite(learned.mean).all()
    assert learned.mean.min() > 0
    cheeks = learned.known & (model.regions["cheeks"] | model.regions["forehead"])
    skin = np.median(learned.mean[cheeks], axis=0)
    np.testing.assert_allclose(skin, tone_of_ita(CONFIG.ita_deg), rtol=0.15)
    balls = model.regions["eyeballs"]
    np.testing.assert_allclose(learned.mean[balls], np.maximum(model.albedo_mean[balls], 2e-3))
    assert not learned.modes[:, balls].any()
    # The neck follows the face: no edge where what is known ends.
    edges = np.concatenate([model.faces[:, [0, 1]], model.faces[:, [1, 2]]])
    across = edges[learned.known[edges[:, 0]] != learned.known[edges[:, 1]]]
    skin = model.regions["skin"] & ~model.regions["eyes"] & ~model.regions["mouth"]
    across = across[skin[across].all(axis=1) & ~model.regions["nostrils"][across].any(axis=1)]
    steps = np.abs(np.diff(np.log(learned.mean[across]), axis=1)).mean()
    assert steps < 0.03


def test_light_of_known_albedo_is_exact():
    rng = np.random.default_rng(1)
    normals = rng.standard_normal((2000, 3)) * [1, 1, 1] - [0, 0, 1.0]
    basis = sh_basis((normals / np.linalg.norm(normals, axis=1)[:, None]).astype(np.float32))
    albedo = rng.uniform(0.2, 0.6, (2000, 3))
    light = random_light(rng)
    colours = albedo * (basis.astype(float) @ light)
    colours[:200] *= 0.1  # hair
    found = solve_light(colours, basis.astype(float), albedo, np.ones(2000))
    shade = basis @ found / (basis @ light)
    assert np.quantile(np.abs(shade[200:] - 1), 0.95) < 0.05
    assert np.median(np.abs(shade[200:] - 1)) < 0.02


def test_levels_are_divided_by_the_priors():
    rng = np.random.default_rng(0)
    direction = np.array([0.5, 1.0, 1.3])
    tone = 0.4 * rng.standard_normal((20000, 1)) * direction
    light = rng.normal(0, 0.2, (20000, 1)) + rng.normal(0, 0.05, (20000, 3))
    covariance = 0.04 * np.ones((3, 3)) + 0.0025 * np.eye(3)
    found = split_levels(tone + light + 3.0, 0.16 * np.outer(direction, direction), covariance)
    # As varied as people are, and along the way that skin varies.
    np.testing.assert_allclose(found.std(0), 0.4 * direction, rtol=0.02)
    across = found - (found @ direction)[:, None] * direction / (direction @ direction)
    assert np.abs(across).max() < 1e-6
    assert np.abs(found.mean(0)).max() < 0.01
    # Drawn, they err twice as much as expected ones would; still less than a level does.
    assert ((found - tone) ** 2).mean() < 0.7 * (light**2).mean()
    nothing = split_levels(light, np.zeros((3, 3)), covariance)
    assert np.abs(nothing).max() < 1e-9


def test_rejections(model):
    photos, *_ = people(model, 5)
    with pytest.raises(InputError, match="at least 20 photographs"):
        learn_albedo(model, photos)
    bare = dataclasses.replace(model, mirror=None)
    with pytest.raises(InputError, match="mirror"):
        learn_albedo(bare, photos, CONFIG)
    dark = [p._replace(facing=np.zeros_like(p.facing)) for p in photos]
    with pytest.raises(InputError, match="enough photographs"):
        learn_albedo(model, dark, CONFIG)
