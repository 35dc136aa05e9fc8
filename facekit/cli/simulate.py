"""``facekit simulate``: synthetic portraits with exact truth."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.errors import UsageError

if TYPE_CHECKING:
    from facekit.simulate.sampler import PortraitOptions

app = typer.Typer(help="Synthetic portraits with exact truth.", no_args_is_help=True)


class YawDraw(StrEnum):
    """How the yaw is drawn."""

    NORMAL = "normal"
    UNIFORM = "uniform"


class Format(StrEnum):
    """What is written."""

    PHOTOS = "photos"
    SHARDS = "shards"


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
    distance: Annotated[
        str | None,
        typer.Option(
            help="Nearest and farthest camera; lenses follow. Else lenses of 25 to 85 mm (35 mm "
            "equivalents) are drawn and distances follow.",
            metavar="MM,MM",
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(help="Photographs of one person in a row, with changing light.", min=1)
    ] = 1,
    glasses: Annotated[float, typer.Option(help="Share with glasses.", min=0, max=1)] = 0.15,
    occluders: Annotated[
        float, typer.Option(help="Share with something before the face.", min=0, max=1)
    ] = 0.1,
    expressions: Annotated[
        bool,
        typer.Option("--expressions", help="Every view has its own expression, not the person."),
    ] = False,
    albedo: Annotated[
        float,
        typer.Option(
            help="Share painted with the model's albedo, where it has modes, and not drawn.",
            min=0,
            max=1,
        ),
    ] = 0.0,
    supersample: Annotated[int, typer.Option(help="Samples per pixel and side.", min=1, max=8)] = 2,
    variety: Annotated[
        float,
        typer.Option(
            help="With --format shards: spread of shapes and expressions, 1 the model's own.",
            min=0,
            max=3,
        ),
    ] = 1.0,
    irregular: Annotated[
        float,
        typer.Option(
            help="With --format shards: how far heads depart from the model's shapes.",
            metavar="MM",
            min=0,
            max=10,
        ),
    ] = 0.0,
    placement: Annotated[
        float,
        typer.Option(
            help="How far brows are painted from where they usually lie, one deviation.",
            metavar="MM",
            min=0,
            max=10,
        ),
    ] = 0.0,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="photos: images and truth files; shards: labelled crops to train on."
        ),
    ] = Format.PHOTOS,
    per_shard: Annotated[
        int, typer.Option(help="With --format shards: crops a shard.", min=1)
    ] = 1024,
    shard: opt.ShardShare = "",
    jobs: opt.Jobs = 1,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Render portraits of random people and write what is true of each.

    Writes DIR/images/NNNNN.png, DIR/truth/NNNNN.npz (the keys of params.npz, and vertices, faces,
    depth_mm, face_mask) and DIR/truth/NNNNN.obj. The same seed gives the same photographs;
    running again makes only those that are missing.

    With --format shards it writes what facekit label writes: shard-NNNNN.tar with 256-px crops,
    masks and exact labels, index.csv and dataset.json.

    Example: facekit simulate photos -o portraits --count 100 --seed 1
    """
    import os
    from dataclasses import replace

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
        expressions=expressions,
        albedo=albedo,
        supersample=supersample,
        placement_mm=placement,
    )
    if distance is not None:
        options = replace(options, distance_mm=_pair(distance, "--distance"), focal_mm=None)
    if form is Format.SHARDS:
        if heads is not None:
            raise UsageError("--format shards: expected people of a model; leave out --heads")
        return _shards(
            output,
            options,
            count,
            seed,
            model,
            variety,
            irregular,
            per_shard,
            shard,
            jobs,
            overwrite,
            as_json,
        )
    if variety != 1 or irregular:
        raise UsageError("--variety, --irregular: go with --format shards")
    if shard:
        raise UsageError("--shard: goes with --format shards")
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


def _shards(
    output: Path,
    options: PortraitOptions,
    count: int,
    seed: int,
    model: str,
    variety: float,
    irregular: float,
    per_shard: int,
    shard: str,
    jobs: int,
    overwrite: bool,
    as_json: bool,
) -> int:
    from facekit.learn.shards import parse_share
    from facekit.train.render_labels import RenderedShards, write_rendered_shards

    start = time.monotonic()
    whole = -(-per_shard // options.views) * options.views
    request = RenderedShards(model, seed, variety, irregular, options, whole)
    with out.progress("simulate") as progress:
        result = write_rendered_shards(
            output,
            request,
            count=count,
            jobs=jobs,
            share=parse_share(shard),
            overwrite=overwrite,
            progress=progress,
        )
    seconds = time.monotonic() - start
    if as_json:
        document = {"schema": "facekit.simulate/1", "output": str(output), **result._asdict()}
        out.json({**document, "seconds": round(seconds, 3)})
    else:
        out.data(output)
    rate = f", {result.made / seconds:.0f} a second" if result.made else ""
    out.info(
        f"{result.samples} labelled crops ({result.made} made in {seconds:.1f} s{rate}) -> {output}"
    )
    return 0


def _pair(text: str, option: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option}: expected two numbers like 0.3,0.6, got {text!r}") from None
    return low, high
