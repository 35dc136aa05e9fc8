"""``facekit basis refine``: a model learned on from fitted photographs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

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
    strength: Annotated[
        float, typer.Option(help="How many photographs the model itself counts for.", min=0.1)
    ] = 30.0,
    as_json: opt.Json = False,
) -> int:
    """Learn a model's mean and shape modes on from the landmarks of many fitted photographs.

    Every fifth photograph is kept apart; the new model is written only if these become likelier
    than under the old one.

    Example: facekit basis refine builtin fits -o refined.npz
    """
    from facekit.basis.fitted import read_fitted
    from facekit.basis.refine import RefineOptions, refine_shapes
    from facekit.morphable.native import write_native
    from facekit.morphable.registry import load_model

    start = time.monotonic()
    old = load_model(model)
    found = read_fitted(fits, old)
    for failure in found.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    options = RefineOptions(fields=fields, field_mm=field_mm, strength=strength, modes=modes)
    with out.progress("refine") as progress:
        result = refine_shapes(old, found.faces, options=options, progress=progress)
    if result.better:
        write_native(result.model, output)
    if as_json:
        out.json(
            {
                "schema": "facekit.refine/1",
                "model": str(output) if result.better else None,
                "photographs": result.used,
                "held_out": result.held_out,
                "nats_before": round(result.before, 4),
                "nats_after": round(result.after, 4),
                "failures": found.failures,
            }
        )
    elif result.better:
        out.data(output)
    verdict = f"-> {output}" if result.better else "no better, nothing written"
    out.info(
        f"{result.used} photographs, {result.held_out} held out: {result.before:.2f} to"
        f" {result.after:.2f} nats a face in {time.monotonic() - start:.1f} s; {verdict}"
    )
    return 5 if found.failures or not result.better else 0
