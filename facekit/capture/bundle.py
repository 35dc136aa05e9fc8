"""Bundle adjustment of cameras that see a board: all lenses, poses and board poses at once.

Minimises the robust, weighted reprojection error of every measured corner over each camera's
fx, fy, cx, cy, k1, k2, p1, p2 and pose and each frame's board pose, by Levenberg-Marquardt with
analytic derivatives. One camera's pose is held (the gauge); the board's known size sets the scale.

The normal equations are summed picture by picture (a 20 x 20 block each) into one dense matrix:
30 cameras and 24 frames have 558 unknowns, which a Cholesky factorisation solves in milliseconds.

Source: B. Triggs et al., Bundle adjustment, a modern synthesis, 2000; OpenCV's camera model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

from facekit.errors import ItemError
from facekit.geometry.rotations import rotvec_to_matrix

LENS = 8
POSE = 6
CAMERA = LENS + POSE
# Beyond this many robust deviations an error counts linearly, and farther out not at all.
_HUBER = 2.5
OUTLIER = 6.0
_LEAST = 8


class Observations(NamedTuple):
    """Measured corners of all pictures.

    Attributes:
        camera, frame: (N,) int indices, sorted so that a picture's corners are together.
        board: (N, 2) mm on the board; pixels: (N, 2); deviation: (N,) of the measurement, pixels.
    """

    camera: np.ndarray
    frame: np.ndarray
    board: np.ndarray
    pixels: np.ndarray
    deviation: np.ndarray

    def where(self, keep: np.ndarray) -> Observations:
        """Return the observations of a mask or of rows."""
        return Observations(*(values[keep] for values in self))


class State(NamedTuple):
    """Everything that is estimated.

    Attributes:
        lens: (C, 8) fx, fy, cx, cy, k1, k2, p1, p2.
        camera_rotation: (C, 3, 3), camera_translation: (C, 3): world to camera, mm.
        frame_rotation: (F, 3, 3), frame_translation: (F, 3): board to world, mm.
    """

    lens: np.ndarray
    camera_rotation: np.ndarray
    camera_translation: np.ndarray
    frame_rotation: np.ndarray
    frame_translation: np.ndarray


class Adjusted(NamedTuple):
    """The adjusted state.

    Attributes:
        state: the estimate.
        residuals: (N, 2) pixels, measured minus predicted, of every observation given.
        inlier: (N,) bool.
        covariance: (C, 14, 14) of each camera (lens, rotation vector on the left, translation),
            zero where a parameter was held.
        scale: robust deviation of the errors over the measurements' own.
        steps: how many steps were taken.
    """

    state: State
    residuals: np.ndarray
    inlier: np.ndarray
    covariance: np.ndarray
    scale: float
    steps: int


def adjust(
    state: State,
    seen: Observations,
    *,
    held_poses: Sequence[int] = (0,),
    held_lens: bool = False,
    rounds: int = 3,
    max_steps: int = 30,
    progress: Callable[[int, float], None] | None = None,
) -> Adjusted:
    """Adjust cameras and boards to what was measured.

    Each round estimates the errors' scale robustly (median), sets aside outliers beyond six of
    it, and minimises the Huber loss of the rest.

    Args:
        state: the start; errors of some pixels are fine.
        seen: the measurements.
        held_poses: cameras whose pose stays; at least one.
        held_lens: keep every lens.
        rounds: how often outliers are judged anew.
        max_steps: in each round.
        progress: called with steps taken and the scale.

    Raises:
        ItemError: the equations are singular: some camera or frame is not determined.
    """
    free = _free(len(state.lens), len(state.frame_rotation), held_poses, held_lens)
    inlier = np.ones(len(seen.camera), bool)
    steps = 0
    scale = 1.0
    hessian = np.zeros((0, 0))
    for number in range(rounds):
        errors = np.linalg.norm(residuals(state, seen), axis=1) / seen.deviation
        # The median of a Rayleigh distribution is 1.177 deviations.
        scale = max(float(np.median(errors)) / 1.177, 1e-9)
        if number:
            inlier = _keep_determined(errors < OUTLIER * scale, seen)
        kept = seen.where(inlier)
        state, hessian, taken = _minimise(state, kept, free, scale, max_steps)
        steps += taken
        if progress is not None:
            progress(steps, scale)
    final = residuals(state, seen)
    errors = np.linalg.norm(final, axis=1) / seen.deviation
    scale = max(float(np.median(errors[inlier])) / 1.177, 1e-9)
    inlier = errors < OUTLIER * max(scale, 1e-9)
    return Adjusted(state, final, inlier, _covariance(hessian, free, len(state.lens)), scale, steps)


def residuals(state: State, seen: Observations) -> np.ndarray:
    """Return measured minus predicted pixels (N, 2)."""
    return seen.pixels - _project(state, seen).pixels


class _Projected(NamedTuple):
    pixels: np.ndarray
    in_world: np.ndarray
    in_camera: np.ndarray
    plane: np.ndarray
    warped: np.ndarray


def _project(state: State, seen: Observations) -> _Projected:
    turned = np.einsum("nij,nj->ni", state.frame_rotation[seen.frame][:, :, :2], seen.board)
    world = turned + state.frame_translation[seen.frame]
    rotated = np.einsum("nij,nj->ni", state.camera_rotation[seen.camera], world)
    inside = rotated + state.camera_translation[seen.camera]
    plane = inside[:, :2] / inside[:, 2:]
    lens = state.lens[seen.camera]
    x, y = plane.T
    k1, k2, p1, p2 = lens[:, 4:].T
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * k2)
    warped = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=1,
    )
    return _Projected(lens[:, :2] * warped + lens[:, 2:4], turned, inside, plane, warped)


def jacobian(state: State, seen: Observations) -> np.ndarray:
    """Return derivatives of the predicted pixels, (N, 2, 20).

    Columns: the lens's eight, the camera's rotation vector (multiplied on the left) and
    translation, the frame's rotation vector (on the left) and translation.
    """
    shown = _project(state, seen)
    lens = state.lens[seen.camera]
    f = lens[:, :2]
    k1, k2, p1, p2 = lens[:, 4:].T
    x, y = shown.plane.T
    r2 = x * x + y * y
    out = np.zeros((len(x), 2, CAMERA + POSE))
    out[:, 0, 0], out[:, 1, 1] = shown.warped.T
    out[:, 0, 2] = out[:, 1, 3] = 1
    out[:, :, 4] = f * shown.plane * r2[:, None]
    out[:, :, 5] = f * shown.plane * (r2 * r2)[:, None]
    out[:, 0, 6], out[:, 1, 6] = f[:, 0] * 2 * x * y, f[:, 1] * (r2 + 2 * y * y)
    out[:, 0, 7], out[:, 1, 7] = f[:, 0] * (r2 + 2 * x * x), f[:, 1] * 2 * x * y
    radial = 1 + r2 * (k1 + r2 * k2)
    slope = 2 * (k1 + 2 * k2 * r2)
    warp = np.empty((len(x), 2, 2))
    warp[:, 0, 0] = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
    warp[:, 0, 1] = warp[:, 1, 0] = x * y * slope + 2 * p1 * x + 2 * p2 * y
    warp[:, 1, 1] = radial + y * y * slope + 6 * p1 * y + 2 * p2 * x
    z = shown.in_camera[:, 2]
    depth = np.zeros((len(x), 2, 3))
    depth[:, 0, 0] = depth[:, 1, 1] = 1 / z
    depth[:, 0, 2], depth[:, 1, 2] = -x / z, -y / z
    by_point = f[:, :, None] * (warp @ depth)
    rotated = shown.in_camera - state.camera_translation[seen.camera]
    out[:, :, 8:11] = -by_point @ _skews(rotated)
    out[:, :, 11:14] = by_point
    by_world = by_point @ state.camera_rotation[seen.camera]
    out[:, :, 14:17] = -by_world @ _skews(shown.in_world)
    out[:, :, 17:20] = by_world
    return out


def _keep_determined(inlier: np.ndarray, seen: Observations) -> np.ndarray:
    """Take outliers back where a camera or frame would be left with too few corners."""
    kept = inlier.copy()
    for index in (seen.camera, seen.frame):
        poor = np.bincount(index[kept], minlength=int(index.max()) + 1) < _LEAST
        kept |= poor[index]
    return kept


def _minimise(
    state: State, seen: Observations, free: np.ndarray, scale: float, max_steps: int
) -> tuple[State, np.ndarray, int]:
    damping = 1e-4
    cost = _cost(residuals(state, seen), seen, scale)
    hessian, gradient = _normal(state, seen, free, scale)
    taken = 0
    for _ in range(max_steps):
        diagonal = np.einsum("ii->i", hessian)
        damped = hessian + np.diag(damping * diagonal + 1e-12)
        try:
            factor = scipy.linalg.cho_factor(damped, lower=True)
        except np.linalg.LinAlgError as error:
            raise ItemError(
                "bundle adjustment: the estimate is not determined; some camera or frame has too "
                "few corners"
            ) from error
        step = np.zeros(len(free))
        step[free] = scipy.linalg.cho_solve(factor, gradient)
        trial = _moved(state, step)
        trial_cost = _cost(residuals(trial, seen), seen, scale)
        if np.isfinite(trial_cost) and trial_cost <= cost:
            gain = cost - trial_cost
            state, cost = trial, trial_cost
            taken += 1
            damping = max(damping * 0.1, 1e-12)
            hessian, gradient = _normal(state, seen, free, scale)
            if gain < 1e-10 * cost:
                break
        else:
            damping *= 10
            if damping > 1e8:
                break
    return state, hessian, taken


def _cost(errors: np.ndarray, seen: Observations, scale: float) -> float:
    size = np.linalg.norm(errors, axis=1) / (seen.deviation * scale)
    return float(np.where(size < _HUBER, 0.5 * size**2, _HUBER * (size - 0.5 * _HUBER)).sum())


def _normal(
    state: State, seen: Observations, free: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normal matrix and right side over the free unknowns."""
    cameras = len(state.lens)
    errors = residuals(state, seen)
    size = np.linalg.norm(errors, axis=1) / (seen.deviation * scale)
    weight = np.sqrt(np.minimum(1, _HUBER / np.maximum(size, 1e-12))) / (seen.deviation * scale)
    rows = jacobian(state, seen) * weight[:, None, None]
    right = errors * weight[:, None]
    matrix = np.zeros((len(free), len(free)))
    vector = np.zeros(len(free))
    starts = np.flatnonzero(np.r_[True, (np.diff(seen.camera) != 0) | (np.diff(seen.frame) != 0)])
    for start, stop in zip(starts, np.r_[starts[1:], len(right)], strict=True):
        camera, frame = seen.camera[start], seen.frame[start]
        block = rows[start:stop].reshape(-1, CAMERA + POSE)
        unknowns = np.r_[
            CAMERA * camera : CAMERA * (camera + 1),
            CAMERA * cameras + POSE * frame : CAMERA * cameras + POSE * (frame + 1),
        ]
        matrix[np.ix_(unknowns, unknowns)] += block.T @ block
        vector[unknowns] += block.T @ right[start:stop].ravel()
    return matrix[np.ix_(free, free)], vector[free]


def _moved(state: State, step: np.ndarray) -> State:
    cameras = len(state.lens)
    by_camera = step[: CAMERA * cameras].reshape(cameras, CAMERA)
    by_frame = step[CAMERA * cameras :].reshape(-1, POSE)
    turn = np.array([rotvec_to_matrix(v) for v in by_camera[:, 8:11]]).reshape(-1, 3, 3)
    spin = np.array([rotvec_to_matrix(v) for v in by_frame[:, :3]]).reshape(-1, 3, 3)
    return State(
        lens=state.lens + by_camera[:, :LENS],
        camera_rotation=turn @ state.camera_rotation,
        camera_translation=state.camera_translation + by_camera[:, 11:],
        frame_rotation=spin @ state.frame_rotation,
        frame_translation=state.frame_translation + by_frame[:, 3:],
    )


def _free(cameras: int, frames: int, held_poses: Sequence[int], held_lens: bool) -> np.ndarray:
    """Return which of the unknowns are estimated, (14 C + 6 F,) bool."""
    by_camera = np.ones((cameras, CAMERA), bool)
    if held_lens:
        by_camera[:, :LENS] = False
    by_camera[list(held_poses), LENS:] = False
    return np.concatenate([by_camera.ravel(), np.ones(POSE * frames, bool)])


def _covariance(hessian: np.ndarray, free: np.ndarray, cameras: int) -> np.ndarray:
    full = np.zeros((len(free), len(free)))
    try:
        inverse = scipy.linalg.inv(hessian) if len(hessian) else hessian
    except np.linalg.LinAlgError as error:
        raise ItemError("bundle adjustment: the estimate is not determined") from error
    full[np.ix_(free, free)] = inverse
    return np.stack(
        [full[CAMERA * c : CAMERA * (c + 1), CAMERA * c : CAMERA * (c + 1)] for c in range(cameras)]
    )


def _skews(vectors: np.ndarray) -> np.ndarray:
    out = np.zeros((len(vectors), 3, 3))
    x, y, z = vectors.T
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -z, y, -x
    out[:, 1, 0], out[:, 2, 0], out[:, 2, 1] = z, -y, x
    return out
