"""``facekit basis build|info|sample|compare``: models of registered heads, and looking at them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.errors import UsageError

if TYPE_CHECKING:
    from facekit.morphable.model import MorphableModel

_MODEL_HELP = "'builtin' or a model file."


def build(
    registered: Annotated[
        Path, typer.Argument(help="Folder of registered heads with index.csv.", metavar="REG")
    ],
    output: opt.OutputFile,
    template: Annotated[
        str | None,
        typer.Option(
            help="Template of the heads: a template file, a model or 'builtin'; left out: "
            "REG/template.npz where 'basis register' wrote one, else builtin.",
            metavar="MODEL",
        ),
    ] = None,
    modes: Annotated[
        int | None, typer.Option(help="Identity modes; left out: 80, or all there are.", min=1)
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "built",
    donor: Annotated[
        str,
        typer.Option(
            help="Model that gives albedo modes and, where REG has no expressions, named "
            "blendshapes by deformation transfer; 'none' for neither.",
            metavar="MODEL",
        ),
    ] = "none",
    expression_modes: Annotated[
        int,
        typer.Option(help="Components of all expressions; 0: one blendshape a name.", min=0),
    ] = 0,
    bilinear: Annotated[
        Path | None,
        typer.Option(help="Also write a bilinear model (persons x expressions).", metavar="FILE"),
    ] = None,
    measures: Annotated[
        int,
        typer.Option(
            help="Random shapes for compactness, generalisation and specificity, written beside "
            "the model as .csv and .png; 0 for none.",
            min=0,
        ),
    ] = 0,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> int:
    """Build a morphable model of registered heads: area-weighted PCA in millimetres.

    Example: facekit basis build REG --donor builtin --measures 1000 -o model.npz
    """
    from facekit.basis.assemble import BuildOptions, build_model
    from facekit.basis.bilinear import bilinear_of_folder, write_bilinear
    from facekit.basis.measures import quantisation_error
    from facekit.basis.register_batch import TEMPLATE_NAME
    from facekit.basis.styner import curves_document, write_curves
    from facekit.basis.template_model import open_template
    from facekit.morphable.native import read_native, write_native

    start = time.monotonic()
    own = registered / TEMPLATE_NAME
    head = open_template(template or (str(own) if own.is_file() else "builtin"))
    with out.progress("build") as progress:
        built = build_model(
            registered,
            head,
            options=BuildOptions(name, modes, expression_modes, measures, seed),
            donor=None if donor == "none" else _load(donor),
            progress=progress,
        )
    write_native(built.model, output)
    error = quantisation_error(built.model, read_native(output))
    document: dict[str, Any] = {
        "schema": "facekit.basis/1",
        "model": str(output),
        "heads": built.num_subjects,
        "modes": built.model.num_identity,
        "expressions": built.model.num_expression,
        "explained": round(float(built.basis.explained[-1]), 5),
        "deviations_mm": [round(float(d), 4) for d in built.basis.deviations],
        "quantisation_mm": {"mean": error.mean_mm, "max": error.max_mm},
    }
    if built.curves is not None:
        document["curves"] = curves_document(built.curves)
        write_curves(built.curves, output.with_name(f"{output.stem}.measures"))
    if bilinear is not None:
        made = bilinear_of_folder(registered, head)
        write_bilinear(made, bilinear, provenance=built.model.provenance)
        document["bilinear"] = {"file": str(bilinear), "size": list(made.core.shape[:2])}
    if as_json:
        out.json(document)
    else:
        out.data(output)
    out.info(
        f"{built.num_subjects} heads, {document['modes']} modes that explain"
        f" {100 * document['explained']:.2f} %, {document['expressions']} expressions,"
        f" quantisation error mean {error.mean_mm:.4f} and max"
        f" {error.max_mm:.4f} mm in {time.monotonic() - start:.1f} s -> {output}"
    )
    return 0


def info(
    what: Annotated[
        str,
        typer.Argument(
            help="Folder of registered heads, a model file, or 'builtin'.", metavar="REG|MODEL"
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Picture of a model's modes.", metavar="PNG"),
    ] = None,
    modes: Annotated[int, typer.Option(help="Modes of each kind to draw.", min=1)] = 6,
    as_json: opt.Json = False,
) -> int:
    """Say what a folder of registered heads or a model holds; draw a model's modes.

    Example: facekit basis info model.npz -o modes.png
    """
    folder = Path(what)
    document = _folder_facts(folder) if folder.is_dir() else _model_facts(what, output, modes)
    if as_json:
        out.json(document)
    else:
        out.table(["what", "value"], [[key, value or 0] for key, value in document.items()])
    return 0


def _folder_facts(folder: Path) -> dict[str, Any]:
    from facekit.basis.registered import read_index

    rows = read_index(folder)
    accepted = [row for row in rows if row.accepted]
    return {
        "schema": "facekit.registered/1",
        "subjects": len({row.subject for row in rows}),
        "neutral": sum(not row.expression for row in rows),
        "expressions": len({row.expression for row in rows if row.expression}),
        "accepted": len(accepted),
        "rejected": {row.path: row.reason for row in rows if not row.accepted},
        "residual_mm": float(sum(r.residual_mm for r in accepted) / max(len(accepted), 1)),
    }


def _model_facts(name: str, picture: Path | None, modes: int) -> dict[str, Any]:
    from facekit.basis.gallery import draw_modes
    from facekit.basis.measures import mode_sizes

    model = _load(name)
    sizes = mode_sizes(model)
    document: dict[str, Any] = {
        "schema": "facekit.basis/1",
        "name": model.name,
        "sha256": model.sha256,
        "vertices": model.num_vertices,
        "modes": model.num_identity,
        "expressions": model.num_expression,
        "albedo_modes": model.num_albedo,
        "deviations_mm": [round(float(v), 4) for v in sizes],
        "compactness": [round(float(v), 4) for v in (sizes**2).cumsum() / (sizes**2).sum()]
        if len(sizes)
        else [],
        "provenance": model.provenance,
    }
    if picture is not None:
        draw_modes(model, picture, shape=modes, expression=modes, albedo=min(modes, 3))
        document["picture"] = str(picture)
        out.info(f"modes -> {picture}")
    return document


def sample(
    output: opt.OutputFolder,
    model: Annotated[
        str | None,
        typer.Argument(help=f"Model to draw heads of: {_MODEL_HELP}", metavar="[MODEL]"),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a model: ICT-FaceKit's heads, carried to --template.", metavar="NPZ"
        ),
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="Template of 'basis template'.", metavar="NPZ")
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Heads to draw; left out: 10, or 300 of a source.", min=1)
    ] = None,
    seed: opt.Seed = 0,
    expressions: Annotated[
        bool, typer.Option("--expressions", help="Give a model's heads random expressions.")
    ] = False,
    as_ply: Annotated[bool, typer.Option("--ply", help="Write .ply instead of .obj.")] = False,
) -> int:
    """Draw random heads: of a model as meshes with their coefficients, or of a source for 'build'.

    With --source and --template the heads and the source's expressions are written as a folder of
    registered heads.

    Example: facekit basis sample model.npz --count 10 --seed 0 -o heads
    """
    start = time.monotonic()
    if (model is None) == (source is None):
        raise UsageError("basis sample: give a MODEL, or --source with --template")
    if model is not None:
        from facekit.basis.gallery import write_random_heads

        paths = write_random_heads(
            _load(model),
            output,
            count=count or 10,
            seed=seed,
            expressions=expressions,
            suffix=".ply" if as_ply else ".obj",
        )
        for path in paths:
            out.data(path)
        out.info(f"{len(paths)} heads in {time.monotonic() - start:.1f} s -> {output}")
        return 0
    if source is None or template is None:
        raise UsageError("basis sample: --source needs --template ('facekit basis template')")
    from facekit.basis.ict_source import IctSource
    from facekit.basis.registered import sample_heads
    from facekit.basis.template_file import read_template

    with out.progress("sample") as progress:
        rows = sample_heads(
            IctSource(source),
            read_template(template),
            output,
            count=count or 300,
            seed=seed,
            progress=progress,
        )
    out.data(output / "index.csv")
    out.info(f"{len(rows)} meshes in {time.monotonic() - start:.1f} s -> {output}")
    return 0


def compare(
    models: Annotated[list[str], typer.Argument(help=f"Models: {_MODEL_HELP}", metavar="MODELS…")],
    heads: Annotated[
        Path,
        typer.Option(
            help="Heads that no model was built from: a folder of registered heads, or an .npz "
            "of heads of another topology.",
            metavar="PATH",
        ),
    ],
    count: Annotated[
        int | None, typer.Option(help="Use the first so many heads of an .npz.", min=1)
    ] = None,
    as_json: opt.Json = False,
) -> int:
    """Say how close models come to held-out heads with all their modes, in mm.

    Example: facekit basis compare builtin model.npz --heads heldout
    """
    from facekit.evaluate.bases import compare_bases

    start = time.monotonic()
    with out.progress("compare") as progress:
        document = compare_bases(
            {name: _load(name) for name in models}, heads, count=count, progress=progress
        )
    if as_json:
        out.json(document)
    else:
        columns = ["corresponded_mm", "surface_mm", "now_median_mm"]
        out.table(
            ["model", "modes", "heads", *columns],
            [
                [name, facts["modes"], facts["count"]]
                + [facts["metrics"][c] if facts["metrics"][c] is not None else "-" for c in columns]
                for name, facts in document["models"].items()
            ],
        )
    out.info(f"{len(models)} models in {time.monotonic() - start:.1f} s on {heads}")
    return 0


def _load(name: str) -> MorphableModel:
    from facekit.morphable.registry import load_model

    return load_model(name)
