"""Planes of luma and colour to RGB, of the part of a picture that is looked at."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types

from facekit.threads import run_ranges

_PLANE = types.Array(types.uint8, 2, "A", readonly=True)
_OUT = types.uint8[:, :, ::1]
_MIN_ROWS = 128


class ColourMatrix(NamedTuple):
    """How luma and colour differences become RGB, in 65536ths.

    Attributes:
        black: luma of black.
        luma: factor of luma; red_v, green_u, green_v, blue_u: of the differences.
    """

    black: int
    luma: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int


def colour_matrix(red: float, blue: float, *, full: bool) -> ColourMatrix:
    """Return the matrix of a standard.

    Args:
        red, blue: shares of red and blue in luma, e.g. 0.299 and 0.114 (ITU-R BT.601-7, 2.5.1),
            0.2126 and 0.0722 (BT.709-6, 3.2).
        full: luma spans 0 to 255; otherwise 16 to 235, and colour 16 to 240.
    """
    green = 1 - red - blue
    luma = 1.0 if full else 255 / 219
    colour = 1.0 if full else 255 / 224
    u, v = 2 * (1 - blue) * colour, 2 * (1 - red) * colour
    parts = (luma, v, u * blue / green, v * red / green, u)
    factor, red_v, green_u, green_v, blue_u = (round(65536 * part) for part in parts)
    return ColourMatrix(0 if full else 16, factor, red_v, green_u, green_v, blue_u)


def yuv_to_rgb(
    y: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    matrix: ColourMatrix,
    x0: int = 0,
    y0: int = 0,
    *,
    halved: bool = True,
) -> np.ndarray:
    """Return RGB (H, W, 3) uint8 of a part of a picture, colours of the nearest sample.

    Args:
        y: (H, W) uint8, the part's luma.
        u, v: the whole picture's colour differences, half its size rounded up (4:2:0).
        matrix: of the picture.
        x0, y0: the part's first column and row in the picture.
        halved: False for differences of the picture's own size (4:4:4).
    """
    rgb = np.empty((*y.shape, 3), np.uint8)

    def rows(start: int, stop: int) -> None:
        _convert(y, u, v, x0, y0, int(halved), *matrix, rgb, start, stop)

    run_ranges(rows, len(y), min_chunk=_MIN_ROWS)
    return rgb


@numba.njit(
    types.void(_PLANE, _PLANE, _PLANE, *[types.int64] * 9, _OUT, types.int64, types.int64),
    nogil=True,
    cache=True,
)
def _convert(
    y, u, v, x0, y0, shift, black, luma, red_v, green_u, green_v, blue_u, rgb, start, stop
):
    width = y.shape[1]
    half = np.int32(32768)
    for row in range(start, stop):
        chroma = (row + y0) >> shift
        for column in range(width):
            place = (column + x0) >> shift
            base = np.int32(luma) * (np.int32(y[row, column]) - np.int32(black)) + half
            du = np.int32(u[chroma, place]) - np.int32(128)
            dv = np.int32(v[chroma, place]) - np.int32(128)
            r = (base + np.int32(red_v) * dv) >> 16
            g = (base - np.int32(green_u) * du - np.int32(green_v) * dv) >> 16
            b = (base + np.int32(blue_u) * du) >> 16
            rgb[row, column, 0] = min(max(r, 0), 255)
            rgb[row, column, 1] = min(max(g, 0), 255)
            rgb[row, column, 2] = min(max(b, 0), 255)
