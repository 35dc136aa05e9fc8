import json

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.cli.main import run
from facekit.detect.session import open_file

SMALL = {
    "landmarks": [
        "size=64",
        "patch=4",
        "widths=4,8,8,8",
        "depths=1,1,1,1",
        "hidden=8",
        "batch_size=4",
    ],
    "detector": [
        "collage.size=128",
        "collage.most=120",
        "widths=4,8,8,8",
        "depths=1,1,1,1",
        "neck=8",
        "batch_size=4",
        "validation_count=8",
        "mined=0",
    ],
}
LOOP = ["loop.steps=6", "loop.threads=1", "loop.report_every=2", "loop.save_every=3"]


def arguments(preset, folder, output, *more, steps=6):
    settings = [*SMALL[preset], *LOOP, f"loop.steps={steps}"]
    sets = [x for s in settings for x in ("--set", s)]
    return ["train", preset, "--data", str(folder), "-o", str(output), *sets, *more]


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    return write_portraits(tmp_path_factory.mktemp("portraits"))


def test_landmarks(portraits, tmp_path, capsys):
    output = tmp_path / "run"
    assert run(arguments("landmarks", portraits, output, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "facekit.train/1" and document["best"]["score"] > 0
    for name in (
        "best.pth",
        "last.pth",
        "config.toml",
        "metrics.jsonl",
        "landmarks.onnx",
        "landmarks.int8.onnx",
    ):
        assert (output / name).is_file()
    network = open_file(output / "landmarks.onnx", threads=1)
    found = network(image=np.zeros((3, 64, 64, 3), np.uint8))
    assert found["points"].shape == (3, 478, 2) and found["log_sigma"].shape == (3, 68)
    assert network.metadata["facekit.size"] == "64"
    # A run is not overwritten, and a finished one resumes to itself.
    assert run(arguments("landmarks", portraits, output)) == 6
    before = (output / "landmarks.onnx").read_bytes()
    assert run(arguments("landmarks", portraits, output, "--resume")) == 0
    assert (output / "landmarks.onnx").read_bytes() == before
    assert run(arguments("landmarks", portraits, output, "--resume", steps=7)) == 3


def test_detector(portraits, tmp_path, capsys, monkeypatch):
    import facekit.train.detector as module

    # So short a training ranks nothing; what is tested is the way through.
    monkeypatch.setattr(module, "calibrate", lambda _: (1.0, 0.0))
    output = tmp_path / "run"
    assert run(arguments("detector", portraits, output)) == 0
    assert capsys.readouterr().out.strip() == str(output / "detector.onnx")
    network = open_file(output / "detector.onnx", threads=1)
    for height, width in ((64, 96), (320, 32)):
        maps = network(image=np.zeros((1, height, width, 3), np.uint8))
        for stride in (8, 16, 32):
            assert maps[f"stride{stride}"].shape == (1, 15, height // stride, width // stride)


def test_a_config_file(portraits, tmp_path):
    settings = tmp_path / "landmarks.small.toml"
    settings.write_text(
        "size = 64\npatch = 4\nwidths = [4, 8, 8, 8]\ndepths = [1, 1, 1, 1]\nhidden = 8\n"
        "batch_size = 4\n"
        "[loop]\nsteps = 2\nthreads = 1\n"
    )
    output = tmp_path / "run"
    code = run(["train", str(settings), "--data", str(portraits), "-o", str(output)])
    assert code == 0
    assert "steps = 2" in (output / "config.toml").read_text()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--set", "nonsense=1"], 2),
        (["--set", "loop.steps=x"], 2),
        (["--set", "loop.precision=fp8"], 3),
    ],
)
def test_bad_settings(portraits, tmp_path, more, code):
    assert run(arguments("landmarks", portraits, tmp_path / "run", *more)) == code


def test_bad_commands(tmp_path, portraits, capsys):
    assert run(["train", "nothing", "--data", str(portraits), "-o", str(tmp_path / "a")]) == 2
    assert run(arguments("landmarks", tmp_path / "none", tmp_path / "a")) == 3
    assert run(["train", "landmarks.x.toml", "--data", str(portraits)]) == 3
    labels = tmp_path / "labels"
    labels.mkdir()
    for file in portraits.glob("labels_*.npz"):
        (labels / file.name).write_bytes(file.read_bytes())
    assert run(arguments("landmarks", labels, tmp_path / "a")) == 2
    more = ["--data", str(labels), "--data", str(labels)]
    assert run(arguments("landmarks", portraits, tmp_path / "a", *more)) == 2
    assert capsys.readouterr().out == ""


def test_better_labels_and_renders_are_further_data(portraits, tmp_path, capsys):
    labels = tmp_path / "labels"
    labels.mkdir()
    for file in portraits.glob("labels_*.npz"):
        (labels / file.name).write_bytes(file.read_bytes())
    renders = write_portraits(tmp_path / "renders", count=24, seed=5)
    for file in renders.glob("labels_*.npz"):
        with np.load(file) as table:
            np.savez(file, **table, rendered=np.ones(len(table["files"]), bool))
    more = ["--data", str(labels), "--data", str(renders), "--json"]
    assert run(arguments("landmarks", portraits, tmp_path / "run", *more)) == 0
    assert json.loads(capsys.readouterr().out)["best"]["renders"] > 0


def test_relabel_says_what_it_needs(portraits, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FACEKIT_MEDIAPIPE_TASK", raising=False)
    assert run(["relabel", str(portraits), "-o", str(tmp_path / "labels")]) == 4
    assert "FACEKIT_MEDIAPIPE_TASK" in capsys.readouterr().err


def test_a_run_starts_from_another_ones_weights(portraits, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(arguments("landmarks", portraits, first, steps=8)) == 0
    capsys.readouterr()
    begin = ["--init", str(first / "best.pth"), "--set", "loop.learning_rate=0"]
    still = [*begin, "--set", "loop.evaluate_every=1", "--set", "loop.weight_decay=0"]
    assert run(arguments("landmarks", portraits, second, *still, "--json", steps=1)) == 0
    before = json.loads((first / "result.json").read_text())["best"]["score"]
    # Nothing was learnt: only the norms' running statistics moved a little.
    assert json.loads(capsys.readouterr().out)["best"]["score"] == pytest.approx(before, rel=0.1)
    wider = [*still, "--set", "hidden=11"]
    assert run(arguments("landmarks", portraits, tmp_path / "wide", *wider, "--json", steps=1)) == 0
    assert json.loads(capsys.readouterr().out)["best"]["score"] == pytest.approx(before, rel=0.1)
    narrower = ["--init", str(first / "best.pth"), "--set", "hidden=7"]
    assert run(arguments("landmarks", portraits, tmp_path / "third", *narrower)) == 3
    assert "can only grow" in capsys.readouterr().err
    both = ["--init", str(first / "best.pth"), "--resume"]
    assert run(arguments("landmarks", portraits, first, *both)) == 2
