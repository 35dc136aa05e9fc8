import json

import numpy as np
import pytest
from toy_heads import FLIP, toy_modes, toy_template

from facekit.basis.assemble import BuildOptions, build_model
from facekit.basis.registered import read_index, read_vertices, write_head, write_index
from facekit.basis.template_file import read_template, write_template
from facekit.errors import InputError
from facekit.morphable.native import read_native, write_native


@pytest.fixture
def registered(tmp_path):
    template = toy_template()
    folder = tmp_path / "REG"
    rng = np.random.default_rng(0)
    fields = toy_modes(template.vertices, 4)
    smile = np.exp(-(((template.vertices - [30, -40, 60]) / 25) ** 2).sum(axis=1))[:, None]
    rows = []
    for i in range(20):
        head = template.vertices + np.tensordot(rng.standard_normal(4), fields, 1)
        subject = f"subject {i}"
        common = {"subject": subject, "template_sha256": template.sha256}
        rows.append(write_head(folder, head, **common))
        if i < 3:
            left = smile * [2.0, 1.0, 0.5]
            right = left[template.mirror] * FLIP
            rows.append(write_head(folder, head + left, expression="smile_L", **common))
            rows.append(write_head(folder, head + right, expression="smile_R", **common))
    broken = template.vertices * 5
    common = {"subject": "broken", "template_sha256": template.sha256}
    rows.append(write_head(folder, broken, accepted=False, reason="diverged", **common))
    write_index(folder, rows)
    return template, folder, smile * [2.0, 1.0, 0.5]


def test_a_model_of_registered_heads(registered, tmp_path):
    template, folder, smile = registered
    built = build_model(folder, template, options=BuildOptions("mine", 5))
    model = built.model
    assert built.num_subjects == 20 and model.name == "mine"
    assert model.expression_names == ("smile_L", "smile_R")
    np.testing.assert_allclose(model.expression_modes[0], smile, atol=1e-4)
    np.testing.assert_allclose(model.expression_modes[1], smile[template.mirror] * FLIP, atol=1e-4)
    np.testing.assert_allclose(
        model.landmark_points("tragion", model.mean).mean(axis=0), 0, atol=1e-4
    )
    np.testing.assert_allclose(model.mean[model.mirror] * FLIP, model.mean, atol=1e-4)
    # A rejected head five times the size would show.
    assert np.ptp(model.mean, axis=0).max() < 300
    assert "20 heads" in model.provenance and model.licence == template.licence
    read = read_native(write_native(model, tmp_path / "m.npz"))
    np.testing.assert_allclose(read.mean, model.mean, atol=1e-4)


def test_the_index_and_the_heads_are_read_back(registered):
    template, folder, _ = registered
    rows = read_index(folder)
    assert [r.reason for r in rows if not r.accepted] == ["diverged"]
    assert {r.path for r in rows} >= {"subject 0.npz", "subject 0/smile_L.npz"}
    assert read_vertices(folder, rows[0], template).shape == template.vertices.shape


def test_residuals_are_kept(tmp_path):
    template = toy_template()
    residuals = np.full(len(template.vertices), 0.25)
    row = write_head(
        tmp_path, template.vertices, subject="a", template_sha256="x", residuals=residuals
    )
    write_index(tmp_path, [row])
    assert read_index(tmp_path)[0].residual_mm == 0.25


def test_bad_folders_are_refused(registered, tmp_path):
    template, folder, _ = registered
    with pytest.raises(InputError, match=r"index\.csv"):
        read_index(tmp_path)
    (folder / "subject 3.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match="subject 3"):
        build_model(folder, template, options=BuildOptions("m", 3))
    (folder / "subject 3.npz").unlink()
    with pytest.raises(InputError, match="found no file"):
        build_model(folder, template, options=BuildOptions("m", 3))
    (folder / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns"):
        read_index(folder)


def test_heads_of_another_template_are_refused(registered):
    _, folder, _ = registered
    other = toy_template(rows=11)
    with pytest.raises(InputError, match="another template"):
        build_model(folder, other, options=BuildOptions("m", 3))


def test_too_few_heads_are_refused(tmp_path):
    template = toy_template()
    row = write_head(tmp_path, template.vertices, subject="a", template_sha256=template.sha256)
    write_index(tmp_path, [row])
    with pytest.raises(InputError, match="at least 2 accepted"):
        build_model(tmp_path, template, options=BuildOptions("m", 1))


def test_a_template_survives_its_file(tmp_path):
    template = toy_template()
    read = read_template(write_template(template, tmp_path / "t.npz"))
    assert read.sha256 == template.sha256
    for name in ("vertices", "faces", "mirror", "uvs", "face_uvs", "part", "rim", "albedo"):
        np.testing.assert_array_equal(getattr(read, name), getattr(template, name))
    np.testing.assert_array_equal(read.regions["scan"], template.regions["scan"])
    np.testing.assert_array_equal(
        read.landmarks["tragion"].faces, template.landmarks["tragion"].faces
    )
    assert read.licence == template.licence and read.provenance == template.provenance


def test_what_is_no_template_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    with pytest.raises(InputError, match="found no file"):
        read_template(path)
    np.savez(path, a=1)
    with pytest.raises(InputError, match="template"):
        read_template(path)
    np.savez(path, meta=np.array(json.dumps({"kind": "facekit.template", "format": 99})))
    with pytest.raises(InputError, match="format"):
        read_template(path)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        read_template(path)
