import json
from dataclasses import dataclass

import pytest
from line_task import INFO, LineTask, build, settings

from facekit.errors import OutputExistsError
from facekit.learn.loop import LoopConfig
from facekit.learn.recipe import note_config, run_recipe


@dataclass(frozen=True)
class Config:
    """Stands for a task's configuration."""

    loop: LoopConfig


def recipe(run, exported, *, resume=False):
    def export():
        exported.append((run / "best.pth").is_file())
        return {"onnx": "here"}

    config = Config(settings(steps=10))
    return run_recipe(
        LineTask(), build(), config, run, INFO, export=export, resume=resume, progress=None
    )


def test_a_run_is_noted_exported_and_reported(tmp_path):
    exported = []
    result = recipe(tmp_path / "run", exported)
    assert exported == [True]  # after training
    assert result["onnx"] == "here" and result["best"]["score"] >= 0
    assert json.loads((tmp_path / "run/result.json").read_text()) == result
    assert "steps = 10" in (tmp_path / "run/config.toml").read_text()
    with pytest.raises(OutputExistsError):
        recipe(tmp_path / "run", exported)
    assert len(exported) == 1


def test_a_resumed_run_keeps_its_text(tmp_path):
    note_config(tmp_path, settings(steps=10))
    note_config(tmp_path, settings(steps=20))
    assert "steps = 10" in (tmp_path / "config.toml").read_text()


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    note_config(tmp_path, settings())
    assert not (tmp_path / "config.toml").exists()
