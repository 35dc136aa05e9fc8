"""``calibrate``'s output folder: the rig, the boards' places, errors, report and failures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.capture.board_images import list_pictures
from facekit.capture.board_report import coverage, write_report
from facekit.capture.calibrate import (
    Calibration,
    boards_document,
    calibrate,
    find_board,
    inputs_digest,
    picture_errors,
)
from facekit.errors import UsageError
from facekit.geometry.board import Board
from facekit.io.atomic import read_json, write_json, write_text
from facekit.io.colmap import write_colmap
from facekit.io.opencv_rig import write_opencv_rig
from facekit.io.rig import write_rig
from facekit.io.transforms import write_transforms
from facekit.runs import RunFolder
from facekit.types import Rig

SCHEMA = "facekit.calibrate/1"
EXPORTS = ("colmap", "opencv", "nerf")


def calibrate_folder(
    folder: Path,
    output: Path,
    *,
    board: Board | None = None,
    exports: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Calibrate ``FOLDER/<camera>/<frame>.png`` into an output folder; see ``calibrate``.

    Writes ``cameras.json``, ``boards.json`` (the board's places), ``pictures.csv`` (each picture's
    error), ``report.html``, ``failures.json`` and ``manifest.json``, and the rig in other formats
    as asked. The same pictures and options again change nothing.

    Args:
        folder: of the board pictures, or a stage with them in ``boards``.
        output: folder.
        board: what was shown; None reads ``board.json`` beside the cameras' folders, else takes
            the standard ChArUco board.
        exports: of ``colmap``, ``opencv``, ``nerf``.
        overwrite: replace a folder made from other pictures or options.
        progress: called with pictures looked at and their number.

    Returns:
        A JSON document: cameras with their errors, totals, failures.

    Raises:
        InputError: nothing to start with; OutputExistsError: see ``RunFolder``.
    """
    inner = folder / "boards"
    pictures_folder = inner if inner.is_dir() else folder
    pictures, _ = list_pictures(pictures_folder)
    shown = find_board(pictures_folder, board)
    check_exports(exports)
    run = RunFolder(
        output,
        command="calibrate",
        options={"board": shown.document(), "exports": list(exports)},
        assets={"pictures": inputs_digest(pictures)},
        overwrite=overwrite,
    )
    token = "calibration"
    if run.is_done(token, token):
        return dict(read_json(output / "calibration.json"))
    result = calibrate(pictures_folder, shown, progress=progress)
    failures = result.failures if isinstance(result, Calibration) else result
    write_json(output / "failures.json", failures)
    document: dict[str, Any] = {"schema": SCHEMA, "cameras": [], "failures": failures}
    outputs = ["failures.json", "calibration.json"]
    if isinstance(result, Calibration):
        document |= _document(result)
        write_rig(output / "cameras.json", result.rig)
        write_json(output / "boards.json", boards_document(result))
        write_report(output / "report.html", result)
        _write_pictures(output / "pictures.csv", result)
        outputs += ["cameras.json", "boards.json", "report.html", "pictures.csv"]
        outputs += export_rig(output, result.rig, exports)
    write_json(output / "calibration.json", document)
    run.record(token, {"sha256": token, "outputs": outputs})
    run.close()
    return document


def check_exports(exports: Sequence[str]) -> None:
    """Refuse formats that do not exist.

    Raises:
        UsageError: naming those that do.
    """
    for name in exports:
        if name not in EXPORTS:
            raise UsageError(f"--export: expected some of {', '.join(EXPORTS)}, got {name!r}")


def export_rig(output: Path, rig: Rig, exports: Sequence[str]) -> list[str]:
    """Write a rig in other formats; return the files' names relative to the folder.

    ``colmap``: a text model in ``sparse``; ``opencv``: ``cameras.yml``; ``nerf``:
    ``transforms.json`` in metres.
    """
    names = []
    if "colmap" in exports:
        write_colmap(output / "sparse", rig)
        names += ["sparse/cameras.txt", "sparse/images.txt", "sparse/points3D.txt"]
    if "opencv" in exports:
        names.append(write_opencv_rig(output / "cameras.yml", rig).name)
    if "nerf" in exports:
        names.append(write_transforms(output / "transforms.json", rig).name)
    return names


def _document(result: Calibration) -> dict[str, Any]:
    pictures = picture_errors(result)
    cameras = []
    for row, name in enumerate(result.cameras):
        covariance = result.rig.covariance[name]
        cameras.append(
            {
                "name": name,
                "pictures": sum(p.camera == name for p in pictures),
                "corners": int((result.seen.camera == row).sum()),
                "rms_px": result.rig.rms_px[name],
                "coverage": coverage(result, row),
                "focal_px": float(result.rig.cameras[name].intrinsics[0, 0]),
                "focal_std_px": float(np.sqrt(covariance[0, 0])),
                "position_std_mm": float(np.sqrt(np.trace(covariance[11:, 11:]))),
            }
        )
    return {
        "cameras": cameras,
        "frames": len(result.frames),
        "pictures": len(pictures),
        "corners": len(result.seen.camera),
        "outliers": int((~result.inlier).sum()),
        "rms_px": result.rms_px,
        "median_px": result.median_px,
        "frame": result.rig.frame,
        "board": result.board.document(),
    }


def _write_pictures(path: Path, result: Calibration) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["camera", "frame", "corners", "rms_px", "largest_px", "outliers"])
    for row in picture_errors(result):
        writer.writerow(
            [
                row.camera,
                row.frame,
                row.corners,
                f"{row.rms_px:.4f}",
                f"{row.largest_px:.4f}",
                row.outliers,
            ]
        )
    write_text(path, buffer.getvalue())
