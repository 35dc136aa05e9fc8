"""Find a calibration board in a picture and measure its corners."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from facekit.capture.corners import SADDLE, TAG, refine_corners
from facekit.geometry.board import Board

# Fewer corners do not fix a board's pose well enough to be worth having.
LEAST_CORNERS = 6
# Corners this far from the homography through all are mistaken; lens distortion stays below it.
_STRAY = 0.02
# Share of a checkerboard's squares that must have their colours.
_SQUARES = 0.97
# What the model of two straight blurred edges leaves out, pixels.
_FLOOR_PX = 0.005


@dataclass(frozen=True, eq=False)
class Sighting:
    """A board seen in one picture.

    Attributes:
        ids: (N,) int rows of ``Board.points``, ascending; pixels: (N, 2) their places.
        deviation_px: (N,) standard deviation of each, the mean of x and y.
        size: width and height of the picture.
        blur_px: median blur of the edges.
        mirrored: the board was found in the mirror image only; there are no corners then.
    """

    ids: np.ndarray
    pixels: np.ndarray
    deviation_px: np.ndarray
    size: tuple[int, int]
    blur_px: float = float("nan")
    mirrored: bool = False

    @property
    def found(self) -> bool:
        """Whether there are enough corners to be of use."""
        return len(self.ids) >= LEAST_CORNERS


class BoardFinder:
    """Finds one kind of board; safe to use from several threads, one finder each."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def find(self, grey: np.ndarray) -> Sighting:
        """Find the board in a grey picture (H, W) uint8.

        Without enough corners the mirror image is looked at too, to tell a mirrored picture (or a
        board printed mirrored) from one without a board. A checkerboard is its own mirror image:
        that cannot be told here.
        """
        size = (grey.shape[1], grey.shape[0])
        ids, pixels = self._detect(grey)
        if len(ids) < LEAST_CORNERS:
            mirrored = False
            if self.board.kind != "checker":
                mirrored = len(self._detect(np.ascontiguousarray(grey[:, ::-1]))[0]) >= max(
                    LEAST_CORNERS, 3 * len(ids)
                )
            return _nothing(size, mirrored=mirrored)
        return self._measure(grey, ids, pixels, size)

    def _detect(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.board.kind == "checker":
            return self._checker(grey)
        if self.board.kind == "april":
            return self._tags(grey)
        corners, ids, _, _ = self._detector.detectBoard(grey)
        return _plain(ids, corners)

    def _tags(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners, ids, _ = self._detector.detectMarkers(grey)
        if ids is None or not len(ids):
            return np.zeros(0, int), np.zeros((0, 2))
        tags = np.asarray(ids).ravel()
        known = tags < self.board.columns * self.board.rows
        rows = (4 * tags[known, None] + np.arange(4)).ravel()
        return _plain(rows, np.concatenate(corners)[known].reshape(-1, 2))

    def _checker(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = (self.board.columns - 1, self.board.rows - 1)
        flags = cv2.CALIB_CB_EXHAUSTIVE + cv2.CALIB_CB_ACCURACY + cv2.CALIB_CB_NORMALIZE_IMAGE
        found, corners = cv2.findChessboardCornersSB(grey, shape, flags=flags)
        if not found:
            return np.zeros(0, int), np.zeros((0, 2))
        points = corners.reshape(shape[1], shape[0], 2).astype(np.float64)
        # The board's own order is right-handed with a black first square.
        across, down = points[0, -1] - points[0, 0], points[-1, 0] - points[0, 0]
        if across[0] * down[1] - across[1] * down[0] < 0:
            points = points[:, ::-1]
        for ordered in (points, points[::-1, ::-1]):
            if self._squares_match(grey, ordered):
                return np.arange(shape[0] * shape[1]), ordered.reshape(-1, 2)
        # A detector that cannot see the whole board may find a grid that is shifted by a row.
        return np.zeros(0, int), np.zeros((0, 2))

    def _squares_match(self, grey: np.ndarray, points: np.ndarray) -> bool:
        """Say whether all squares have their colours, the outermost too, by the corners given."""
        board = self.board
        homography, _ = cv2.findHomography(board.points, points.reshape(-1, 2))
        if homography is None:
            return False
        x, y = np.meshgrid(np.arange(board.columns), np.arange(board.rows))
        centres = board.square_mm * (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5)
        seen = cv2.perspectiveTransform(centres[None], homography)[0]
        height, width = grey.shape
        column, row = np.rint(seen).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        black = ((x + y) % 2 == 0).ravel()[inside]
        levels = grey[row[inside], column[inside]].astype(float)
        if not 0 < black.sum() < len(black):
            return False
        middle = (np.median(levels[black]) + np.median(levels[~black])) / 2
        return bool(np.mean((levels < middle) == black) > _SQUARES)

    def _measure(
        self, grey: np.ndarray, ids: np.ndarray, pixels: np.ndarray, size: tuple[int, int]
    ) -> Sighting:
        where = self.board.points[ids]
        homography, kept = _homography(where, pixels, max(2.0, _STRAY * max(size) / 4))
        if homography is None:
            return _nothing(size)
        ids, pixels, where = ids[kept], pixels[kept], where[kept]
        axes = _axes(homography, where)
        board = self.board
        if board.kind == "april":
            cell = board.marker_mm / (board.markers.markerSize + 2)
            gap = board.square_mm - board.marker_mm
            # Each corner's axes point along the tag's sides into it.
            inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[ids % 4]
            measured = refine_corners(
                grey,
                pixels,
                axes * inward[:, None, :],
                kind=TAG,
                reach=np.array([0.45 * gap, 0.45 * board.marker_mm]),
                clear=np.array([0.5 * gap, cell]),
            )
        else:
            free = board.square_mm
            if board.kind == "charuco":
                free = (board.square_mm - board.marker_mm) / 2
            reach = 0.46 * board.square_mm
            measured = refine_corners(
                grey,
                pixels,
                axes,
                kind=SADDLE,
                reach=np.array([reach, reach]),
                clear=np.array([free, board.square_mm]),
            )
        good = measured.valid
        if good.sum() < LEAST_CORNERS:
            return _nothing(size)
        variance = np.einsum("nii->n", measured.covariance[good]) / 2
        return Sighting(
            ids=ids[good],
            pixels=measured.points[good],
            deviation_px=np.sqrt(variance + _FLOOR_PX**2),
            size=size,
            blur_px=float(np.median(measured.blur_px[good])),
        )

    @cached_property
    def _detector(self) -> Any:
        parameters = cv2.aruco.DetectorParameters()
        if self.board.kind == "april":
            parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
            return cv2.aruco.ArucoDetector(self.board.markers, parameters)
        return cv2.aruco.CharucoDetector(
            self.board.charuco, cv2.aruco.CharucoParameters(), parameters
        )


def _nothing(size: tuple[int, int], *, mirrored: bool = False) -> Sighting:
    return Sighting(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0), size, mirrored=mirrored)


def _plain(ids: Any, corners: Any) -> tuple[np.ndarray, np.ndarray]:
    if ids is None or not len(ids):
        return np.zeros(0, int), np.zeros((0, 2))
    rows = np.asarray(ids).ravel().astype(int)
    order = np.argsort(rows)
    return rows[order], np.asarray(corners, np.float64).reshape(-1, 2)[order]


def _homography(
    where: np.ndarray, pixels: np.ndarray, limit: float
) -> tuple[np.ndarray | None, np.ndarray]:
    if np.linalg.matrix_rank(where - where.mean(0), tol=1e-6) < 2:
        return None, np.zeros(len(where), bool)
    matrix, mask = cv2.findHomography(where, pixels, cv2.RANSAC, limit)
    if matrix is None or mask.sum() < LEAST_CORNERS:
        return None, np.zeros(len(where), bool)
    return matrix, mask.ravel().astype(bool)


def _axes(homography: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the homography's Jacobian at each point, (N, 2, 2)."""
    full = np.column_stack([where, np.ones(len(where))]) @ homography.T
    scale = full[:, 2]
    place = full[:, :2] / scale[:, None]
    return (homography[:2, :2] - place[:, :, None] * homography[2, :2]) / scale[:, None, None]
