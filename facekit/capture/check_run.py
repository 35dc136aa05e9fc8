"""``calibrate --check``: a later capture of the board, or of a subject, against a rig."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facekit.capture.board_check import LIMIT_PX, CameraCheck, check_boards
from facekit.capture.board_images import list_pictures, look
from facekit.capture.calibrate import find_board
from facekit.capture.feature_check import check_features
from facekit.errors import InputError
from facekit.geometry.board import Board
from facekit.io.atomic import write_json
from facekit.io.images import SUFFIXES
from facekit.io.rig import read_rig

SCHEMA = "facekit.check/1"


def check_capture(
    rig_path: Path,
    capture: Path,
    *,
    board: Board | None = None,
    limit_px: float = LIMIT_PX,
    output: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compare a later capture with a rig and say which cameras have moved.

    Args:
        rig_path: the rig, in any format that ``read_rig`` knows.
        capture: a folder of board pictures as ``calibrate`` takes them, or of one picture for
            each camera, ``CAPTURE/<camera>.png``, of anything with texture.
        board: the board; see ``calibrate_folder``.
        limit_px: a camera off by more than this has moved.
        output: folder that gets ``check.json``; None writes nothing.
        progress: called with pictures done and their number.

    Returns:
        A JSON document: every camera with its error, whether it moved, and by how much.

    Raises:
        InputError: no rig, or no pictures of its cameras.
        ItemError: the capture does not tell (no board seen by two cameras, no matches).
    """
    rig = read_rig(rig_path)
    if not capture.is_dir():
        raise InputError(f"{capture}: there is no such folder")
    files = {
        path.stem: path for path in sorted(capture.iterdir()) if path.suffix.lower() in SUFFIXES
    }
    views = {name: files[name] for name in rig.cameras if name in files}
    failures: list[dict[str, str]] = []
    if len(views) >= 2:
        kind = "features"
        checks = check_features(rig, views, limit_px=limit_px, progress=progress)
    else:
        kind = "boards"
        folder = capture / "boards" if (capture / "boards").is_dir() else capture
        pictures, _ = list_pictures(folder)
        known = [picture for picture in pictures if picture.camera in rig.cameras]
        if not known:
            cameras = ", ".join(sorted({picture.camera for picture in pictures}))
            raise InputError(f"{folder}: its cameras ({cameras}) are not those of {rig_path}")
        looked = look(find_board(folder, board), known, progress=progress)
        failures = looked.failures
        checks = check_boards(rig, find_board(folder, board), looked, limit_px=limit_px)
    document = {
        "schema": SCHEMA,
        "kind": kind,
        "limit_px": limit_px,
        "cameras": [_values(check) for check in checks],
        "failures": failures,
    }
    if output is not None:
        write_json(output / "check.json", document)
    return document


def _values(check: CameraCheck) -> dict[str, Any]:
    values = check._asdict()
    for key in ("error_px", "shift_mm", "turn_deg"):
        value = values[key]
        values[key] = None if value is None or math.isnan(value) else round(value, 4)
    return values
