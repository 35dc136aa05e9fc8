from dataclasses import replace

import numpy as np
import pytest

from facekit.basis.fitted import read_colours
from facekit.basis.refine_albedo import AlbedoRefineOptions, refine_albedo
from facekit.basis.skin_observations import AlbedoConfig
from facekit.errors import InputError
from facekit.fit.vertex_colours import VertexColours
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.io.images import write_image
from facekit.io.params import params_camera
from facekit.morphable import load_model
from facekit.render.shade import sh_basis

SKIN = AlbedoConfig(hollows=0.0)
OPTIONS = AlbedoRefineOptions(strength=10.0, skin=SKIN)


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


def patch(model, x, y, wide):
    """A smooth spot on both cheeks or in the middle, (V, 1)."""
    away = (np.abs(model.mean[:, :1]) - x) ** 2 + (model.mean[:, 1:2] - y) ** 2
    return np.exp(-away / (2 * wide**2))


def photographs(model, count, *, mean, mode, seed=0, noise=0.02):
    """People whose albedo is a mean and one mode, each under a light of their own."""
    rng = np.random.default_rng(seed)
    normals = vertex_normals(model.mean, model.faces)
    made = []
    for _ in range(count):
        albedo = mean + rng.normal() * mode
        turn = HEAD_TO_CAMERA @ euler_to_matrix(*rng.normal(0, [0.3, 0.1, 0.05]))
        turned = normals @ turn.T
        basis = sh_basis(turned.astype(np.float32))
        light = np.zeros((9, 3))
        light[0] = 3.2 * np.exp(rng.normal(0, 0.15))
        light[1:4] = rng.normal(0, 0.4, (3, 1)) + [[-0.3], [-1.0], [0.0]]
        colours = albedo * np.maximum(basis @ light, 0.01)
        colours *= np.exp(rng.normal(0, noise, colours.shape))
        facing = np.where(-turned[:, 2] > 0.25, -turned[:, 2], 0)
        made.append(VertexColours(colours.astype(np.float32), facing.astype(np.float32), basis))
    return made


def skin_of(model):
    skin = model.regions["face"] & model.regions["skin"]
    for name in ("brows", "lips", "eyelids", "nostrils", "mouth_inside", "eyeballs"):
        skin = skin & ~model.regions.get(name, np.zeros(len(skin), bool))
    return skin


def away(model, mean, skin):
    """Mean distance of logarithms from the truth, brightness apart."""
    gap = np.log(np.maximum(model.albedo_mean[skin], 1e-3) / mean[skin])
    return float(np.abs(gap - gap.mean(axis=0)).mean())


def share_within(mode, model, skin):
    """How much of a mode's length the model's modes hold."""
    span = np.linalg.qr(model.albedo_modes[:, skin].reshape(model.num_albedo, -1).T)[0]
    return float(np.linalg.norm(span.T @ mode[skin].reshape(-1)) / np.linalg.norm(mode[skin]))


def test_a_wrong_mean_and_a_missing_mode_come_back(model):
    truth = 0.8 * model.albedo_mean.astype(float) + 0.04
    redness = 0.05 * patch(model, 35.0, 0.0, 15.0) * [1.0, 0.2, 0.2]
    spot = patch(model, 0.0, 60.0, 15.0)
    stained = truth * (1 - 0.25 * spot)
    old = replace(
        model,
        albedo_mean=stained.astype(np.float32),
        albedo_modes=np.zeros((0, *stained.shape), np.float32),
    )
    seen = photographs(model, 60, mean=truth, mode=redness)
    result = refine_albedo(old, seen, options=replace(OPTIONS, strength=3.0, modes=3))
    assert result.better
    assert (result.used, result.held_out) == (48, 12)
    skin = skin_of(model)
    there = skin & (spot[:, 0] > 0.3)
    gap = np.log(result.model.albedo_mean / truth)
    # The spot against the skin around it; how light people are is another matter.
    assert abs(gap[there].mean() - np.median(gap[skin])) < 0.03
    assert np.log(stained / truth)[there].mean() < -0.14
    assert share_within(redness, result.model, skin) > 0.8


def test_a_model_that_is_right_stays_what_it_is(model):
    redness = 0.05 * patch(model, 35.0, 0.0, 15.0) * [1.0, 0.2, 0.2]
    mean = np.maximum(model.albedo_mean.astype(float), 0.02)
    known = replace(
        model, albedo_mean=mean.astype(np.float32), albedo_modes=redness[None].astype(np.float32)
    )
    seen = photographs(model, 30, mean=mean, mode=redness)
    # Tones, which no photograph tells apart from its light, take modes of their own.
    result = refine_albedo(known, seen, options=replace(OPTIONS, strength=300.0, modes=4))
    skin = skin_of(model)
    assert away(result.model, mean, skin) < 0.02
    assert share_within(redness, result.model, skin) > 0.95


def test_the_likelihood_is_that_of_a_normal_distribution(model):
    from scipy.stats import multivariate_normal

    from facekit.basis.refine_albedo import _moments, _unlikelihood

    rng = np.random.default_rng(0)
    modes, rows = rng.normal(size=(2, 7)), rng.normal(size=(3, 7))
    seen = rng.random((3, 7)) < 0.7
    told = _unlikelihood(_moments(rows, seen, modes), 0.3)
    total = 0.0
    for row, shown in zip(rows, seen, strict=True):
        loads = modes[:, shown]
        spread = loads.T @ loads + 0.09 * np.eye(shown.sum())
        total -= multivariate_normal(np.zeros(shown.sum()), spread).logpdf(row[shown])
    assert told == pytest.approx(total / seen.sum())


def test_what_cannot_be_learned_from_is_refused(model):
    mean = model.albedo_mean.astype(float)
    few = photographs(model, 3, mean=mean, mode=np.zeros_like(mean))
    with pytest.raises(InputError, match="at least 20 photographs"):
        refine_albedo(model, few)
    hidden = [photo._replace(facing=0 * photo.facing) for photo in few] * 7
    with pytest.raises(InputError, match="seen in enough"):
        refine_albedo(model, hidden)
    with pytest.raises(InputError, match="'face' region"):
        refine_albedo(replace(model, regions={}), few * 7)


def test_photographs_are_read_where_they_fit(model, tmp_path):
    flat = replace(model, albedo_mean=np.full_like(model.albedo_mean, 0.5))
    turn = HEAD_TO_CAMERA @ euler_to_matrix(0.2, 0.0, 0.0)
    middle = np.array([0.0, 0.0, 700.0]) - turn @ flat.mean.mean(axis=0)
    face = {
        "identity": np.zeros(flat.num_identity),
        "expression": np.zeros(flat.num_expression),
        "rotation": turn,
        "translation_mm": middle,
        "intrinsics": np.array([[500.0, 0, 127.5], [0, 500, 127.5], [0, 0, 1]]),
        "image_size": np.array([256, 256]),
    }
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, :128] = 200
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "small.png", image[:128])
    named = [
        {**face, "meta": {"image": name, "mirrored": mirrored}}
        for name, mirrored in (("a.png", False), ("a.png", True), ("small.png", 0), ("b.png", 0))
    ]
    found = read_colours(named, tmp_path, flat)
    assert [failure["input"] for failure in found.failures] == ["small.png", "b.png"]
    plain, mirrored = found.colours
    place = project(params_camera(face), flat.mean)[:, 0]
    seen = (plain.facing > 0) & (np.abs(place - 127.5) > 8)
    assert seen.sum() > 1000
    np.testing.assert_array_equal(plain.colours[seen, 0] > 0.3, place[seen] < 127.5)
    np.testing.assert_array_equal(mirrored.colours[seen, 0] > 0.3, place[seen] > 127.5)
