"""Vertex normals and their gradient, gathered by vertex so that no two threads write one place."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.render.differentiable.signatures import (
    INDEX1,
    INDEX2,
    LONG,
    OPTIONS,
    both,
    read,
    write,
)
from facekit.render.differentiable.tensors import check_tensor, to_numpy
from facekit.render.differentiable.topology import Topology
from facekit.threads import run_ranges

# A thread more pays for itself from about this many faces or vertices.
_MIN_ITEMS = 8_000


def vertex_normals(vertices: Tensor, topology: Topology) -> Tensor:
    """Return unit vertex normals (B, V, 3), area weighted, with gradients to the vertices.

    Computes n_v = s_v / |s_v| with s_v the sum over the faces (i, j, k) about v of
    (x_j - x_i) x (x_k - x_i), as ``geometry.mesh.vertex_normals``.

    Args:
        vertices: (B, V, 3) float32 or float64 on the CPU, any unit and frame.
        topology: of the mesh.

    Returns:
        (B, V, 3) of the same dtype; bit for bit independent of the number of threads.

    Raises:
        InputError: a wrong shape, dtype or device.

    Degenerate: a vertex of no face, or of faces without area only, gets the zero vector and its
    neighbours no gradient from it.
    """
    check_tensor(vertices, "vertices", (None, topology.num_vertices, 3))
    return _VertexNormals.apply(vertices, topology)


class _VertexNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, topology: Topology) -> Tensor:
        points = to_numpy(vertices)
        batch, count = points.shape[:2]
        cross = np.empty((batch, len(topology.faces), 3), points.dtype)
        normals = np.empty_like(points)
        lengths = np.empty((batch, count), points.dtype)
        run_ranges(
            lambda a, b: face_cross(points, topology.index, cross, a, b),
            batch * len(topology.faces),
            min_chunk=_MIN_ITEMS,
        )
        run_ranges(
            lambda a, b: _sum_faces(
                cross, topology.offsets, topology.around, normals, lengths, a, b
            ),
            batch * count,
            min_chunk=_MIN_ITEMS,
        )
        result = torch.from_numpy(normals)
        ctx.topology, ctx.lengths = topology, lengths
        ctx.save_for_backward(vertices, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        vertices, normals = (to_numpy(tensor) for tensor in ctx.saved_tensors)
        given = to_numpy(gradient)
        topology: Topology = ctx.topology
        batch, count = vertices.shape[:2]
        sums, out = np.empty_like(vertices), np.empty_like(vertices)
        faces = np.empty((batch, len(topology.faces), 3), vertices.dtype)
        run_ranges(
            lambda a, b: through_length(given, normals, ctx.lengths, sums, a, b),
            batch * count,
            min_chunk=2 * _MIN_ITEMS,
        )
        run_ranges(
            lambda a, b: to_faces(sums, topology.index, faces, a, b),
            batch * len(topology.faces),
            min_chunk=_MIN_ITEMS,
        )
        run_ranges(
            lambda a, b: to_vertices(vertices, faces, topology.offsets, topology.around, out, a, b),
            batch * count,
            min_chunk=_MIN_ITEMS,
        )
        return torch.from_numpy(out), None


@numba.njit(both(lambda t: (read(t, 3), INDEX2, write(t, 3), LONG, LONG)), **OPTIONS)
def face_cross(vertices, faces, cross, start, stop):
    """Twice the area of each face along its normal, of faces [start, stop) of the batch."""
    count = faces.shape[0]
    for b in range(start // count, -(-stop // count)):
        place, out = vertices[b], cross[b]
        for f in range(max(start - b * count, 0), min(stop - b * count, count)):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            x, y, z = place[i, 0], place[i, 1], place[i, 2]
            ax, ay, az = place[j, 0] - x, place[j, 1] - y, place[j, 2] - z
            bx, by, bz = place[k, 0] - x, place[k, 1] - y, place[k, 2] - z
            out[f, 0] = ay * bz - az * by
            out[f, 1] = az * bx - ax * bz
            out[f, 2] = ax * by - ay * bx


@numba.njit(
    both(lambda t: (read(t, 3), INDEX1, INDEX2, write(t, 3), write(t, 2), LONG, LONG)), **OPTIONS
)
def _sum_faces(cross, offsets, around, normals, lengths, start, stop):
    count = normals.shape[1]
    for b in range(start // count, -(-stop // count)):
        face = cross[b]
        for v in range(max(start - b * count, 0), min(stop - b * count, count)):
            x = y = z = 0.0
            for row in range(offsets[v], offsets[v + 1]):
                f = around[row, 0]
                x += face[f, 0]
                y += face[f, 1]
                z += face[f, 2]
            length = np.sqrt(x * x + y * y + z * z)
            inverse = 1.0 / length if length > 0 else 0.0
            lengths[b, v] = length
            normals[b, v, 0] = x * inverse
            normals[b, v, 1] = y * inverse
            normals[b, v, 2] = z * inverse


@numba.njit(
    both(lambda t: (read(t, 3), read(t, 3), read(t, 2), write(t, 3), LONG, LONG)), **OPTIONS
)
def through_length(gradient, normals, lengths, out, start, stop):
    """The gradient of s / |s|: (g - n (n . g)) / |s|."""
    count = normals.shape[1]
    for b in range(start // count, -(-stop // count)):
        for v in range(max(start - b * count, 0), min(stop - b * count, count)):
            length = lengths[b, v]
            inverse = 1.0 / length if length > 0 else 0.0
            nx, ny, nz = normals[b, v, 0], normals[b, v, 1], normals[b, v, 2]
            gx, gy, gz = gradient[b, v, 0], gradient[b, v, 1], gradient[b, v, 2]
            along = nx * gx + ny * gy + nz * gz
            out[b, v, 0] = (gx - nx * along) * inverse
            out[b, v, 1] = (gy - ny * along) * inverse
            out[b, v, 2] = (gz - nz * along) * inverse


@numba.njit(both(lambda t: (read(t, 3), INDEX2, write(t, 3), LONG, LONG)), **OPTIONS)
def to_faces(sums, faces, out, start, stop):
    """Each face's sum of its corners' gradients."""
    count = faces.shape[0]
    for b in range(start // count, -(-stop // count)):
        total, face = sums[b], out[b]
        for f in range(max(start - b * count, 0), min(stop - b * count, count)):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            face[f, 0] = total[i, 0] + total[j, 0] + total[k, 0]
            face[f, 1] = total[i, 1] + total[j, 1] + total[k, 1]
            face[f, 2] = total[i, 2] + total[j, 2] + total[k, 2]


@numba.njit(
    both(lambda t: (read(t, 3), read(t, 3), INDEX1, INDEX2, write(t, 3), LONG, LONG)), **OPTIONS
)
def to_vertices(vertices, gradients, offsets, around, out, start, stop):
    """With c = v x n + n x p + p x v (next, previous corner), g . c has the gradient (n - p) x g.

    It is independent of v, so a face's three corners are treated alike.
    """
    count = out.shape[1]
    for b in range(start // count, -(-stop // count)):
        place, face = vertices[b], gradients[b]
        for v in range(max(start - b * count, 0), min(stop - b * count, count)):
            x = y = z = 0.0
            for row in range(offsets[v], offsets[v + 1]):
                f, after, before = around[row, 0], around[row, 1], around[row, 2]
                ex = place[after, 0] - place[before, 0]
                ey = place[after, 1] - place[before, 1]
                ez = place[after, 2] - place[before, 2]
                gx, gy, gz = face[f, 0], face[f, 1], face[f, 2]
                x += ey * gz - ez * gy
                y += ez * gx - ex * gz
                z += ex * gy - ey * gx
            out[b, v, 0] = x
            out[b, v, 1] = y
            out[b, v, 2] = z
