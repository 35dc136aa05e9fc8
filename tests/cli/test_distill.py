import json

import numpy as np
import pytest

from facekit.cli.main import run
from facekit.detect.parameters import open_reader
from facekit.learn.checkpoint import load_checkpoint
from facekit.morphable import load_model
from facekit.train import params_recipes

SMALL = (
    "size=64", "patch=4", "widths=4,8,8,8", "depths=1,1,1,1", "hidden=8", "batch_size=4",
    "loop.steps=2", "loop.threads=1", "loop.evaluate_every=2",
)  # fmt: skip


def settings(*more):
    return [part for text in (*SMALL, *more) for part in ("--set", text)]


@pytest.fixture(scope="module", autouse=True)
def few_calibration_crops():
    """Quantising on eight crops instead of thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params_recipes, "_CALIBRATION", 8)
        yield


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "shards"
    arguments = ["--count", "40", "--size", "64", "--face", "0.5,0.6", "--supersample", "1"]
    more = ["--views", "2", "--per-shard", "20", "--seed", "4"]
    assert (
        run(["simulate", "photos", "--format", "shards", "-o", str(folder), *arguments, *more]) == 0
    )
    return folder


@pytest.fixture(scope="module")
def teacher(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    arguments = ["train", "params", "--data", str(labels), "-o", str(folder), *settings()]
    assert run(arguments) == 0
    return folder


def test_the_teachers_folder(teacher):
    for name in ("best.pth", "last.pth", "config.toml", "params.onnx", "params.int8.onnx"):
        assert (teacher / name).is_file()
    contents = load_checkpoint(teacher / "best.pth", kind="params")
    assert contents["crop"] == "five-v1"
    assert contents["model_sha256"] == load_model("builtin").sha256


def test_a_student_and_its_report(labels, teacher, tmp_path, capsys):
    out = tmp_path / "student"
    arguments = ["--teacher", str(teacher / "best.pth"), "--data", str(labels), "-o", str(out)]
    assert run(["distill", *arguments, *settings("hidden=6"), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == "facekit.distill/1"
    assert document["best"]["shape_mm"] > 0 and document["teacher"]["shape_mm"] > 0
    reader = open_reader(out / "params.int8.onnx", load_model("builtin"))
    image = np.full((80, 80, 3), 128, np.uint8)
    five = np.array([[30.0, 30], [50, 30], [40, 42], [32, 52], [48, 52]])
    assert np.isfinite(reader.read(image, five).parts["identity"]).all()
    assert "teacher" in captured.err
    assert run(["distill", *arguments, *settings("hidden=6")]) == 6


def test_refusals(labels, teacher, tmp_path, capsys):
    out = ["-o", str(tmp_path / "x")]
    mine = ["--teacher", str(teacher / "best.pth")]
    assert run(["distill", *mine, "--data", str(labels), *out, "--student", "giant"]) == 2
    assert "patch4-s" in capsys.readouterr().err
    assert run(["distill", *mine, "--data", str(tmp_path), *out, *settings()]) == 3
    missing = ["--teacher", str(tmp_path / "no.pth")]
    assert run(["distill", *missing, "--data", str(labels), *out, *settings()]) == 3
    assert "no.pth" in capsys.readouterr().err
    both = ["--resume", "--init", str(teacher / "best.pth")]
    assert run(["distill", *mine, "--data", str(labels), *out, *both]) == 2


def test_a_student_is_trained_in_8_bits(labels, teacher, tmp_path, capsys):
    out = tmp_path / "student"
    arguments = ["--teacher", str(teacher / "best.pth"), "--data", str(labels), "-o", str(out)]
    assert run(["distill", *arguments, *settings(), "--int8-steps", "3"]) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["int8_before"]["score"] > 0
    assert result["int8_after"]["score"] > 0
    reader = open_reader(out / "params.int8.onnx", load_model("builtin"))
    assert reader.size == 64
    # The float file is of the weights before.
    plain = tmp_path / "plain"
    shorter = [*arguments[:-1], str(plain)]
    assert run(["distill", *shorter, *settings()]) == 0
    assert (plain / "params.onnx").read_bytes() == (out / "params.onnx").read_bytes()
    baseline = ["--student", "mobilenet-v1-0.5", "--int8-steps", "3"]
    assert run(["distill", *arguments[:-1], str(tmp_path / "no"), *baseline]) == 3
    assert "expected a student of patches" in capsys.readouterr().err
