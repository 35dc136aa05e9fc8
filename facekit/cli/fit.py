"""``facekit fit``: photographs to 3D faces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


def fit(
    paths: opt.InputPaths,
    output: opt.OutputFolder = Path("out"),
    model: opt.Model = "builtin",
    landmarks: opt.Landmarks = opt.LandmarkSource.AUTO,
    largest: Annotated[
        bool, typer.Option("--largest", help="Only the largest face of each photograph.")
    ] = False,
    min_face: opt.MinFace = 0.0,
    focal: Annotated[
        float, typer.Option(help="Focal length in pixels; 0: from EXIF, else a rule.", min=0)
    ] = 0.0,
    unit: Annotated[opt.Unit, typer.Option(help="Unit of the OBJ files.")] = opt.Unit.MM,
    texture_size: Annotated[
        int, typer.Option(help="Side of the texture in pixels.", min=64, max=8192)
    ] = 1024,
    posterior_samples: Annotated[
        int, typer.Option(help="Also write this many identities drawn from the posterior.", min=0)
    ] = 0,
    photometric: Annotated[
        bool,
        typer.Option("--photometric", help="Also fit the pixels' shading (experimental)."),
    ] = False,
    seed: opt.Seed = 0,
    jobs: opt.Jobs = 1,
    overwrite: opt.Overwrite = False,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Reconstruct every face of every photograph as a 3D mesh in millimetres.

    Writes per face: face.obj (+ .mtl, texture), neutral.obj, face.glb, overlay.png, params.npz and
    landmarks.json; and summary.csv, failures.json, manifest.json and index.html. Running again
    does only what is missing.

    Example: facekit fit photos -o out
    """
    from facekit.fit.batch import FitOptions, fit_photos

    start = time.monotonic()
    options = FitOptions(
        model=model,
        landmarks=landmarks.value,
        allow_download=allow_download,
        largest=largest,
        min_face=min_face,
        focal_px=focal,
        unit=unit.value,
        texture_size=texture_size,
        posterior_samples=posterior_samples,
        seed=seed,
        photometric=photometric,
    )
    with out.progress("fit") as progress:
        result = fit_photos(
            paths, output, options, jobs=jobs, overwrite=overwrite, progress=progress
        )
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    if as_json:
        out.json(
            {
                "schema": "facekit.fit/1",
                "output": str(output),
                "faces": result.faces,
                "failures": result.failures,
            }
        )
    else:
        for face in result.faces:
            out.data(output / face["folder"])
    count = len(result.faces)
    there = count - result.made
    already = f" ({there} were there already)" if there else ""
    out.info(
        f"{count} {'face' if count == 1 else 'faces'}{already} in "
        f"{time.monotonic() - start:.1f} s -> {result.page}"
    )
    return 5 if result.failures else 0
