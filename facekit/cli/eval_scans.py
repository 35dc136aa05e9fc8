"""``facekit eval``: benchmarks of shape against scans."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.errors import InputError, UsageError

Predictions = Annotated[
    Path,
    typer.Argument(
        help="Folder of meshes (obj, ply, glb, stl, npz), or results of fit.", metavar="PREDICTIONS"
    ),
]
ScanData = Annotated[Path, typer.Option(help="Folder of the benchmark's scans.", metavar="DIR")]
PredictionUnit = Annotated[opt.Unit, typer.Option(help="Unit of the predictions.")]
DataUnit = Annotated[opt.Unit, typer.Option(help="Unit of the scans.")]
_Embedding = Annotated[
    Path | None,
    typer.Option(
        help="Where the predictions' landmarks lie: JSON list of [triangle, w0, w1].",
        metavar="FILE",
    ),
]
_ModelName = Annotated[
    str,
    typer.Option(
        help="Model of the predictions: landmarks and controls; auto: builtin where it fits."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="An item with a warning has no valid result.")
]
Report = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for report, curves, heat maps.", metavar="DIR"),
]
_Set = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE of the configuration; repeat.")
]
_COLUMNS = ("median", "mean", "std", "count", "missing")
_MOST_WARNINGS = 20


class Preset(StrEnum):
    """Named configurations of the estimator."""

    DEEP3D = "deep3d"
    GENOVA = "genova"
    GANFIT = "ganfit"
    MGCNET = "mgcnet"
    CORRESPONDED = "corresponded"


def micc(
    predictions: Predictions,
    data: ScanData,
    preset: Annotated[Preset, typer.Option(help="Whose way of measuring.")] = Preset.DEEP3D,
    settings: _Set = None,
    unit: PredictionUnit = opt.Unit.MM,
    data_unit: DataUnit = opt.Unit.MM,
    model: _ModelName = "auto",
    embedding: _Embedding = None,
    strict: Strict = False,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score neutral faces against MICC Florence's scans, by a stated configuration, in mm.

    Papers measure this set in different ways; the configuration is printed with the result.

    Example: facekit eval micc out --data MICC --preset deep3d --set forehead_cut=false
    """
    from facekit.config import override
    from facekit.evaluate.estimator import PRESETS
    from facekit.evaluate.micc import evaluate_micc

    start = time.monotonic()
    config = override(PRESETS[preset.value], settings or [])
    inputs = scan_inputs(predictions, unit, data_unit, model, embedding, strict, output)
    with out.progress("micc") as progress:
        result = evaluate_micc(
            predictions, data, config, inputs=inputs, preset=preset.value, progress=progress
        )
    return report(result, output, as_json, start, value=f"{config.stat} of a mesh")


def facewarehouse(
    predictions: Predictions,
    data: ScanData,
    preset: Annotated[Preset, typer.Option(help="Whose way of measuring.")] = Preset.CORRESPONDED,
    settings: _Set = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Scored vertices of the scans: indices or a mask.", metavar="FILE"),
    ] = None,
    unit: PredictionUnit = opt.Unit.MM,
    data_unit: DataUnit = opt.Unit.MM,
    model: _ModelName = "auto",
    embedding: _Embedding = None,
    strict: Strict = False,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score faces with expression against FaceWarehouse's meshes, in mm.

    Vertices of one topology correspond; other predictions are aligned and measured to the nearest
    surface. Any folder of meshes with predictions of the same names can be scored.

    Example: facekit eval facewarehouse out --data FaceWarehouse --mask face.txt --json
    """
    from facekit.config import override
    from facekit.evaluate.estimator import PRESETS
    from facekit.evaluate.micc import evaluate_facewarehouse

    start = time.monotonic()
    config = override(PRESETS[preset.value], settings or [])
    inputs = scan_inputs(predictions, unit, data_unit, model, embedding, strict, output)
    with out.progress("facewarehouse") as progress:
        result = evaluate_facewarehouse(
            predictions,
            data,
            config,
            inputs=inputs,
            preset=preset.value,
            mask=mask,
            progress=progress,
        )
    return report(result, output, as_json, start, value=f"{config.stat} of a mesh")


def realy(
    predictions: Predictions,
    data: ScanData,
    topology: Annotated[
        str, typer.Option(help="The benchmark's name of the predictions' topology.")
    ] = "",
    embedding: _Embedding = None,
    template_mask: Annotated[
        Path | None,
        typer.Option(help="Prediction vertices that errors are measured to.", metavar="FILE"),
    ] = None,
    model: _ModelName = "auto",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Score the model's controls too.")
    ] = True,
    unit: PredictionUnit = opt.Unit.MM,
    strict: Strict = False,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score neutral faces against REALY's scans, region by region, in mm (version 1).

    Predictions are ID.obj or ID_VIEW.obj of one topology.

    Example: facekit eval realy out --data REALY --topology FLAME --json
    """
    from facekit.evaluate.realy_dataset import evaluate_realy, open_realy, topology_embedding

    start = time.monotonic()
    dataset = open_realy(data)
    inputs = scan_inputs(predictions, unit, opt.Unit.MM, model, embedding, strict, output)
    keys = inputs.embedding
    if keys is None:
        keys = topology_embedding(dataset, topology, inputs.model)
    elif len(keys) != 85:
        raise InputError(f"{embedding}: expected 85 key points, got {len(keys)}")
    with out.progress("realy") as progress:
        result = evaluate_realy(
            predictions,
            dataset,
            keys,
            inputs=inputs,
            template_mask=template_mask,
            controls=controls,
            progress=progress,
        )
    return report(result, output, as_json, start, value="mean of the regions", limit=5.0)


class StirlingProtocol(StrEnum):
    """Whose rules the Stirling scans are scored by."""

    FG2018 = "fg2018"
    NOW = "now"


def fg2018(
    predictions: Predictions,
    data: ScanData,
    protocol: Annotated[
        StirlingProtocol, typer.Option(help="The challenge's own, or NoW's.")
    ] = StirlingProtocol.FG2018,
    metrical: Annotated[
        bool, typer.Option("--metrical", help="With now: hold the prediction's own scale.")
    ] = False,
    pairs: Annotated[
        Path | None,
        typer.Option("--list", help="Lines of prediction and scan.", metavar="FILE"),
    ] = None,
    unit: PredictionUnit = opt.Unit.MM,
    data_unit: DataUnit = opt.Unit.MM,
    model: _ModelName = "auto",
    embedding: _Embedding = None,
    strict: Strict = False,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score neutral faces against the Stirling/ESRC scans of the FG2018 challenge, in mm.

    Example: facekit eval fg2018 out --data Stirling --protocol now --json
    """
    from facekit.evaluate.fg2018 import StirlingOptions, evaluate_stirling

    start = time.monotonic()
    if metrical and protocol != StirlingProtocol.NOW:
        raise UsageError("--metrical needs --protocol now: the challenge fits the scale")
    options = StirlingOptions(protocol.value, metrical)
    inputs = scan_inputs(predictions, unit, data_unit, model, embedding, strict, output)
    with out.progress("fg2018") as progress:
        result = evaluate_stirling(
            predictions,
            data,
            options,
            inputs=inputs,
            pairs=pairs,
            distances=None if output is None else output / "distances",
            progress=progress,
        )
    value = "3DRMSE" if options.protocol == "fg2018" else "mean distance"
    return report(result, output, as_json, start, value=value)


def register(app: typer.Typer) -> None:
    """Add the commands to ``facekit eval``."""
    app.command("micc")(micc)
    app.command("facewarehouse")(facewarehouse)
    app.command("realy")(realy)
    app.command("fg2018")(fg2018)


def scan_inputs(
    predictions: Path,
    unit: opt.Unit,
    data_unit: opt.Unit,
    model: str,
    embedding: Path | None,
    strict: bool,
    output: Path | None,
) -> Any:
    """Return how files are read; the output folder is made first, so that it fails first."""
    from facekit.evaluate.faces3d import list_predictions, read_embedding
    from facekit.evaluate.micc import ScanInputs
    from facekit.evaluate.scan_controls import known_model
    from facekit.io.atomic import make_folder

    found = list_predictions(predictions)
    if output is not None:
        make_folder(output)
    return ScanInputs(
        unit=unit.value,
        data_unit=data_unit.value,
        embedding=None if embedding is None else read_embedding(embedding),
        model=known_model(model, found.values()),
        strict=strict,
        pictures=None if output is None else output / "heat",
    )


def report(
    result: Any,
    output: Path | None,
    as_json: bool,
    start: float,
    *,
    value: str,
    unit: str = "mm",
    limit: float = 8.0,
) -> int:
    """Write, print and count an evaluation; return the exit code."""
    from facekit.evaluate.scan_reports import write_scan_report

    document = result.document
    said = 0
    for item in result.items:
        lines = [item.error] if item.error is not None else list(item.warnings)
        for line in lines:
            said += 1
            if said <= _MOST_WARNINGS:
                out.warn(f"{item.name}: {line}")
    if said > _MOST_WARNINGS:
        out.warn(f"and {said - _MOST_WARNINGS} more; 'items' of the report has them all")
    if output is not None:
        write_scan_report(output, result, limit=limit, unit=unit, value=value)
    if as_json:
        out.json(document)
    else:
        rows = {"all": document["metrics"], **document.get("regions", {}), **document["groups"]}
        rows |= {f"control {name}": row for name, row in document["controls"].items()}
        cells = [[name, *(_cell(row[c]) for c in _COLUMNS)] for name, row in rows.items()]
        out.table([unit, *_COLUMNS], cells)
        protocol = document["protocol"]
        out.data(" ".join(f"{k}={_cell(v)}" for k, v in protocol.items()))
    metrics = document["metrics"]
    parts = [f"{metrics['count']} predictions"]
    parts += [f"{metrics[k]} {k}" for k in ("missing", "unmatched", "warned") if metrics[k]]
    where = f" -> {output}" if output is not None else ""
    out.info(f"{', '.join(parts)} in {time.monotonic() - start:.1f} s{where}")
    return 5 if metrics["missing"] or metrics["unmatched"] else 0


def _cell(value: object) -> object:
    return "-" if value is None else value
