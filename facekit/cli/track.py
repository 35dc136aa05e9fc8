"""``facekit track``: video to faces that move."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def track(
    source: Annotated[
        str,
        typer.Argument(
            help="A video file, a folder of images, or a camera's number.", metavar="VIDEO"
        ),
    ],
    output: opt.OutputFolder = Path("track"),
    model: opt.Model = "builtin",
    network: Annotated[
        str,
        typer.Option(
            help="Parameter network: auto (the shipped one, where it is the model's), none "
            "(landmarks alone), or an ONNX file of facekit train params.",
            metavar="NAME",
        ),
    ] = "auto",
    refine: Annotated[
        int,
        typer.Option(
            help="Gauss-Newton steps to landmarks in every frame; -1: none with a parameter "
            "network, 1 without.",
            min=-1,
            max=20,
        ),
    ] = -1,
    every: Annotated[int, typer.Option(help="Frames between searches for new faces.", min=1)] = 30,
    faces: Annotated[
        int, typer.Option(help="At most so many faces at a time, the largest; 0: all.", min=0)
    ] = 0,
    fov: Annotated[
        float,
        typer.Option(help="Angle of view over the longer side; 0: 62.", metavar="DEG", min=0),
    ] = 0.0,
    focal: Annotated[
        float, typer.Option(help="Focal length in pixels, instead.", metavar="PX", min=0)
    ] = 0.0,
    rate: Annotated[
        str,
        typer.Option(
            help="Frames a second of a folder (30 without it) or camera, e.g. 30000/1001.",
            metavar="RATE",
        ),
    ] = "",
    limit: Annotated[int, typer.Option(help="Stop after so many frames; 0: all.", min=0)] = 0,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Write overlay.mp4.")
    ] = True,
    smooth: Annotated[
        bool, typer.Option("--smooth/--raw", help="Filter poses and expressions over time.")
    ] = True,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Follow every face of a video: identity, expression and pose in every frame.

    Writes track.npz (coefficients, poses, landmarks), curves.csv (ARKit's 52 curves and the
    pose over time), track.glb (heads with morph targets and keyframes), overlay.mp4,
    failures.json and manifest.json. A camera is stopped with Ctrl-C.

    Example: facekit track clip.mp4 -o track
    """
    from facekit.track.run import RunOptions, track_video
    from facekit.track.tracker import TrackOptions

    start = time.monotonic()
    how = TrackOptions(
        network=network,
        refine=refine,
        every=every,
        faces=faces,
        fov_deg=fov,
        focal_px=focal,
        smooth=smooth,
    )
    options = RunOptions(model=model, track=how, overlay=overlay, rate=rate, limit=limit)
    with out.progress("track") as progress:
        result = track_video(source, output, options, overwrite=overwrite, progress=progress)
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    facts = result.facts
    for gap in facts.get("absences", []):
        out.warn(_absence(gap))
    if as_json:
        out.json(
            {
                "schema": "facekit.track-run/1",
                "output": str(output),
                **facts,
                "failures": result.failures,
            }
        )
    elif facts:
        for name in ("track.npz", "curves.csv", "track.glb", *(["overlay.mp4"] * overlay)):
            out.data(output / name)
    if facts and result.made:
        split = ", ".join(f"{name} {ms}" for name, ms in facts["ms_per_frame"].items())
        out.info(f"ms a frame: {split}")
    people = len(facts.get("people", []))
    already = "" if result.made else " (there already)"
    out.info(
        f"{people} {'person' if people == 1 else 'people'} in {facts.get('frames', 0)} frames"
        f"{already} in {time.monotonic() - start:.1f} s -> {output}"
    )
    return 5 if result.failures else 0


def _absence(gap: dict[str, Any]) -> str:
    back = "" if gap["returned"] else ", and not again"
    return (
        f"person {gap['person']}: not seen from {gap['start_s']:.2f} to {gap['end_s']:.2f} s{back}"
    )
