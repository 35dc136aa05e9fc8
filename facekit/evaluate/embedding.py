"""Where landmarks lie on a topology: a triangle and two weights for each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from facekit.errors import InputError, ItemError


def read_embedding(path: Path) -> np.ndarray:
    """Read where landmarks lie on a topology: a JSON list of [triangle, weight 0, weight 1].

    Returns:
        (N, 3) float64; triangles count from 0, the third weight is 1 minus the two.

    Raises:
        InputError: not such a file.
    """
    try:
        table = np.array(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON list of [triangle, w0, w1] ({error})") from error
    if table.ndim != 2 or table.shape[1] != 3 or not np.isfinite(table).all():
        raise InputError(f"{path}: expected rows of [triangle, w0, w1], got shape {table.shape}")
    if (table[:, 0] < 0).any() or (table[:, 0] % 1 != 0).any():
        raise InputError(f"{path}: expected triangle numbers from 0")
    return table


def embedded_points(embedding: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the points (N, 3) of an embedding on a mesh.

    Raises:
        ItemError: it names a triangle that the mesh does not have.
    """
    triangle = embedding[:, 0].astype(np.int64)
    if triangle.max(initial=0) >= len(faces):
        raise ItemError(
            f"the landmark embedding names triangle {int(triangle.max())}, but the mesh has "
            f"{len(faces)}; it is of another topology"
        )
    weights = np.column_stack([embedding[:, 1:], 1 - embedding[:, 1:].sum(axis=1)])
    return np.einsum("nk,nkd->nd", weights, vertices[faces[triangle]])
