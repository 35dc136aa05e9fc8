"""``facekit basis refine``: a model learned on from fitted photographs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def refine(
    model: Annotated[
        str, typer.Argument(help="'builtin' or the model file that was fitted.", metavar="MODEL")
    ],
    fits: Annotated[
        list[Path],
        typer.Argument(help="Folders of 'facekit fit', one photograph a person.", metavar="FITS…"),
    ],
    output: opt.OutputFile,
    modes: Annotated[
        int | None, typer.Option(help="Identity modes; left out: as many as before.", min=1)
    ] = None,
    fields: Annotated[
        int, typer.Option(help="Smooth fields an axis that may become part of the modes.", min=1)
    ] = 30,
    field_mm: Annotated[
        float, typer.Option(help="Deviation of what the model may lack, mm.", min=0.01)
    ] = 0.3,
    photographs: Annotated[
        Path | None,
        typer.Option(help="Folder of the fitted photographs: their skin is learned from too."),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="How many photographs the model itself counts for.", min=0.1)
    ] = 30.0,
    as_json: opt.Json = False,
) -> int:
    """Learn a model on from many fitted photographs: shapes, and skin colour with --photographs.

    Shapes are learned from the landmarks. Every fifth photograph is kept apart; new shapes and a
    new albedo are taken, each on its own, only if these become likelier than under the old ones.

    Example: facekit basis refine builtin fits --photographs photographs -o refined.npz
    """
    from facekit.basis.fitted import read_colours, read_fitted
    from facekit.basis.refine import RefineOptions, refine_shapes
    from facekit.basis.refine_albedo import AlbedoRefineOptions, refine_albedo
    from facekit.morphable.native import write_native
    from facekit.morphable.registry import load_model

    start = time.monotonic()
    old = load_model(model)
    found = read_fitted(fits, old)
    failures = found.failures
    options = RefineOptions(fields=fields, field_mm=field_mm, strength=strength, modes=modes)
    with out.progress("refine") as progress:
        shapes = refine_shapes(old, found.faces, options=options, progress=progress)
    new = shapes.model if shapes.better else old
    skin = None
    if photographs is not None:
        with out.progress("photographs") as progress:
            seen = read_colours(found.faces, photographs, old, progress=progress)
        failures = failures + seen.failures
        skin = refine_albedo(new, seen.colours, options=AlbedoRefineOptions(strength=strength))
        new = skin.model if skin.better else new
    for failure in failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    better = shapes.better or (skin is not None and skin.better)
    if better:
        write_native(new, output)
    if as_json:
        document: dict[str, Any] = {
            "schema": "facekit.refine/1",
            "model": str(output) if better else None,
            "photographs": shapes.used,
            "held_out": shapes.held_out,
            "nats_before": round(shapes.before, 4),
            "nats_after": round(shapes.after, 4),
            "failures": failures,
        }
        if skin is not None:
            document["albedo"] = {
                "photographs": skin.used,
                "held_out": skin.held_out,
                "nats_before": round(skin.before, 4),
                "nats_after": round(skin.after, 4),
            }
        out.json(document)
    elif better:
        out.data(output)
    out.info(
        f"{shapes.used} photographs, {shapes.held_out} held out: {shapes.before:.2f} to"
        f" {shapes.after:.2f} nats a face{'' if shapes.better else ', shapes kept'}"
    )
    if skin is not None:
        out.info(
            f"albedo: {skin.used} photographs, {skin.held_out} held out: {skin.before:.3f} to"
            f" {skin.after:.3f} nats a value{'' if skin.better else ', albedo kept'}"
        )
    verdict = f"-> {output}" if better else "no better, nothing written"
    out.info(f"{time.monotonic() - start:.1f} s; {verdict}")
    return 5 if failures or not better else 0
