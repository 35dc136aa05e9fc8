import json

import pytest
from labelled import write_collection, write_model

from facekit.cli.main import run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label")
    model = write_model(folder)
    photos, _ = write_collection(folder, model, count=3)
    return ["label", str(photos), "--model", str(model), "--landmarks", "files"]


def test_labelling_says_what_it_made(tmp_path, inputs, capsys):
    out = str(tmp_path / "out")
    assert run([*inputs, "-o", out, "--per-shard", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [out]
    assert "3 labelled faces (" in captured.err
    assert "3 made in" in captured.err
    assert run([*inputs, "-o", out, "--per-shard", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "facekit.label/1"
    assert (document["faces"], document["made"]) == (3, 0)
    assert sum(document["splits"].values()) == 3
    assert run([*inputs, "-o", out, "--per-shard", "3"]) == 6


def test_a_photograph_without_a_label_is_exit_5(tmp_path, inputs, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert run([*inputs, str(bad), "-o", str(tmp_path / "out")]) == 5
    assert "bad.png" in capsys.readouterr().err
    assert "bad.png" in (tmp_path / "out" / "failures.json").read_text()


def test_bad_options_have_their_exit_codes(tmp_path, inputs, capsys):
    out = str(tmp_path / "out")
    assert run([*inputs, "-o", out, "--shard", "3/2"]) == 2
    assert run([*inputs, "-o", out, "--face-labels", "skin"]) == 2
    assert run([*inputs, "-o", out, "--masks", str(tmp_path / "none")]) == 3
    assert run(["label", str(tmp_path / "none"), "-o", out]) == 3
    (tmp_path / "file").write_text("in the way")
    assert run([*inputs, "-o", str(tmp_path / "file" / "out")]) == 3
    assert capsys.readouterr().out == ""


def test_rendered_shards(tmp_path, inputs, capsys):
    out = str(tmp_path / "out")
    model = inputs[3]
    common = ["simulate", "photos", "-o", out, "--model", model, "--size", "48", "--count", "4"]
    shards = [*common, "--format", "shards", "--views", "2", "--per-shard", "3"]
    assert run([*shards, "--shard", "0/1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [out]
    assert "4 labelled crops (4 made" in captured.err
    assert run([*shards, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["samples"], document["made"]) == (4, 0)
    assert run([*shards, "--heads", "x.npz"]) == 2
    assert run([*common, "--shard", "0/2"]) == 2
    assert run([*shards, "--seed", "5"]) == 6
