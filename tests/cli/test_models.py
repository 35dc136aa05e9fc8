import json

import numpy as np
import pytest
from toy import toy_model

from facekit.cli.main import run
from facekit.morphable import load_model
from facekit.morphable.native import write_native


def test_list_names_the_shipped_files_and_the_formats(capsys):
    assert run(["models", "list"]) == 0
    text = capsys.readouterr().out
    for word in ("builtin_model", "bfm2009", "bfm2017", "flame", "ict", "makehuman", "eos"):
        assert word in text
    assert run(["models", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "facekit.models/1"
    assert {a["name"] for a in document["assets"]} >= {"builtin_model"}
    assert len(document["formats"]) == 8


def test_info_tells_what_is_in_the_built_in_model(capsys):
    assert run(["models", "info", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    model = load_model("builtin")
    assert document["sha256"] == model.sha256
    assert document["vertices"] == model.num_vertices
    assert document["expressions"] == list(model.expression_names)
    assert document["landmarks"]["ibug68"] == 68
    assert run(["models", "info", "builtin"]) == 0
    assert "jawOpen" in capsys.readouterr().out
    assert run(["models", "info", "builtin", "--licence"]) == 0
    assert "MIT License" in capsys.readouterr().out


def test_convert_writes_a_model_that_loads(tmp_path, capsys):
    source = write_native(toy_model(), tmp_path / "toy.npz")
    target = tmp_path / "out" / "again.npz"
    assert run(["models", "convert", str(source), "-o", str(target)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(target)
    assert "identity" in captured.err
    np.testing.assert_allclose(load_model(target).mean, toy_model().mean, atol=2e-4)


def test_a_foreign_model_without_landmarks_is_converted_with_a_warning(tmp_path, capsys):
    scipy_io = pytest.importorskip("scipy.io")
    toy = toy_model()
    columns = toy.identity_modes.reshape(toy.num_identity, -1).T
    scipy_io.savemat(
        tmp_path / "01_MorphableModel.mat",
        {
            "shapeMU": toy.mean.reshape(-1, 1) * 1000.0,
            "shapePC": columns,
            "shapeEV": np.full(toy.num_identity, 1000.0),
            "texMU": np.full((toy.mean.size, 1), 128.0),
            "texPC": np.zeros((toy.mean.size, 1)),
            "texEV": np.ones(1),
            "tl": toy.faces + 1.0,
        },
    )
    source, target = tmp_path / "01_MorphableModel.mat", tmp_path / "bfm.npz"
    assert run(["models", "convert", str(source), "-o", str(target)]) == 0
    assert "--now7" in capsys.readouterr().err
    seven = ",".join(str(i) for i in (100, 200, 300, 400, 500, 600, 700))
    options = ["-o", str(target), "--now7", seven, "--format", "bfm2009"]
    assert run(["models", "convert", str(source), *options]) == 0
    assert "now7" in load_model(target).landmarks


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["info", "nobody"], 3),
        (["convert", "nothing.mat", "-o", "x.npz"], 3),
        (["convert", "README.md", "-o", "x.npz", "--now7", "a,b"], 2),
        (["convert"], 2),
    ],
)
def test_bad_requests_have_their_exit_code(arguments, code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("text")
    assert run(["models", *arguments]) == code
    assert not (tmp_path / "x.npz").exists()


def test_an_unwritable_output_is_refused(tmp_path, capsys):
    source = write_native(toy_model(), tmp_path / "toy.npz")
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert run(["models", "convert", str(source), "-o", str(blocker / "m.npz")]) == 3
    assert "file" in capsys.readouterr().err
