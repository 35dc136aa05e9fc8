"""Candidates of the moving jaw contour: for each jaw landmark a strip of surface points.

A strip is where the surface meets the plane through the landmark that holds the viewing axis and
the direction towards the face's middle. Its points run from the back (towards the ear, or under
the jaw) to the front, so that a fit can take the one on the silhouette.
"""

from __future__ import annotations

import itertools

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.types import LandmarkMap

_NUDGE_MM = 1e-3
# Signed distances along the strip, mm: behind the landmark, the landmark, in front of it.
STRIP_OFFSETS_MM = (-18.0, -12.0, -6.0, 0.0, 5.0, 10.0, 15.0, 20.0, 26.0, 32.0, 39.0, 46.0)


def jaw_strips(
    vertices: np.ndarray,
    faces: np.ndarray,
    jaw: LandmarkMap,
    *,
    centre: np.ndarray,
    offsets: tuple[float, ...] = STRIP_OFFSETS_MM,
) -> list[LandmarkMap]:
    """Return one strip of ``len(offsets)`` candidates for each jaw landmark.

    Args:
        vertices: (V, 3) head frame, mm; faces: (F, 3).
        jaw: the jaw landmarks.
        centre: (3,) the face's middle; strips run towards it in the frontal view.
        offsets: ascending distances along the surface from the landmark, mm, negative backwards.

    Degenerate: a strip that reaches an open border repeats its last point.
    """
    points = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    neighbours = _face_neighbours(faces)
    strips = []
    for face, weights in zip(jaw.faces.tolist(), jaw.barycentric, strict=True):
        start = weights @ points[faces[face]]
        towards = centre - start
        towards[2] = 0.0
        length = float(np.linalg.norm(towards))
        if length <= 0:
            raise InputError("jaw strips: a landmark lies at the face's middle")
        normal = np.cross([0.0, 0.0, 1.0], towards / length)
        side = (points - start) @ normal
        # On the midline the plane runs along edges; a hair's breadth beside them it cuts faces.
        side -= _NUDGE_MM * (1.0 if side[faces[face]].mean() >= 0 else -1.0)
        walks = {
            sign: _walk(points, faces, neighbours, side, face, start, sign * towards, abs(limit))
            for sign, limit in ((-1.0, min(offsets)), (1.0, max(offsets)))
        }
        found_faces, found_weights = [], []
        for offset in offsets:
            f, point = _at(walks[1.0 if offset >= 0 else -1.0], abs(offset))
            found_faces.append(f)
            found_weights.append(_barycentric(points[faces[f]], point))
        strips.append(
            LandmarkMap(np.array(found_faces, np.int32), np.array(found_weights, np.float32))
        )
    return strips


def _walk(
    points: np.ndarray,
    faces: np.ndarray,
    neighbours: dict[tuple[int, int], list[int]],
    side: np.ndarray,
    face: int,
    start: np.ndarray,
    direction: np.ndarray,
    length: float,
) -> list[tuple[int, np.ndarray]]:
    """Follow the plane ``side`` = 0 from a point of a face; return (face, point) at crossings."""
    path = [(face, start)]
    gone = 0.0
    came: tuple[int, int] | None = None
    while gone < length:
        crossings = []
        corners = faces[face].tolist()
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            key = (min(a, b), max(a, b))
            if key != came and (side[a] < 0) != (side[b] < 0):
                t = side[a] / (side[a] - side[b])
                crossings.append((key, points[a] + t * (points[b] - points[a])))
        if not crossings:
            break
        key, point = max(crossings, key=lambda c: float((c[1] - path[-1][1]) @ direction))
        gone += float(np.linalg.norm(point - path[-1][1]))
        path.append((face, point))
        others = [f for f in neighbours[key] if f != face]
        if not others:
            break
        came, face = key, others[0]
        if len(path) > 1 and path[-1][0] != face:
            path.append((face, point))
    return path


def _at(path: list[tuple[int, np.ndarray]], length: float) -> tuple[int, np.ndarray]:
    """Return the face and point at a distance along a path; its end when it is shorter."""
    gone = 0.0
    for (_, a), (face, b) in itertools.pairwise(path):
        step = float(np.linalg.norm(b - a))
        if step > 0 and gone + step >= length:
            return face, a + (length - gone) / step * (b - a)
        gone += step
    return path[-1]


def _barycentric(corners: np.ndarray, point: np.ndarray) -> np.ndarray:
    system = np.vstack([corners.T, np.ones(3)])
    weights = np.linalg.lstsq(system, np.append(point, 1.0), rcond=None)[0]
    weights = np.clip(weights, 0, 1)
    return weights / weights.sum()


def _face_neighbours(faces: np.ndarray) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for f, (a, b, c) in enumerate(faces.tolist()):
        for u, v in ((a, b), (b, c), (c, a)):
            found.setdefault((min(u, v), max(u, v)), []).append(f)
    return found
