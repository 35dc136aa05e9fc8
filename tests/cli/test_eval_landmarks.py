import json

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.cli.main import run
from facekit.evaluate.landmarks import read_landmark_truth
from facekit.io.images import write_image
from facekit.io.landmark_files import write_landmarks
from facekit.types import DetectedFace


@pytest.fixture
def portraits(tmp_path):
    """Portraits and predictions of them that err by one pixel."""
    folder = write_portraits(tmp_path / "portraits", count=20)
    truth = read_landmark_truth(folder, split="all")
    for row, name in enumerate(truth.names):
        points = truth.points[row] + [1.0, 0]
        low, high = points.min(0), points.max(0)
        face = DetectedFace(np.array([*low, *(high - low)]), 1.0, ibug68=points)
        file = tmp_path / "saved" / name.replace(".png", ".json")
        write_landmarks(file, [face], image=name, width=150, height=190)
    return folder, tmp_path / "saved"


def test_portraits_and_their_splits(portraits, capsys):
    folder, saved = map(str, portraits)
    arguments = ["eval", "landmarks", folder, "--predictions", saved]
    assert run([*arguments, "--split", "all", "--normalise", "box", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["count"] == 20
    assert document["boxes"]["recall_percent"] == 100
    assert document["boxes"]["false_per_image"] == 0
    assert "diagonal" in document["protocol"]["unit"]
    assert run([*arguments, "--labels", folder]) == 0
    captured = capsys.readouterr()
    headers, row = captured.out.splitlines()
    assert headers.split()[:3] == ["%", "median", "mean"]
    assert row.split()[0] == "saved"
    assert "68 points of ibug68" in captured.err
    assert run([*arguments, "--groups"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[:2]] == ["%", "saved"]
    assert any(row.startswith("  size 64-128 px") for row in rows[2:])


def test_several_detectors(portraits, capsys, tmp_path):
    folder, saved = map(str, portraits)
    arguments = ["eval", "landmarks", folder, "--landmarks", "builtin", "--predictions", saved]
    # The built-in detector sees no face in these drawings.
    assert run([*arguments, "--split", "all", "--json", "-o", str(tmp_path / "out")]) == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert list(document["detectors"]) == ["builtin", "saved"]
    assert document["detectors"]["saved"]["metrics"]["count"] == 20
    assert document["comparisons"]["saved"]["against"] == "builtin"
    assert "builtin: first/000.png: " in captured.err
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == document


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{folder}", "--split", "test"], 2),
        (["{saved}", "--split", "all"], 2),
        (["{folder}", "--labels", "{saved}"], 3),
        (["{folder}", "--landmarks", "builtin", "--landmarks", "yunet"], 4),
        (["{folder}", "--landmarks", "fan"], 4),
        (["{folder}", "--normalise", "nose"], 2),
    ],
)
def test_what_cannot_start(portraits, capsys, monkeypatch, arguments, code):
    monkeypatch.delenv("FACEKIT_YUNET", raising=False)
    folder, saved = portraits
    filled = [a.format(folder=folder, saved=saved) for a in arguments]
    assert run(["eval", "landmarks", *filled]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_boxes_of_collages_and_of_images_without_faces(portraits, capsys, tmp_path):
    arguments = ["eval", "boxes", str(portraits[0]), "--split", "all", "--count", "3"]
    arguments += ["--size", "96", "--no-faces", "drawn"]
    assert run([*arguments, "--json", "-o", str(tmp_path / "out")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["images"] == document["no_faces"]["drawn"]["images"] == 3
    assert document["protocol"]["size"] == 96
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == document
    assert run(arguments) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split()[:3] == ["detector", "images", "faces"]
    assert lines[1].split()[:2] == ["builtin", "3"]
    assert lines[-1].startswith("builtin, drawn")
    assert "6 images in" in captured.err


def test_boxes_of_a_folder_with_a_broken_image(tmp_path, capsys):
    write_image(tmp_path / "empty" / "a.png", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "empty" / "b.png").write_bytes(b"none")
    assert run(["eval", "boxes", "--no-faces", str(tmp_path / "empty")]) == 5
    captured = capsys.readouterr()
    assert "b.png: " in captured.err
    assert captured.out.splitlines()[1].split()[-4:-1] == ["-", "0", "0"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--no-faces", "skimage", "--split", "all"], 2),
        (["--no-faces", "{saved}/none"], 3),
        (["{saved}"], 3),
        (["{folder}", "--landmarks", "files"], 2),
        (["{folder}", "--landmarks", "yunet"], 4),
    ],
)
def test_boxes_that_cannot_start(portraits, capsys, monkeypatch, arguments, code):
    monkeypatch.delenv("FACEKIT_YUNET", raising=False)
    folder, saved = portraits
    filled = [a.format(folder=folder, saved=saved) for a in arguments]
    assert run(["eval", "boxes", *filled]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_jitter_of_a_detector_that_sees_nothing(portraits, capsys):
    arguments = ["eval", "landmarks", str(portraits[0]), "--jitter"]
    assert run([*arguments, "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["jitter"]["rms_px"] is None
    assert document["jitter"]["lost"] >= 1
    assert run([*arguments, "--groups"]) == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["jitter", "px"]
    assert lines[1].split()[-1] == "-"
