"""Pieces of geometry beside the head, and simple shapes to make them of."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """A part of the scene.

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int32.
        material: (F,) int8, of ``simulate.subject``.
        places: (V, 3) float32 on the standard head, where paint is looked up.
        two_sided: also seen from behind.
        rows: (V,) vertices of the head that these move with, or None for none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    places: np.ndarray
    two_sided: bool
    rows: np.ndarray | None = None


@lru_cache(maxsize=32)
def grid_faces(rows: int, columns: int, *, wrap: bool = False) -> np.ndarray:
    """Return triangles (F, 3) int32 of a grid of vertices stored row by row.

    They are counter-clockwise where columns run to the right and rows run down; ``wrap`` joins
    the last column to the first. The array is shared and cannot be written to.
    """
    last = columns if wrap else columns - 1
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(last), indexing="ij")
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = a + columns, b + columns
    faces = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=-2)
    flat = faces.reshape(-1, 3).astype(np.int32)
    flat.setflags(write=False)
    return flat


def tube(path: np.ndarray, radius: float, *, closed: bool = False, sides: int = 7) -> tuple:
    """Return (vertices, faces) of a tube of one radius about a polyline (M, 3)."""
    line = np.asarray(path, np.float64)
    ring_tangent = np.roll(line, -1, 0) - np.roll(line, 1, 0)
    tangent = ring_tangent if closed else np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    # A fixed helper direction is enough for paths that never run along it.
    helper = np.array([0.13, 0.31, 0.94])
    first = np.cross(tangent, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(tangent, first)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = (
        np.cos(angle)[None, :, None] * first[:, None]
        + np.sin(angle)[None, :, None] * second[:, None]
    )
    vertices = (line[:, None] + radius * ring).reshape(-1, 3)
    faces = grid_faces(len(line) + closed, sides, wrap=True) % len(vertices)
    return vertices.astype(np.float32), faces.astype(np.int32)


def merge(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Join (vertices, faces) parts into one mesh."""
    offset = 0
    vertices, faces = [], []
    for points, triangles in parts:
        vertices.append(points)
        faces.append(triangles + offset)
        offset += len(points)
    return np.concatenate(vertices), np.concatenate(faces).astype(np.int32)
