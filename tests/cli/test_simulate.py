import json

import pytest
from simulated_heads import write_heads

from facekit.cli.main import run


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads") / "heads.npz")


def test_photographs_are_listed_on_stdout(tmp_path, heads, capsys):
    out = tmp_path / "out"
    common = ["simulate", "photos", "-o", str(out), "--heads", str(heads), "--size", "48"]
    assert run([*common, "--count", "2", "--views", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(out / "images" / f"0000{i}.png") for i in (0, 1)]
    assert "2 photographs" in captured.err
    assert run([*common, "--count", "2", "--views", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "facekit.simulate/1"
    assert len(document["images"]) == 2
    assert run([*common, "--count", "2", "--views", "2", "--seed", "3"]) == 6


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--count", "0"], 2),
        (["--face", "big"], 2),
        (["--face", "0.6,0.3"], 3),
        (["--heads", "missing.npz"], 3),
        (["--model", "missing.npz"], 3),
        (["--yaw-range", "120"], 2),
    ],
)
def test_bad_options_have_their_exit_codes(tmp_path, arguments, code, capsys):
    assert run(["simulate", "photos", "-o", str(tmp_path / "out"), *arguments]) == code
    assert capsys.readouterr().out == ""


def test_an_unwritable_output_is_exit_3(tmp_path, heads, capsys):
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "out")
    assert run(["simulate", "photos", "-o", out, "--heads", str(heads)]) == 3
    assert "cannot be made" in capsys.readouterr().err


def test_what_goes_with_shards_alone_is_refused_for_photographs(tmp_path, capsys):
    out = str(tmp_path / "out")
    for arguments in (["--variety", "1.5"], ["--irregular", "1"]):
        assert run(["simulate", "photos", "-o", out, *arguments]) == 2
        assert "go with --format shards" in capsys.readouterr().err
