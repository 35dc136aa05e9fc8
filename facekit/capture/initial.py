"""A first estimate of a rig: each camera alone, then all joined through the frames they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from facekit.capture.boards import Sighting
from facekit.capture.bundle import Observations, State, residuals
from facekit.errors import ItemError
from facekit.geometry.board import Board

LEAST_VIEWS = 3
# A camera whose own calibration is off by more than this has pictures that do not fit together.
_WORST_RMS = 2.0

Sightings = Mapping[tuple[str, str], Sighting]
Pose = tuple[np.ndarray, np.ndarray]


class Alone(NamedTuple):
    """One camera calibrated by itself.

    Attributes:
        lens: (8,) fx, fy, cx, cy, k1, k2, p1, p2.
        poses: board to camera by frame.
        rms_px: reprojection error.
    """

    lens: np.ndarray
    poses: dict[str, Pose]
    rms_px: float


class Start(NamedTuple):
    """A rig to adjust: names in the order of the state's rows."""

    state: State
    cameras: list[str]
    frames: list[str]


def calibrate_alone(board: Board, views: Mapping[str, Sighting]) -> Alone:
    """Calibrate one camera from its own views (frame name to sighting).

    First with the principal point in the middle and no distortion, then with all: robust for few
    views. Source: Z. Zhang, A flexible new technique for camera calibration, 2000 (OpenCV's).

    Raises:
        ItemError: too few views, or they do not fit one camera.
    """
    if len(views) < LEAST_VIEWS:
        raise ItemError(
            f"only {len(views)} pictures with the board; at least {LEAST_VIEWS} from different "
            "directions are needed"
        )
    sizes = {view.size for view in views.values()}
    if len(sizes) > 1:
        raise ItemError(f"pictures of different sizes: {sorted(sizes)}")
    size = next(iter(sizes))
    objects, images = [], []
    for view in views.values():
        flat = np.column_stack([board.points[view.ids], np.zeros(len(view.ids))])
        objects.append(flat.astype(np.float32))
        images.append(view.pixels.astype(np.float32))
    middle = (np.array(size) - 1) / 2
    focal = 2.0 * max(size)
    K = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1.0]])
    simple = (
        cv2.CALIB_USE_INTRINSIC_GUESS
        + cv2.CALIB_FIX_PRINCIPAL_POINT
        + cv2.CALIB_FIX_ASPECT_RATIO
        + cv2.CALIB_ZERO_TANGENT_DIST
        + cv2.CALIB_FIX_K1
        + cv2.CALIB_FIX_K2
        + cv2.CALIB_FIX_K3
    )
    whole = cv2.CALIB_USE_INTRINSIC_GUESS + cv2.CALIB_FIX_K3
    try:
        _, K, distortion, _, _ = cv2.calibrateCamera(objects, images, size, K, None, flags=simple)
        rms, K, distortion, turns, shifts = cv2.calibrateCamera(
            objects, images, size, K, distortion, flags=whole
        )
    except cv2.error as error:
        raise ItemError(f"its pictures do not determine a camera ({error.err})") from error
    if not np.isfinite(K).all() or rms > _WORST_RMS:
        raise ItemError(
            f"its pictures do not fit one camera: {rms:.2f} px; a zoom or focus change, or wrong "
            "board sizes?"
        )
    lens = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2], *distortion.ravel()[:4]])
    poses = {
        frame: (cv2.Rodrigues(turn)[0], np.asarray(shift, np.float64).ravel())
        for frame, turn, shift in zip(views, turns, shifts, strict=True)
    }
    return Alone(lens, poses, float(rms))


def join(board: Board, alone: Mapping[str, Alone], sightings: Sightings) -> tuple[Start, set[str]]:
    """Place all cameras in the first one's frame by a spanning tree over shared frames.

    The next camera or frame is always the one with the most corners in common with those placed;
    of the poses that its links propose, the one with the smallest median error on all of them is
    taken, so that one bad view does not spread.

    Returns:
        The start, and the names of the cameras that share no frame with the largest group.
    """
    group = _largest_group(alone)
    cameras = [name for name in alone if name in group]
    reference = cameras[0]
    placed: dict[str, Pose] = {reference: (np.eye(3), np.zeros(3))}
    boards: dict[str, Pose] = {}
    links = [(c, f) for c in cameras for f in alone[c].poses]
    weight = {link: len(sightings[link].ids) for link in links}
    while True:
        gains: dict[tuple[str, str], int] = {}
        for camera, frame in links:
            if camera in placed and frame not in boards:
                gains["frame", frame] = gains.get(("frame", frame), 0) + weight[camera, frame]
            elif frame in boards and camera not in placed:
                gains["camera", camera] = gains.get(("camera", camera), 0) + weight[camera, frame]
        if not gains:
            break
        kind, name = max(gains, key=lambda key: gains[key])
        if kind == "frame":
            near = [c for c, f in links if f == name and c in placed]
            boards[name] = _choose(
                [_frame_pose(placed[c], alone[c].poses[name]) for c in near],
                lambda pose, near=near, name=name: _median_error(
                    board,
                    [(alone[c], placed[c], pose, sightings[c, name]) for c in near],
                ),
            )
        else:
            shared = [f for c, f in links if c == name and f in boards]
            placed[name] = _choose(
                [_camera_pose(boards[f], alone[name].poses[f]) for f in shared],
                lambda pose, shared=shared, name=name: _median_error(
                    board, [(alone[name], pose, boards[f], sightings[name, f]) for f in shared]
                ),
            )
    frames = sorted(boards)
    state = State(
        lens=np.array([alone[c].lens for c in cameras]),
        camera_rotation=np.array([placed[c][0] for c in cameras]),
        camera_translation=np.array([placed[c][1] for c in cameras]),
        frame_rotation=np.array([boards[f][0] for f in frames]),
        frame_translation=np.array([boards[f][1] for f in frames]),
    )
    return Start(state, cameras, frames), set(alone) - group


def observations(
    board: Board, cameras: list[str], frames: list[str], sightings: Sightings
) -> Observations:
    """Return what the cameras measured in the frames, picture by picture."""
    parts = []
    for row, camera in enumerate(cameras):
        for column, frame in enumerate(frames):
            view = sightings.get((camera, frame))
            if view is None or not view.found:
                continue
            count = len(view.ids)
            parts.append(
                Observations(
                    np.full(count, row),
                    np.full(count, column),
                    board.points[view.ids],
                    view.pixels,
                    view.deviation_px,
                )
            )
    if not parts:
        raise ItemError("no camera sees the board")
    return Observations(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def place_board(lens: np.ndarray, points: np.ndarray, pixels: np.ndarray) -> Pose:
    """Return the pose (rotation, translation) that takes points to a camera of known lens.

    Args:
        lens: (8,) as of ``State``.
        points: (N, 2) on a plane z = 0 or (N, 3).
        pixels: (N, 2).

    Raises:
        ItemError: the points do not determine a pose.
    """
    solid = points if points.shape[1] == 3 else np.column_stack([points, np.zeros(len(points))])
    K = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])
    method = cv2.SOLVEPNP_IPPE if points.shape[1] == 2 else cv2.SOLVEPNP_SQPNP
    found, turn, shift = cv2.solvePnP(solid, pixels, K, lens[4:], flags=method)
    if not found:
        raise ItemError("the points seen do not determine a pose")
    turn, shift = cv2.solvePnPRefineLM(solid, pixels, K, lens[4:], turn, shift)
    return cv2.Rodrigues(turn)[0], np.asarray(shift, np.float64).ravel()


def _largest_group(alone: Mapping[str, Alone]) -> set[str]:
    left = list(alone)
    best: set[str] = set()
    while left:
        group, frames = {left[0]}, set(alone[left[0]].poses)
        grown = True
        while grown:
            grown = False
            for name in left:
                if name not in group and frames & set(alone[name].poses):
                    group.add(name)
                    frames |= set(alone[name].poses)
                    grown = True
        left = [name for name in left if name not in group]
        if len(group) > len(best):
            best = group
    return best


def _frame_pose(camera: Pose, board_to_camera: Pose) -> Pose:
    rotation, translation = camera
    return rotation.T @ board_to_camera[0], rotation.T @ (board_to_camera[1] - translation)


def _camera_pose(board_to_world: Pose, board_to_camera: Pose) -> Pose:
    rotation = board_to_camera[0] @ board_to_world[0].T
    return rotation, board_to_camera[1] - rotation @ board_to_world[1]


def _choose(candidates: list[Pose], error) -> Pose:  # type: ignore[no-untyped-def]
    # A few of many say enough.
    tried = candidates[:8]
    if len(tried) == 1:
        return tried[0]
    return min(tried, key=error)


def _median_error(board: Board, views: list[tuple[Alone, Pose, Pose, Sighting]]) -> float:
    errors = []
    for alone, camera, frame, view in views:
        state = State(
            alone.lens[None],
            camera[0][None],
            camera[1][None],
            frame[0][None],
            frame[1][None],
        )
        zero = np.zeros(len(view.ids), int)
        seen = Observations(zero, zero, board.points[view.ids], view.pixels, view.deviation_px)
        errors.append(float(np.linalg.norm(residuals(state, seen), axis=1).mean()))
    return float(np.median(errors))
