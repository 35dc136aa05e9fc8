import json

import pytest
import torch
from line_task import INFO, LineTask, build, settings, weights

from facekit.errors import InputError, ItemError, OutputExistsError
from facekit.learn.loop import RunInfo, train


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns_and_writes_a_run(tmp_path):
    record = train(LineTask(), build(), settings(steps=300), tmp_path / "run", INFO)
    assert record["score"] < 0.5
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [x["loss"] for x in lines if "loss" in x]
    assert losses[-1] < 0.2 * losses[0]
    assert all("other" in x and "steps_per_second" in x for x in lines if "loss" in x)
    last = weights(tmp_path / "run/last.pth")
    assert last["step"] == 300 and last["kind"] == "line" and last["config"] == {"width": 16}
    best = weights(tmp_path / "run/best.pth")
    assert best["metrics"]["score"] == record["score"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    config = settings()
    train(LineTask(), build(), config, tmp_path / "whole", INFO)

    class StopError(Exception):
        pass

    def stop(step, _total):
        if step == 25:
            raise StopError

    with pytest.raises(StopError):
        train(LineTask(), build(), config, tmp_path / "parts", INFO, progress=stop)
    task = LineTask()
    train(task, build(), config, tmp_path / "parts", INFO, resume=True)
    assert task.seen[0] == 20  # from the last checkpoint on
    whole, parts = weights(tmp_path / "whole/last.pth"), weights(tmp_path / "parts/last.pth")
    assert equal(whole["state_dict"], parts["state_dict"])
    assert equal(whole["ema"]["values"], parts["ema"]["values"])

    def log(name):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        clocks = ("steps_per_second", "waiting")
        return [{k: v for k, v in json.loads(x).items() if k not in clocks} for x in lines]

    assert log("whole") == log("parts")


def test_threads_may_change_on_resume_but_not_what_is_learned(tmp_path):
    first = RunInfo("line", {"loop": {"threads": 1, "steps": 40}, "widths": (1, 2)})
    train(LineTask(), build(), settings(steps=10), tmp_path, first)
    free = RunInfo("line", {"loop": {"threads": 2, "steps": 40}, "widths": (1, 2)})
    train(LineTask(), build(), settings(), tmp_path, free, resume=True)
    other = RunInfo("line", {"loop": {"threads": 1, "steps": 41}, "widths": (1, 2)})
    with pytest.raises(InputError, match="another config"):
        train(LineTask(), build(), settings(), tmp_path, other, resume=True)


def test_an_existing_run_is_not_overwritten(tmp_path):
    train(LineTask(), build(), settings(steps=10), tmp_path, INFO)
    with pytest.raises(OutputExistsError, match="--resume"):
        train(LineTask(), build(), settings(steps=10), tmp_path, INFO)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        train(LineTask(), build(), settings(), tmp_path / "run", INFO, resume=True)


def test_a_diverged_loss_stops(tmp_path):
    with pytest.raises(ItemError, match="diverged"):
        train(LineTask(poison=1), build(), settings(), tmp_path, INFO)


def test_bf16_trains(tmp_path):
    record = train(LineTask(), build(), settings(steps=200, precision="bf16"), tmp_path, INFO)
    assert record["score"] < 2.0


@pytest.mark.parametrize(
    "changes", [{"precision": "fp8"}, {"steps": 0}, {"threads": 0}, {"ema_decay": 1.0}]
)
def test_bad_settings(changes):
    with pytest.raises(InputError):
        settings(**changes)
