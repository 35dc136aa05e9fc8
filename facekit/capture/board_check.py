"""Which cameras of a calibrated rig have moved since: seen from a later capture of the board."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.capture.board_images import Looked
from facekit.capture.bundle import Observations, State, adjust, residuals
from facekit.capture.initial import observations, place_board
from facekit.errors import ItemError
from facekit.geometry.board import Board
from facekit.types import Rig

LIMIT_PX = 0.5


class CameraCheck(NamedTuple):
    """One camera against the others.

    Attributes:
        name: the camera's.
        pictures: how many were compared; 0 when it shares no frame with another camera.
        error_px: median reprojection error against boards placed by the other cameras.
        moved: that is over the limit.
        shift_mm, turn_deg: how far the camera has moved, 0 when it has not.
    """

    name: str
    pictures: int
    error_px: float
    moved: bool
    shift_mm: float = 0.0
    turn_deg: float = 0.0


def check_boards(
    rig: Rig, board: Board, looked: Looked, *, limit_px: float = LIMIT_PX
) -> list[CameraCheck]:
    """Compare a later capture of the board with the rig.

    Boards are placed by all cameras; while the worst camera is off by more than the limit it is
    left out and the boards are placed anew. A camera that was left out is then compared with boards
    that it had no part in, and its present pose is estimated with its lens held.

    Args:
        rig: as calibrated.
        board: as shown now.
        looked: what was found in the capture's pictures; names of cameras are the rig's.
        limit_px: more than this is moved.

    Raises:
        ItemError: no frame of the board is seen by two cameras of the rig.
    """
    names = [name for name in rig.cameras if any(c == name for c, _ in looked.sightings)]
    together: dict[str, list[str]] = {}
    for camera, frame in looked.sightings:
        if camera in rig.cameras:
            together.setdefault(frame, []).append(camera)
    frames = sorted(frame for frame, cameras in together.items() if len(cameras) > 1)
    if not frames:
        raise ItemError("check: no frame of the board is seen by two cameras of the rig")
    seen = observations(board, names, frames, looked.sightings)
    lenses, rotations, translations = _rows(rig, names)
    trusted = set(range(len(names)))
    while True:
        mask = np.isin(seen.camera, list(trusted))
        state, placed = _place(seen.where(mask), lenses, rotations, translations, len(frames))
        errors = _errors(state, seen, placed, len(names))
        worst = max(trusted, key=lambda row: errors[row] if np.isfinite(errors[row]) else -1)
        if not errors[worst] > limit_px or len(trusted) <= 2:
            break
        trusted.discard(worst)
    checks = []
    for row, name in enumerate(names):
        mine = (seen.camera == row) & np.isin(seen.frame, placed)
        pictures = len(np.unique(seen.frame[mine]))
        error = float(errors[row])
        moved = bool(error > limit_px)
        shift = turn = 0.0
        if moved:
            shift, turn = _movement(state, seen.where(mine), row)
        checks.append(CameraCheck(name, pictures, error, moved, shift, turn))
    for name in rig.cameras:
        if name not in names:
            checks.append(CameraCheck(name, 0, float("nan"), False))
    return checks


def _rows(rig: Rig, names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lenses = []
    for name in names:
        camera = rig.cameras[name]
        K = camera.intrinsics
        if camera.distortion[4] != 0 or K[0, 1] != 0:
            raise ItemError(f"check: camera {name} has terms (k3, skew) beyond OpenCV's first four")
        lenses.append([K[0, 0], K[1, 1], K[0, 2], K[1, 2], *camera.distortion[:4]])
    rotations = np.array([rig.cameras[name].rotation for name in names])
    return np.array(lenses), rotations, np.array([rig.cameras[n].translation for n in names])


def _place(
    seen: Observations,
    lenses: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
    frames: int,
) -> tuple[State, np.ndarray]:
    """Place every frame's board with the rig held; return the state and the frames placed."""
    turns, shifts = np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3))
    placed = np.unique(seen.frame)
    for frame in placed:
        mine = seen.where(seen.frame == frame)
        camera = np.bincount(mine.camera).argmax()
        own = mine.where(mine.camera == camera)
        rotation, translation = place_board(lenses[camera], own.board, own.pixels)
        turns[frame] = rotations[camera].T @ rotation
        shifts[frame] = rotations[camera].T @ (translation - translations[camera])
    state = State(lenses, rotations, translations, turns[placed], shifts[placed])
    numbers = np.searchsorted(placed, seen.frame)
    everyone = range(len(lenses))
    # Outliers stay in, with Huber's weights: where few cameras see a frame, the moved one's corners
    # and the others' cannot be told apart here.
    found = adjust(
        state, seen._replace(frame=numbers), held_poses=everyone, held_lens=True, rounds=1
    )
    turns[placed], shifts[placed] = found.state.frame_rotation, found.state.frame_translation
    return State(lenses, rotations, translations, turns, shifts), placed


def _errors(state: State, seen: Observations, placed: np.ndarray, cameras: int) -> np.ndarray:
    sizes = np.linalg.norm(residuals(state, seen), axis=1)
    known = np.isin(seen.frame, placed)
    return np.array(
        [
            np.median(sizes[mine]) if (mine := known & (seen.camera == row)).any() else np.nan
            for row in range(cameras)
        ]
    )


def _movement(state: State, seen: Observations, row: int) -> tuple[float, float]:
    """Return how far (mm) and by what angle (degrees) a camera has moved."""
    rotation, translation = state.camera_rotation[row], state.camera_translation[row]
    # In the camera's frame the boards are what is held: swap the roles of camera and world.
    points = np.einsum("nij,nj->ni", state.frame_rotation[seen.frame][:, :, :2], seen.board)
    points += state.frame_translation[seen.frame]
    new_rotation, new_translation = place_board(state.lens[row], points, seen.pixels)
    shift = float(np.linalg.norm(new_rotation.T @ new_translation - rotation.T @ translation))
    cosine = (np.trace(new_rotation @ rotation.T) - 1) / 2
    return shift, float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
