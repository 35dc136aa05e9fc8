"""``facekit eval``: benchmarks of points and dense faces in image space."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_compare import Compare, Predictions, Report, run_methods
from facekit.cli.eval_scans import DataUnit, MeshUnit, PredictionUnit, Strict, scan_inputs
from facekit.cli.output import out


class AflwTruthName(StrEnum):
    """Which annotation of AFLW2000-3D is the truth."""

    ORIGINAL = "original"
    REANNOTATED = "reannotated"


class AflwVariant(StrEnum):
    """What is compared."""

    POINTS_2D = "2d"
    POINTS_3D = "3d"
    DENSE_2D = "dense-2d"
    DENSE_3D = "dense-3d"
    RECONSTRUCTION = "reconstruction"


def aflw2000(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Array of (N, 68, 2 or 3), or a folder of points; of meshes for dense variants. "
            "Several are compared, each a path or NAME=PATH.",
            metavar="PREDICTIONS…",
        ),
    ],
    data: Annotated[Path, typer.Option(help="AFLW2000-3D's folder.", metavar="DIR")],
    truth: Annotated[
        AflwTruthName, typer.Option(help="Whose annotation is the truth.")
    ] = AflwTruthName.ORIGINAL,
    variant: Annotated[AflwVariant, typer.Option(help="What is compared.")] = AflwVariant.POINTS_2D,
    dense: Annotated[
        Path | None,
        typer.Option(help="Truth meshes in pixels, for dense variants.", metavar="DIR"),
    ] = None,
    crop: Annotated[
        bool, typer.Option("--crop", help="Predictions are in pixels of 120 px crops.")
    ] = False,
    offset_px: Annotated[float, typer.Option(help="Added to predicted x and y.")] = 0.0,
    strict: Strict = False,
    compare: Compare = False,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score 68 points or dense faces on AFLW2000-3D: NME in percent, by bins of yaw.

    The mean is that of the three bins' means, as in the benchmark.

    Example: facekit eval aflw2000 out --data AFLW2000-3D --truth reannotated --json
    """
    from facekit.evaluate.aflw2000 import AflwOptions, evaluate_aflw
    from facekit.evaluate.aflw2000_data import read_aflw
    from facekit.io.atomic import make_folder

    options = AflwOptions(truth.value, variant.value, crop, offset_px)
    faces = read_aflw(data)

    def evaluate(path: Path, folder: Path | None) -> Any:
        if folder is not None:
            make_folder(folder)
        with out.progress("aflw2000") as progress:
            return evaluate_aflw(
                path,
                faces,
                options,
                dense=dense,
                strict=strict,
                pictures=None if folder is None else folder / "heat",
                progress=progress,
            )

    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value="NME",
        unit="%",
        limit=10.0,
    )


class Alignment(StrEnum):
    """How faces are moved before they are compared."""

    NONE = "none"
    RIGID = "rigid"
    SIMILARITY = "similarity"


class Correspondence(StrEnum):
    """Which predicted vertex stands for which of the truth."""

    AUTO = "auto"
    INDEX = "index"
    CLOSEST = "closest"


def volume(
    predictions: Predictions,
    data: Annotated[
        Path, typer.Option(help="Folder of truth meshes with landmarks.", metavar="DIR")
    ],
    align: Annotated[
        Alignment, typer.Option(help="none: where they lie, as VRN's tables.")
    ] = Alignment.NONE,
    correspondence: Annotated[
        Correspondence, typer.Option(help="auto: by index where topologies agree, else by ICP.")
    ] = Correspondence.AUTO,
    unit: PredictionUnit = MeshUnit.MM,
    data_unit: DataUnit = MeshUnit.MM,
    strict: Strict = False,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
    output: Report = None,
    as_json: opt.Json = False,
) -> int:
    """Score dense faces by VRN's protocol: NME in percent of the outer interocular distance.

    Predictions and truth share a frame, such as an image's pixels, and their names.

    Example: facekit eval volume out --data truth --align rigid --json
    """
    from facekit.evaluate.volume import VolumeOptions, evaluate_volume

    options = VolumeOptions(align.value, correspondence.value)

    def evaluate(path: Path, folder: Path | None) -> Any:
        inputs = scan_inputs(path, unit, data_unit, "none", None, strict, folder, jobs)
        with out.progress("volume") as progress:
            return evaluate_volume(path, data, options, inputs=inputs, progress=progress)

    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value="NME",
        unit="%",
        limit=15.0,
    )


def register(app: typer.Typer) -> None:
    """Add the commands to ``facekit eval``."""
    app.command("aflw2000")(aflw2000)
    app.command("volume")(volume)
