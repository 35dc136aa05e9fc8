"""``facekit eval images``: how much renders look like photographs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_compare import Compare, Report, run_methods
from facekit.cli.output import out


class Measure(StrEnum):
    """What is measured."""

    PSNR = "psnr"
    SSIM = "ssim"
    LPIPS = "lpips"
    FID = "fid"


def images(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of renders with the photographs' names, or results of fit; several are "
            "compared, each a folder or NAME=FOLDER.",
            metavar="PREDICTIONS…",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of photographs.", metavar="DIR")],
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks with the photographs' names.", metavar="DIR"),
    ] = None,
    metrics: Annotated[
        list[Measure] | None,
        typer.Option(
            "--metric",
            help="Repeat for more; default psnr and ssim. The first is compared and drawn.",
        ),
    ] = None,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
    output: Report = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Compare renders with photographs: PSNR in dB and SSIM, where masks say.

    LPIPS and FID need torchmetrics, torchvision and their networks' weights (exit code 4 says
    what is missing).

    Example: facekit eval images renders --data photographs --masks masks --json
    """
    from facekit.evaluate.image_likeness import (
        HIGHER_IS_BETTER,
        ImageOptions,
        evaluate_images,
    )

    names = tuple(dict.fromkeys(m.value for m in metrics)) if metrics else ("psnr", "ssim")
    options = ImageOptions(names, masks, allow_download, jobs)

    def evaluate(path: Path, folder: Path | None) -> Any:
        del folder
        with out.progress("images") as progress:
            return evaluate_images(path, data, options, progress=progress)

    value = names[0]
    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value=value.upper(),
        unit="dB" if value == "psnr" else "1",
        limit=50.0 if value == "psnr" else 1.0,
        higher_is_better=value in HIGHER_IS_BETTER,
    )


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("images")(images)
