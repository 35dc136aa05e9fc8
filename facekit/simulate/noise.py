"""Solid noise: smooth random functions of 3D position, the same for the same seed everywhere."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from facekit.checks import check_array
from facekit.threads import run_ranges

_MIN_POINTS = 20_000


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
    return solid_noise_gradient(points, size=size, seed=seed, octaves=octaves, gain=gain)[:, 3]


def solid_noise_gradient(
    points: np.ndarray, *, size: float, seed: int, octaves: int = 1, gain: float = 0.5
) -> np.ndarray:
    """Return the noise's gradient (per unit of length) and value, (N, 4) float32.

    Columns 0 to 2 are the gradient, column 3 is ``solid_noise``.
    """
    where = np.ascontiguousarray(check_array(points, "points", shape=("N", 3)), np.float32)
    out = np.empty((len(where), 4), np.float32)
    run_ranges(
        lambda start, stop: _noise(
            where, 1.0 / size, seed & 0x7FFFFFFF, octaves, gain, out, start, stop
        ),
        len(where),
        min_chunk=_MIN_POINTS,
    )
    return out


@numba.njit(nogil=True, cache=True)
def _lattice(x, y, z, seed):
    # An integer hash (multiply and shift) of the lattice point, as a number in [-1, 1).
    # Products of two uint32 are 64 bits wide in numba, hence the casts.
    h = np.uint32(np.uint32(x) * np.uint32(0x9E3779B1))
    h = np.uint32(h ^ np.uint32(np.uint32(y) * np.uint32(0x85EBCA77)))
    h = np.uint32(h ^ np.uint32(np.uint32(z) * np.uint32(0xC2B2AE3D)))
    h = np.uint32(h ^ np.uint32(np.uint32(seed) * np.uint32(0x27D4EB2F)))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
    h = np.uint32((h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    return np.float32(h) * np.float32(2.0 / 4294967296.0) - np.float32(1.0)


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
def _noise(points, frequency, seed, octaves, gain, out, start, stop):
    one = np.float32(1)
    for p in range(start, stop):
        gx = gy = gz = value = np.float32(0)
        f = frequency
        strength = one
        for octave in range(octaves):
            x, y, z = points[p, 0] * f, points[p, 1] * f, points[p, 2] * f
            i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
            u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
            du = np.float32(30) * u * u * (u - one) * (u - one)
            dv = np.float32(30) * v * v * (v - one) * (v - one)
            dw = np.float32(30) * w * w * (w - one) * (w - one)
            u = u * u * u * (u * (u * np.float32(6) - np.float32(15)) + np.float32(10))
            v = v * v * v * (v * (v * np.float32(6) - np.float32(15)) + np.float32(10))
            w = w * w * w * (w * (w * np.float32(6) - np.float32(15)) + np.float32(10))
            s = seed + octave
            a = _lattice(i, j, k, s)
            b = _lattice(i + 1, j, k, s)
            c = _lattice(i, j + 1, k, s)
            d = _lattice(i + 1, j + 1, k, s)
            e = _lattice(i, j, k + 1, s)
            g = _lattice(i + 1, j, k + 1, s)
            h = _lattice(i, j + 1, k + 1, s)
            m = _lattice(i + 1, j + 1, k + 1, s)
            near = a + u * (b - a) + v * (c - a + u * (a - b - c + d))
            far = e + u * (g - e) + v * (h - e + u * (e - g - h + m))
            slope_x = (b - a) + v * (a - b - c + d)
            slope_x += w * ((g - e) + v * (e - g - h + m) - slope_x)
            slope_y = (c - a) + u * (a - b - c + d)
            slope_y += w * ((h - e) + u * (e - g - h + m) - slope_y)
            value += strength * (near + w * (far - near))
            gx += strength * f * du * slope_x
            gy += strength * f * dv * slope_y
            gz += strength * f * dw * (far - near)
            f *= np.float32(2)
            strength *= gain
        out[p, 0] = gx
        out[p, 1] = gy
        out[p, 2] = gz
        out[p, 3] = value
