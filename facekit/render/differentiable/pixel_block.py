"""Shading, colour residual and its gradient for blocks of pixels, so that they fill vectors.

A caller fills a block pixel by pixel with ``put_corners`` and its picture's columns, and then has
it shaded, summed and added to the vertices. The block is one flat array whose columns start at
constant places, which lets the compiler see that they do not overlap.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import types

from facekit.render.differentiable.harmonics import (
    Y00,
    Y1,
    Y2,
    Y20,
    harmonics,
    harmonics_backward,
    lit,
    lit_backward,
)
from facekit.render.differentiable.signatures import DOUBLE, LONG, OPTIONS, read, write
from facekit.render.differentiable.weights import weights_backward

BLOCK = 64
# Columns of a vertex's row: x, y in pixels, depth, normal, albedo.
ROW = 9
# Columns of a block: three corners' rows (x, y from the pixel's centre), the picture's colour,
# the mask; then what ``shade_block`` fills in.
IMAGE = 3 * ROW * BLOCK
MASK = IMAGE + 3 * BLOCK
_MOVE = MASK + BLOCK
_WEIGHT = _MOVE + 9 * BLOCK
_NORMAL = _WEIGHT + 3 * BLOCK
_SKIN = _NORMAL + 3 * BLOCK
_VALUE = _SKIN + 3 * BLOCK
_SHADING = _VALUE + BLOCK
_UNIT = _SHADING + 3 * BLOCK
SIZE = _UNIT + 3 * BLOCK

# Sums over a block may be taken in lanes: blocks are the same for every number of threads.
_SUMS: dict[str, Any] = {**OPTIONS, "fastmath": {"contract", "reassoc"}}


@numba.njit(inline="always")
def put_corners(block, n, rows, i, j, k, x, y):
    """Write three vertices' rows (V, 9) into a block's pixel n, whose centre is (x, y)."""
    _put(block, np.uint32(n), rows, i, x, y)
    _put(block, np.uint32(n + ROW * BLOCK), rows, j, x, y)
    _put(block, np.uint32(n + 2 * ROW * BLOCK), rows, k, x, y)


@numba.njit(inline="always")
def _put(block, at, rows, v, x, y):
    block[at] = rows[v, 0] - x
    block[at + BLOCK] = rows[v, 1] - y
    block[at + 2 * BLOCK] = rows[v, 2]
    block[at + 3 * BLOCK] = rows[v, 3]
    block[at + 4 * BLOCK] = rows[v, 4]
    block[at + 5 * BLOCK] = rows[v, 5]
    block[at + 6 * BLOCK] = rows[v, 6]
    block[at + 7 * BLOCK] = rows[v, 7]
    block[at + 8 * BLOCK] = rows[v, 8]


@numba.njit(inline="always")
def _three(block, column, n):
    at = column * BLOCK + n
    return block[at], block[at + BLOCK], block[at + 2 * BLOCK]


@numba.njit(inline="always")
def _keep(block, column, n, values):
    block[column + n] = values[0]
    block[column + BLOCK + n] = values[1]
    block[column + 2 * BLOCK + n] = values[2]


@numba.njit(inline="always")
def _mean(w, p, q, r):
    return (
        w[0] * p[0] + w[1] * q[0] + w[2] * r[0],
        w[0] * p[1] + w[1] * q[1] + w[2] * r[1],
        w[0] * p[2] + w[1] * q[2] + w[2] * r[2],
    )


@numba.njit(inline="always")
def _dot(p, q):
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2]


@numba.njit(types.void(write(DOUBLE, 1), read(DOUBLE, 2), DOUBLE), **OPTIONS)
def shade_block(block, light, epsilon):
    """Work out every pixel's residual and its gradient, without a branch.

    The formulas are those of ``weights.weights``, ``harmonics.unit`` and ``residual``, written
    so that lanes of faces without area or of zero normals come out as they do there.
    """
    for n in range(BLOCK):
        p, q, r = _three(block, 0, n), _three(block, 9, n), _three(block, 18, n)
        m0 = (r[0] * q[1] - q[0] * r[1]) * q[2] * r[2]
        m1 = (p[0] * r[1] - r[0] * p[1]) * r[2] * p[2]
        m2 = (q[0] * p[1] - p[0] * q[1]) * p[2] * q[2]
        total = m0 + m1 + m2
        inverse = 1.0 / total if total != 0 else 0.0
        w = (m0 * inverse if total != 0 else 1.0, m1 * inverse, m2 * inverse)
        np_, nq, nr = _three(block, 3, n), _three(block, 12, n), _three(block, 21, n)
        ap, aq, ar = _three(block, 6, n), _three(block, 15, n), _three(block, 24, n)
        x, y, z = _mean(w, np_, nq, nr)
        length = math.sqrt(x * x + y * y + z * z)
        shrink = 1.0 / length if length > 0 else 0.0
        x, y, z = x * shrink, y * shrink, z * shrink
        basis = harmonics(x, y, z)
        s = (lit(basis, light, 0), lit(basis, light, 1), lit(basis, light, 2))
        a = _mean(w, ap, aq, ar)
        d0 = a[0] * s[0] - block[IMAGE + n]
        d1 = a[1] * s[1] - block[IMAGE + BLOCK + n]
        d2 = a[2] * s[2] - block[IMAGE + 2 * BLOCK + n]
        root = math.sqrt(epsilon + d0 * d0 + d1 * d1 + d2 * d2)
        m = block[MASK + n]
        factor = m / root
        d0, d1, d2 = factor * d0, factor * d1, factor * d2
        to_skin = (s[0] * d0, s[1] * d1, s[2] * d2)
        to_shading = (a[0] * d0, a[1] * d1, a[2] * d2)
        to_normal = harmonics_backward(x, y, z, shrink, lit_backward(light, to_shading))
        to_weights = (
            _dot(np_, to_normal) + _dot(ap, to_skin),
            _dot(nq, to_normal) + _dot(aq, to_skin),
            _dot(nr, to_normal) + _dot(ar, to_skin),
        )
        e0, e1, e2 = weights_backward(p, q, r, w, inverse, to_weights)
        _keep(block, _MOVE, n, e0)
        _keep(block, _MOVE + 3 * BLOCK, n, e1)
        _keep(block, _MOVE + 6 * BLOCK, n, e2)
        _keep(block, _WEIGHT, n, w)
        _keep(block, _NORMAL, n, to_normal)
        _keep(block, _SKIN, n, to_skin)
        _keep(block, _SHADING, n, to_shading)
        _keep(block, _UNIT, n, (x, y, z))
        block[_VALUE + n] = m * root


@numba.njit(types.void(read(DOUBLE, 1), write(DOUBLE, 1), write(DOUBLE, 2)), **_SUMS)
def sum_block(block, sums, to_light):
    """Add a block to the sums (2,) of residuals and mask and to the light's gradient (9, 3)."""
    value = weight = 0.0
    for n in range(BLOCK):
        value += block[_VALUE + n]
        weight += block[MASK + n]
    sums[0] += value
    sums[1] += weight
    for c in range(3):
        t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = t8 = 0.0
        for n in range(BLOCK):
            x, y, z = block[_UNIT + n], block[_UNIT + BLOCK + n], block[_UNIT + 2 * BLOCK + n]
            g = block[_SHADING + c * BLOCK + n]
            t0 += g
            t1 += g * y
            t2 += g * z
            t3 += g * x
            t4 += g * x * y
            t5 += g * y * z
            t6 += g * (3.0 * z * z - 1.0)
            t7 += g * x * z
            t8 += g * (x * x - y * y)
        to_light[0, c] += Y00 * t0
        to_light[1, c] += Y1 * t1
        to_light[2, c] += Y1 * t2
        to_light[3, c] += Y1 * t3
        to_light[4, c] += Y2 * t4
        to_light[5, c] += Y2 * t5
        to_light[6, c] += Y20 * t6
        to_light[7, c] += Y2 * t7
        to_light[8, c] += 0.5 * Y2 * t8


@numba.njit(types.void(read(DOUBLE, 1), read(types.uint32, 2), LONG, write(DOUBLE, 2)), **OPTIONS)
def add_block(block, corners, count, part):
    """Add the first ``count`` pixels' gradients to their corners' rows of ``part`` (V, 9)."""
    for n in range(count):
        nx, ny, nz = block[_NORMAL + n], block[_NORMAL + BLOCK + n], block[_NORMAL + 2 * BLOCK + n]
        r, g, b = block[_SKIN + n], block[_SKIN + BLOCK + n], block[_SKIN + 2 * BLOCK + n]
        for c in range(3):
            v = corners[n, c]
            w = block[_WEIGHT + c * BLOCK + n]
            at = _MOVE + 3 * c * BLOCK + n
            part[v, 0] += block[at]
            part[v, 1] += block[at + BLOCK]
            part[v, 2] += block[at + 2 * BLOCK]
            part[v, 3] += w * nx
            part[v, 4] += w * ny
            part[v, 5] += w * nz
            part[v, 6] += w * r
            part[v, 7] += w * g
            part[v, 8] += w * b
