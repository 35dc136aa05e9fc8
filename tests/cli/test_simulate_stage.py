import json

import pytest

from facekit.cli.main import run
from facekit.geometry.board import Board
from facekit.io.atomic import write_json


def test_a_stage_of_the_builtin_model(tmp_path, capsys):
    write_json(tmp_path / "board.json", Board("checker", 7, 6, 30.0).document())
    out = tmp_path / "stage"
    arguments = ["simulate", "stage", "-o", str(out), "--cameras", "2", "--size", "96"]
    arguments += ["--boards", "2", "--board-file", str(tmp_path / "board.json")]
    assert run([*arguments, "--expressions", "neutral,jawOpen"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(out / "subjects" / n) for n in ("s000", "s000.jawOpen")]
    assert "2 captures" in captured.err.splitlines()[-1]
    for path in ("boards/board.json", "truth/cameras.json", "truth/boards.json"):
        assert (out / path).is_file()
    for name in ("mesh.ply", "truth.npz", "landmarks.json", "masks/cam00.png", "depth/cam00.npz"):
        assert (out / "truth" / "s000.jawOpen" / name).is_file()
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cameras"] == ["cam00", "cam01"]
    assert run([*arguments, "--seed", "5"]) == 6


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--cameras", "0"], 2),
        (["--heads", "missing.npz"], 3),
        (["--mesh", "missing.ply"], 3),
        (["--expressions", "grimace"], 3),
        (["--model", "missing.npz"], 3),
        (["--texture-contrast", "-1"], 2),
    ],
)
def test_bad_options_have_their_exit_codes(tmp_path, arguments, code, capsys):
    small = ["--size", "64", "--boards", "0"]
    assert run(["simulate", "stage", "-o", str(tmp_path / "out"), *small, *arguments]) == code
    assert capsys.readouterr().out == ""
