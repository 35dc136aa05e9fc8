"""``facekit models``: what models are there, what is in one, foreign ones converted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.errors import UsageError

app = typer.Typer(help="Morphable models.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_models(as_json: opt.Json = False) -> int:
    """List the shipped files with version, size and licence, and the readable formats.

    Example: facekit models list
    """
    from facekit.morphable.builtin import list_assets
    from facekit.morphable.registry import model_formats

    assets = list_assets()
    formats = model_formats()
    if as_json:
        out.json(
            {
                "schema": "facekit.models/1",
                "assets": [{**a._asdict(), "path": str(a.path)} for a in assets],
                "formats": {f.name: f.description for f in formats},
            }
        )
        return 0
    rows: list[list[object]] = [
        [a.name, a.version, f"{a.path.stat().st_size / 1e6:.1f} MB", a.licence.split(";")[0]]
        for a in assets
    ]
    out.table(["shipped", "version", "size", "licence"], rows)
    out.data("")
    out.table(["format", "what facekit reads"], [[f.name, f.description] for f in formats])
    return 0


@app.command("info")
def info(
    model: Annotated[str, typer.Argument(help="'builtin' or a model file or folder.")] = "builtin",
    licence: Annotated[bool, typer.Option("--licence", help="Print the licence text.")] = False,
    as_json: opt.Json = False,
) -> int:
    """Say what is in a model: sizes, expressions, landmark sets, regions, licence.

    Example: facekit models info builtin
    """
    from facekit.morphable.registry import load_model

    loaded = load_model(model)
    if licence:
        out.data(loaded.licence)
        return 0
    extent = loaded.mean.max(axis=0) - loaded.mean.min(axis=0)
    document: dict[str, Any] = {
        "schema": "facekit.model/1",
        "name": loaded.name,
        "sha256": loaded.sha256,
        "vertices": loaded.num_vertices,
        "faces": len(loaded.faces),
        "identity": loaded.num_identity,
        "expression": loaded.num_expression,
        "albedo": loaded.num_albedo,
        "extent_mm": [round(float(x), 1) for x in extent],
        "expressions": list(loaded.expression_names),
        "landmarks": {name: len(m.faces) for name, m in sorted(loaded.landmarks.items())},
        "regions": {name: int(m.sum()) for name, m in sorted(loaded.regions.items())},
        "symmetric": loaded.mirror is not None,
        "provenance": loaded.provenance,
    }
    if as_json:
        out.json(document)
        return 0
    out.table(["what", "value"], [[key, _short(value)] for key, value in document.items()])
    return 0


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="A model file or folder.", metavar="SRC")],
    output: opt.OutputFile,
    format_name: Annotated[
        str, typer.Option("--format", help="Format of SRC; default: recognised.", metavar="NAME")
    ] = "",
    now7: Annotated[
        str,
        typer.Option(
            help="Seven vertex numbers a,b,…: right eye's outer and inner corner, left eye's inner"
            " and outer corner, nose base, right and left mouth corner. They put a model without"
            " landmarks into facekit's head frame.",
            metavar="LIST",
        ),
    ] = "",
) -> int:
    """Convert a foreign morphable model to facekit's own file.

    Formats: Basel Face Model 2009 and 2017/2019, Deep3D's front face, FLAME, ICT-FaceKit,
    MakeHuman, eos. Lengths become millimetres.

    Example: facekit models convert model2017-1_face12_nomouth.h5 -o bfm2017.npz
    """
    from facekit.morphable.native import write_native
    from facekit.morphable.registry import read_model

    model = read_model(source, format_name=format_name or None, now7=_numbers(now7))
    if "now7" not in model.landmarks:
        out.warn(
            f"{source}: has no landmarks, so the model keeps its own frame; pass --now7 to move it"
        )
    out.data(write_native(model, output))
    out.info(
        f"{model.name}: {model.num_vertices} vertices, {model.num_identity} identity and"
        f" {model.num_expression} expression modes -> {output}"
    )
    return 0


def _numbers(text: str) -> list[int] | None:
    if not text:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--now7: expected seven whole numbers a,b,…, got {text!r}") from error


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
