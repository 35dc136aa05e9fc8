"""Each foreign format, read back from a file of it that the test writes."""

import gzip
import json
import pickle
import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from toy import toy_model

from facekit.errors import InputError
from facekit.geometry.mesh import vertex_normals
from facekit.morphable.builtin import load_builtin
from facekit.morphable.registry import model_formats, read_model

NOW7_ROWS = [36, 39, 42, 45, 33, 48, 54]


class Raw:
    """The toy head as plain arrays: unit-norm bases, deviations, landmark vertices."""

    def __init__(self):
        model = toy_model()
        self.mean = model.mean.astype(np.float64)
        self.faces = model.faces
        v = len(self.mean)
        marks = model.landmark_points("ibug68", model.mean)
        distance = np.linalg.norm(self.mean[None] - marks[:, None], axis=2)
        self.ibug68 = distance.argmin(axis=1)
        self.now7 = self.ibug68[NOW7_ROWS].tolist()
        self.modes = model.identity_modes.astype(np.float64)
        self.expressions = model.expression_modes.astype(np.float64)
        self.basis, self.std = self._split(self.modes)
        self.expression_basis, self.expression_std = self._split(self.expressions)
        rng = np.random.default_rng(0)
        self.colour = rng.uniform(0.2, 0.8, (v, 3))
        self.colour_basis, self.colour_std = self._split(0.05 * rng.standard_normal((3, v, 3)))

    @staticmethod
    def _split(modes):
        columns = modes.reshape(len(modes), -1).T
        norms = np.linalg.norm(columns, axis=0)
        return columns / norms, norms


@pytest.fixture(scope="module")
def raw():
    return Raw()


def srgb_to_linear(value):
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def check_shape(model, raw, *, expressions=True, tolerance=2e-3):
    """The model is the raw head in mm, moved rigidly onto the built-in model's seven points."""
    assert model.num_vertices == len(raw.mean)
    assert model.num_identity == len(raw.modes)
    builtin = load_builtin()
    wanted = builtin.landmark_points("now7", builtin.mean)
    found = model.landmark_points("now7", model.mean)
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=0.05)
    # Distances between vertices do not change under the move.
    pick = np.random.default_rng(1).integers(0, len(raw.mean), (200, 2))
    weights = np.linspace(-1, 1, model.num_identity)
    blend = np.linspace(0, 1, model.num_expression) if expressions else None
    moved = model.shape(weights, blend)
    truth = raw.mean + np.tensordot(weights, raw.modes, 1)
    if expressions:
        truth = truth + np.tensordot(blend, raw.expressions, 1)
    np.testing.assert_allclose(
        np.linalg.norm(moved[pick[:, 0]] - moved[pick[:, 1]], axis=1),
        np.linalg.norm(truth[pick[:, 0]] - truth[pick[:, 1]], axis=1),
        atol=tolerance,
    )
    normals = vertex_normals(model.mean, model.faces)
    outward = model.mean - model.mean.mean(axis=0)
    assert ((normals * outward).sum(axis=1) > 0).mean() > 0.95


def check_colour(model, raw):
    np.testing.assert_allclose(model.albedo_mean, srgb_to_linear(raw.colour), atol=2e-3)
    small = 1e-3 * raw.colour_std[0] * raw.colour_basis[:, 0].reshape(-1, 3)
    step = srgb_to_linear(raw.colour + small) - srgb_to_linear(raw.colour)
    np.testing.assert_allclose(1e-3 * model.albedo_modes[0], step, atol=2e-6)


def write_bfm2009(path, raw, *, scale=1000.0):
    scipy.io.savemat(
        path,
        {
            "shapeMU": (raw.mean * scale).reshape(-1, 1),
            "shapePC": raw.basis,
            "shapeEV": (raw.std * scale)[:, None],
            "texMU": (raw.colour * 255).reshape(-1, 1),
            "texPC": raw.colour_basis,
            "texEV": (raw.colour_std * 255)[:, None],
            # The format's faces run clockwise.
            "tl": raw.faces[:, ::-1].astype(np.float64) + 1,
        },
    )


def test_bfm2009(tmp_path, raw):
    path = tmp_path / "01_MorphableModel.mat"
    write_bfm2009(path, raw)
    model = read_model(path, now7=raw.now7)
    check_shape(model, raw, expressions=False)
    check_colour(model, raw)
    assert model.num_expression == 0
    free = read_model(path)
    assert not free.landmarks
    np.testing.assert_allclose(free.mean, raw.mean, atol=1e-3)


def test_bfm2009_with_expressions_is_cut_to_their_vertices(tmp_path, raw):
    path = tmp_path / "01_MorphableModel.mat"
    write_bfm2009(path, raw)
    v = len(raw.mean)
    keep = np.setdiff1d(np.arange(v), [0, 1, 2])
    assert not set(raw.now7) & {0, 1, 2}
    scipy.io.savemat(tmp_path / "BFM_exp_idx.mat", {"trimIndex": keep[:, None] + 1.0})
    basis = raw.expression_basis.T.reshape(-1, v, 3)[:, keep]
    content = struct.pack("<i", len(basis)) + np.zeros((len(keep), 3), "<f4").tobytes()
    (tmp_path / "Exp_Pca.bin").write_bytes(content + basis.astype("<f4").tobytes())
    np.savetxt(tmp_path / "std_exp.txt", raw.expression_std[None] * 1000)
    model = read_model(path, now7=raw.now7)
    assert model.num_vertices == v - 3 and model.num_expression == len(raw.expressions)
    assert model.expression_kind[0] == "pca"
    np.testing.assert_allclose(
        np.linalg.norm(model.expression_modes, axis=2),
        np.linalg.norm(raw.expressions[:, keep], axis=2),
        atol=1e-3,
    )
    whole = (tmp_path / "Exp_Pca.bin").read_bytes()
    (tmp_path / "Exp_Pca.bin").write_bytes(whole[:-4])
    with pytest.raises(InputError, match=r"Exp_Pca\.bin"):
        read_model(path)
    (tmp_path / "Exp_Pca.bin").write_bytes(whole)
    (tmp_path / "std_exp.txt").write_text("1 2 3")
    with pytest.raises(InputError, match="deviations"):
        read_model(path)
    (tmp_path / "std_exp.txt").unlink()
    with pytest.raises(InputError, match=r"std_exp\.txt"):
        read_model(path)


def test_deep3d(tmp_path, raw):
    path = tmp_path / "BFM_model_front.mat"
    scipy.io.savemat(
        path,
        {
            "meanshape": (raw.mean / 100).reshape(1, -1),
            "idBase": raw.basis * raw.std / 100,
            "exBase": raw.expression_basis * raw.expression_std / 100,
            "meantex": (raw.colour * 255).reshape(1, -1),
            "texBase": raw.colour_basis * raw.colour_std * 255,
            "tri": raw.faces + 1,
            "keypoints": raw.ibug68[None] + 1,
        },
    )
    model = read_model(path)
    check_shape(model, raw)
    check_colour(model, raw)
    points = model.landmark_points("ibug68", model.mean)
    np.testing.assert_allclose(points, model.mean[raw.ibug68], atol=1e-5)


def write_bfm2017(path, raw, *, landmarks=True):
    h5py = pytest.importorskip("h5py")
    names = (
        *("right.eye.corner_outer", "right.eye.corner_inner", "left.eye.corner_inner"),
        *("left.eye.corner_outer", "center.nose.attachement_to_philtrum"),
        *("right.lips.corner", "left.lips.corner"),
    )
    with h5py.File(path, "w") as file:
        for name, mean, basis, std in (
            ("shape", raw.mean, raw.basis, raw.std),
            ("expression", np.zeros_like(raw.mean), raw.expression_basis, raw.expression_std),
            ("color", raw.colour, raw.colour_basis, raw.colour_std),
        ):
            file[f"{name}/model/mean"] = mean.ravel()
            file[f"{name}/model/pcaBasis"] = basis
            file[f"{name}/model/pcaVariance"] = std**2
        file["shape/representer/cells"] = raw.faces.T
        if landmarks:
            points = raw.mean[raw.now7]
            text = [
                {"id": n, "coordinates": p.tolist()} for n, p in zip(names, points, strict=True)
            ]
            file["metadata/landmarks/json"] = json.dumps(text)


def test_bfm2017(tmp_path, raw):
    path = tmp_path / "model2017-1_toy.h5"
    write_bfm2017(path, raw)
    model = read_model(path)
    check_shape(model, raw)
    check_colour(model, raw)
    write_bfm2017(tmp_path / "free.h5", raw, landmarks=False)
    assert not read_model(tmp_path / "free.h5").landmarks


class FakeChumpy:
    """Pickles as chumpy.ch.Ch does: a class by name with its state."""

    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return (_Named("chumpy.ch", "Ch"), (), {"x": self.x})


class _Named:
    """A global by module and name that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self):
        raise AssertionError


class Writer(pickle._Pickler):
    dispatch = pickle._Pickler.dispatch.copy()

    def save_named(self, value):
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    dispatch[_Named] = save_named


def write_pickle(path, data, protocol=2):
    with path.open("wb") as stream:
        Writer(stream, protocol).dump(data)


@pytest.mark.parametrize("protocol", [2, 4])
def test_flame(tmp_path, raw, protocol):
    path = tmp_path / "generic_model.pkl"
    modes = np.concatenate([np.zeros((300 - len(raw.modes), *raw.mean.shape)), raw.expressions])
    directions = np.moveaxis(np.concatenate([raw.modes, modes]), 0, 2) / 1000
    data = {
        "v_template": raw.mean / 1000,
        "f": raw.faces.astype(np.uint32),
        "shapedirs": FakeChumpy(directions),
        "J_regressor": sp.csc_matrix(np.eye(5, len(raw.mean))),
        "bs_style": "lbs",
        "weights": FakeChumpy(np.ones((3, 3))),
    }
    write_pickle(path, data, protocol)
    model = read_model(path, now7=raw.now7)
    assert model.num_identity == 300 and model.num_expression == len(raw.expressions)
    np.testing.assert_allclose(
        np.linalg.norm(model.identity_modes[: len(raw.modes)], axis=2),
        np.linalg.norm(raw.modes, axis=2),
        atol=1e-3,
    )
    np.testing.assert_allclose(np.ptp(model.mean, axis=0), np.ptp(raw.mean, axis=0), rtol=0.1)


def test_flames_sparse_regressor_becomes_dense(tmp_path):
    from facekit.morphable.flame import read_arrays

    matrix = np.array([[0, 2.0, 0], [1, 0, 3]])
    path = tmp_path / "m.pkl"
    write_pickle(path, {"a": sp.csc_matrix(matrix), "b": sp.csr_matrix(matrix), "n": 3})
    data = read_arrays(path)
    np.testing.assert_array_equal(data["a"], matrix)
    np.testing.assert_array_equal(data["b"], matrix)
    assert data["n"] == 3


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        import os

        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, protocol):
    target = tmp_path / "was_here"
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps({"v_template": Evil(target)}, protocol))
    with pytest.raises(InputError, match="was not run"):
        read_model(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy.lib.npyio", "load"),
        ("numpy.f2py.crackfortran", "myeval"),
        ("numpy.testing._private.utils", "runstring"),
        ("scipy", "system"),
        ("chumpy.utils", "dfs_do_func_on_graph"),
        ("subprocess", "Popen"),
        ("codecs", "open"),
    ],
)
def test_only_names_of_arrays_are_known(tmp_path, module, name):
    path = tmp_path / "m.pkl"
    write_pickle(path, {"a": _Named(module, name)})
    with pytest.raises(InputError, match="no array"):
        read_model(path)


def test_pickles_cannot_build_objects_by_python_2s_protocol(tmp_path):
    path = tmp_path / "m.pkl"
    body = b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR."
    path.write_bytes(b"\x80\x02" + body)
    with pytest.raises(InputError, match="no array"):
        read_model(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"hello", b"\x80\x02]."])
def test_what_is_no_pickled_dictionary_is_refused(tmp_path, content):
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.pkl"):
        read_model(path)


def test_a_pickle_without_flames_arrays_is_refused(tmp_path):
    path = tmp_path / "m.pkl"
    write_pickle(path, {"v_template": np.zeros((3, 3))})
    with pytest.raises(InputError, match="shapedirs"):
        read_model(path)


def eos_matrix(values):
    values = np.atleast_2d(np.asarray(values, "<f4"))
    return struct.pack("<ii", *values.shape) + values.T.tobytes()


def eos_table(values, dtype):
    values = np.asarray(values, dtype)
    return struct.pack("<Q", len(values)) + values.tobytes()


def eos_pca(mean, basis, std, faces):
    return (
        eos_matrix(mean.reshape(-1, 1))
        + eos_matrix(basis)
        + eos_matrix((std**2)[:, None])
        + eos_table(faces, "<i4")
    )


def eos_text(text):
    return struct.pack("<Q", len(text)) + text.encode()


def eos_file(raw, version, *, blendshapes=True, uvs=None):
    content = struct.pack("<I", version)
    content += eos_pca(raw.mean, raw.basis, raw.std, raw.faces)
    content += eos_pca(raw.colour, raw.colour_basis, raw.colour_std, raw.faces)
    if version >= 2 and blendshapes:
        content += struct.pack("<Bi", 0, 1) + struct.pack("<Q", len(raw.expressions))
        for i, mode in enumerate(raw.expressions):
            content += eos_text(f"shape{i}") + eos_matrix(mode.reshape(-1, 1))
    elif version >= 2:
        content += struct.pack("<Bi", 0, 0)
        zero = np.zeros_like(raw.mean)
        content += eos_pca(zero, raw.expression_basis, raw.expression_std, raw.faces)
    if version >= 3:
        content += struct.pack("<BQ", 0, 1) + eos_text("nose.tip") + struct.pack("<i", 7)
    content += eos_table(np.zeros((0, 2)) if uvs is None else uvs, "<f8")
    if version >= 4:
        content += eos_table(np.zeros((0, 3)) if uvs is None else raw.faces, "<i4")
    return content


@pytest.mark.parametrize(("version", "blendshapes"), [(1, False), (2, True), (3, False), (4, True)])
def test_eos(tmp_path, raw, version, blendshapes):
    path = tmp_path / "sfm_shape.bin"
    uvs = toy_model().uvs if version == 4 else None
    path.write_bytes(eos_file(raw, version, blendshapes=blendshapes, uvs=uvs))
    model = read_model(path, now7=raw.now7)
    check_shape(model, raw, expressions=version > 1)
    check_colour(model, raw)
    if blendshapes:
        assert model.expression_names[1] == "shape1"
        assert set(model.expression_kind) == {"blendshape"}
    assert (model.uvs is not None) == (version == 4)


def test_broken_eos_files_are_refused(tmp_path, raw):
    path = tmp_path / "m.bin"
    whole = eos_file(raw, 2)
    for content in (b"", whole[:100], whole[:-9], struct.pack("<I", 9) + whole[4:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"m\.bin"):
            read_model(path)


def write_obj(path, vertices, faces, *, groups=None):
    lines = ["v " + " ".join(f"{x:.6f}" for x in v) for v in vertices]
    for i, face in enumerate(faces):
        if groups and i in groups:
            lines.append(f"g {groups[i]}")
        lines.append("f " + " ".join(str(v + 1) for v in face))
    path.write_text("\n".join(lines) + "\n")


def test_ict(tmp_path, raw):
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    write_obj(folder / "generic_neutral_mesh.obj", raw.mean / 10, raw.faces)
    for i, mode in enumerate(raw.modes):
        write_obj(folder / f"identity{i:03d}.obj", (raw.mean + mode) / 10, raw.faces)
    for name, mode in zip(("aSmile_L", "bSmile_R", "cJaw", "dBrow"), raw.expressions, strict=True):
        write_obj(folder / f"{name}.obj", (raw.mean + mode) / 10, raw.faces)
    marks = {"idx_to_landmark_verts": raw.ibug68.tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(marks))
    model = read_model(folder)
    check_shape(model, raw)
    assert model.expression_names == ("aSmile_L", "bSmile_R", "cJaw", "dBrow")
    (folder / "vertex_indices.json").write_text("{}")
    with pytest.raises(InputError, match="idx_to_landmark_verts"):
        read_model(folder)
    write_obj(folder / "identity000.obj", raw.mean[:10], [[0, 1, 2]])
    (folder / "vertex_indices.json").unlink()
    with pytest.raises(InputError, match=r"identity000\.obj"):
        read_model(folder)


def write_target(path, offsets):
    rows = np.flatnonzero(np.abs(offsets).max(axis=1) > 0)
    lines = ["# a comment"] + [f"{i} {' '.join(f'{x:.7f}' for x in offsets[i])}" for i in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_makehuman(tmp_path, raw):
    base = tmp_path / "base.obj"
    helper = len(raw.mean) + np.arange(4)
    vertices = np.concatenate([raw.mean / 100, np.eye(4, 3)])
    groups = {0: "body", len(raw.faces): "helper-tights"}
    write_obj(base, vertices, [*raw.faces.tolist(), helper.tolist()], groups=groups)
    padded = [np.concatenate([m / 100, np.zeros((4, 3))]) for m in raw.modes]
    write_target(tmp_path / "targets/nose/nose-width-incr.target", padded[0])
    write_target(tmp_path / "targets/nose/nose-width-decr.target", -padded[0])
    write_target(tmp_path / "targets/head/head-oval.target.gz", padded[1])
    smile = np.concatenate([raw.expressions[0] / 100, np.zeros((4, 3))])
    write_target(tmp_path / "targets/expression/units/smile.target", smile)
    model = read_model(base, now7=raw.now7)
    assert model.expression_names == ("smile",)
    assert model.num_identity == 2 and len(model.faces) == len(raw.faces)
    sizes = sorted(np.linalg.norm(m) for m in model.identity_modes)
    wanted = sorted(0.3 * np.linalg.norm(m) for m in raw.modes[:2])
    np.testing.assert_allclose(sizes, wanted, rtol=1e-3)
    np.testing.assert_allclose(
        np.linalg.norm(model.expression_modes[0]), np.linalg.norm(raw.expressions[0]), rtol=1e-3
    )
    np.testing.assert_allclose(np.ptp(model.mean[:-4], axis=0), np.ptp(raw.mean, axis=0), rtol=0.1)
    for content in ("99999 0 0 1", "1 2", "x 0 0 1"):
        (tmp_path / "targets/bad.target").write_text(content)
        with pytest.raises(InputError, match=r"bad\.target"):
            read_model(base)


def test_makehuman_without_targets_is_refused(tmp_path, raw):
    write_obj(tmp_path / "base.obj", raw.mean, raw.faces)
    with pytest.raises(InputError, match="targets"):
        read_model(tmp_path / "base.obj")


@pytest.mark.parametrize("name", ["m.mat", "front.mat", "m.h5", "m.bin", "m.pkl"])
def test_files_of_another_format_are_refused(tmp_path, name):
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    path = tmp_path / name
    path.write_bytes(b"this is none of them" * 20)
    with pytest.raises(InputError, match="expected"):
        read_model(path)


def test_a_matlab_file_without_the_variables_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "m.mat", {"a": 1})
    with pytest.raises(InputError, match="shapeMU"):
        read_model(tmp_path / "m.mat")


def test_wrong_landmarks_are_refused(tmp_path, raw):
    path = tmp_path / "m.mat"
    write_bfm2009(path, raw)
    with pytest.raises(InputError, match="expected 7"):
        read_model(path, now7=[1, 2])
    with pytest.raises(InputError, match="vertices of faces"):
        read_model(path, now7=[*raw.now7[:6], 10**6])


def test_the_format_can_be_named(tmp_path, raw):
    path = tmp_path / "no_suffix"
    path.write_bytes(eos_file(raw, 2))
    with pytest.raises(InputError, match="--format"):
        read_model(path)
    assert read_model(path, format_name="eos").num_identity == len(raw.modes)
    with pytest.raises(InputError, match="expected one of facekit"):
        read_model(path, format_name="nothing")
    assert len({f.name for f in model_formats()}) == len(model_formats())
