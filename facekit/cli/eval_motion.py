"""``facekit eval motion``: how calm and how prompt ``track`` is."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out

_COLUMNS = (
    "clip",
    "seed",
    "seen_percent",
    "error_percent",
    "jitter_px",
    "lag_frames",
    "amplitude_percent",
)


def motion(
    network: Annotated[
        str,
        typer.Option(help="Parameter network: auto, none, or an ONNX file.", metavar="NAME"),
    ] = "auto",
    refine: Annotated[
        int, typer.Option(help="Gauss-Newton steps a frame; see track.", min=-1, max=20)
    ] = -1,
    heads: Annotated[int, typer.Option(help="Heads, each still and turning.", min=1)] = 2,
    seconds: Annotated[
        float, typer.Option(help="Of each clip; the first second does not count.", min=2)
    ] = 5.0,
    speed: Annotated[
        float, typer.Option(help="Largest speed of a turn, degrees a second.", min=1)
    ] = 60.0,
    smooth: Annotated[
        bool, typer.Option("--smooth/--raw", help="Filter poses and expressions over time.")
    ] = True,
    model: opt.Model = "builtin",
    seed: opt.Seed = 101,
    output: opt.ReportFolder = None,
    as_json: opt.Json = False,
) -> int:
    """Follow rendered heads in 720p H.264 video with sensor noise: jitter, lag, amplitude.

    A still head's points should not move; a turning head's yaw should come out whole and on time.

    Example: facekit eval motion --network student/params.int8.onnx
    """
    from facekit.evaluate.motion import MotionOptions, measure_motion
    from facekit.evaluate.reports import write_report
    from facekit.morphable import load_model
    from facekit.simulate.clip import ClipOptions
    from facekit.track.tracker import TrackOptions

    start = time.monotonic()
    options = MotionOptions(
        seeds=tuple(range(seed, seed + heads)),
        seconds=seconds,
        clip=ClipOptions(width=1280, height=720, speed_deg=speed),
    )
    how = TrackOptions(network=network, refine=refine, smooth=smooth)
    with out.progress("motion") as progress:
        document = measure_motion(load_model(model), options, how, progress=progress)
    if output is not None:
        write_report(output, document)
    if as_json:
        out.json(document)
    else:
        rows = [[clip.get(name, "") for name in _COLUMNS] for clip in document["clips"]]
        out.table([name.replace("_", " ") for name in _COLUMNS], rows)
    missing = [clip for clip in document["clips"] if clip["seen_percent"] < 100]
    for clip in missing:
        out.warn(f"{clip['clip']} {clip['seed']}: seen in {clip['seen_percent']:.0f} % of frames")
    where = f" -> {output}" if output is not None else ""
    out.info(f"{len(document['clips'])} clips in {time.monotonic() - start:.1f} s{where}")
    return 5 if missing else 0


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("motion")(motion)
