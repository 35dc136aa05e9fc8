"""Calibration boards: ChArUco, grids of AprilTags, checkerboards.

A board's frame is OpenCV's: +x along the columns, +y down the rows, +z into the board, origin at
the upper left corner of what is printed, millimetres. Seen from the front, +x is to the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from facekit.errors import InputError

KINDS = ("charuco", "april", "checker")


@dataclass(frozen=True)
class Board:
    """A flat calibration board.

    Attributes:
        kind: ``charuco``, ``april`` (a grid of tags) or ``checker``.
        columns, rows: squares of a chessboard, or tags.
        square_mm: side of a square; of a grid, the distance from one tag to the next.
        marker_mm: side of a marker's black border; nothing for a checkerboard.
        dictionary: the name of OpenCV's dictionary, e.g. ``DICT_4X4_250``.
    """

    kind: str = "charuco"
    columns: int = 12
    rows: int = 9
    square_mm: float = 20.0
    marker_mm: float = 15.0
    dictionary: str = "DICT_4X4_250"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"board: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        least = 1 if self.kind == "april" else 3
        if min(self.columns, self.rows) < least or max(self.columns, self.rows) > 100:
            raise InputError(
                f"board: expected {least} to 100 columns and rows, got {self.columns}x{self.rows}"
            )
        if not self.square_mm > 0:
            raise InputError(f"board: expected a square of more than 0 mm, got {self.square_mm}")
        if self.kind == "checker":
            if (self.columns + self.rows) % 2 == 0:
                raise InputError(
                    f"board: a checkerboard of {self.columns}x{self.rows} squares looks the same "
                    "upside down; use one with an odd number along one side and an even one along "
                    "the other"
                )
            return
        if not 0 < self.marker_mm < self.square_mm:
            raise InputError(
                f"board: expected markers of 0 to {self.square_mm:g} mm, got {self.marker_mm:g}"
            )
        if not self.dictionary.startswith("DICT_") or not hasattr(cv2.aruco, self.dictionary):
            raise InputError(
                f"board: expected a dictionary of OpenCV such as DICT_4X4_250, got "
                f"{self.dictionary!r}"
            )
        needed = self.columns * self.rows // (1 if self.kind == "april" else 2)
        size = len(self.markers.bytesList)
        if needed > size:
            raise InputError(f"board: needs {needed} markers, {self.dictionary} has {size}")

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of what is printed."""
        if self.kind == "april":
            gap = self.square_mm - self.marker_mm
            return (
                self.columns * self.square_mm - gap,
                self.rows * self.square_mm - gap,
            )
        return self.columns * self.square_mm, self.rows * self.square_mm

    @cached_property
    def markers(self) -> Any:
        """OpenCV's dictionary."""
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))

    @cached_property
    def points(self) -> np.ndarray:
        """(N, 2) float64 mm: the corners that are measured, z = 0.

        Inner corners of a chessboard, row by row; of a grid, four corners of each tag, clockwise
        from its upper left one.
        """
        if self.kind == "april":
            x, y = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
            first = self.square_mm * np.stack([x.ravel(), y.ravel()], axis=1)
            around = self.marker_mm * np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
            return (first[:, None] + around).reshape(-1, 2)
        x, y = np.meshgrid(np.arange(1, self.columns), np.arange(1, self.rows))
        return self.square_mm * np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)

    @cached_property
    def charuco(self) -> Any:
        """OpenCV's ChArUco board."""
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_mm, self.marker_mm, self.markers
        )

    @cached_property
    def grid(self) -> Any:
        """OpenCV's grid of markers."""
        gap = self.square_mm - self.marker_mm
        return cv2.aruco.GridBoard((self.columns, self.rows), self.marker_mm, gap, self.markers)

    def picture(self, pixels_per_square: int = 64) -> np.ndarray:
        """Return the board without a margin, (H, W) uint8, black 0 and white 255, to print it.

        Cells of markers fall on whole pixels when their size divides evenly.
        """
        scale = pixels_per_square / self.square_mm
        width, height = (round(scale * side) for side in self.size_mm)
        if self.kind == "charuco":
            return np.asarray(self.charuco.generateImage((width, height), None, 0, 1))
        if self.kind == "april":
            return self._tags(scale, width, height)
        y, x = np.mgrid[0:height, 0:width] // pixels_per_square
        return (((x + y) % 2) * 255).astype(np.uint8)

    def _tags(self, scale: float, width: int, height: int) -> np.ndarray:
        picture = np.full((height, width), 255, np.uint8)
        side = round(scale * self.marker_mm)
        for number in range(self.columns * self.rows):
            row, column = divmod(number, self.columns)
            x, y = round(scale * column * self.square_mm), round(scale * row * self.square_mm)
            tag = cv2.aruco.generateImageMarker(self.markers, number, side)
            picture[y : y + side, x : x + side] = tag
        return picture

    def document(self) -> dict[str, Any]:
        """Return the board as the JSON values of ``board.json``."""
        values: dict[str, Any] = {
            "kind": self.kind,
            "columns": self.columns,
            "rows": self.rows,
            "square_mm": self.square_mm,
        }
        if self.kind != "checker":
            values |= {"marker_mm": self.marker_mm, "dictionary": self.dictionary}
        return values


def board_from_document(values: Any) -> Board:
    """Return the board of ``board.json``.

    Raises:
        InputError: unknown keys or values.
    """
    known = {"kind", "columns", "rows", "square_mm", "marker_mm", "dictionary"}
    if not isinstance(values, dict) or not set(values) <= known or "kind" not in values:
        raise InputError(f"board: expected JSON with the keys {', '.join(sorted(known))}")
    try:
        numbers = {key: int(values[key]) for key in ("columns", "rows") if key in values}
        sizes = {key: float(values[key]) for key in ("square_mm", "marker_mm") if key in values}
    except (TypeError, ValueError) as error:
        raise InputError(f"board: a number is damaged ({error})") from error
    texts = {key: str(values[key]) for key in ("kind", "dictionary") if key in values}
    return Board(**texts, **numbers, **sizes)  # type: ignore[arg-type]


def standard_board(kind: str) -> Board:
    """Return the usual board of a kind, about 240 x 180 mm.

    ``charuco``: 12 x 9 squares of 20 mm, 15 mm markers of DICT_4X4_250. ``april``: 6 x 5 tags of
    DICT_APRILTAG_36h11, 30 mm, 40 mm apart. ``checker``: 12 x 9 squares of 20 mm.

    Raises:
        InputError: another kind.
    """
    if kind == "april":
        return Board("april", 6, 5, 40.0, 30.0, "DICT_APRILTAG_36h11")
    return Board(kind)
