"""Perspective-correct barycentrics of a pixel and their gradient, inlined into other kernels."""

from __future__ import annotations

import numba


@numba.njit(inline="always")
def corner(points, v, x, y):
    """A vertex relative to a pixel's centre, and its depth, in double precision."""
    return points[v, 0] - float(x), points[v, 1] - float(y), float(points[v, 2])


@numba.njit(inline="always")
def blend(values, i, j, k, w):
    """Three channels of three vertices, weighted."""
    return (
        w[0] * values[i, 0] + w[1] * values[j, 0] + w[2] * values[k, 0],
        w[0] * values[i, 1] + w[1] * values[j, 1] + w[2] * values[k, 1],
        w[0] * values[i, 2] + w[1] * values[j, 2] + w[2] * values[k, 2],
    )


@numba.njit(inline="always")
def dot(values, v, g):
    """Three channels of a vertex times a gradient."""
    return values[v, 0] * g[0] + values[v, 1] * g[1] + values[v, 2] * g[2]


@numba.njit(inline="always")
def weights(p, q, r):
    """The weights of three corners at the origin, and the reciprocal of their unscaled sum.

    The areas opposite the corners times the product of the other two depths, over their sum;
    (1, 0, 0) and 0 for a face without area.
    """
    x0, y0, z0 = p
    x1, y1, z1 = q
    x2, y2, z2 = r
    m0 = (x2 * y1 - x1 * y2) * z1 * z2
    m1 = (x0 * y2 - x2 * y0) * z2 * z0
    m2 = (x1 * y0 - x0 * y1) * z0 * z1
    total = m0 + m1 + m2
    if total == 0:
        return 1.0, 0.0, 0.0, 0.0
    inverse = 1.0 / total
    return m0 * inverse, m1 * inverse, m2 * inverse, inverse


@numba.njit(inline="always")
def weights_backward(p, q, r, w, inverse, g):
    """The gradient at the three corners (x, y, z each) of weights whose gradient is ``g``."""
    x0, y0, z0 = p
    x1, y1, z1 = q
    x2, y2, z2 = r
    mean = w[0] * g[0] + w[1] * g[1] + w[2] * g[2]
    m0, m1, m2 = (g[0] - mean) * inverse, (g[1] - mean) * inverse, (g[2] - mean) * inverse
    a0, a1, a2 = x2 * y1 - x1 * y2, x0 * y2 - x2 * y0, x1 * y0 - x0 * y1
    s0, s1, s2 = m0 * z1 * z2, m1 * z2 * z0, m2 * z0 * z1
    return (
        (s1 * y2 - s2 * y1, s2 * x1 - s1 * x2, m1 * a1 * z2 + m2 * a2 * z1),
        (s2 * y0 - s0 * y2, s0 * x2 - s2 * x0, m2 * a2 * z0 + m0 * a0 * z2),
        (s0 * y1 - s1 * y0, s1 * x0 - s0 * x1, m0 * a0 * z1 + m1 * a1 * z0),
    )
