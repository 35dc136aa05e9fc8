"""Pictures of a board, exact to the lens: every sample's ray meets the board's plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from facekit.geometry.board import Board
from facekit.geometry.cameras import project, to_camera, undistort
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.simulate.stage_render import StageSensor, develop
from facekit.threads import run_ranges
from facekit.types import Camera

# Pixels of the board's picture for a square; cells of the usual markers divide it.
_PICTURE = 64
_BLACK, _WHITE, _BACKDROP = 0.025, 0.62, 0.04
# Samples of a pixel, each way.
_SAMPLES = 4
# The paper's white border, in squares.
_BORDER = 0.6
# A lens is sharp at this distance; half a millimetre's blur circle grows with the difference.
_FOCUS_MM = 1000.0
_DEFOCUS_PX = 2.5
_LEAST_COSINE = 0.25


@dataclass(frozen=True)
class BoardOptions:
    """How a board is shown to the cameras.

    Attributes:
        board: which.
        frames: how many poses.
        reach_mm: half the sides of the box that the board's middle moves in.
    """

    board: Board = field(default_factory=Board)
    frames: int = 24
    reach_mm: tuple[float, float, float] = (110.0, 110.0, 90.0)


class BoardPose(NamedTuple):
    """Takes the board's frame to the stage's: x_stage = rotation @ x_board + translation."""

    rotation: np.ndarray
    translation: np.ndarray


def draw_poses(options: BoardOptions, seed: int) -> dict[str, BoardPose]:
    """Return poses by frame name: the board's middle fills a box, its face looks about.

    Fronts look up to 80 degrees to the sides and from 25 degrees down to 50 up, turned by any
    angle in their plane. Directions and places follow a low-discrepancy sequence, so that few
    poses already cover the stage.
    """
    rng = np.random.default_rng([seed, 31])
    middle = np.array([*options.board.size_mm, 0.0]) / 2
    poses = {}
    # The generalised golden ratio of five dimensions (Roberts, 2018).
    ratio = 1.1673039782614187
    steps = (1 / ratio) ** np.arange(1, 6)
    start = rng.random(5)
    for number in range(options.frames):
        a, b, *place = (start + steps * number) % 1
        azimuth, elevation = np.radians(-80 + 160 * a), np.radians(-25 + 75 * b)
        toward = np.array(
            [
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
                np.cos(azimuth) * np.cos(elevation),
            ]
        )
        # The board's +z is into it.
        down = np.array([0.0, -1.0, 0.0])
        across = np.cross(down, -toward)
        across /= np.linalg.norm(across)
        rotation = np.stack([across, np.cross(-toward, across), -toward], axis=1)
        turn = rotvec_to_matrix(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
        rotation = rotation @ turn
        centre = (2 * np.array(place) - 1) * np.array(options.reach_mm)
        poses[f"{number:03d}"] = BoardPose(rotation, centre - rotation @ middle)
    return poses


def sees_board(camera: Camera, board: Board, pose: BoardPose) -> bool:
    """Say whether a camera sees the board's front, at least at 75 degrees, and a corner of it."""
    centre = -camera.rotation.T @ camera.translation
    corners = board_points(board, pose)
    toward = centre - corners.mean(0)
    cosine = float(-pose.rotation[:, 2] @ toward) / float(np.linalg.norm(toward))
    if cosine < _LEAST_COSINE:
        return False
    seen = project(camera, corners)
    inside = (seen[:, :2] >= 0).all(1) & (seen[:, 0] < camera.width) & (seen[:, 1] < camera.height)
    return bool((inside & (seen[:, 2] > 0)).any())


def board_points(board: Board, pose: BoardPose) -> np.ndarray:
    """Return the board's corners on the stage, (N, 3) mm."""
    return board.points @ pose.rotation[:, :2].T + pose.translation


class BoardRenderer:
    """Pictures of one board by one camera.

    Args:
        camera: where from.
        board: what.
    """

    def __init__(self, camera: Camera, board: Board) -> None:
        self._camera = camera
        self._board = board
        self._picture = board.picture(_PICTURE)
        x, y = np.meshgrid(np.arange(camera.width + 1), np.arange(camera.height + 1))
        # Rays through the pixels' upper left corners; inside a pixel they are bilinear.
        corners = np.stack([x, y], axis=-1) - 0.5
        self._rays = undistort(camera, corners.reshape(-1, 2)).reshape(corners.shape)

    def render(
        self, pose: BoardPose, sensor: StageSensor, noise_seed: tuple[int, ...]
    ) -> np.ndarray:
        """Return the picture of a pose, (H, W) uint8."""
        camera = self._camera
        rotation = camera.rotation @ pose.rotation
        middle = board_points(self._board, pose).mean(0)
        distance = float(to_camera(camera, middle)[2])
        plane = np.column_stack(
            [rotation[:, :2], camera.rotation @ pose.translation + camera.translation]
        )
        back = np.linalg.inv(plane)
        out = np.full((camera.height, camera.width), _BACKDROP, np.float32)
        size = np.array(self._board.size_mm)
        scale = np.array([self._picture.shape[1], self._picture.shape[0]]) / size
        border = _BORDER * self._board.square_mm
        run_ranges(
            lambda start, stop: _draw(
                self._rays, back, self._picture, scale, border, _SAMPLES, out, start, stop
            ),
            camera.height,
            min_chunk=64,
        )
        # Panels light a board less the more it turns away from the front.
        lit = 0.55 + 0.45 * max(float(-pose.rotation[2, 2]), 0.0)
        light = np.where(out == np.float32(_BACKDROP), out, out * np.float32(lit))
        blur = _DEFOCUS_PX * abs(distance - _FOCUS_MM) / distance * camera.width / 1024
        chain = sensor._replace(blur_px=float(np.hypot(sensor.blur_px, blur)))
        return develop(light[..., None], chain, np.random.default_rng(noise_seed))[..., 0]


@numba.njit(
    types.void(
        types.Array(types.float64, 3, "C", readonly=True),
        types.Array(types.float64, 2, "C", readonly=True),
        types.Array(types.uint8, 2, "C", readonly=True),
        types.Array(types.float64, 1, "C", readonly=True),
        types.float64,
        types.int64,
        types.float32[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _draw(rays, back, picture, scale, border, samples, out, start, stop):
    """Average the board's reflectance over the pixels of rows [start, stop)."""
    height, width = picture.shape
    black, white = np.float32(_BLACK), np.float32(_WHITE)
    margin_x, margin_y = border * scale[0], border * scale[1]
    share = np.float32(1.0 / (samples * samples))
    for y in range(start, stop):
        for x in range(out.shape[1]):
            total = np.float32(0)
            hits = 0
            for sub in range(samples * samples):
                u = ((sub % samples) + 0.5) / samples
                v = ((sub // samples) + 0.5) / samples
                rx = (1 - v) * ((1 - u) * rays[y, x, 0] + u * rays[y, x + 1, 0]) + v * (
                    (1 - u) * rays[y + 1, x, 0] + u * rays[y + 1, x + 1, 0]
                )
                ry = (1 - v) * ((1 - u) * rays[y, x, 1] + u * rays[y, x + 1, 1]) + v * (
                    (1 - u) * rays[y + 1, x, 1] + u * rays[y + 1, x + 1, 1]
                )
                w = back[2, 0] * rx + back[2, 1] * ry + back[2, 2]
                # w is the inverse depth: behind the camera there is no board.
                if w <= 0:
                    continue
                a = (back[0, 0] * rx + back[0, 1] * ry + back[0, 2]) / w * scale[0]
                b = (back[1, 0] * rx + back[1, 1] * ry + back[1, 2]) / w * scale[1]
                if a < -margin_x or b < -margin_y:
                    continue
                if a >= width + margin_x or b >= height + margin_y:
                    continue
                hits += 1
                if a < 0 or b < 0 or a >= width or b >= height or picture[int(b), int(a)] > 127:
                    total += white
                else:
                    total += black
            if hits:
                rest = np.float32(1) - share * np.float32(hits)
                out[y, x] = rest * out[y, x] + share * total
