"""Solid noise: smooth random functions of 3D position, the same for the same seed everywhere."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from facekit.checks import check_array
from facekit.threads import run_ranges

_MIN_POINTS = 20_000
# Points are worked on in blocks that stay in the first-level cache.
_BLOCK = 512


def solid_noise(
    points: np.ndarray, *, size: float, seed: int, octaves: int = 1, gain: float = 0.5
) -> np.ndarray:
    """Return smooth noise of points (N, 3), (N,) float32, about uniform in [-1, 1].

    Value noise: random numbers on a cubic lattice, interpolated with a quintic, summed over
    octaves of half the size and ``gain`` times the strength.

    Args:
        points: (N, 3), any unit.
        size: edge of the largest lattice cells, in the points' unit.
        seed: another seed is another function.
        octaves: how many layers; gain: strength of each over the last.
    """
    where = np.ascontiguousarray(check_array(points, "points", shape=("N", 3)), np.float32)
    out = np.empty(len(where), np.float32)
    settings = (1.0 / size, seed & 0x7FFFFFFF, octaves, gain, out)
    if len(where) < 2 * _MIN_POINTS:
        _values(where, *settings, 0, len(where))
    else:
        run_ranges(
            lambda start, stop: _values(where, *settings, start, stop),
            len(where),
            min_chunk=_MIN_POINTS,
        )
    return out


def solid_noise_gradient(
    points: np.ndarray, *, size: float, seed: int, octaves: int = 1, gain: float = 0.5
) -> np.ndarray:
    """Return the noise's gradient (per unit of length) and value, (N, 4) float32.

    Columns 0 to 2 are the gradient, column 3 is ``solid_noise``.
    """
    where = np.ascontiguousarray(check_array(points, "points", shape=("N", 3)), np.float32)
    out = np.empty((len(where), 4), np.float32)
    run_ranges(
        lambda start, stop: _gradients(
            where, 1.0 / size, seed & 0x7FFFFFFF, octaves, gain, out, start, stop
        ),
        len(where),
        min_chunk=_MIN_POINTS,
    )
    return out


_X, _Y, _Z, _S = (np.uint32(c) for c in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F))
_ONE = np.float32(1)


@numba.njit(inline="always")
def _lattice(x, y, z, seed):
    # An integer hash (multiply and shift) of the lattice point, as a number in [-1, 1); the
    # coordinates come multiplied by their constants. Products of two uint32 are 64 bits wide in
    # numba, hence the casts.
    h = np.uint32(x ^ y ^ z ^ seed)
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
    h = np.uint32((h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    return np.float32(h) * np.float32(2.0 / 4294967296.0) - np.float32(1.0)


@numba.njit(inline="always")
def _cell(x, y, z, seed):
    """Return the eight corners' numbers of a point's cell, and its place in the cell."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    x0, y0, z0 = (
        np.uint32(np.uint32(np.int32(fx)) * _X),
        np.uint32(np.uint32(np.int32(fy)) * _Y),
        np.uint32(np.uint32(np.int32(fz)) * _Z),
    )
    # The next lattice point's product is one constant more, modulo 2^32.
    x1, y1, z1 = np.uint32(x0 + _X), np.uint32(y0 + _Y), np.uint32(z0 + _Z)
    return (
        _lattice(x0, y0, z0, seed),
        _lattice(x1, y0, z0, seed),
        _lattice(x0, y1, z0, seed),
        _lattice(x1, y1, z0, seed),
        _lattice(x0, y0, z1, seed),
        _lattice(x1, y0, z1, seed),
        _lattice(x0, y1, z1, seed),
        _lattice(x1, y1, z1, seed),
        x - fx,
        y - fy,
        z - fz,
    )


@numba.njit(inline="always")
def _quintic(t):
    return t * t * t * (t * (t * np.float32(6) - np.float32(15)) + np.float32(10))


@numba.njit(inline="always")
def _slope(t):
    return np.float32(30) * t * t * (t - _ONE) * (t - _ONE)


# The loops over a block have no branch and no stride, so that the compiler runs several points
# at once.
@numba.njit(
    types.void(
        types.Array(types.float32, 2, "C", readonly=True),
        types.float32,
        types.int64,
        types.int64,
        types.float32,
        types.float32[::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _values(points, frequency, seed, octaves, gain, out, start, stop):
    place = np.zeros((3, _BLOCK), np.float32)
    px, py, pz = place[0], place[1], place[2]
    value = np.empty(_BLOCK, np.float32)
    for first in range(start, stop, _BLOCK):
        count = min(_BLOCK, stop - first)
        for p in range(count):
            px[p] = points[first + p, 0]
            py[p] = points[first + p, 1]
            pz[p] = points[first + p, 2]
            value[p] = np.float32(0)
        f = frequency
        strength = _ONE
        for octave in range(octaves):
            s = np.uint32(np.uint32(seed + octave) * _S)
            for p in range(_BLOCK):
                a, b, c, d, e, g, h, m, u, v, w = _cell(px[p] * f, py[p] * f, pz[p] * f, s)
                u, v, w = _quintic(u), _quintic(v), _quintic(w)
                near = a + u * (b - a) + v * (c - a + u * (a - b - c + d))
                far = e + u * (g - e) + v * (h - e + u * (e - g - h + m))
                value[p] += strength * (near + w * (far - near))
            f *= np.float32(2)
            strength *= gain
        for p in range(count):
            out[first + p] = value[p]


@numba.njit(
    types.void(
        types.Array(types.float32, 2, "C", readonly=True),
        types.float32,
        types.int64,
        types.int64,
        types.float32,
        types.float32[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _gradients(points, frequency, seed, octaves, gain, out, start, stop):
    place = np.zeros((3, _BLOCK), np.float32)
    total = np.empty((4, _BLOCK), np.float32)
    px, py, pz = place[0], place[1], place[2]
    gx, gy, gz, value = total[0], total[1], total[2], total[3]
    for first in range(start, stop, _BLOCK):
        count = min(_BLOCK, stop - first)
        for p in range(count):
            px[p] = points[first + p, 0]
            py[p] = points[first + p, 1]
            pz[p] = points[first + p, 2]
        total[:] = np.float32(0)
        f = frequency
        strength = _ONE
        for octave in range(octaves):
            s = np.uint32(np.uint32(seed + octave) * _S)
            for p in range(_BLOCK):
                a, b, c, d, e, g, h, m, u, v, w = _cell(px[p] * f, py[p] * f, pz[p] * f, s)
                du, dv, dw = _slope(u), _slope(v), _slope(w)
                u, v, w = _quintic(u), _quintic(v), _quintic(w)
                near = a + u * (b - a) + v * (c - a + u * (a - b - c + d))
                far = e + u * (g - e) + v * (h - e + u * (e - g - h + m))
                slope_x = (b - a) + v * (a - b - c + d)
                slope_x += w * ((g - e) + v * (e - g - h + m) - slope_x)
                slope_y = (c - a) + u * (a - b - c + d)
                slope_y += w * ((h - e) + u * (e - g - h + m) - slope_y)
                value[p] += strength * (near + w * (far - near))
                gx[p] += strength * f * du * slope_x
                gy[p] += strength * f * dv * slope_y
                gz[p] += strength * f * dw * (far - near)
            f *= np.float32(2)
            strength *= gain
        for p in range(count):
            out[first + p, 0] = gx[p]
            out[first + p, 1] = gy[p]
            out[first + p, 2] = gz[p]
            out[first + p, 3] = value[p]
