"""``facekit sfm``: photographs of a subject to cameras, points and a surface."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


class Poses(StrEnum):
    """How far the poses in the cameras' file hold."""

    GIVEN = "given"
    REFINE = "refine"
    ESTIMATE = "estimate"


class Mapping(StrEnum):
    """How poses are estimated."""

    GLOBAL = "global"
    INCREMENTAL = "incremental"


class Detail(StrEnum):
    """At what size depth is found."""

    FULL = "full"
    HALF = "half"


class Surface(StrEnum):
    """How points become a surface."""

    TSDF = "tsdf"
    POISSON = "poisson"


def sfm(
    subject: Annotated[
        Path, typer.Argument(help="Folder of photographs of one subject.", metavar="DIR")
    ],
    output: opt.OutputFolder,
    cameras: Annotated[
        Path | None,
        typer.Option(
            help="Measured cameras: cameras.json, or COLMAP, OpenCV or NeRF files.", metavar="FILE"
        ),
    ] = None,
    poses: Annotated[
        Poses,
        typer.Option(help="The cameras' poses hold, nearly hold, or only their lenses do."),
    ] = Poses.GIVEN,
    trust_cameras: Annotated[
        bool,
        typer.Option("--trust-cameras", help="Do not check the cameras (needs no pycolmap)."),
    ] = False,
    mapping: Annotated[
        Mapping, typer.Option(help="How poses are found where they are not given.")
    ] = Mapping.GLOBAL,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks named like the photographs.", metavar="DIR"),
    ] = None,
    surface: Annotated[
        Surface, typer.Option(help="Own signed distances, or open3d's Poisson.")
    ] = Surface.TSDF,
    voxel: Annotated[
        float,
        typer.Option(help="Edge of the surface's cells in mm; 0: 1.4 pixels' width.", min=0),
    ] = 0.0,
    neighbours: Annotated[
        int, typer.Option(help="With how many views each is matched.", min=2)
    ] = 5,
    max_side: Annotated[
        int, typer.Option(help="Scale larger photographs down to this longest side.", min=64)
    ] = 2048,
    detail: Annotated[
        Detail, typer.Option(help="half: depth at half size, in a quarter of the time.")
    ] = Detail.FULL,
    landmarks: opt.Landmarks = opt.LandmarkSource.BUILTIN,
    face: Annotated[
        bool, typer.Option("--face/--no-face", help="Look for a face and use its head frame.")
    ] = True,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Reconstruct a subject: cameras, sparse and dense points, a coloured surface, landmarks.

    Writes DIR/sparse (COLMAP text), cameras.json, dense.ply, mesh.ply, landmarks.json and
    report.json, all in one frame: the head's when a face is found. With --cameras the result is
    in millimetres. Running again does only what is missing.

    Example: facekit sfm stage/subjects/s000 --cameras cal/cameras.json -o scan
    """
    from facekit.capture.scan import ScanOptions, make_scan

    start = time.monotonic()
    options = ScanOptions(
        cameras=cameras,
        poses=poses.value,
        trust_cameras=trust_cameras,
        mapping=mapping.value,
        masks=masks,
        surface=surface.value,
        voxel=voxel,
        neighbours=neighbours,
        max_side=max_side,
        detail=detail.value,
        landmarks=landmarks.value,
        face=face,
    )
    with out.progress("sfm") as progress:
        result = make_scan(subject, output, options, overwrite=overwrite, progress=progress)
    report = result.report
    for warning in report["sparse"]["warnings"]:
        out.warn(warning)
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    if not report["face"]["found"]:
        out.info(f"no head frame: {report['face']['note']}")
    if as_json:
        out.json({**report, "output": str(output), "failures": result.failures})
    else:
        for name in result.files:
            out.data(output / name)
    out.info(
        f"{report['vertices']} vertices, {report['dense_points']} points in "
        f"{time.monotonic() - start:.1f} s -> {output / 'mesh.ply'}"
    )
    return 5 if result.failures else 0
