"""Spherical-harmonics shading of one pixel and its gradient, inlined into other kernels."""

from __future__ import annotations

import math

import numba

Y00 = 0.5 * math.sqrt(1 / math.pi)
Y1 = 0.5 * math.sqrt(3 / math.pi)
Y2 = 0.5 * math.sqrt(15 / math.pi)
Y20 = 0.25 * math.sqrt(5 / math.pi)


@numba.njit(inline="always")
def unit(x, y, z):
    """A vector at length 1 and the reciprocal of its length; zero stays zero."""
    length = math.sqrt(x * x + y * y + z * z)
    inverse = 1.0 / length if length > 0 else 0.0
    return x * inverse, y * inverse, z * inverse, inverse


@numba.njit(inline="always")
def harmonics(x, y, z):
    """The nine harmonics of ``render.shade.sh_basis`` at a unit vector."""
    return (
        Y00,
        Y1 * y,
        Y1 * z,
        Y1 * x,
        Y2 * x * y,
        Y2 * y * z,
        Y20 * (3.0 * z * z - 1.0),
        Y2 * x * z,
        0.5 * Y2 * (x * x - y * y),
    )


@numba.njit(inline="always")
def lit(basis, light, c):
    """The shading of one colour: the harmonics times ``light`` (9, 3)."""
    return (
        basis[0] * light[0, c]
        + basis[1] * light[1, c]
        + basis[2] * light[2, c]
        + basis[3] * light[3, c]
        + basis[4] * light[4, c]
        + basis[5] * light[5, c]
        + basis[6] * light[6, c]
        + basis[7] * light[7, c]
        + basis[8] * light[8, c]
    )


@numba.njit(inline="always")
def lit_backward(light, g):
    """The gradient at the harmonics of the three colours' shading with gradient g."""
    return (
        light[0, 0] * g[0] + light[0, 1] * g[1] + light[0, 2] * g[2],
        light[1, 0] * g[0] + light[1, 1] * g[1] + light[1, 2] * g[2],
        light[2, 0] * g[0] + light[2, 1] * g[1] + light[2, 2] * g[2],
        light[3, 0] * g[0] + light[3, 1] * g[1] + light[3, 2] * g[2],
        light[4, 0] * g[0] + light[4, 1] * g[1] + light[4, 2] * g[2],
        light[5, 0] * g[0] + light[5, 1] * g[1] + light[5, 2] * g[2],
        light[6, 0] * g[0] + light[6, 1] * g[1] + light[6, 2] * g[2],
        light[7, 0] * g[0] + light[7, 1] * g[1] + light[7, 2] * g[2],
        light[8, 0] * g[0] + light[8, 1] * g[1] + light[8, 2] * g[2],
    )


@numba.njit(inline="always")
def add_light(total, basis, g):
    """Add one pixel's gradient at the light (9, 3); its shading has the gradient g."""
    _add(total, 0, basis[0], g)
    _add(total, 1, basis[1], g)
    _add(total, 2, basis[2], g)
    _add(total, 3, basis[3], g)
    _add(total, 4, basis[4], g)
    _add(total, 5, basis[5], g)
    _add(total, 6, basis[6], g)
    _add(total, 7, basis[7], g)
    _add(total, 8, basis[8], g)


@numba.njit(inline="always")
def _add(total, i, value, g):
    total[i, 0] += value * g[0]
    total[i, 1] += value * g[1]
    total[i, 2] += value * g[2]


@numba.njit(inline="always")
def harmonics_backward(x, y, z, inverse, g):
    """The gradient at a vector whose unit vector is (x, y, z), of harmonics with gradient g."""
    gx = Y1 * g[3] + Y2 * (y * g[4] + z * g[7] + x * g[8])
    gy = Y1 * g[1] + Y2 * (x * g[4] + z * g[5] - y * g[8])
    gz = Y1 * g[2] + Y2 * (y * g[5] + x * g[7]) + 6.0 * Y20 * z * g[6]
    along = x * gx + y * gy + z * gz
    return (gx - x * along) * inverse, (gy - y * along) * inverse, (gz - z * along) * inverse
