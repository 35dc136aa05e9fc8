"""Several processes, and batches in pieces: the same steps as one process with large batches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from line_task import INFO, LineTask, build, settings, weights

from facekit.errors import InputError, MissingDependencyError
from facekit.learn import launch
from facekit.learn.loop import train

SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
from line_task import INFO, LineTask, build, settings
from facekit.learn import launch
from facekit.learn.loop import train
record = train(LineTask(), build(), settings(**eval(sys.argv[3])), Path(sys.argv[2]), INFO)
name = f"record-{launch.own_rank().number}.txt"
(Path(sys.argv[2]) / name).write_text(repr(sorted(record.items())))
"""


def torchrun(script, *arguments):
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", "29713", str(script)]
    command += [str(tests), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun(script, tmp_path / "two", "{}")
    train(LineTask(), build(), settings(accumulate=2), tmp_path / "one", INFO)
    two, one = (weights(tmp_path / name / "last.pth") for name in ("two", "one"))
    assert two["step"] == one["step"] == 40
    for name, value in one["state_dict"].items():
        # A process's own batch norm sees half of the batches.
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-5)
    records = [(tmp_path / "two" / f"record-{k}.txt").read_text() for k in (0, 1)]
    assert records[0] == records[1]
    assert len((tmp_path / "two/metrics.jsonl").read_text().splitlines()) == 8


@pytest.mark.slow
def test_two_processes_train_a_preset(tmp_path):
    from facekit.cli.main import run

    labels = tmp_path / "labels"
    arguments = ["--count", "40", "--size", "64", "--supersample", "1", "--views", "2"]
    arguments += ["--per-shard", "20", "--seed", "4", "-o", str(labels)]
    assert run(["simulate", "photos", "--format", "shards", *arguments]) == 0
    changes = ("size=64", "backbone=resnet18", "batch_size=2", "validation_count=2")
    changes += ("loop.threads=1", "loop.precision=fp32", "loop.evaluate_every=2")

    def go(*more):
        script = tmp_path / "script.py"
        script.write_text(
            "import sys\nfrom facekit.cli.main import run\nsys.exit(run(sys.argv[2:]))\n"
        )
        sets = [part for text in (*changes, *more) for part in ("--set", text)]
        out = ["--data", labels, "-o", tmp_path / "run"]
        return torchrun(script, "train", "deep3d", *out, *sets)

    go("loop.steps=2")
    for name in ("deep3d.onnx", "best.pth", "result.json", "previews/step-00000002.jpg"):
        assert (tmp_path / "run" / name).is_file()


class MeanTask(LineTask):
    """Without batch norm large batches equal their parts."""

    def __init__(self, each):
        super().__init__()
        self.each = each

    def batch(self, step):
        parts = [super(MeanTask, self).batch(self.each * step + k) for k in range(self.each)]
        return tuple(torch.cat(side) for side in zip(*parts, strict=True))


def test_accumulated_batches_are_one_large_batch(tmp_path):
    def network():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    train(MeanTask(1), network(), settings(accumulate=4), tmp_path / "parts", INFO)
    train(MeanTask(4), network(), settings(), tmp_path / "whole", INFO)
    parts, whole = (weights(tmp_path / name / "last.pth") for name in ("parts", "whole"))
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(parts["state_dict"][name], value, rtol=1e-4, atol=1e-5)


def test_steps_of_the_learning_rate(tmp_path):
    from facekit.learn.schedule import learning_rate_factor

    config = settings(schedule="steps", warmup_steps=0, decay_every=10, decay_factor=0.2)
    factors = [learning_rate_factor(step, config) for step in range(30)]
    assert factors[:10] == [1.0] * 10
    assert factors[10:20] == [0.2] * 10
    assert factors[29] == pytest.approx(0.04)
    warm = settings(schedule="steps", warmup_steps=4)
    assert [learning_rate_factor(step, warm) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    cosine = settings(steps=40, warmup_steps=0)
    assert learning_rate_factor(0, cosine) == 1
    assert learning_rate_factor(40, cosine) == pytest.approx(0.01)


def test_ranks_and_devices(monkeypatch):
    assert launch.own_rank() == (0, 1, 0) and launch.is_first()
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launch.own_rank() == (3, 4, 1) and not launch.is_first()
    monkeypatch.setenv("RANK", "x")
    with pytest.raises(InputError, match="numbers"):
        launch.own_rank()
    monkeypatch.delenv("RANK")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch.choose_device("auto").type == "cpu"
    with pytest.raises(MissingDependencyError, match="finds no GPU"):
        launch.choose_device("cuda")


def test_a_batch_moves_as_it_is_built(tmp_path):
    from typing import NamedTuple

    class Pair(NamedTuple):
        a: torch.Tensor
        b: tuple

    made = Pair(torch.ones(2), (torch.zeros(1), "name", [torch.ones(1)], {"x": torch.ones(3)}))
    found = launch.moved(made, torch.device("meta"))
    assert isinstance(found, Pair) and found.a.is_meta and found.b[0].is_meta
    assert found.b[1] == "name" and found.b[2][0].is_meta and found.b[3]["x"].is_meta
    assert launch.device_of(torch.nn.Identity()).type == "cpu"


def test_previews_and_older_checkpoints(tmp_path):
    """A task's pictures are written; a run from before a setting existed goes on."""
    import numpy as np

    from facekit.io.images import read_image

    class Shown(LineTask):
        def preview(self, model):
            assert not model.training
            return np.full((8, 16, 3), 200, np.uint8)

    from dataclasses import asdict

    from facekit.learn.loop import RunInfo

    config = settings(steps=10)
    known = {k: v for k, v in asdict(config).items() if k not in ("device", "accumulate")}
    train(Shown(), build(), config, tmp_path, RunInfo("line", {"loop": known}))
    assert read_image(tmp_path / "previews" / "step-00000010.jpg").shape == (8, 16, 3)
    info = RunInfo("line", {"loop": asdict(config)})
    assert train(Shown(), build(), config, tmp_path, info, resume=True)["step"] == 10
    other = RunInfo("line", {"loop": {**asdict(config), "accumulate": 2}})
    with pytest.raises(InputError, match="another config"):
        train(Shown(), build(), config, tmp_path, other, resume=True)
