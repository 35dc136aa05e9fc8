import dataclasses
import json
import zipfile

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.morphable import load_model
from facekit.morphable.native import MODE_QUANTUM_MM, is_native, read_native, write_native
from facekit.types import LandmarkMap


def symmetric_toy():
    """The toy head with its exact left-right partners and one odd and one lopsided mode."""
    model = toy_model()
    flipped = model.mean * [-1, 1, 1]
    distance = np.linalg.norm(model.mean[None] - flipped[:, None], axis=2)
    assert distance.min(axis=1).max() < 1e-3
    return dataclasses.replace(model, mirror=distance.argmin(axis=1).astype(np.int32))


def test_a_model_survives_the_file(tmp_path):
    model = symmetric_toy()
    covariance = np.tile(np.diag([1.0, 4.0]), (68, 1, 1)).astype(np.float32)
    marks = model.landmarks["ibug68"]
    model = dataclasses.replace(
        model,
        landmarks={
            **model.landmarks,
            "ibug68": dataclasses.replace(marks, covariance_mm2=covariance),
        },
        licence="MIT, ©",
        provenance="made here",
    )
    read = read_native(write_native(model, tmp_path / "model.npz"))
    for name in ("name", "expression_names", "expression_kind", "licence", "provenance"):
        assert getattr(read, name) == getattr(model, name)
    for name in ("faces", "face_uvs", "mirror", "expression_bounds", "expression_mean"):
        np.testing.assert_array_equal(
            getattr(read, name), getattr(model, name).astype(getattr(read, name).dtype)
        )
    np.testing.assert_allclose(read.mean, model.mean, atol=6e-5)
    for name in ("identity_modes", "expression_modes"):
        step = np.maximum(MODE_QUANTUM_MM, np.abs(getattr(model, name)).max() / 32000)
        np.testing.assert_allclose(getattr(read, name), getattr(model, name), atol=1.01 * step)
    np.testing.assert_allclose(read.albedo_mean, model.albedo_mean, atol=1e-4)
    np.testing.assert_allclose(read.uvs, model.uvs, atol=1e-5)
    assert sorted(read.landmarks) == sorted(model.landmarks)
    np.testing.assert_array_equal(read.landmarks["ibug68"].covariance_mm2, covariance)
    assert read.landmarks["now7"].covariance_mm2 is None
    np.testing.assert_array_equal(read.regions["face"], model.regions["face"])


def test_symmetric_and_antisymmetric_modes_are_stored_by_half(tmp_path):
    model = symmetric_toy()
    flip = np.array([-1, 1, 1], np.float32)
    mode = model.identity_modes[4] + 0.01 * model.mean[:, [1, 2, 0]]
    image = mode[model.mirror] * flip
    modes = np.stack([mode + image, mode - image, mode + 0.3 * np.roll(mode, 1, axis=0)])
    model = dataclasses.replace(model, identity_modes=modes.astype(np.float32))
    path = write_native(model, tmp_path / "model.npz")
    with np.load(path) as data:
        assert json.loads(str(data["meta"]))["identity_parity"] == [1, -1, 0]
        assert data["identity_wholes"].shape[1] == 1
    read = read_native(path)
    np.testing.assert_allclose(read.identity_modes, modes, atol=MODE_QUANTUM_MM)
    np.testing.assert_array_equal(
        read.identity_modes[0][model.mirror] * flip, read.identity_modes[0]
    )


def test_a_mode_too_large_for_16_bits_gets_a_coarser_step(tmp_path):
    model = toy_model()
    model = dataclasses.replace(model, identity_modes=model.identity_modes * 100)
    read = read_native(write_native(model, tmp_path / "m.npz"))
    largest = np.abs(model.identity_modes).max()
    np.testing.assert_allclose(read.identity_modes, model.identity_modes, atol=largest / 32000)


def test_equal_models_give_equal_bytes(tmp_path):
    first = write_native(toy_model(), tmp_path / "a.npz")
    second = write_native(toy_model(), tmp_path / "b.npz")
    assert first.read_bytes() == second.read_bytes()


def test_a_model_without_modes_uvs_or_mirror_survives(tmp_path):
    model = toy_model()
    empty = np.zeros((0, model.num_vertices, 3), np.float32)
    model = dataclasses.replace(
        model,
        identity_modes=empty,
        expression_modes=empty,
        expression_names=(),
        expression_kind=(),
        expression_bounds=np.zeros((0, 2), np.float32),
        expression_mean=np.zeros(0, np.float32),
        expression_std=np.zeros(0, np.float32),
        uvs=None,
        face_uvs=None,
        landmarks={},
        regions={},
    )
    read = read_native(write_native(model, tmp_path / "model.npz"))
    assert read.num_identity == read.num_expression == 0
    assert read.uvs is None and read.mirror is None and not read.landmarks


def test_infinite_bounds_survive(tmp_path):
    model = toy_model()
    e = model.num_expression
    bounds = np.tile([-np.inf, np.inf], (e, 1))
    model = dataclasses.replace(model, expression_bounds=bounds, expression_kind=("pca",) * e)
    read = read_native(write_native(model, tmp_path / "model.npz"))
    np.testing.assert_array_equal(read.expression_bounds, bounds)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, meta=np.array({"format": 1}, dtype=object), mean=np.zeros(3), faces=np.zeros(3))
    assert is_native(path)
    with pytest.raises(InputError, match="model"):
        read_native(path)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 cut off"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    assert not is_native(path)
    with pytest.raises(InputError, match=r"model\.npz"):
        read_native(path)


def test_a_cut_off_file_is_refused(tmp_path):
    path = write_native(toy_model(), tmp_path / "model.npz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError):
        read_native(path)


def test_a_missing_entry_is_refused(tmp_path):
    path = write_native(toy_model(), tmp_path / "model.npz")
    short = tmp_path / "short.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(short, "w") as new:
        for item in old.infolist():
            if item.filename != "albedo_mean.npy":
                new.writestr(item, old.read(item))
    with pytest.raises(InputError, match="albedo_mean"):
        read_native(short)


def test_other_arrays_and_newer_formats_are_refused(tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, a=np.zeros(3))
    with pytest.raises(InputError, match="meta"):
        read_native(other)
    newer = tmp_path / "newer.npz"
    np.savez(newer, meta=np.array(json.dumps({"format": 99})), mean=0, faces=0)
    with pytest.raises(InputError, match="update facekit"):
        read_native(newer)
    with pytest.raises(InputError, match="found no file"):
        read_native(tmp_path / "nothing.npz")


def test_models_are_found_by_name_and_by_contents(tmp_path):
    path = write_native(toy_model(), tmp_path / "any name.bin")
    assert load_model(path).name == "toy"
    assert load_model(str(path)).name == "toy"
    assert load_model("builtin").name == "builtin"
    with pytest.raises(InputError, match="neither a model of that name"):
        load_model("nobody")
    text = tmp_path / "readme.txt"
    text.write_text("hello")
    with pytest.raises(InputError, match="no model of a known format"):
        load_model(text)


def test_landmark_maps_with_one_point_survive(tmp_path):
    model = toy_model()
    one = LandmarkMap(np.array([3], np.int32), np.array([[0.2, 0.3, 0.5]], np.float32))
    model = dataclasses.replace(model, landmarks={"one": one})
    read = read_native(write_native(model, tmp_path / "m.npz"))
    np.testing.assert_array_equal(read.landmarks["one"].barycentric, one.barycentric)
