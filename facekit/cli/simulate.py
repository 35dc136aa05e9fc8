"""``facekit simulate``: synthetic portraits with exact truth."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.errors import UsageError

app = typer.Typer(help="Synthetic portraits with exact truth.", no_args_is_help=True)


class YawDraw(StrEnum):
    """How the yaw is drawn."""

    NORMAL = "normal"
    UNIFORM = "uniform"


@app.callback()
def _group() -> None:
    """Keep the sub-command's name even while it is the only one."""


@app.command("photos")
def photos(
    output: opt.OutputFolder,
    count: Annotated[int, typer.Option(help="How many photographs.", min=1)] = 16,
    seed: opt.Seed = 0,
    model: opt.Model = "builtin",
    heads: Annotated[
        Path | None,
        typer.Option(help="Take people from this .npz of heads, not from a model.", metavar="FILE"),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the photographs, pixels.", min=16)] = 512,
    yaw_range: Annotated[float, typer.Option(help="Largest yaw in degrees.", min=0, max=90)] = 60.0,
    yaw_draw: Annotated[
        YawDraw, typer.Option(help="Distribution of the yaw within its range.")
    ] = YawDraw.NORMAL,
    face: Annotated[
        str, typer.Option(help="Smallest and largest face height over the photograph's.")
    ] = "0.3,0.6",
    views: Annotated[
        int, typer.Option(help="Photographs of one person in a row, with changing light.", min=1)
    ] = 1,
    glasses: Annotated[float, typer.Option(help="Share with glasses.", min=0, max=1)] = 0.15,
    occluders: Annotated[
        float, typer.Option(help="Share with something before the face.", min=0, max=1)
    ] = 0.1,
    jobs: opt.Jobs = 1,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Render portraits of random people and write what is true of each.

    Writes DIR/images/NNNNN.png, DIR/truth/NNNNN.npz (the keys of params.npz, and vertices, faces,
    depth_mm, face_mask) and DIR/truth/NNNNN.obj. The same seed gives the same photographs;
    running again makes only those that are missing.

    Example: facekit simulate photos -o portraits --count 100 --seed 1
    """
    import os

    from facekit.simulate.photos import PhotosRequest, write_photos
    from facekit.simulate.sampler import PortraitOptions

    start = time.monotonic()
    options = PortraitOptions(
        size=size,
        face_fraction=_pair(face, "--face"),
        yaw_deg=yaw_range,
        yaw_uniform=yaw_draw is YawDraw.UNIFORM,
        views=views,
        glasses=glasses,
        occluders=occluders,
    )
    request = PhotosRequest(model=model, heads=heads, seed=seed, options=options)
    with out.progress("simulate") as progress:
        paths = write_photos(
            output,
            request,
            count=count,
            jobs=jobs or os.cpu_count() or 1,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        out.json(
            {
                "schema": "facekit.simulate/1",
                "output": str(output),
                "images": [str(path) for path in paths],
            }
        )
    else:
        for path in paths:
            out.data(path)
    out.info(f"{len(paths)} photographs in {time.monotonic() - start:.1f} s -> {output}")
    return 0


def _pair(text: str, option: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option}: expected two numbers like 0.3,0.6, got {text!r}") from None
    return low, high
