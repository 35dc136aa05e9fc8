"""Compiled passes of the skin's painters; ``simulate.skin`` says what they paint.

All work in place on albedo (N, 3) float32 at points (N, 3) float32, standard millimetres. Curves
are polylines (M, 2) float32; a closed one repeats its first point at the end.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

_F32 = types.Array(types.float32, 1, "C", readonly=True)
_ROWS = types.Array(types.float32, 2, "C", readonly=True)
_INDEX = types.Array(types.int64, 1, "C", readonly=True)


@numba.njit(inline="always")
def _step(low, high, value):
    t = min(max((value - low) / (high - low), np.float32(0)), np.float32(1))
    return t * t * (np.float32(3) - np.float32(2) * t)


@numba.njit(inline="always")
def _nearest(x, y, ends, start):
    """Return distance to a polyline, length along it, side, and whether it closes about (x, y)."""
    closing = ends.shape[0] - 1
    best = np.float32(np.inf)
    along = np.float32(0)
    side = np.float32(1)
    inside = False
    for s in range(ends.shape[0]):
        # The last piece closes the outline; it counts for inside and not for distance.
        e = s + 1 if s < closing else 0
        ax, ay = ends[s, 0], ends[s, 1]
        bx, by = ends[e, 0], ends[e, 1]
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
        if s == closing:
            continue
        dx, dy = bx - ax, by - ay
        square = dx * dx + dy * dy
        t = ((x - ax) * dx + (y - ay) * dy) / square if square > 0 else np.float32(0)
        t = min(max(t, np.float32(0)), np.float32(1))
        qx, qy = x - ax - t * dx, y - ay - t * dy
        squared = qx * qx + qy * qy
        if squared < best:
            best = squared
            along = start[s] + t * np.sqrt(square)
            side = np.float32(1) if dx * (y - ay) - dy * (x - ax) >= 0 else np.float32(-1)
    return np.sqrt(best), along, side, inside


@numba.njit(inline="always")
def _lengths(ends):
    """Return the length (M,) along a polyline at each of its points."""
    start = np.zeros(ends.shape[0], np.float32)
    length = 0.0
    for s in range(ends.shape[0] - 1):
        dx, dy = ends[s + 1, 0] - ends[s, 0], ends[s + 1, 1] - ends[s, 1]
        length += np.sqrt(dx * dx + dy * dy)
        start[s + 1] = length
    return start


@numba.njit(
    types.void(_ROWS, _ROWS, types.float32[:, ::1], types.boolean[::1]),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def measure(points, ends, out, within):
    """Fill distance, relative length along, side (rows of ``out``) and ``within`` of a curve."""
    start = _lengths(ends)
    whole = max(start[-1], np.float32(1e-9))
    for p in range(points.shape[0]):
        distance, along, side, inside = _nearest(points[p, 0], points[p, 1], ends, start)
        out[0, p] = distance
        out[1, p] = along / whole
        out[2, p] = side
        within[p] = inside


@numba.njit(
    types.int64(_ROWS, _ROWS, types.float32, types.float32, types.int64[::1]),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def near_curve(points, curve, margin, behind, rows):
    """Put rows of points in a curve's box plus ``margin`` and with z > ``behind`` into ``rows``.

    Returns how many there are.
    """
    left = right = curve[0, 0]
    low = high = curve[0, 1]
    for s in range(1, curve.shape[0]):
        left, right = min(left, curve[s, 0]), max(right, curve[s, 0])
        low, high = min(low, curve[s, 1]), max(high, curve[s, 1])
    count = 0
    for p in range(points.shape[0]):
        x, y = points[p, 0], points[p, 1]
        near = left - margin < x < right + margin and low - margin < y < high + margin
        if near and points[p, 2] > behind:
            rows[count] = p
            count += 1
    return count


@numba.njit(
    types.void(types.float32[:, ::1], _ROWS, _ROWS, _ROWS, types.float32, types.float32,
               types.float32, types.float32),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def tint(albedo, points, noise, zones, mottle, redness, shown, freckles):
    """Mottle, redden, freckle.

    Rows of ``noise`` are broad, fine, hue, red, spots and moles; rows of ``zones`` are a red
    zone's centre, radius and strength.
    """
    one = np.float32(1)
    for p in range(points.shape[0]):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        level = one + mottle * np.float32(0.05) * (noise[0, p] + noise[1, p])
        hue = mottle * np.float32(0.05) * noise[2, p]
        red = level * (one - np.float32(0.2) * hue)
        green = level * (one + hue)
        blue = level * (one + np.float32(0.8) * hue)
        amount = np.float32(0)
        for i in range(zones.shape[0]):
            a, b, c = x - zones[i, 0], y - zones[i, 1], z - zones[i, 2]
            reach = (a * a + b * b + c * c) / (np.float32(2) * zones[i, 3] * zones[i, 3])
            if reach < np.float32(20):
                amount += zones[i, 4] * np.exp(-reach)
        amount *= shown * redness * (np.float32(0.75) + np.float32(0.5) * noise[3, p])
        # Blood absorbs green most, blue a little less.
        blood_r, blood_g = np.float32(0.15) * amount, amount
        blood_b = np.float32(0.75) * amount
        spot = _step(np.float32(0.62), np.float32(0.8), noise[4, p]) * freckles
        if spot > 0 and z > np.float32(-60):
            band = (y + np.float32(25)) / np.float32(35)
            spot *= np.exp(-band * band)
            blood_r += np.float32(0.25) * spot
            blood_g += np.float32(0.5) * spot
            blood_b += np.float32(0.7) * spot
        mole = one - np.float32(0.55) * _step(np.float32(0.93), np.float32(0.97), noise[5, p])
        if blood_g != 0:
            red *= np.exp(-blood_r)
            green *= np.exp(-blood_g)
            blue *= np.exp(-blood_b)
        albedo[p, 0] *= red * mole
        albedo[p, 1] *= green * mole
        albedo[p, 2] *= blue * mole


@numba.njit(
    types.void(types.float32[:, ::1], _ROWS, _F32, _F32, _ROWS, types.float32, types.float32,
               types.float32, _F32),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def beard(albedo, points, edge, grain, border, strength, full, chin, colour):
    """Grow a beard below ``border`` (K, 2) of |x| and y; ``full`` is the hair's own colour."""
    one = np.float32(1)
    last = border.shape[0] - 1
    for p in range(points.shape[0]):
        x, y, z = abs(points[p, 0]), points[p, 1], points[p, 2]
        area = _step(chin - np.float32(42), chin - np.float32(18), y)
        area *= _step(np.float32(-115), np.float32(-85), z)
        if area <= 0:
            continue
        top = border[last, 1]
        for k in range(last):
            if x < border[k + 1, 0]:
                t = (x - border[k, 0]) / (border[k + 1, 0] - border[k, 0])
                top = border[k, 1] + max(t, np.float32(0)) * (border[k + 1, 1] - border[k, 1])
                break
        area *= _step(np.float32(-3), np.float32(15), top - y + np.float32(4) * edge[p])
        hairs = np.float32(0.62) + np.float32(0.38) * _step(
            np.float32(-0.3), np.float32(0.6), grain[p]
        )
        cover = area * strength * (np.float32(0.55) + np.float32(0.75) * hairs * strength)
        cover = min(max(cover, np.float32(0)), one)
        for c in range(3):
            # A shaven shadow is bluish skin; a full beard is its hair's colour.
            shaven = albedo[p, c] * (np.float32(0.66), np.float32(0.72), np.float32(0.8))[c]
            hair = colour[c] * (np.float32(0.8) + np.float32(0.5) * hairs)
            target = shaven + (hair - shaven) * full
            albedo[p, c] += cover * (target - albedo[p, c])


@numba.njit(
    types.void(types.float32[:, ::1], _ROWS, _INDEX, _ROWS, _ROWS, _ROWS, _F32, _F32, _F32,
               types.float32[::1]),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def lips(albedo, here, rows, outer, upper, lower, wobble, grooves, tint_of, inside_of):
    """Colour lips inside ``outer``, darker where they meet; ``inside_of`` grows from their edge.

    ``here`` (M, 3) are the points of ``rows`` (M,); so are the noises.
    """
    one = np.float32(1)
    around, above, below = _lengths(outer), _lengths(upper), _lengths(lower)
    for m in range(rows.shape[0]):
        p = rows[m]
        x, y = here[m, 0], here[m, 1]
        distance, _, _, inside = _nearest(x, y, outer, around)
        if inside:
            inside_of[p] = _step(np.float32(0), np.float32(1.5), distance)
        signed = -distance if inside else distance
        mask = _step(np.float32(0.9), np.float32(-0.9), signed + np.float32(0.35) * wobble[m])
        if mask <= 0:
            continue
        gap = min(_nearest(x, y, upper, above)[0], _nearest(x, y, lower, below)[0])
        gap /= np.float32(1.1)
        level = one - np.float32(0.1) * min(max(grooves[m], -one), one)
        level *= one - np.float32(0.35) * np.exp(-gap * gap)
        for c in range(3):
            albedo[p, c] += mask * (albedo[p, c] * tint_of[c] * level - albedo[p, c])


@numba.njit(
    types.void(types.float32[:, ::1], _ROWS, _INDEX, _ROWS, types.float32, types.float32,
               types.float32),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def eyelid(albedo, points, rows, outline, centre, lashes, shadow):
    """Draw lashes, crease, lid and the shadow below about an eye whose middle is at ``centre``."""
    one = np.float32(1)
    start = _lengths(outline)
    for m in range(rows.shape[0]):
        p = rows[m]
        x, y = points[p, 0], points[p, 1]
        distance, _, _, inside = _nearest(x, y, outline, start)
        out = np.float32(0) if inside else distance
        above = _step(np.float32(-2.5), np.float32(2), y - centre)
        lash, crease = out / np.float32(0.9), out - np.float32(4.2)
        lid, bag = out / np.float32(6), (out - np.float32(7)) / np.float32(5)
        lash = np.exp(-lash * lash) * (np.float32(0.22) + np.float32(0.68) * above) * lashes
        crease = np.exp(-crease * crease) * above * np.float32(0.3)
        lid = np.exp(-lid * lid) * np.float32(0.16)
        bag = np.exp(-bag * bag) * (one - above) * np.float32(0.38) * shadow
        for c in range(3):
            on_lid = (np.float32(0.6), one, np.float32(0.9))[c]
            on_bag = (np.float32(0.7), one, np.float32(0.8))[c]
            value = albedo[p, c] * (one - crease) * (one - lid * on_lid) * (one - bag * on_bag)
            albedo[p, c] = value + lash * (np.float32(0.012) - value)


@numba.njit(
    types.void(_ROWS, _INDEX, _ROWS, types.float32, _ROWS, types.float32[:, ::1],
               types.float32[::1]),
    nogil=True, cache=True, error_model="numpy",
)  # fmt: skip
def brow(points, rows, curve, width, profile, strokes, body):
    """Fill where strokes are looked up (M, 3) and how much brow there is (M,).

    ``profile`` (K, 2) is the brow's width in mm over the relative length along it.
    """
    one = np.float32(1)
    start = _lengths(curve)
    length = max(start[-1], np.float32(1e-9))
    last = profile.shape[0] - 1
    for m in range(rows.shape[0]):
        p = rows[m]
        distance, along, side, _ = _nearest(points[p, 0], points[p, 1], curve, start)
        along /= length
        wide = profile[last, 1]
        for k in range(last):
            if along < profile[k + 1, 0]:
                t = (along - profile[k, 0]) / (profile[k + 1, 0] - profile[k, 0])
                wide = profile[k, 1] + t * (profile[k + 1, 1] - profile[k, 1])
                break
        if along <= 0 or along >= one:
            fade = np.exp(-(distance * distance) / np.float32(4)) * np.float32(0.4)
        else:
            fade = _step(np.float32(0), np.float32(0.06), along)
            fade *= _step(one, np.float32(0.94), along)
        body[m] = fade * _step(np.float32(1.15), np.float32(0.45), distance / (width * wide))
        offset = distance * side
        # Hairs lean outwards: strokes are long along the brow, thin across.
        strokes[m, 0] = along * length * np.float32(0.22) + offset * np.float32(0.25)
        strokes[m, 1] = offset * np.float32(1.25)
        strokes[m, 2] = 0


@numba.njit(
    types.void(types.float32[:, ::1], _INDEX, _F32, _F32, types.float32, _F32),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def cover_brow(albedo, rows, body, grain, density, colour):
    """Lay the brow's hairs over the skin."""
    for m in range(rows.shape[0]):
        p = rows[m]
        cover = body[m] * density * (np.float32(0.74) + np.float32(0.42) * grain[m])
        cover = min(max(cover, np.float32(0)), np.float32(0.97))
        for c in range(3):
            albedo[p, c] += cover * (colour[c] - albedo[p, c])


@numba.njit(
    types.void(types.float32[:, ::1], _ROWS, _ROWS), nogil=True, cache=True, error_model="numpy"
)
def nostrils(albedo, points, centres):
    """Darken about nostrils and keep the albedo within [0.002, 0.95]."""
    for p in range(points.shape[0]):
        level = np.float32(1)
        for i in range(centres.shape[0]):
            a = (points[p, 0] - centres[i, 0]) / np.float32(3.4)
            b = (points[p, 1] - centres[i, 1]) / np.float32(2.4)
            c = (points[p, 2] - centres[i, 2]) / np.float32(5.0)
            squared = a * a + b * b + c * c
            if squared < np.float32(5):
                level *= np.float32(1) - np.float32(0.8) * np.exp(-squared * squared)
        for c in range(3):
            albedo[p, c] = min(max(albedo[p, c] * level, np.float32(0.002)), np.float32(0.95))
