"""``facekit basis register``: scans to registered heads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out

Template = Annotated[
    str,
    typer.Option(help="'builtin', a model, or a template of 'basis template'.", metavar="MODEL"),
]


def register(
    scans: Annotated[
        list[Path],
        typer.Argument(
            help="Scans: folders of 'facekit sfm', meshes with landmarks beside them, or folders "
            "of such (SUBJECT, SUBJECT/EXPRESSION).",
            metavar="SCANS…",
        ),
    ],
    output: opt.OutputFolder,
    template: Template = "builtin",
    prior: Annotated[
        str,
        typer.Option(
            help="Model whose shapes are fitted first: 'builtin', a file, or 'none'.",
            metavar="MODEL",
        ),
    ] = "builtin",
    landmarks: Annotated[
        Path | None, typer.Option(help="Landmark file of the one scan.", metavar="FILE")
    ] = None,
    unit: Annotated[opt.Unit, typer.Option(help="Unit of the scans' files.")] = opt.Unit.MM,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Write a heat map of each scan.")
    ] = True,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Bring scans into one topology: REG/<subject>[/<expression>].npz, for 'basis build'.

    The landmarks of each scan place the template, the prior's shapes are fitted, and what is left
    is a smooth deformation. Scans that fail are set aside with the reason; running again does
    what is missing.

    Example: facekit basis register scans -o REG
    """
    from facekit.basis.register_batch import BatchOptions, register_scans
    from facekit.basis.scan_files import find_scans
    from facekit.basis.template_model import open_template
    from facekit.morphable.registry import load_model

    start = time.monotonic()
    items = find_scans(scans, landmarks=landmarks)
    head = open_template(template)
    model = None if prior == "none" else load_model(prior)
    with out.progress("register") as progress:
        result = register_scans(
            items,
            output,
            head,
            model,
            batch=BatchOptions(unit.value, pictures, overwrite),
            progress=progress,
        )
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    accepted = [row for row in result.rows if row.accepted]
    if as_json:
        out.json(
            {
                "schema": "facekit.register/1",
                "output": str(output),
                "heads": [row._asdict() for row in result.rows],
                "failures": result.failures,
                "registered_now": result.made,
                "seconds": [round(s, 3) for s in result.seconds],
            }
        )
    else:
        for row in accepted:
            out.data(output / row.path)
    residual = sum(row.residual_mm for row in accepted) / max(len(accepted), 1)
    out.info(
        f"{len(accepted)} of {len(items)} scans registered, {residual:.3f} mm from their scans, in"
        f" {time.monotonic() - start:.1f} s -> {output}"
    )
    return 5 if result.failures else 0
