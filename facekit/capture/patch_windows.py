"""A window compared with one neighbour under a patch: correlation and normal equations.

The loop over a window's pixels has no branch (the corners are tested first) and gathers two
words a sample, so that compilers turn it into vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np

from facekit.capture.sweep import LEAST_SPREAD

# Grey levels' noise, variance: no window counts as matched more closely than this.
_NOISE = np.float32(1.0)
# Pixels of a window whose grey level differs by this from its centre's count half: beyond an
# occluding edge there is another surface, mostly of another colour.
_SIMILAR = np.float32(40.0)
LEAST_VARIANCE = np.float32(LEAST_SPREAD * LEAST_SPREAD)
_ONE, _HALF, _STEP = np.float32(1), np.float32(0.5), np.float32(1 / 256)
_LOW, _SHIFT = np.uint32(0xFFFF), np.uint32(16)

_FAST = {"contract", "nsz", "reassoc", "arcp", "nnan", "ninf"}


@numba.njit(inline="always")
def _coordinates(a, x, y, w, wx, wy):
    """Homogeneous coordinates in the neighbour at the pixel, per step in x, and in y.

    They are linear in the offset within the window as long as the patch is plane.
    """
    return (
        np.float32(a[0] * x + a[1] * y + a[2] + w * a[9]),
        np.float32(a[3] * x + a[4] * y + a[5] + w * a[10]),
        np.float32(a[6] * x + a[7] * y + a[8] + w * a[11]),
        np.float32(a[0] + wx * a[9]),
        np.float32(a[3] + wx * a[10]),
        np.float32(a[6] + wx * a[11]),
        np.float32(a[1] + wy * a[9]),
        np.float32(a[4] + wy * a[10]),
        np.float32(a[7] + wy * a[11]),
    )


@numba.njit(inline="always")
def _inside(p, q, s, px, qx, sx, py, qy, sy, reach, rows, columns):
    """Whether the window's four corners fall into the neighbour, with a pixel to spare."""
    inside = True
    for corner in range(4):
        dx = reach if corner & 1 else -reach
        dy = reach if corner & 2 else -reach
        scale = s + sx * dx + sy * dy
        u = (p + px * dx + py * dy) / scale
        v = (q + qx * dx + qy * dy) / scale
        # Written so that NaN fails it.
        inside = inside and (
            scale > 0
            and u >= 1
            and v >= 1
            and u < np.float32(columns - 2)
            and v < np.float32(rows - 2)
        )
    return inside


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def correlation(window, support, total, c11, dx, dy, words, rows, columns, a, x, y, w, wx, wy):
    """ZNCC of a weighted window with one neighbour under a plane; -1 outside the picture.

    See ``weighted_window`` for ``window``, ``support``, ``total`` and ``c11``.
    """
    p, q, s, px, qx, sx, py, qy, sy = _coordinates(a, x, y, w, wx, wy)
    size = dx.shape[0]
    if not _inside(p, q, s, px, qx, sx, py, qy, sy, dx[size - 1], rows, columns):
        return np.float32(-1)
    stride = np.int32(columns)
    s2 = s22 = s12 = np.float32(0)
    for k in range(size):
        tx, ty = dx[k], dy[k]
        inverse = _ONE / (s + sx * tx + sy * ty)
        u, v = (p + px * tx + py * ty) * inverse, (q + qx * tx + qy * ty) * inverse
        i, j = np.int32(u), np.int32(v)
        fx, fy = u - np.float32(i), v - np.float32(j)
        place = np.uint32(j * stride + i)
        first, second = words[place], words[place + np.uint32(stride)]
        a00, a01 = np.float32(np.int32(first & _LOW)), np.float32(np.int32(first >> _SHIFT))
        a10, a11 = np.float32(np.int32(second & _LOW)), np.float32(np.int32(second >> _SHIFT))
        top, low = a00 + fx * (a01 - a00), a10 + fx * (a11 - a10)
        h = (top + fy * (low - top)) * _STEP
        weighted = h * support[k]
        s2 += weighted
        s22 += weighted * h
        s12 += h * window[k]
    c22 = s22 - s2 * s2 / total
    if c22 <= LEAST_VARIANCE * total:
        return np.float32(0)
    return s12 / np.sqrt(c11 * c22)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def equations(
    window, support, total, c11, dx, dy, words, rows, columns, a, x, y, w, wx, wy, bend, out
):
    """Correlation with one neighbour, and its normal equations for (w, wx, wy) in ``out``.

    ``out`` (10,): the upper triangle of the 3 x 3 matrix, the right side, and the squared
    pixels that a unit of w moves the match.
    """
    p, q, s, px, qx, sx, py, qy, sy = _coordinates(a, x, y, w, wx, wy)
    size = dx.shape[0]
    if not _inside(p, q, s, px, qx, sx, py, qy, sy, dx[size - 1], rows, columns):
        return np.float32(-1)
    stride = np.int32(columns)
    b0, b1, b2 = np.float32(a[9]), np.float32(a[10]), np.float32(a[11])
    cxx, cxy, cyy = _HALF * bend[0], bend[1], _HALF * bend[2]
    s2 = s22 = s12 = np.float32(0)
    g0 = gx = gy = np.float32(0)
    h0 = hx = hy = np.float32(0)
    r0 = rx = ry = np.float32(0)
    m00 = m0x = m0y = mxx = mxy = myy = np.float32(0)
    for k in range(size):
        tx, ty = dx[k], dy[k]
        extra = cxx * tx * tx + cxy * tx * ty + cyy * ty * ty
        inverse = _ONE / (s + sx * tx + sy * ty + extra * b2)
        u = (p + px * tx + py * ty + extra * b0) * inverse
        v = (q + qx * tx + qy * ty + extra * b1) * inverse
        i, j = np.int32(u), np.int32(v)
        fx, fy = u - np.float32(i), v - np.float32(j)
        place = np.uint32(j * stride + i)
        first, second = words[place], words[place + np.uint32(stride)]
        a00, a01 = np.float32(np.int32(first & _LOW)), np.float32(np.int32(first >> _SHIFT))
        a10, a11 = np.float32(np.int32(second & _LOW)), np.float32(np.int32(second >> _SHIFT))
        along_top, along_low = a01 - a00, a11 - a10
        top, low = a00 + fx * along_top, a10 + fx * along_low
        h = (top + fy * (low - top)) * _STEP
        du, dv = (b0 - u * b2) * inverse, (b1 - v * b2) * inverse
        g = ((along_top + fy * (along_low - along_top)) * du + (low - top) * dv) * _STEP
        f = window[k] * g
        wg = support[k] * g
        wh = support[k] * h
        ga, gb = wg * tx, wg * ty
        s2 += wh
        s22 += wh * h
        s12 += h * window[k]
        g0 += wg
        gx += ga
        gy += gb
        h0 += wg * h
        hx += ga * h
        hy += gb * h
        r0 += f
        rx += f * tx
        ry += f * ty
        m00 += wg * g
        m0x += g * ga
        m0y += g * gb
        mxx += g * ga * tx
        mxy += g * ga * ty
        myy += g * gb * ty
    share = _ONE / total
    c22 = s22 - s2 * s2 * share
    if c22 <= LEAST_VARIANCE * total:
        return np.float32(0)
    gain = s12 / c22
    h0 -= g0 * s2 * share
    hx -= gx * s2 * share
    hy -= gy * s2 * share
    residual = max(c11 - s12 * gain, np.float32(0)) * share + _NOISE
    weight = gain * gain / residual
    out[0] = weight * (m00 - g0 * g0 * share - h0 * h0 / c22)
    out[1] = weight * (m0x - g0 * gx * share - h0 * hx / c22)
    out[2] = weight * (m0y - g0 * gy * share - h0 * hy / c22)
    out[3] = weight * (mxx - gx * gx * share - hx * hx / c22)
    out[4] = weight * (mxy - gx * gy * share - hx * hy / c22)
    out[5] = weight * (myy - gy * gy * share - hy * hy / c22)
    out[6] = gain * (r0 - gain * h0) / residual
    out[7] = gain * (rx - gain * hx) / residual
    out[8] = gain * (ry - gain * hy) / residual
    u, v = p / s, q / s
    out[9] = ((b0 - u * b2) ** 2 + (b1 - v * b2) ** 2) / (s * s)
    return s12 / np.sqrt(c11 * c22)


@numba.njit(inline="always")
def weighted_window(image, y, x, radius, window, support):
    """Weigh a window's pixels by how similar they are to its centre.

    Puts the weights into ``support`` and weight times (grey level less the weighted mean) into
    ``window``; returns the weights' sum and the weighted sum of squares.
    """
    middle = image[y, x]
    k = 0
    total = mean = np.float32(0)
    for j in range(y - radius, y + radius + 1):
        for i in range(x - radius, x + radius + 1):
            off = (image[j, i] - middle) / _SIMILAR
            off *= off
            weight = _ONE / (_ONE + off * off)
            support[k] = weight
            window[k] = image[j, i]
            total += weight
            mean += weight * image[j, i]
            k += 1
    mean /= total
    squares = np.float32(0)
    for n in range(k):
        off = window[n] - mean
        window[n] = support[n] * off
        squares += window[n] * off
    return total, squares
