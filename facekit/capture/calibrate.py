"""``calibrate``: board pictures of many cameras to a rig file with its report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.capture.board_images import Looked, Picture, list_pictures, look
from facekit.capture.bundle import Adjusted, Observations, adjust
from facekit.capture.initial import Alone, Sightings, Start, calibrate_alone, join, observations
from facekit.errors import ItemError
from facekit.geometry.board import Board, board_from_document
from facekit.io.atomic import read_json
from facekit.runs import file_sha256
from facekit.types import Camera, Rig

# A picture this much worse than the typical one, and by this many pixels, is set aside.
_BAD_RATIO = 3.0
_BAD_PX = 0.25


@dataclass(frozen=True, eq=False)
class Calibration:
    """A calibrated rig and what it rests on.

    Attributes:
        rig: cameras in the frame of the first one, with rms and covariance.
        board: the board.
        frames: names; board_rotation (F, 3, 3), board_translation (F, 3): board to world.
        cameras: names in the order of the observations' indices.
        seen: corners of all pictures that were used; residuals (N, 2) pixels; inlier (N,).
        rms_px: over all inliers; median_px: median error.
        failures: pictures and cameras set aside, with the reason.
        counts: pictures by camera.
        alone: each camera's own calibration.
    """

    rig: Rig
    board: Board
    frames: list[str]
    board_rotation: np.ndarray
    board_translation: np.ndarray
    cameras: list[str]
    seen: Observations
    residuals: np.ndarray
    inlier: np.ndarray
    rms_px: float
    median_px: float
    failures: list[dict[str, str]]
    counts: dict[str, int]
    alone: dict[str, Alone]


class PictureError(NamedTuple):
    """One picture's corners and reprojection error in pixels."""

    camera: str
    frame: str
    corners: int
    rms_px: float
    largest_px: float
    outliers: int


def find_board(folder: Path, board: Board | None) -> Board:
    """Return the board: the one given, else that of ``board.json`` in the folder, else ChArUco's.

    Raises:
        InputError: a damaged ``board.json``.
    """
    if board is not None:
        return board
    path = folder / "board.json"
    return board_from_document(read_json(path)) if path.is_file() else Board()


def inputs_digest(pictures: list[Picture]) -> str:
    """Return one sha256 over the names and contents of the pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.name} {file_sha256(picture.path)}\n".encode())
    return digest.hexdigest()


def calibrate(
    folder: Path,
    board: Board,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration | list[dict[str, str]]:
    """Calibrate the cameras of ``FOLDER/<camera>/<frame>.<suffix>``.

    Pictures of one moment have the same name in every camera's folder. What cannot be used is
    named in ``failures`` and left out; the rest is calibrated. Without any camera that can be
    calibrated the failures alone are returned.

    Raises:
        InputError: no such folder, or no pictures of cameras in it.
    """
    pictures, empty = list_pictures(folder)
    looked = look(board, pictures, progress=progress)
    failures = list(looked.failures)
    failures += [{"input": camera, "error": "its folder has no pictures"} for camera in empty]
    alone = _each_alone(board, looked, failures)
    if not alone:
        return failures
    return _together(board, looked, alone, failures)


def _each_alone(board: Board, looked: Looked, failures: list[dict[str, str]]) -> dict[str, Alone]:
    alone = {}
    named = {failure["input"] for failure in failures}
    for camera in looked.counts:
        views = {f: s for (c, f), s in looked.sightings.items() if c == camera}
        if not views:
            if camera not in named:
                message = f"the board was found in none of its {looked.counts[camera]} pictures"
                failures.append({"input": camera, "error": message})
            continue
        try:
            alone[camera] = calibrate_alone(board, views)
        except ItemError as error:
            failures.append({"input": camera, "error": str(error)})
    return alone


def _together(
    board: Board, looked: Looked, alone: dict[str, Alone], failures: list[dict[str, str]]
) -> Calibration:
    sightings: Sightings = looked.sightings
    start, apart = join(board, alone, sightings)
    for camera in sorted(apart):
        message = f"shares no frame of the board with {start.cameras[0]} and the others"
        failures.append({"input": camera, "error": message})
    seen = observations(board, start.cameras, start.frames, sightings)
    adjusted = adjust(start.state, seen)
    bad = _bad_pictures(seen, adjusted, start)
    if bad.any():
        for camera, frame in sorted(set(zip(seen.camera[bad], seen.frame[bad], strict=True))):
            rows = (seen.camera == camera) & (seen.frame == frame)
            rms = _rms(adjusted.residuals[rows])
            failures.append(
                {
                    "input": f"{start.cameras[camera]}/{start.frames[frame]}",
                    "error": f"does not fit the others: {rms:.2f} px; blurred, or taken while the "
                    "board or the camera moved",
                }
            )
        start, seen = _without(start, seen, bad)
        adjusted = adjust(start.state, seen)
    return _result(board, looked, alone, failures, start, seen, adjusted)


def _bad_pictures(seen: Observations, adjusted: Adjusted, start: Start) -> np.ndarray:
    """Return (N,) the observations of pictures whose typical error is far above the others'."""
    key = seen.camera * len(start.frames) + seen.frame
    errors = np.linalg.norm(adjusted.residuals, axis=1)
    keys = np.unique(key)
    typical = np.array([np.median(errors[key == k]) for k in keys])
    limit = max(_BAD_RATIO * float(np.median(typical)), _BAD_PX)
    bad = keys[typical > limit]
    # Half the pictures cannot be the odd ones; then the rig as a whole does not fit.
    if len(bad) > 0.3 * len(keys):
        return np.zeros(len(key), bool)
    # No camera is given up for it.
    if len(np.unique(seen.camera[~np.isin(key, bad)])) < len(start.cameras):
        return np.zeros(len(key), bool)
    return np.isin(key, bad)


def _without(start: Start, seen: Observations, bad: np.ndarray) -> tuple[Start, Observations]:
    """Leave observations out, and with them the frames that have no others."""
    seen = seen.where(~bad)
    left = np.unique(seen.frame)
    state = start.state._replace(
        frame_rotation=start.state.frame_rotation[left],
        frame_translation=start.state.frame_translation[left],
    )
    frames = [start.frames[frame] for frame in left]
    seen = seen._replace(frame=np.searchsorted(left, seen.frame))
    return Start(state, start.cameras, frames), seen


def _result(
    board: Board,
    looked: Looked,
    alone: dict[str, Alone],
    failures: list[dict[str, str]],
    start: Start,
    seen: Observations,
    adjusted: Adjusted,
) -> Calibration:
    state, inlier = adjusted.state, adjusted.inlier
    cameras, rms, covariance = {}, {}, {}
    for row, name in enumerate(start.cameras):
        fx, fy, cx, cy, *distortion = state.lens[row]
        width, height = looked.sizes[name]
        cameras[name] = Camera(
            np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]),
            state.camera_rotation[row],
            state.camera_translation[row],
            width,
            height,
            np.array([*distortion, 0.0]),
        )
        mine = (seen.camera == row) & inlier
        rms[name] = _rms(adjusted.residuals[mine])
        covariance[name] = adjusted.covariance[row]
    errors = np.linalg.norm(adjusted.residuals, axis=1)
    return Calibration(
        rig=Rig(cameras, f"camera {start.cameras[0]}", rms, covariance),
        board=board,
        frames=start.frames,
        board_rotation=state.frame_rotation,
        board_translation=state.frame_translation,
        cameras=start.cameras,
        seen=seen,
        residuals=adjusted.residuals,
        inlier=inlier,
        rms_px=_rms(adjusted.residuals),
        median_px=float(np.median(errors)),
        failures=failures,
        counts=looked.counts,
        alone=alone,
    )


def picture_errors(result: Calibration) -> list[PictureError]:
    """Return the error of every picture that was used, camera by camera."""
    rows = []
    seen = result.seen
    for camera, name in enumerate(result.cameras):
        for frame, frame_name in enumerate(result.frames):
            mine = (seen.camera == camera) & (seen.frame == frame)
            if not mine.any():
                continue
            errors = np.linalg.norm(result.residuals[mine], axis=1)
            rows.append(
                PictureError(
                    name,
                    frame_name,
                    int(mine.sum()),
                    _rms(result.residuals[mine]),
                    float(errors.max()),
                    int((~result.inlier[mine]).sum()),
                )
            )
    return rows


def boards_document(result: Calibration) -> dict[str, Any]:
    """Return the board and its poses as the JSON values of ``boards.json``."""
    return {
        "unit": "mm",
        "frame": result.rig.frame,
        "board": result.board.document(),
        "board_to_world": {
            name: {
                "R": result.board_rotation[row].tolist(),
                "t": result.board_translation[row].tolist(),
            }
            for row, name in enumerate(result.frames)
        },
    }


def _rms(residuals: np.ndarray) -> float:
    if not len(residuals):
        return float("nan")
    return float(np.sqrt((residuals**2).sum(axis=1).mean()))
