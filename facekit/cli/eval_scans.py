"""``facekit eval``: benchmarks of shape against scans."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_compare import (
    Compare,
    Images,
    Pictures,
    Predictions,
    Report,
    run_methods,
)
from facekit.cli.output import out
from facekit.errors import InputError, UsageError

ScanData = Annotated[Path, typer.Option(help="Folder of the benchmark's scans.", metavar="DIR")]


class MeshUnit(StrEnum):
    """Unit of length in meshes of any origin."""

    MM = "mm"
    CM = "cm"
    DM = "dm"
    M = "m"
    UM = "um"
    IN = "in"


PredictionUnit = Annotated[MeshUnit, typer.Option(help="Unit of the predictions.")]
DataUnit = Annotated[MeshUnit, typer.Option(help="Unit of the scans.")]
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
_Set = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE of the configuration; repeat.")
]


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
    unit: PredictionUnit = MeshUnit.MM,
    data_unit: DataUnit = MeshUnit.MM,
    model: _ModelName = "auto",
    embedding: _Embedding = None,
    strict: Strict = False,
    images: Images = None,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
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

    config = override(PRESETS[preset.value], settings or [])

    def evaluate(path: Path, folder: Path | None) -> Any:
        inputs = scan_inputs(path, unit, data_unit, model, embedding, strict, folder, jobs)
        with out.progress("micc") as progress:
            return evaluate_micc(
                path, data, config, inputs=inputs, preset=preset.value, progress=progress
            )

    value = f"{config.stat} of a mesh"
    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value=value,
        pictures=Pictures(images, model, config.shape == "face"),
    )


def facewarehouse(
    predictions: Predictions,
    data: ScanData,
    preset: Annotated[Preset, typer.Option(help="Whose way of measuring.")] = Preset.CORRESPONDED,
    settings: _Set = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Scored vertices of the scans: indices or a mask.", metavar="FILE"),
    ] = None,
    unit: PredictionUnit = MeshUnit.MM,
    data_unit: DataUnit = MeshUnit.MM,
    model: _ModelName = "auto",
    embedding: _Embedding = None,
    strict: Strict = False,
    images: Images = None,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
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

    config = override(PRESETS[preset.value], settings or [])

    def evaluate(path: Path, folder: Path | None) -> Any:
        inputs = scan_inputs(path, unit, data_unit, model, embedding, strict, folder, jobs)
        with out.progress("facewarehouse") as progress:
            return evaluate_facewarehouse(
                path,
                data,
                config,
                inputs=inputs,
                preset=preset.value,
                mask=mask,
                progress=progress,
            )

    value = f"{config.stat} of a mesh"
    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value=value,
        pictures=Pictures(images, model, config.shape == "face"),
    )


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
    unit: PredictionUnit = MeshUnit.MM,
    strict: Strict = False,
    images: Images = None,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score neutral faces against REALY's scans, region by region, in mm (version 1).

    Predictions are ID.obj or ID_VIEW.obj of one topology.

    Example: facekit eval realy out --data REALY --topology FLAME --json
    """
    from facekit.evaluate.realy_dataset import open_realy, topology_embedding
    from facekit.evaluate.realy_evaluation import evaluate_realy

    dataset = open_realy(data)

    def evaluate(path: Path, folder: Path | None) -> Any:
        inputs = scan_inputs(path, unit, MeshUnit.MM, model, embedding, strict, folder, jobs)
        keys = inputs.embedding
        if keys is None:
            keys = topology_embedding(dataset, topology, inputs.model)
        elif len(keys) != 85:
            raise InputError(f"{embedding}: expected 85 key points, got {len(keys)}")
        with out.progress("realy") as progress:
            return evaluate_realy(
                path,
                dataset,
                keys,
                inputs=inputs,
                template_mask=template_mask,
                controls=controls,
                progress=progress,
            )

    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value="mean of the regions",
        limit=5.0,
        pictures=Pictures(images, model),
    )


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
    unit: PredictionUnit = MeshUnit.MM,
    data_unit: DataUnit = MeshUnit.MM,
    model: _ModelName = "auto",
    embedding: _Embedding = None,
    strict: Strict = False,
    images: Images = None,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score neutral faces against the Stirling/ESRC scans of the FG2018 challenge, in mm.

    Example: facekit eval fg2018 out --data Stirling --protocol now --json
    """
    from facekit.evaluate.fg2018 import StirlingOptions, evaluate_stirling

    if metrical and protocol != StirlingProtocol.NOW:
        raise UsageError("--metrical needs --protocol now: the challenge fits the scale")
    options = StirlingOptions(protocol.value, metrical)

    def evaluate(path: Path, folder: Path | None) -> Any:
        inputs = scan_inputs(path, unit, data_unit, model, embedding, strict, folder, jobs)
        with out.progress("fg2018") as progress:
            return evaluate_stirling(
                path,
                data,
                options,
                inputs=inputs,
                pairs=pairs,
                distances=None if folder is None else folder / "distances",
                progress=progress,
            )

    value = "3DRMSE" if options.protocol == "fg2018" else "mean distance"
    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value=value,
        pictures=Pictures(images, model),
    )


def register(app: typer.Typer) -> None:
    """Add the commands to ``facekit eval``."""
    app.command("micc")(micc)
    app.command("facewarehouse")(facewarehouse)
    app.command("realy")(realy)
    app.command("fg2018")(fg2018)


def scan_inputs(
    predictions: Path,
    unit: MeshUnit,
    data_unit: MeshUnit,
    model: str,
    embedding: Path | None,
    strict: bool,
    output: Path | None,
    jobs: int,
) -> Any:
    """Return how files are read; the output folder is made first, so that it fails first."""
    from facekit.evaluate.embedding import read_embedding
    from facekit.evaluate.faces3d import list_predictions
    from facekit.evaluate.scan_controls import known_model
    from facekit.evaluate.scan_inputs import ScanInputs
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
        jobs=jobs,
    )
