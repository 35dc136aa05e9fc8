"""``facekit train``: networks from data, resumable, exported as ONNX."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.errors import UsageError


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="Preset (landmarks, detector, params, deep3d, imageset, basis) or a .toml named "
            "after one."
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Folder of training data; repeat as the preset asks."),
    ],
    output: opt.OutputFolder = Path("run"),
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
    model: Annotated[
        str,
        typer.Option(help="Of a face model's presets: 'builtin' or a model file."),
    ] = "builtin",
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches.")] = None,
    as_json: opt.Json = False,
) -> int:
    """Train a network and export it: checkpoints, config.toml, metrics.jsonl, and the ONNX.

    landmarks and detector learn from folders of labelled portraits (and renders); a folder of
    labels alone has better labels for the --data before it (facekit relabel). params learns from
    the labels of facekit label and of facekit simulate photos --format shards; deep3d from those,
    or from a folder in Deep3D's layout; imageset (needs --init with a run of deep3d) and basis too.

    Example: facekit train landmarks --data portraits -o runs/landmarks
    """
    from facekit.learn.launch import is_first
    from facekit.train.recipes import resolve

    check_start(init, resume=resume)
    recipe, settings = resolve(config, assignments or [], seed=seed)
    start = time.monotonic()
    with out.progress(f"train {config}") as progress:
        options: dict[str, Any] = {"resume": resume, "init": init, "progress": progress}
        if recipe.of_model:
            options["model"] = model
        result = recipe.run(data, output, settings, **options)
    if not is_first():
        return 0
    if as_json:
        out.json({"schema": "facekit.train/1", "run": str(output), **result})
    else:
        out.data(result["onnx"])
    score = result["best"]["score"]
    out.info(f"validation score {score:.4g} in {time.monotonic() - start:.0f} s -> {output}")
    return 0


def check_start(init: Path | None, *, resume: bool) -> None:
    """Refuse a run that both goes on and starts from another.

    Raises:
        UsageError: both were asked for.
    """
    if init is not None and resume:
        raise UsageError("--resume goes on with a run, --init starts one; give either")


def relabel(
    data: Annotated[Path, typer.Argument(help="Folder of portraits with labels_<set>.npz.")],
    output: opt.OutputFolder = Path("labels"),
    num_views: Annotated[
        int, typer.Option("--views", min=2, help="Views of each face that are averaged.")
    ] = 20,
) -> int:
    """Label portraits anew: MediaPipe's points averaged over moved, turned and mirrored crops.

    Needs MediaPipe's face_landmarker.task, named by FACEKIT_MEDIAPIPE_TASK.

    Example: facekit relabel portraits -o labels
    """
    from facekit.detect.mediapipe import MediaPipeDetector, NoBoxes
    from facekit.train.relabel import relabel as run

    start = time.monotonic()
    with out.progress("relabel") as progress:
        landmarker = MediaPipeDetector(boxes=NoBoxes())
        files = run(data, output, landmarker, num_views=num_views, progress=progress)
    for file in files:
        out.data(file)
    out.info(f"{len(files)} label files in {time.monotonic() - start:.0f} s -> {output}")
    return 0


def renders(
    output: opt.OutputFolder = Path("renders"),
    count: Annotated[int, typer.Option("--count", min=1, help="Pictures.")] = 1500,
    yaw: Annotated[float, typer.Option(min=0, max=90, help="Largest yaw, degrees.")] = 80.0,
    frontal: Annotated[
        bool,
        typer.Option("--frontal", help="Most views from near the front, half as far to the side."),
    ] = False,
    views: Annotated[int, typer.Option(min=1, help="Pictures of each head.")] = 4,
    variety: Annotated[
        float,
        typer.Option(min=0, max=3, help="Spread of shapes and expressions, 1 the model's own."),
    ] = 1.0,
    model: opt.Model = "builtin",
    seed: opt.Seed = 0,
) -> int:
    """Render heads with exact points, as training data in the portraits' layout.

    The model needs a map of MediaPipe's 478 points; the built-in one has it.

    Example: facekit renders -o renders --count 1500
    """
    from facekit.morphable import load_model
    from facekit.train.renders import OPTIONS, write_renders

    start = time.monotonic()
    options = replace(OPTIONS, yaw_deg=yaw, yaw_uniform=not frontal, views=views)
    with out.progress("renders") as progress:
        path = write_renders(
            output,
            load_model(model),
            count,
            seed=seed,
            variety=variety,
            options=options,
            progress=progress,
        )
    out.data(path)
    out.info(f"{count} pictures in {time.monotonic() - start:.0f} s -> {output}")
    return 0
