"""Vertex attributes at held pixels, with gradients to the attributes and through the weights."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numba import types
from torch import Tensor
from torch.autograd.function import once_differentiable

from facekit.errors import InputError
from facekit.render.differentiable.held import Held
from facekit.render.differentiable.runs import add_runs
from facekit.render.differentiable.signatures import (
    DOUBLE,
    INDEX1,
    INDEX2,
    LONG,
    LONG2,
    OPTIONS,
    both,
    read,
    write,
)
from facekit.render.differentiable.tensors import check_same_dtype, check_tensor, to_numpy
from facekit.render.differentiable.topology import Topology
from facekit.render.differentiable.weights import corner, weights, weights_backward
from facekit.threads import run_ranges


def interpolate(points: Tensor, attributes: Tensor, held: Held, topology: Topology) -> Tensor:
    """Return attributes at the held pixels, (N, C), perspective-correct.

    Computes sum_c w_c a_c with w_c = m_c / sum m and m_c = A_c z_d z_e: the area opposite corner
    c on the screen times the other corners' depths. The gradient goes to the attributes and,
    through the weights, to the points, whose faces at each pixel are held.

    Args:
        points: (B, V, 3) as rasterised: x, y in pixels and depth z.
        attributes: (B, V, C) of the same dtype.
        held: of ``hold`` with these points.
        topology: of the mesh.

    Raises:
        InputError: shapes, dtypes or devices do not fit.

    Degenerate: a face without area on the screen gives its first corner, and no gradient.
    """
    check_held(points, held, topology)
    check_tensor(attributes, "attributes", (*points.shape[:2], None))
    check_same_dtype(points=points, attributes=attributes)
    return _Interpolate.apply(points, attributes, held, topology)


def check_held(points: Tensor, held: Held, topology: Topology) -> None:
    """Raise InputError unless the points (B, V, 3), the held pixels and the mesh fit."""
    check_tensor(points, "points", (held.shape[0], topology.num_vertices, 3))
    if held.triangle.size and held.triangle.max() >= len(topology.faces):
        raise InputError(
            f"held: names face {int(held.triangle.max())} but there are {len(topology.faces)}; "
            "pass the topology that was rasterised"
        )


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, points: Tensor, attributes: Tensor, held: Held, topology: Topology
    ) -> Tensor:
        screen, values = to_numpy(points), to_numpy(attributes)
        out = np.empty((len(held.pixels), values.shape[2]), values.dtype)
        run_ranges(
            lambda a, b: _forward(
                screen, values, topology.index, held.pixels, held.triangle, held.runs,
                held.shape[1], held.shape[2], out, a, b,
            ),
            len(held.runs),
        )  # fmt: skip
        ctx.held, ctx.topology = held, topology
        ctx.save_for_backward(points, attributes)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        screen, values = (to_numpy(tensor) for tensor in ctx.saved_tensors)
        held: Held = ctx.held
        count, channels = values.shape[1:]
        moves = bool(ctx.needs_input_grad[0])
        given = to_numpy(gradient)
        parts = np.empty((len(held.runs), count, channels + 3 * moves))
        run_ranges(
            lambda a, b: _backward(
                screen, values, ctx.topology.index, held.pixels, held.triangle, held.runs,
                held.shape[1], held.shape[2], given, moves, parts, a, b,
            ),
            len(held.runs),
        )  # fmt: skip
        total = torch.from_numpy(add_runs(parts, held, np.ones(held.shape[0]), values.dtype))
        return (total[..., channels:] if moves else None), total[..., :channels], None, None


@numba.njit(inline="always")
def _add(part, v, column, g):
    part[v, column] += g[0]
    part[v, column + 1] += g[1]
    part[v, column + 2] += g[2]


_COMMON = (INDEX2, INDEX1, INDEX1, LONG2, LONG, LONG)


@numba.njit(both(lambda t: (read(t, 3), read(t, 3), *_COMMON, write(t, 2), LONG, LONG)), **OPTIONS)
def _forward(points, values, faces, pixels, triangle, runs, height, width, out, start, stop):
    channels = values.shape[2]
    for run in range(start, stop):
        b = runs[run, 0]
        screen, value = points[b], values[b]
        before = b * height * width
        for n in range(runs[run, 1], runs[run, 2]):
            at = np.uint32(pixels[n] - before)
            y, x = at // np.uint32(width), at % np.uint32(width)
            t = triangle[n]
            i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
            w0, w1, w2, _ = weights(
                corner(screen, i, x, y), corner(screen, j, x, y), corner(screen, k, x, y)
            )
            for c in range(channels):
                out[n, c] = w0 * value[i, c] + w1 * value[j, c] + w2 * value[k, c]


@numba.njit(
    both(
        lambda t: (
            read(t, 3), read(t, 3), *_COMMON, read(t, 2), types.boolean, write(DOUBLE, 3),
            LONG, LONG,
        )
    ),
    **OPTIONS,
)  # fmt: skip
def _backward(
    points, values, faces, pixels, triangle, runs, height, width, given, moves, parts, start, stop
):
    channels = values.shape[2]
    for run in range(start, stop):
        b = runs[run, 0]
        screen, value, part = points[b], values[b], parts[run]
        part[:] = 0
        before = b * height * width
        for n in range(runs[run, 1], runs[run, 2]):
            at = np.uint32(pixels[n] - before)
            y, x = at // np.uint32(width), at % np.uint32(width)
            t = triangle[n]
            i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
            p, q, r = corner(screen, i, x, y), corner(screen, j, x, y), corner(screen, k, x, y)
            w0, w1, w2, inverse = weights(p, q, r)
            g0 = g1 = g2 = 0.0
            for c in range(channels):
                g = float(given[n, c])
                part[i, c] += w0 * g
                part[j, c] += w1 * g
                part[k, c] += w2 * g
                g0 += value[i, c] * g
                g1 += value[j, c] * g
                g2 += value[k, c] * g
            if moves:
                d0, d1, d2 = weights_backward(p, q, r, (w0, w1, w2), inverse, (g0, g1, g2))
                _add(part, i, channels, d0)
                _add(part, j, channels, d1)
                _add(part, k, channels, d2)
