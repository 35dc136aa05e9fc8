"""What every recipe does: note its settings, train, and let one process export and report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from facekit.config import dump_toml
from facekit.io.atomic import make_folder, write_json, write_text
from facekit.learn import launch
from facekit.learn.loop import Progress, RunInfo, Task, train


def run_recipe(
    task: Task,
    network: nn.Module,
    config: Any,
    run: Path,
    info: RunInfo,
    *,
    export: Callable[[], dict[str, Any]],
    resume: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Train, then export ``RUN/best.pth`` and write ``RUN/result.json``.

    Args:
        task, network, run, info, resume, progress: see ``learn.loop.train``.
        config: dataclass that ``RUN/config.toml`` notes; its ``loop`` says how to train.
        export: called in the first process when the run is trained; returns what to report.

    Returns:
        ``best`` validation figures and, in the first process, what ``export`` returned.
    """
    note_config(run, config)
    best = train(task, network, config.loop, run, info, resume=resume, progress=progress)
    if not launch.is_first():
        return {"best": best}
    result = {"best": best, **export()}
    write_json(run / "result.json", result)
    return result


def note_config(run: Path, config: Any) -> None:
    """Write ``RUN/config.toml`` in the first process.

    A resumed run keeps the text it began with; its checkpoint decides whether it fits.
    """
    path = make_folder(run) / "config.toml"
    if launch.is_first() and not path.exists():
        write_text(path, dump_toml(config))
