import json

import numpy as np
import pytest
from toy_heads import toy_modes, toy_template

from facekit.basis.registered import write_head, write_index
from facekit.basis.template_file import write_template
from facekit.cli.main import run
from facekit.morphable import load_model


@pytest.fixture
def registered(tmp_path):
    template = toy_template()
    path = write_template(template, tmp_path / "template.npz")
    folder = tmp_path / "REG"
    fields = toy_modes(template.vertices, 4)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        head = template.vertices + np.tensordot(rng.standard_normal(4), fields, 1)
        rows.append(write_head(folder, head, subject=f"s{i}", template_sha256=template.sha256))
    rows.append(
        write_head(
            folder,
            template.vertices,
            subject="odd",
            template_sha256=template.sha256,
            accepted=False,
            reason="no face",
        )
    )
    write_index(folder, rows)
    return folder, path


def test_build_writes_a_model_and_its_measures(registered, tmp_path, capsys):
    folder, template = registered
    target = tmp_path / "model.npz"
    command = ["basis", "build", str(folder), "--template", str(template), "-o", str(target)]
    assert run([*command, "--modes", "4", "--name", "mine", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["heads"] == 12 and document["modes"] == 4
    assert document["quantisation_mm"]["max"] < 0.01
    assert str(target) in captured.err
    model = load_model(target)
    assert model.name == "mine" and model.num_identity == 4
    first = target.read_bytes()
    assert run([*command, "--modes", "4", "--name", "mine"]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_bytes() == first


def test_info_counts_heads(registered, capsys):
    folder, _ = registered
    assert run(["basis", "info", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["subjects"] == 13 and document["accepted"] == 12
    assert document["rejected"] == {"odd.npz": "no face"}
    assert run(["basis", "info", str(folder)]) == 0
    assert "subjects" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "missing", "--template", "missing.npz", "-o", "m.npz"],
        ["info", "missing"],
        ["template", "--source", "missing.npz", "-o", "t.npz"],
        ["sample", "--source", "missing.npz", "--template", "missing.npz", "-o", "REG"],
        ["landmarks", "missing.npz", "-o", "m.npz", "--labeller", "builtin"],
    ],
)
def test_missing_input_is_exit_3(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["basis", *arguments]) == 3
    assert "missing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_too_many_modes_are_refused(registered, tmp_path, capsys):
    folder, template = registered
    target = tmp_path / "m.npz"
    options = ["--template", str(template), "-o", str(target), "--modes", "80"]
    assert run(["basis", "build", str(folder), *options]) == 3
    assert "fewer modes" in capsys.readouterr().err
    assert not target.exists()


def test_the_recipe_runs(data_folder, tmp_path, capsys):
    source = str(data_folder / "ict_facekit.npz")
    template = str(tmp_path / "template.npz")
    command = ["basis", "template", "--source", source, "--vertices", "2000", "-o", template]
    assert run(command) == 0
    folder = str(tmp_path / "REG")
    options = ["--source", source, "--template", template, "--count", "4", "-o", folder]
    assert run(["basis", "sample", *options]) == 0
    target = str(tmp_path / "model.npz")
    options = ["--template", template, "--modes", "4", "-o", target]
    assert run(["basis", "build", folder, *options]) == 0
    assert load_model(target).num_expression == 53
