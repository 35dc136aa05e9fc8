"""Corners of a printed board to a hundredth of a pixel: two blurred straight edges, fitted.

Near a corner the picture is modelled as

    I = (1 + g . (p - p0)) (a + b F(d1 / s) F(d2 / s))

with signed distances d1, d2 in pixels to two straight lines through the corner, blur s, two
reflectances and a light that varies linearly. F is ``erf`` where four squares meet (a saddle) and
its positive half, ``(1 + erf) / 2``, where a dark square ends (the corner of a tag). Nine unknowns
(place, two directions, s, a, b, g) are fitted by Levenberg-Marquardt to the pixels along the
edges, which reach much farther than a corner detector's window: only pixels on the edges tell
where they are.

A saddle's picture is symmetric about the corner whatever the tone curve; a tag's corner is not,
so pictures are taken to linear light first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from facekit.checks import check_array
from facekit.render.shade import srgb_to_linear

SADDLE, TAG = 0, 1
# Pixels this far from both edges tell nothing.
_BAND_PX = 3.5
# Whatever is printed beside an edge must be this far from the pixels used: its blur.
_CLEAR_PX = 1.6
_FARTHEST_PX = 24
_TIP_PX = 1.8
_UNKNOWNS = 9
_LINEAR = srgb_to_linear(np.arange(256) / 255).astype(np.float32)


class Corners(NamedTuple):
    """Fitted corners.

    Attributes:
        points: (N, 2) pixels.
        covariance: (N, 2, 2) of them, from the fit's own residual, pixels squared.
        blur_px: (N,) fitted blur.
        valid: (N,) bool: converged near the guess with contrast; other rows hold the guess.
    """

    points: np.ndarray
    covariance: np.ndarray
    blur_px: np.ndarray
    valid: np.ndarray


def refine_corners(
    image: np.ndarray,
    guesses: np.ndarray,
    axes: np.ndarray,
    *,
    kind: int,
    reach: np.ndarray,
    clear: np.ndarray,
) -> Corners:
    """Fit corners near guesses.

    Args:
        image: (H, W) uint8, sRGB-coded grey.
        guesses: (N, 2) pixels, good to about a pixel.
        axes: (N, 2, 2), columns are the pixels that a millimetre along the board's two edges takes
            at each corner. For ``TAG`` both point into the dark square.
        kind: ``SADDLE`` or ``TAG``.
        reach: (2,) how far along the edges nothing else begins, mm, outside and inside of a tag
            (both the same for a saddle).
        clear: (2,) how far beside the edges nothing else is printed, mm: on white, on black.
    """
    grey = check_array(image, "image", shape=("H", "W"), dtype="uint8")
    light = _LINEAR[grey]
    start = np.ascontiguousarray(check_array(guesses, "guesses", shape=("N", 2)), np.float64)
    directions = np.ascontiguousarray(
        check_array(axes, "axes", shape=(len(start), 2, 2)), np.float64
    )
    points = start.copy()
    out = np.zeros((len(start), 5))
    _refine(
        light,
        directions,
        kind,
        np.asarray(reach, np.float64),
        np.asarray(clear, np.float64),
        points,
        out,
        0,
        len(start),
    )
    covariance = np.empty((len(start), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = out[:, 0], out[:, 1]
    covariance[:, 0, 1] = covariance[:, 1, 0] = out[:, 2]
    return Corners(points, covariance, out[:, 3], out[:, 4] > 0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve(matrix, vector):
    """Solve a small positive definite system in place; say whether it is one."""
    size = len(vector)
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if total <= 1e-14:
                    return False
                matrix[i, i] = math.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for i in range(size):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gather(light, x0, y0, axes, kind, reach, clear, white_same, place, value):
    """List the pixels near a corner's edges; return how many."""
    det = axes[0, 0] * axes[1, 1] - axes[0, 1] * axes[1, 0]
    if abs(det) < 1e-9:
        return 0
    ax = math.hypot(axes[0, 0], axes[1, 0])
    ay = math.hypot(axes[0, 1], axes[1, 1])
    # Pixels at right angles to an edge for a millimetre along the other axis.
    px, py = abs(det) / ay, abs(det) / ax
    far = reach[0] if reach[0] > reach[1] else reach[1]
    half = min(_FARTHEST_PX, int(far * max(ax, ay) + 2))
    count = 0
    for y in range(max(0, int(y0) - half), min(light.shape[0], int(y0) + half + 2)):
        for x in range(max(0, int(x0) - half), min(light.shape[1], int(x0) + half + 2)):
            u, v = x - x0, y - y0
            bx = (axes[1, 1] * u - axes[0, 1] * v) / det
            by = (-axes[1, 0] * u + axes[0, 0] * v) / det
            if kind == 0:
                if abs(bx) > reach[0] or abs(by) > reach[0]:
                    continue
                black = (bx * by > 0) != white_same
            else:
                if bx < -reach[0] or by < -reach[0] or bx > reach[1] or by > reach[1]:
                    continue
                black = bx > 0 and by > 0
                # Outside the tag only the strip along its two sides is an edge.
                if bx < 0 and by < 0 and math.hypot(bx * px, by * py) > _BAND_PX:
                    continue
            dx, dy = abs(bx) * px, abs(by) * py
            # The product is not what a blurred oblique corner looks like at its very tip. A
            # saddle's symmetry forgives that, a tag's corner does not.
            if kind == 1 and dx < _TIP_PX and dy < _TIP_PX:
                continue
            free = clear[1] if black else clear[0]
            near_x = dx < _BAND_PX and dx < free * px - _CLEAR_PX
            near_y = dy < _BAND_PX and dy < free * py - _CLEAR_PX
            if kind == 1:
                # Lines end at the corner.
                near_x = near_x and by > -_BAND_PX / py
                near_y = near_y and bx > -_BAND_PX / px
            if not (near_x or near_y):
                continue
            if count >= place.shape[0]:
                return count
            place[count, 0] = u
            place[count, 1] = v
            value[count] = light[y, x]
            count += 1
    return count


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _normal(parameters, place, value, count, kind, matrix, vector):
    """Fill the normal equations; return the sum of squares."""
    cx, cy, one, two, s = parameters[:5]
    a, gx, gy, b = parameters[5:9]
    n1x, n1y, n2x, n2y = math.cos(one), math.sin(one), math.cos(two), math.sin(two)
    row = np.empty(_UNKNOWNS)
    matrix[:] = 0
    vector[:] = 0
    total = 0.0
    rate = math.sqrt(2 / math.pi) / s
    for i in range(count):
        u, v = place[i, 0] - cx, place[i, 1] - cy
        d1, d2 = n1x * u + n1y * v, n2x * u + n2y * v
        f1, f2 = math.erf(d1 / (math.sqrt(2.0) * s)), math.erf(d2 / (math.sqrt(2.0) * s))
        e1 = rate * math.exp(-0.5 * d1 * d1 / (s * s))
        e2 = rate * math.exp(-0.5 * d2 * d2 / (s * s))
        if kind == 1:
            f1, f2, e1, e2 = 0.5 * (1 + f1), 0.5 * (1 + f2), 0.5 * e1, 0.5 * e2
        light = 1 + gx * place[i, 0] + gy * place[i, 1]
        tone = a + b * f1 * f2
        left, right = light * b * e1 * f2, light * b * f1 * e2
        row[0] = -(left * n1x + right * n2x)
        row[1] = -(left * n1y + right * n2y)
        row[2] = left * (-n1y * u + n1x * v)
        row[3] = right * (-n2y * u + n2x * v)
        row[4] = -(left * d1 + right * d2) / s
        row[5] = light
        row[6] = place[i, 0] * tone
        row[7] = place[i, 1] * tone
        row[8] = light * f1 * f2
        error = value[i] - light * tone
        total += error * error
        for j in range(_UNKNOWNS):
            vector[j] += row[j] * error
            for k in range(j + 1):
                matrix[j, k] += row[j] * row[k]
    return total


@numba.njit(
    types.void(
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float64, 3, "C", readonly=True),
        types.int64,
        types.Array(types.float64, 1, "C", readonly=True),
        types.Array(types.float64, 1, "C", readonly=True),
        types.float64[:, ::1],
        types.float64[:, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _refine(light, axes, kind, reach, clear, points, out, start, stop):
    """Fit corners [start, stop): points in place; out = var x, var y, cov, blur, valid."""
    height, width = light.shape
    place = np.empty((2 * _FARTHEST_PX * 2 * _FARTHEST_PX, 2))
    value = np.empty(len(place))
    matrix = np.empty((_UNKNOWNS, _UNKNOWNS))
    trial_matrix = np.empty((_UNKNOWNS, _UNKNOWNS))
    vector, trial_vector = np.empty(_UNKNOWNS), np.empty(_UNKNOWNS)
    for n in range(start, stop):
        x0, y0 = points[n, 0], points[n, 1]
        if not (3 <= x0 < width - 4 and 3 <= y0 < height - 4):
            continue
        axis = axes[n]
        # Levels of the two pairs of quadrants, a little way into each.
        step = 0.5 * min(clear[0], reach[0])
        same = other = 0.0
        for sx in (-1, 1):
            for sy in (-1, 1):
                x = x0 + step * (sx * axis[0, 0] + sy * axis[0, 1])
                y = y0 + step * (sx * axis[1, 0] + sy * axis[1, 1])
                i = min(max(int(y + 0.5), 0), height - 1)
                j = min(max(int(x + 0.5), 0), width - 1)
                if kind == 0:
                    if sx * sy > 0:
                        same += 0.5 * light[i, j]
                    else:
                        other += 0.5 * light[i, j]
                elif sx > 0 and sy > 0:
                    same = light[i, j]
                else:
                    other += light[i, j] / 3
        count = _gather(light, x0, y0, axis, kind, reach, clear, same > other, place, value)
        if count < 30:
            continue
        p = np.empty(_UNKNOWNS)
        p[0] = p[1] = 0.0
        # Normals of the edges x = 0 and y = 0, towards growing x and y.
        det = axis[0, 0] * axis[1, 1] - axis[0, 1] * axis[1, 0]
        sign = 1.0 if det > 0 else -1.0
        p[2] = math.atan2(-sign * axis[0, 1], sign * axis[1, 1])
        p[3] = math.atan2(sign * axis[0, 0], -sign * axis[1, 0])
        p[4] = 0.8
        p[5] = 0.5 * (same + other) if kind == 0 else other
        p[6] = p[7] = 0.0
        p[8] = 0.5 * (same - other) if kind == 0 else same - other
        damping = 1e-3
        error = _normal(p, place, value, count, kind, matrix, vector)
        for _ in range(25):
            trial_matrix[:] = matrix
            trial_vector[:] = vector
            for j in range(_UNKNOWNS):
                trial_matrix[j, j] += damping * matrix[j, j] + 1e-12
            if not _solve(trial_matrix, trial_vector):
                break
            candidate = p + trial_vector
            candidate[4] = min(max(candidate[4], 0.25), 4.0)
            moved = math.hypot(trial_vector[0], trial_vector[1])
            new_error = _normal(candidate, place, value, count, kind, trial_matrix, trial_vector)
            if new_error < error:
                small = moved < 1e-4 and error - new_error < 1e-5 * error
                p, error = candidate, new_error
                matrix[:] = trial_matrix
                vector[:] = trial_vector
                damping = max(damping * 0.2, 1e-7)
                if small:
                    break
            else:
                damping *= 6
                if damping > 1e4:
                    break
        contrast = abs(p[8])
        deviation = math.sqrt(error / max(count - _UNKNOWNS, 1))
        moved = math.hypot(p[0], p[1])
        if moved > 2.0 or contrast < 0.02 or deviation > 0.25 * contrast or p[4] >= 3.9:
            continue
        # The covariance's block of the place: solve for two unit vectors.
        bad = False
        for k in range(2):
            trial_matrix[:] = matrix
            trial_vector[:] = 0.0
            trial_vector[k] = 1.0
            if not _solve(trial_matrix, trial_vector):
                bad = True
                break
            out[n, k] = trial_vector[k] * deviation * deviation
            out[n, 2] = trial_vector[0] * deviation * deviation
        if bad or not (0 < out[n, 0] < 0.25 and 0 < out[n, 1] < 0.25):
            continue
        points[n, 0] = x0 + p[0]
        points[n, 1] = y0 + p[1]
        out[n, 3] = p[4]
        out[n, 4] = 1.0
