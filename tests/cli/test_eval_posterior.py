import json

import pytest
from known_landmarks import known_landmarks
from simulated_heads import write_heads
from toy import toy_model

from facekit.cli.main import run
from facekit.evaluate import condition_bench, posterior


def test_posterior_prints_one_document_and_draws(tmp_path, capsys, monkeypatch):
    known_landmarks(monkeypatch, posterior, toy_model())
    monkeypatch.setattr("facekit.morphable.load_model", lambda name: toy_model())
    heads = write_heads(tmp_path / "heads.npz", count=4)
    report = tmp_path / "report"
    command = ["eval", "posterior", "--heads", str(heads), "--count", "4", "--yaw", "0"]
    command += ["--size", "96", "--json", "-o", str(report)]
    assert run(command) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert {row["deviations"] for row in document["rows"]} == {"shipped", "estimated"}
    assert "4 fits" in captured.err.splitlines()[-1]
    for name in ("calibration.png", "curve.png"):
        assert (report / name).stat().st_size > 1000
    for kind in ("heat", "stated"):
        assert len(list((report / kind / "landmark_fit").glob("head00*_yaw0.png"))) == 4
    assert len((report / "items.csv").read_text().splitlines()) == 1 + 4
    assert json.loads((report / "report.json").read_text()) == document


def test_conditions_print_a_table(tmp_path, capsys, monkeypatch):
    known_landmarks(monkeypatch, condition_bench, toy_model())
    heads = write_heads(tmp_path / "heads.npz", count=2)
    command = ["eval", "conditions", "--heads", str(heads), "--count", "2", "--size", "96"]
    assert run([*command, "--condition", "coloured", "--learn"]) == 0
    captured = capsys.readouterr()
    assert "coloured" in captured.out
    assert "profile" not in captured.out
    assert "weights learned" in captured.err
    assert "4 fits, 0 of them refused" in captured.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["posterior", "--heads", "{none}"], 3),
        (["posterior", "--heads", "{heads}", "--yaw", "x"], 2),
        (["posterior", "--heads", "{heads}", "--count", "3"], 2),
        (["conditions", "--heads", "{none}"], 3),
        (["conditions", "--heads", "{heads}", "--count", "2", "--condition", "foggy"], 2),
    ],
)
def test_what_cannot_start(tmp_path, capsys, arguments, code):
    places = {"none": tmp_path / "none", "heads": write_heads(tmp_path / "heads.npz", count=4)}
    assert run(["eval", *(a.format(**places) for a in arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
