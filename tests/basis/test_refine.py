import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facekit.basis.fitted import FittedFaces, read_fitted
from facekit.basis.refine import (
    Information,
    Refinement,
    RefineOptions,
    learn,
    refine_shapes,
    unlikelihood,
)
from facekit.cli.main import run
from facekit.errors import InputError
from facekit.geometry.rotations import HEAD_TO_CAMERA, rotvec_to_matrix
from facekit.io.params import write_params
from facekit.morphable.builtin import load_builtin
from facekit.morphable.native import read_native

LENS = np.array([[900.0, 0, 256], [0, 900, 256], [0, 0, 1]])
REMOVED = 1
COUNT = 120


def information(true_mean, true_spread, count, seed=0):
    """Observations of random pairs of combinations of coefficients, with noise."""
    rng = np.random.default_rng(seed)
    size = len(true_mean)
    drawn = rng.multivariate_normal(true_mean, true_spread, count)
    matrices, vectors = [], []
    for row in drawn:
        look = rng.normal(0, 3, (size - 1, size))
        seen = look @ row + rng.normal(0, 1, size - 1)
        matrices.append(look.T @ look)
        vectors.append(look.T @ seen)
    return Information(np.stack(matrices), np.stack(vectors))


def test_a_distribution_is_learned_from_parts_of_it():
    mean = np.array([0.5, -1.0, 0.0])
    spread = np.array([[2.0, 0.8, 0], [0.8, 1.0, 0], [0, 0, 0.2]])
    seen = information(mean, spread, 1500)
    found_mean, found, doubt = learn(seen, strength=1.0, rounds=60)
    np.testing.assert_allclose(found_mean, mean, atol=0.12)
    np.testing.assert_allclose(found, spread, atol=0.2)
    assert np.linalg.eigvalsh(found - doubt).min() > -1e-6
    fresh = information(mean, spread, 500, seed=1)
    learned = unlikelihood(fresh, found_mean, found)
    assert learned < unlikelihood(fresh, np.zeros(3), np.eye(3)) - 0.1
    assert learned < unlikelihood(fresh, mean, spread) + 0.02
    # With a strong belief nothing moves.
    stays_mean, stays, _ = learn(seen, strength=1e7, rounds=3)
    assert np.abs(stays_mean).max() < 1e-3
    assert np.abs(stays - np.eye(3)).max() < 1e-3


@pytest.fixture(scope="module")
def models():
    """A model of few modes, and the same without one of its larger ones."""
    model = load_builtin()
    whole = replace(model, identity_modes=model.identity_modes[:8])
    kept = np.arange(8) != REMOVED
    return whole, replace(whole, identity_modes=whole.identity_modes[kept])


def photograph(whole, identity, rng):
    """A person's landmarks, seen from somewhere, with all of the truth that a lesser fit holds."""
    turn = rotvec_to_matrix(rng.normal(0, [0.15, 0.5, 0.1]))
    rotation = HEAD_TO_CAMERA @ turn
    translation = np.array([*rng.normal(0, 20, 2), rng.uniform(600, 900)])
    points = whole.landmark_points("ibug68", whole.shape(identity)) @ rotation.T + translation
    pixels = points @ LENS.T
    pixels = pixels[:, :2] / pixels[:, 2:] + rng.normal(0, 0.3, (68, 2))
    return {
        "identity": np.delete(identity, REMOVED),
        "expression": np.zeros(whole.num_expression),
        "rotation": rotation,
        "translation_mm": translation,
        "intrinsics": LENS,
        "landmarks_2d": pixels,
    }


@pytest.fixture(scope="module")
def faces(models):
    rng = np.random.default_rng(3)
    return [photograph(models[0], rng.standard_normal(8), rng) for _ in range(COUNT)]


def share_left(model, mode, region):
    """How much of a displacement field of a region the model's modes cannot express."""
    flat = model.identity_modes[:, region].reshape(model.num_identity, -1).astype(float)
    wanted = mode[region].ravel().astype(float)
    part, *_ = np.linalg.lstsq(flat.T, wanted, rcond=None)
    return np.linalg.norm(wanted - part @ flat) / np.linalg.norm(wanted)


def test_a_mode_that_was_taken_away_is_found_again(models, faces):
    whole, lesser = models
    result = refine_shapes(
        lesser,
        faces,
        options=RefineOptions(fields=30, field_mm=2.0, modes=16, strength=10, rounds=25),
    )
    assert (result.used, result.held_out) == (96, 24)
    assert result.better
    marks = whole.landmark_map("ibug68")
    inner = np.zeros(whole.num_vertices, bool)
    inner[whole.faces[marks.faces[17:]].ravel()] = True
    mode = whole.identity_modes[REMOVED]
    before, after = (share_left(m, mode, inner) for m in (lesser, result.model))
    assert after < 0.65 * before
    assert result.model.num_identity == 16


def test_bad_input_is_refused(models, faces):
    _, lesser = models
    with pytest.raises(InputError, match="at least 20"):
        refine_shapes(lesser, faces[:10])
    with pytest.raises(InputError, match="fit with this model"):
        refine_shapes(models[0], faces)


def test_the_command_says_what_it_found_and_writes_only_a_better_model(
    models, faces, tmp_path, monkeypatch, capsys
):
    _, lesser = models
    monkeypatch.setattr("facekit.morphable.registry.load_model", lambda _name: lesser)
    monkeypatch.setattr(
        "facekit.basis.fitted.read_fitted", lambda _paths, _model: FittedFaces(faces, [])
    )
    command = ["basis", "refine", "any", str(tmp_path), "-o", str(tmp_path / "new.npz"), "--json"]
    assert run([*command, "--fields", "12", "--field-mm", "2", "--modes", "9"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["nats_after"] < document["nats_before"]
    assert (document["photographs"], document["held_out"]) == (96, 24)
    assert read_native(tmp_path / "new.npz").num_identity == 9
    worse = Refinement(lesser, 32, 8, 1.0, 2.0)
    monkeypatch.setattr("facekit.basis.refine.refine_shapes", lambda *_, **__: worse)
    command[5] = str(tmp_path / "worse.npz")
    assert run(command) == 5
    assert not (tmp_path / "worse.npz").exists()


def test_fits_are_read_and_those_of_other_models_named(models, faces, tmp_path):
    whole, lesser = models
    rest = {
        "albedo": np.zeros(whole.num_albedo),
        "distortion": np.zeros(5),
        "light": np.zeros((9, 3)),
        "image_size": np.array([512, 512]),
        "landmarks_3d_mm": np.zeros((68, 3)),
        "now7": np.zeros((7, 3)),
        "scale_std": 0.1,
        "quality": 1.0,
        "vertex_std_mm": np.zeros(whole.num_vertices),
        "covariance_factor": np.zeros((1, 1)),
    }
    for name, model in (("a", lesser), ("b", lesser), ("c", whole)):
        (tmp_path / name).mkdir()
        write_params(
            tmp_path / name / "params.npz",
            {**faces[0], **rest},
            model_name=model.name,
            model_sha256=model.sha256,
            scale_source="prior",
        )
    (tmp_path / "b" / "params.npz").write_bytes(b"no archive")
    found = read_fitted([tmp_path], lesser)
    np.testing.assert_allclose(found.faces[0]["landmarks_2d"], faces[0]["landmarks_2d"], atol=1e-3)
    assert [Path(f["input"]).parent.name for f in found.failures] == ["b", "c"]
    with pytest.raises(InputError, match="there is none"):
        read_fitted([tmp_path / "missing"], lesser)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        read_fitted([tmp_path / "empty"], lesser)
