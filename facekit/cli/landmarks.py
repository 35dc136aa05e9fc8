"""``facekit landmarks``: boxes and landmarks to files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def landmarks(
    paths: opt.InputPaths,
    output: opt.OutputFolder = Path("landmarks"),
    source: Annotated[
        opt.LandmarkSource,
        typer.Option("--landmarks", help="Boxes and landmarks: where they come from."),
    ] = opt.LandmarkSource.AUTO,
    draw: Annotated[
        bool, typer.Option("--draw", help="Also write a picture with the points drawn.")
    ] = False,
    min_face: opt.MinFace = 0.0,
    overwrite: opt.Overwrite = False,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Find every face of every photograph; write its box, 68 landmarks and pose as JSON.

    Writes OUT/<stem>.json per image (a folder's tree is mirrored), faces largest first; an image
    with no face gets its file with an empty list. Running again does only what is missing.

    Example: facekit landmarks photos -o landmarks
    """
    from facekit.detect.batch import label_photos

    start = time.monotonic()
    with out.progress("landmarks") as progress:
        result = label_photos(
            paths,
            output,
            source=source.value,
            draw=draw,
            allow_download=allow_download,
            min_face=min_face,
            overwrite=overwrite,
            progress=progress,
        )
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    if as_json:
        out.json({"schema": "facekit.landmarks/1", "output": str(output), **result._asdict()})
    else:
        for image in result.images:
            out.data(output / image["file"])
    faces = sum(image["faces"] for image in result.images)
    out.info(
        f"{faces} {'face' if faces == 1 else 'faces'} in {len(result.images)} images in "
        f"{time.monotonic() - start:.1f} s -> {output}"
    )
    return 5 if result.failures else 0
