"""Texture coordinates of the template: one chart for the skin, one disc for each eyeball.

The left half of the skin, mouth bag and eye sockets is one topological disc. It is laid into the
right half of a circle by convex combinations, which never fold (W. Tutte, How to draw a graph,
1963; M. Floater, Parametrization and smooth approximation, 1997), and relaxed towards even
texture density: S. Yoshizawa, A. Belyaev, H.-P. Seidel, A fast and simple stretch-minimizing mesh
parameterization, 2004. The right half is its mirror image; the two meet on the front midline, and
the seam runs from the crown down the back of the head.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl

from facekit.errors import InputError
from facekit.geometry.mesh import face_areas, mesh_edges

_EYEBALL_RADIUS = 0.08
_MARGIN = 0.004


class TextureChart(NamedTuple):
    """uvs (T, 2) float64 in [0, 1], origin lower left, and face_uvs (F, 3) int32 rows of it."""

    uvs: np.ndarray
    face_uvs: np.ndarray


def flatten_disc(
    vertices: np.ndarray,
    faces: np.ndarray,
    boundary: np.ndarray,
    *,
    density: np.ndarray,
    rounds: int = 30,
) -> np.ndarray:
    """Flatten a topological disc without folds.

    Args:
        vertices: (V, 3); faces: (F, 3).
        boundary: (V, 2) fixed positions of border vertices on a convex curve, NaN elsewhere. A
            border that is a line of mirror symmetry fixes the coordinate across it alone.
        density: (F,) wanted texture length per length on the surface, relative.
        rounds: relaxation steps; the one of least stretch is returned.

    Returns:
        (V, 2) positions.

    Raises:
        InputError: a flattened face has no positive area (the surface is no disc).
    """
    pairs = mesh_edges(faces).vertices
    i = np.concatenate([pairs[:, 0], pairs[:, 1]])
    j = np.concatenate([pairs[:, 1], pairs[:, 0]])
    weights = _mean_value_weights(vertices, faces, i, j)
    wanted = face_areas(vertices, faces) * density**2
    wanted = wanted / wanted.sum()
    best, best_stretch = None, np.inf
    n = len(vertices)
    for _ in range(rounds):
        uv = _solve(i, j, weights, boundary, n)
        areas = _signed_areas(uv, faces)
        if areas.min() <= 0:
            break
        share = areas / areas.sum()
        stretch = float((wanted**2 / share).sum())
        if stretch < best_stretch:
            best, best_stretch = uv, stretch
        ratio = np.zeros(n)
        total = np.zeros(n)
        for k in range(3):
            np.add.at(ratio, faces[:, k], wanted * np.sqrt(wanted / share))
            np.add.at(total, faces[:, k], wanted)
        weights = weights / np.sqrt((ratio / np.maximum(total, 1e-30))[j])
    if best is None:
        raise InputError("texture chart: the surface folds; expected a disc with a convex border")
    return best


def _solve(
    i: np.ndarray,
    j: np.ndarray,
    weights: np.ndarray,
    boundary: np.ndarray,
    n: int,
) -> np.ndarray:
    matrix = sp.csr_array((weights, (i, j)), shape=(n, n))
    matrix = sp.csr_array(sp.diags_array(1.0 / matrix.sum(axis=1)) @ matrix)
    uv = boundary.copy()
    for axis in range(2):
        known = np.isfinite(boundary[:, axis])
        fixed, free = np.flatnonzero(known), np.flatnonzero(~known)
        rows = matrix[free]
        system = sp.eye_array(len(free), format="csc") - sp.csc_array(rows[:, free])
        right = rows[:, fixed] @ boundary[fixed, axis]
        uv[free, axis] = spl.splu(sp.csc_matrix(system)).solve(right)
    return uv


def _mean_value_weights(
    vertices: np.ndarray, faces: np.ndarray, i: np.ndarray, j: np.ndarray
) -> np.ndarray:
    """Return positive weights of directed edges (i, j): tangents of half angles over length.

    Source: M. Floater, Mean value coordinates, 2003, eq. 2.1.
    """
    n = len(vertices)
    tangent = sp.csr_array((n, n))
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        cross = np.linalg.norm(np.cross(u, v), axis=1)
        dot = (u * v).sum(1)
        half = np.tan(0.5 * np.arctan2(cross, dot))
        tangent = tangent + sp.csr_array((half, (a, b)), shape=(n, n))
        tangent = tangent + sp.csr_array((half, (a, c)), shape=(n, n))
    length = np.linalg.norm(vertices[i] - vertices[j], axis=1)
    return np.asarray(tangent[i, j]).ravel() / length


def _signed_areas(uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = uv[faces[:, 0]], uv[faces[:, 1]], uv[faces[:, 2]]
    return 0.5 * (
        (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    )


def border_loop(faces: np.ndarray) -> np.ndarray:
    """Return the vertices of the only open border, in the order in which faces run along it.

    Raises:
        InputError: there is none, or more than one.
    """
    directed = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges = mesh_edges(faces)
    open_edge = edges.num_faces[edges.face_edges.reshape(-1)] == 1
    follow = dict(directed[open_edge].tolist())
    if not follow:
        raise InputError("texture chart: expected an open border, got a closed surface")
    start = min(follow)
    loop = [start]
    while follow[loop[-1]] != start:
        loop.append(follow[loop[-1]])
        if len(loop) > len(follow):
            raise InputError("texture chart: expected a border that closes")
    if len(loop) != len(follow):
        raise InputError("texture chart: expected one open border, got several")
    return np.array(loop)


def template_chart(
    vertices: np.ndarray,
    faces: np.ndarray,
    mirror: np.ndarray,
    *,
    part: np.ndarray,
    eyeball_polar: np.ndarray,
    density: np.ndarray,
) -> TextureChart:
    """Return the template's chart.

    Args:
        vertices: (V, 3) a symmetric head, head frame; faces: (F, 3): left half's skin, right
            half's skin, left ball, right ball; mirror: (V,).
        part: (V,) 3 and 4 for the eyeballs.
        eyeball_polar: (N, 2) polar angle and azimuth of an eyeball's vertices.
        density: (V,) wanted texture length per millimetre, relative.
    """
    skin_faces = faces[part[faces[:, 0]] < 3]
    half = skin_faces[: len(skin_faces) // 2]
    n = int(half.max()) + 1
    loop = border_loop(half)
    border, seam = _place_border(vertices, loop)
    boundary = np.full((n, 2), np.nan)
    boundary[loop] = border
    flat = flatten_disc(vertices[:n], half, boundary, density=density[half].mean(1))
    scale = 1 - 2 * _MARGIN
    left = 0.5 + scale * (flat - [0.0, 0.5])
    total = len(vertices)
    uvs = np.zeros((total + len(seam), 2))
    uvs[:n] = left
    uvs[mirror[:n]] = np.where((mirror[:n] == np.arange(n))[:, None], left, left * [-1, 1] + [1, 0])
    uvs[seam] = left[seam]
    uvs[total:] = left[seam] * [-1, 1] + [1, 0]
    face_uvs = faces.copy()
    other = {int(v): total + k for k, v in enumerate(seam)}
    for row in range(len(half), len(skin_faces)):
        face_uvs[row] = [other.get(v, v) for v in face_uvs[row].tolist()]
    polar, azimuth = eyeball_polar.T
    radius = _EYEBALL_RADIUS * polar / polar.max()
    disc = np.column_stack([radius * np.cos(azimuth), radius * np.sin(azimuth)])
    corner = _EYEBALL_RADIUS + _MARGIN
    uvs[np.flatnonzero(part == 3)] = disc + [1 - corner, corner]
    uvs[np.flatnonzero(part == 4)] = disc * [-1, 1] + corner
    return TextureChart(uvs, face_uvs.astype(np.int32))


def _place_border(vertices: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place the half's border: the front midline on x = 0, the rest on a half circle.

    Returns:
        ((L, 2) positions with x in [0, 0.5] and y in [0, 1], y NaN inside the front midline;
        seam vertices (S,), ascending: those of the back midline, without its ends at the crown).
    """
    points = vertices[loop]
    middle = np.abs(points[:, 0]) < 1e-9
    crown = int(np.argmax(np.where(middle, points[:, 1], -np.inf)))
    order = np.roll(np.arange(len(loop)), -crown)
    neck = np.flatnonzero(~middle[order])
    front = order[1 : neck[0] - 1]
    back = order[neck[-1] + 2 :]
    if points[front, 2].mean() < points[back, 2].mean():
        order = np.append(order[:1], order[:0:-1])
        neck = np.flatnonzero(~middle[order])
        front = order[1 : neck[0] - 1]
    # The arc runs from the front midline's lower end over the neck border and up the back.
    arc = np.append(order[neck[0] - 1 :], order[0])
    run = np.linalg.norm(np.diff(points[arc], axis=0), axis=1).cumsum()
    angle = np.pi * np.append(0.0, run / run[-1]) - np.pi / 2
    place = np.zeros((len(loop), 2))
    place[arc] = 0.5 * np.column_stack([np.cos(angle), np.sin(angle)]) + [0, 0.5]
    place[arc[[0, -1]], 0] = 0.0
    place[front] = [0.0, np.nan]
    inner = arc[1:-1]
    return place, np.sort(loop[inner[middle[inner]]])
