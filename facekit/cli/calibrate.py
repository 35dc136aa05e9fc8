"""``facekit calibrate``: board pictures to cameras; check and convert rigs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.output import out
from facekit.cli.simulate_stage import BoardKind
from facekit.errors import UsageError

if TYPE_CHECKING:
    from facekit.geometry.board import Board


def calibrate(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Board pictures as DIR/CAMERA/FRAME.png, or a rig to check or convert.",
            metavar="DIR",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write.", metavar="DIR")
    ] = None,
    board: Annotated[
        BoardKind | None,
        typer.Option(help="Kind of board; without it board.json beside the pictures, or charuco."),
    ] = None,
    board_file: Annotated[
        Path | None, typer.Option(help="The board as a .json file.", metavar="FILE")
    ] = None,
    columns: Annotated[int | None, typer.Option(help="Squares (or tags) in a row.")] = None,
    rows: Annotated[int | None, typer.Option(help="Squares (or tags) in a column.")] = None,
    square: Annotated[
        float | None, typer.Option(help="Side of a square, or from tag to tag, mm.")
    ] = None,
    marker: Annotated[float | None, typer.Option(help="Side of a marker, mm.")] = None,
    dictionary: Annotated[
        str | None, typer.Option(help="OpenCV's name of the markers, e.g. DICT_4X4_250.")
    ] = None,
    export: Annotated[
        str, typer.Option(help="Also write the rig as: colmap, opencv, nerf (with commas).")
    ] = "",
    check: Annotated[
        Path | None,
        typer.Option(
            help="Look in this later capture (boards, or pictures of a subject) for cameras of "
            "the rig DIR that have moved.",
            metavar="CAPTURE",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Also compare with this rig, e.g. a simulated stage's truth."),
    ] = None,
    limit: Annotated[
        float, typer.Option(help="A camera off by more than this has moved, pixels.", min=0.01)
    ] = 0.5,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Calibrate cameras from pictures of a board: lenses, and places in millimetres.

    Pictures of one moment have the same name in each camera's folder. Writes cameras.json,
    boards.json, pictures.csv, report.html, failures.json and manifest.json.

    With --check, DIR is the calibrated rig (a folder with cameras.json, or a file). With --export
    and a rig for DIR, the rig is converted.

    Example: facekit calibrate stage/boards -o calibration
    """
    exports = tuple(part.strip() for part in export.split(",") if part.strip())
    shown = _board(board, board_file, columns, rows, square, marker, dictionary)
    if check is not None:
        return _check(folder, check, shown, output, limit, as_json)
    if output is None:
        raise UsageError("calibrate: -o DIR says where to write")
    if folder.is_file() or (folder / "cameras.json").is_file():
        return _convert(folder, output, exports)
    from facekit.capture.calibrate_run import calibrate_folder

    start = time.monotonic()
    with out.progress("calibrate") as progress:
        document = calibrate_folder(
            folder, output, board=shown, exports=exports, overwrite=overwrite, progress=progress
        )
    failures = document["failures"]
    for failure in failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    cameras = document["cameras"]
    if truth is not None and cameras:
        document["truth"] = _compare(output / "cameras.json", truth)
    if as_json:
        out.json(document)
    elif cameras:
        names = ["name", "pictures", "corners", "rms_px", "coverage", "focal_px", "focal_std_px"]
        out.table(names, [[camera[name] for name in names] for camera in cameras])
    spent = f"{time.monotonic() - start:.1f} s"
    if cameras:
        out.info(
            f"{len(cameras)} cameras from {document['pictures']} pictures, "
            f"{document['rms_px']:.3f} px rms, in {spent} -> {output / 'cameras.json'}"
        )
    else:
        out.info(f"no camera calibrated in {spent} -> {output / 'failures.json'}")
    return 5 if failures else 0


def _board(
    kind: BoardKind | None,
    file: Path | None,
    columns: int | None,
    rows: int | None,
    square: float | None,
    marker: float | None,
    dictionary: str | None,
) -> Board | None:
    given: dict[str, Any] = {
        "columns": columns,
        "rows": rows,
        "square_mm": square,
        "marker_mm": marker,
        "dictionary": dictionary,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if kind is None and file is None and not given:
        return None
    from dataclasses import replace

    from facekit.geometry.board import board_from_document, standard_board
    from facekit.io.atomic import read_json

    if file is not None:
        if kind is not None or given:
            raise UsageError("calibrate: --board-file excludes --board and its sizes")
        return board_from_document(read_json(file))
    return replace(standard_board(kind.value if kind else "charuco"), **given)


def _check(
    folder: Path,
    capture: Path,
    board: Board | None,
    output: Path | None,
    limit: float,
    as_json: bool,
) -> int:
    from facekit.capture.check_run import check_capture

    start = time.monotonic()
    with out.progress("check") as progress:
        document = check_capture(
            folder, capture, board=board, limit_px=limit, output=output, progress=progress
        )
    if as_json:
        out.json(document)
    else:
        names = ["name", "pictures", "error_px", "moved", "shift_mm", "turn_deg"]
        out.table(names, [[_shown(row[name]) for name in names] for row in document["cameras"]])
    moved = [row["name"] for row in document["cameras"] if row["moved"]]
    for failure in document["failures"]:
        out.warn(f"{failure['input']}: {failure['error']}")
    said = f"{', '.join(moved)} moved" if moved else "no camera has moved"
    where = f" -> {output / 'check.json'}" if output is not None else ""
    out.info(
        f"{said} ({len(document['cameras'])} cameras, {document['kind']}) in "
        f"{time.monotonic() - start:.1f} s{where}"
    )
    return 5 if moved or document["failures"] else 0


def _convert(folder: Path, output: Path, exports: tuple[str, ...]) -> int:
    from facekit.capture.calibrate_run import check_exports, export_rig
    from facekit.io.rig import read_rig, write_rig

    check_exports(exports)
    rig = read_rig(folder)
    names = export_rig(output, rig, exports)
    if not names:
        names = [write_rig(output / "cameras.json", rig).name]
    for name in names:
        out.data(output / name)
    out.info(f"{len(rig.cameras)} cameras -> {output}")
    return 0


def _compare(rig: Path, truth: Path) -> dict[str, Any]:
    from facekit.capture.rig_compare import compare_rigs
    from facekit.io.rig import read_rig

    found = compare_rigs(read_rig(rig), read_rig(truth))
    out.info(
        f"against {truth}: positions {found.position_mm.mean():.4f} mm mean, "
        f"{found.position_mm.max():.4f} largest; {found.pixel.mean():.4f} px, volume "
        f"{found.volume_mm:.4f} mm, scale {found.scale:+.1e}"
    )
    return {
        "cameras": found.names,
        "position_mm": found.position_mm.tolist(),
        "rotation_deg": found.rotation_deg.tolist(),
        "pixel": found.pixel.tolist(),
        "volume_mm": found.volume_mm,
        "scale": found.scale,
    }


def _shown(value: object) -> object:
    return "-" if value is None else value
