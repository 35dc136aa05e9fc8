"""Triton kernels of the renderer for CUDA; under TRITON_INTERPRET=1 they run on a CPU.

The rasteriser's rules are those of ``render.rasterise``: vertices rounded to 2^-12 pixel, exact
integer edge functions, borders included, and per pixel the maximum of a 64-bit word, inverse depth
over inverted face number. A maximum does not depend on the order of the writers, and sums are
gathered by vertex, so results are the same in every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

ONE = tl.constexpr(4096)


@triton.jit
def draw(
    fixed, inverse, faces, keys, num_vertices, num_faces, height, width,
    CULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write every face of one image into its z-buffer.

    fixed (B, V, 2) int64 vertices in 2^-12 pixel, inverse (B, V) float64 reciprocal depths (0 if
    unusable), faces (F, 3) int32, keys (B, H, W) int64, zero before.
    """
    image = tl.program_id(1).to(tl.int64)
    f = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = f < num_faces
    i = tl.load(faces + 3 * f, mask=real, other=0).to(tl.int64) + image * num_vertices
    j = tl.load(faces + 3 * f + 1, mask=real, other=0).to(tl.int64) + image * num_vertices
    k = tl.load(faces + 3 * f + 2, mask=real, other=0).to(tl.int64) + image * num_vertices
    x0, y0 = tl.load(fixed + 2 * i), tl.load(fixed + 2 * i + 1)
    x1, y1 = tl.load(fixed + 2 * j), tl.load(fixed + 2 * j + 1)
    x2, y2 = tl.load(fixed + 2 * k), tl.load(fixed + 2 * k + 1)
    z0, z1, z2 = tl.load(inverse + i), tl.load(inverse + j), tl.load(inverse + k)
    area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
    real = real & (z0 > 0) & (z1 > 0) & (z2 > 0)
    real = real & (area > 0) if CULL else real & (area != 0)
    sign = tl.where(area > 0, 1, -1).to(tl.int64)
    size = tl.where(real, sign * area, 1)
    # Shifts round down, also below zero.
    left = tl.maximum((tl.minimum(x0, tl.minimum(x1, x2)) + (ONE - 1)) >> 12, 0)
    right = tl.minimum(tl.maximum(x0, tl.maximum(x1, x2)) >> 12, width - 1)
    top = tl.maximum((tl.minimum(y0, tl.minimum(y1, y2)) + (ONE - 1)) >> 12, 0)
    bottom = tl.minimum(tl.maximum(y0, tl.maximum(y1, y2)) >> 12, height - 1)
    real = real & (right >= left) & (bottom >= top)
    a0, b0 = sign * (y2 - y1), sign * (x1 - x2)
    a1, b1 = sign * (y0 - y2), sign * (x2 - x0)
    a2, b2 = sign * (y1 - y0), sign * (x0 - x1)
    scale = 1.0 / size.to(tl.float64)
    z0, z1, z2 = z0 * scale, z1 * scale, z2 * scale
    name = 0xFFFFFFFF - f.to(tl.int64)
    wide = tl.max(tl.where(real, right - left + 1, 0), axis=0)
    high = tl.max(tl.where(real, bottom - top + 1, 0), axis=0)
    for number in range(0, wide * high):
        x, y = left + number % wide, top + number // wide
        px, py = x * ONE, y * ONE
        e0 = a0 * (px - x1) + b0 * (py - y1)
        e1 = a1 * (px - x2) + b1 * (py - y2)
        e2 = a2 * (px - x0) + b2 * (py - y0)
        hit = real & (x <= right) & (y <= bottom) & (e0 >= 0) & (e1 >= 0) & (e2 >= 0)
        near = (e0.to(tl.float64) * z0 + e1.to(tl.float64) * z1 + e2.to(tl.float64) * z2).to(
            tl.float32
        )
        key = (near.to(tl.int32, bitcast=True).to(tl.int64) << 32) | name
        tl.atomic_max(keys + (image * height + y) * width + x, key, mask=hit)


@triton.jit
def _weights(points, row, v0, v1, v2, x, y, real):
    """The corners about a pixel's centre, their unscaled weights and the sum's reciprocal."""
    p0, p1, p2 = points + 3 * (row + v0), points + 3 * (row + v1), points + 3 * (row + v2)
    x0, y0 = tl.load(p0, mask=real, other=0) - x, tl.load(p0 + 1, mask=real, other=0) - y
    x1, y1 = tl.load(p1, mask=real, other=0) - x, tl.load(p1 + 1, mask=real, other=0) - y
    x2, y2 = tl.load(p2, mask=real, other=0) - x, tl.load(p2 + 1, mask=real, other=0) - y
    z0 = tl.load(p0 + 2, mask=real, other=1)
    z1 = tl.load(p1 + 2, mask=real, other=1)
    z2 = tl.load(p2 + 2, mask=real, other=1)
    m0 = (x2 * y1 - x1 * y2) * z1 * z2
    m1 = (x0 * y2 - x2 * y0) * z2 * z0
    m2 = (x1 * y0 - x0 * y1) * z0 * z1
    total = m0 + m1 + m2
    flat = total == 0
    inverse = tl.where(flat, 0.0, 1.0 / tl.where(flat, 1.0, total))
    w0, w1, w2 = tl.where(flat, 1.0, m0 * inverse), m1 * inverse, m2 * inverse
    return x0, y0, z0, x1, y1, z1, x2, y2, z2, w0, w1, w2, inverse


@triton.jit
def _pixel(pixels, triangle, faces, n, real, num_vertices, height, width):
    """A held pixel's place, the first row of its image's vertices, and its face's corners."""
    at = tl.load(pixels + n, mask=real, other=0)
    f = tl.load(triangle + n, mask=real, other=0)
    image = at // (height * width)
    v0 = tl.load(faces + 3 * f, mask=real, other=0).to(tl.int64)
    v1 = tl.load(faces + 3 * f + 1, mask=real, other=0).to(tl.int64)
    v2 = tl.load(faces + 3 * f + 2, mask=real, other=0).to(tl.int64)
    return at % width, at // width % height, image * num_vertices, v0, v1, v2


@triton.jit
def interpolate(
    points, values, faces, pixels, triangle, out, count, num_vertices, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Attributes (B, V, C) at held pixels (N,) int64, (N, C)."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = n < count
    x, y, row, v0, v1, v2 = _pixel(pixels, triangle, faces, n, real, num_vertices, height, width)
    _, _, _, _, _, _, _, _, _, w0, w1, w2, _ = _weights(points, row, v0, v1, v2, x, y, real)
    for c in range(CHANNELS):
        value = w0 * tl.load(values + (row + v0) * CHANNELS + c, mask=real, other=0)
        value += w1 * tl.load(values + (row + v1) * CHANNELS + c, mask=real, other=0)
        value += w2 * tl.load(values + (row + v2) * CHANNELS + c, mask=real, other=0)
        tl.store(out + n * CHANNELS + c, value, mask=real)


@triton.jit
def interpolate_backward(
    points, values, faces, pixels, triangle, given, shares, count, num_vertices, height, width,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What each pixel gives to its three corners, (N, 3, C + 3): attributes, then x, y, z."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = n < count
    x, y, row, v0, v1, v2 = _pixel(pixels, triangle, faces, n, real, num_vertices, height, width)
    x0, y0, z0, x1, y1, z1, x2, y2, z2, w0, w1, w2, inverse = _weights(
        points, row, v0, v1, v2, x, y, real
    )
    first = shares + n * 3 * (CHANNELS + 3)
    second, third = first + CHANNELS + 3, first + 2 * (CHANNELS + 3)
    g0, g1, g2 = w0 * 0, w0 * 0, w0 * 0
    for c in range(CHANNELS):
        g = tl.load(given + n * CHANNELS + c, mask=real, other=0)
        tl.store(first + c, w0 * g, mask=real)
        tl.store(second + c, w1 * g, mask=real)
        tl.store(third + c, w2 * g, mask=real)
        g0 += g * tl.load(values + (row + v0) * CHANNELS + c, mask=real, other=0)
        g1 += g * tl.load(values + (row + v1) * CHANNELS + c, mask=real, other=0)
        g2 += g * tl.load(values + (row + v2) * CHANNELS + c, mask=real, other=0)
    mean = w0 * g0 + w1 * g1 + w2 * g2
    m0, m1, m2 = (g0 - mean) * inverse, (g1 - mean) * inverse, (g2 - mean) * inverse
    a0, a1, a2 = x2 * y1 - x1 * y2, x0 * y2 - x2 * y0, x1 * y0 - x0 * y1
    s0, s1, s2 = m0 * z1 * z2, m1 * z2 * z0, m2 * z0 * z1
    tl.store(first + CHANNELS, s1 * y2 - s2 * y1, mask=real)
    tl.store(first + CHANNELS + 1, s2 * x1 - s1 * x2, mask=real)
    tl.store(first + CHANNELS + 2, m1 * a1 * z2 + m2 * a2 * z1, mask=real)
    tl.store(second + CHANNELS, s2 * y0 - s0 * y2, mask=real)
    tl.store(second + CHANNELS + 1, s0 * x2 - s2 * x0, mask=real)
    tl.store(second + CHANNELS + 2, m2 * a2 * z0 + m0 * a0 * z2, mask=real)
    tl.store(third + CHANNELS, s0 * y1 - s1 * y0, mask=real)
    tl.store(third + CHANNELS + 1, s1 * x0 - s0 * x1, mask=real)
    tl.store(third + CHANNELS + 2, m0 * a0 * z1 + m1 * a1 * z0, mask=real)


@triton.jit
def gather(shares, order, offsets, out, count, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Add the rows of ``shares`` (M, C) that ``order`` lists for each of ``count`` vertices."""
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    real = v < count
    start = tl.load(offsets + v, mask=real, other=0)
    number = tl.load(offsets + v + 1, mask=real, other=0) - start
    longest = tl.max(number, axis=0)
    for c in range(CHANNELS):
        tl.store(out + v * CHANNELS + c, tl.zeros([BLOCK], out.dtype.element_ty), mask=real)
    for step in range(0, longest):
        more = real & (step < number)
        row = tl.load(order + start + step, mask=more, other=0)
        for c in range(CHANNELS):
            at = out + v * CHANNELS + c
            total = tl.load(at, mask=more, other=0)
            total += tl.load(shares + row * CHANNELS + c, mask=more, other=0)
            tl.store(at, total, mask=more)
