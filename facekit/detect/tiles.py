"""Large images in overlapping square tiles, at every scale between two."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Tile(NamedTuple):
    """A part of an image that was scaled first: corner and size in pixels of the scaled one."""

    x: int
    y: int
    width: int
    height: int


def tile_scales(longest: int, *, side: int, least: float) -> list[float]:
    """Return the scales, coarse to fine, at which tiles are read beyond the whole view.

    Each doubles the one before, from the whole view's ``side / longest`` to ``least``; the last
    is ``least`` itself.
    """
    scale, out = side / longest, []
    while scale < least / 1.05:
        scale = min(2 * scale, least)
        out.append(scale)
    return out


def tiles(width: int, height: int, *, side: int, overlap: int) -> list[Tile]:
    """Return tiles of at most ``side`` that cover an image; neighbours share ``overlap`` pixels."""
    columns, rows = (_starts(n, side, overlap) for n in (width, height))
    return [Tile(x, y, min(side, width - x), min(side, height - y)) for y in rows for x in columns]


def whole_in_tile(
    boxes: np.ndarray, tile: Tile, extent: tuple[int, int], *, margin: float
) -> np.ndarray:
    """Say which boxes (M, 4), in pixels of the tile, no inner edge of the tile cuts: (M,) bool.

    Args:
        boxes: x, y, width, height.
        tile: where they were found.
        extent: (width, height) of the scaled image, whose own edges cut nothing twice.
        margin: pixels from an inner edge in which a box counts as cut.
    """
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    begin, end = np.array([tile.x, tile.y]), np.array([tile.x + tile.width, tile.y + tile.height])
    after = (begin == 0) | (low > margin)
    before = (end >= np.array(extent)) | (high < end - begin - margin)
    return np.asarray((after & before).all(axis=1))


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(k * (length - side) / (count - 1)) for k in range(count)]
