"""``facekit distill``: a small network from labels and a large network's answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.cli.train import check_start


def distill(
    teacher: Annotated[
        Path, typer.Option(help="Checkpoint (.pth) of facekit train params.", metavar="FILE")
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", help="Labels of facekit label or simulate photos --format shards; repeat."
        ),
    ],
    output: opt.OutputFolder = Path("run"),
    student: Annotated[
        str,
        typer.Option(help="patch4-s, patch8-s, patch8-xs or mobilenet-v1-0.5.", metavar="NAME"),
    ] = "patch4-s",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one setting, e.g. loop.steps=1000.", metavar="K=V"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last.pth, exactly.")
    ] = False,
    init: Annotated[
        Path | None,
        typer.Option(help="Start from another run's checkpoint (.pth).", metavar="FILE"),
    ] = None,
    int8_steps: Annotated[
        int,
        typer.Option(
            "--int8-steps",
            help="Steps of training in 8 bits for params.int8.onnx, after the others; 0: none.",
            min=0,
        ),
    ] = 0,
    model: opt.Model = "builtin",
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches.")] = None,
    as_json: opt.Json = False,
) -> int:
    """Train a tiny network on labels and on a large network's answers, and export it.

    Writes checkpoints, config.toml, metrics.jsonl, params.onnx, params.int8.onnx and result.json,
    which compares it with its teacher on the same validation faces.

    Example: facekit distill --teacher runs/params/best.pth --data labels -o runs/student
    """
    from dataclasses import replace

    from facekit.config import override
    from facekit.learn.loop import LoopConfig
    from facekit.train.distil import student_config
    from facekit.train.params_recipes import distil

    check_start(init, resume=resume)
    settings = student_config(student, LoopConfig(steps=30_000, learning_rate=2e-3))
    settings = override(settings, assignments or [])
    if seed is not None:
        settings = replace(settings, loop=replace(settings.loop, seed=seed))
    start = time.monotonic()
    with out.progress("distill") as progress:
        result = distil(
            data,
            output,
            settings,
            teacher,
            model=model,
            resume=resume,
            init=init,
            int8_steps=int8_steps,
            progress=progress,
        )
    best, large = result["best"], result["teacher"]
    if as_json:
        out.json({"schema": "facekit.distill/1", "run": str(output), **result})
    else:
        out.data(result["onnx"])
        out.data(result["int8"])
    for name in ("shape_mm", "points"):
        out.info(f"{name}: student {best[name]:.4g}, teacher {large[name]:.4g}")
    out.info(f"student {student} in {time.monotonic() - start:.0f} s -> {output}")
    return 0
