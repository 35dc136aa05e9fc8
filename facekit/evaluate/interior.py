"""Scans with surfaces behind the skin: mouth cavities, eye sockets, the inside of a shell.

Benchmarks count every scan vertex near the face once. Points inside the mouth are centimetres
from any face's surface, so a few of them outweigh all others: two in a hundred can triple a mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facekit.errors import FacekitError
from facekit.evaluate.estimator import face_axes
from facekit.evaluate.faces3d import FaceSurface
from facekit.geometry.closest_point import build_tree
from facekit.geometry.rays import hemisphere, open_directions

# Directions that are looked in, all over the half sphere before the face, and how few of them
# may be open at an inner point. A fold of the skin (nostril, inner corner of an eye) sees more.
_DIRECTIONS = 48
_FEW = 3
# Faces are looked at through a lattice this wide, and rays begin beyond it, mm.
_LATTICE_MM = 2.5
_START_MM = 6.0
_MOST_POINTS = 1500
# Share of inner points from which a warning is due; folds and noise stay below.
WARN_SHARE = 0.01


class InteriorPoints(NamedTuple):
    """How much of a scored part of a surface lies behind the skin.

    Attributes:
        share: of the points, 0 to 1.
        points: (n, 3) those found.
        checked: how many points were looked at.
    """

    share: float
    points: np.ndarray
    checked: int


def interior_points(
    vertices: np.ndarray,
    faces: np.ndarray,
    scored: np.ndarray,
    *,
    outwards: np.ndarray,
    most: int = _MOST_POINTS,
) -> InteriorPoints:
    """Find scored points that can hardly be seen from before the face.

    A point is inner when of 48 directions over the half sphere about ``outwards`` fewer than 3
    leave the mesh without meeting it. Orientation of the faces does not matter, and neither does
    an open back.

    Args:
        vertices: (V, 3) mm; faces: (F, 3).
        scored: (n,) indices of the vertices that are scored; evenly chosen ones are looked at.
        outwards: (3,) unit vector out of the face.
        most: how many points are looked at.

    Degenerate: no faces, or no scored vertex, gives share 0.
    """
    chosen = np.asarray(scored)[:: max(1, -(-len(scored) // most))]
    mesh = np.asarray(vertices, np.float64)
    points = mesh[chosen]
    coarse, triangles = (mesh, faces) if not len(faces) else _coarse(mesh, np.asarray(faces))
    if not len(points) or not len(triangles):
        return InteriorPoints(0.0, points[:0], len(points))
    seen = open_directions(
        build_tree(coarse, triangles),
        points,
        hemisphere(outwards, _DIRECTIONS),
        start=_START_MM,
        enough=_FEW,
    )
    inner = seen < _FEW
    return InteriorPoints(float(inner.mean()), points[inner], len(points))


def interior_warnings(
    vertices: np.ndarray, faces: np.ndarray, scored: np.ndarray, *, outwards: np.ndarray
) -> tuple[str, ...]:
    """Say when too much of what is scored of a scan is behind the skin (``interior_points``)."""
    share = interior_points(vertices, faces, scored, outwards=outwards).share
    if share < WARN_SHARE:
        return ()
    return (
        f"{100 * share:.1f} % of its scored points lie behind the skin (mouth cavity, eye "
        "sockets, nostrils, an inner wall); 2 % can triple a score: remove such surfaces",
    )


def looked_through(face: FaceSurface, scored: np.ndarray) -> FaceSurface:
    """Return a surface with a warning when much of what is scored of it lies behind the skin.

    Args:
        face: its landmarks say where outwards is; without any it is returned as it is.
        scored: (n,) indices of its scored vertices.
    """
    try:
        _, outwards = face_axes(face)
    except FacekitError:
        return face
    found = interior_warnings(face.vertices, face.faces, scored, outwards=outwards)
    return replace(face, warnings=(*face.warnings, *found))


def _coarse(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put vertices on a lattice, so that a scan of any resolution is quick to look through."""
    named = np.zeros(len(vertices), bool)
    named[faces.ravel()] = True
    used = np.flatnonzero(named)
    cells = ((vertices[used] - vertices[used].min(axis=0)) / _LATTICE_MM).astype(np.int64)
    size = cells.max(axis=0) + 1
    code = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    _, first, cell = np.unique(code, return_index=True, return_inverse=True)
    place = np.zeros(len(vertices), np.int64)
    place[used] = cell
    small = place[faces]
    a, b, c = small.T
    small = np.sort(small[(a != b) & (b != c) & (c != a)], axis=1)
    count = len(first)
    if count**3 < 2**62:
        keys = np.unique((small[:, 0] * count + small[:, 1]) * count + small[:, 2])
        small = np.column_stack([keys // count // count, keys // count % count, keys % count])
    else:
        small = np.unique(small, axis=0)
    return vertices[used[first]], small.astype(np.int32)
