"""The skin's painters in plain numpy: what the compiled ones must equal."""

import numpy as np

from facekit.simulate.curves import curve_distance, smooth_curve, smoothstep
from facekit.simulate.noise import solid_noise


def paint_skin(places, landmarks, style):
    points = np.ascontiguousarray(places, np.float32)
    albedo = np.tile(style.tone.astype(np.float32), (len(points), 1))
    albedo *= _mottle(points, style)
    _redden(albedo, points, landmarks, style)
    _freckle(albedo, points, style)
    _beard(albedo, points, landmarks, style)
    _lips(albedo, points, landmarks, style)
    _eyelids(albedo, points, landmarks, style)
    _brows(albedo, points, landmarks, style)
    _nostrils(albedo, points, landmarks)
    return np.clip(albedo, 0.002, 0.95)


def _mottle(points, style):
    broad = solid_noise(points, size=45, seed=style.seed, octaves=2)
    fine = solid_noise(points, size=6, seed=style.seed + 5, octaves=3, gain=0.65)
    hue = solid_noise(points, size=17, seed=style.seed + 9, octaves=2)
    level = 1 + style.mottle * (0.05 * broad + 0.05 * fine)
    # Blood varies green and blue more than red.
    return level[:, None] * (
        1 + style.mottle * 0.05 * hue[:, None] * np.array([-0.2, 1.0, 0.8], np.float32)
    )


def _redden(albedo, points, landmarks, style):
    nose, chin = landmarks[30], landmarks[8]
    cheek_y = 0.55 * landmarks[33, 1] + 0.45 * landmarks[[36, 45], 1].mean()
    amount = np.zeros(len(points), np.float32)
    zones = [(nose, 13.0, 0.5), (chin, 20.0, 0.22)]
    for side in (-1, 1):
        zones.append((np.array([side * 38, cheek_y, landmarks[36, 2] - 2]), 24.0, 0.55))
        zones.append((np.array([side * 78, -18, landmarks[36, 2] - 95]), 26.0, 0.5))
    for centre, radius, strength in zones:
        squared = _squared(points - centre.astype(np.float32))
        amount += strength * np.exp(-squared / (2 * radius**2))
    amount *= style.redness * (0.75 + 0.5 * solid_noise(points, size=9, seed=style.seed + 3))
    # Blood absorbs green most, blue a little less; dark skin shows less of it.
    shown = 0.14 + 0.2 * np.clip((style.ita_deg + 40) / 100, 0, 1)
    albedo *= np.exp(-shown * amount[:, None] * np.array([0.15, 1.0, 0.75], np.float32))


def _freckle(albedo, points, style):
    spots = solid_noise(points, size=3.2, seed=style.seed + 21)
    mask = smoothstep(0.62, 0.8, spots) * min(style.freckles, 1.5)
    where = np.exp(-(((points[:, 1] + 25) / 35) ** 2)) * (points[:, 2] > -60)
    albedo *= np.exp(-(mask * where)[:, None] * np.array([0.25, 0.5, 0.7], np.float32))
    moles = smoothstep(0.93, 0.97, solid_noise(points, size=6.5, seed=style.seed + 22))
    albedo *= 1 - 0.55 * moles[:, None]


def _beard(albedo, points, landmarks, style):
    if style.beard <= 0:
        return
    x, y, z = points.T
    mouth, chin, nose = landmarks[48:60].mean(0), landmarks[8], landmarks[33]
    corner_x = abs(landmarks[54, 0] - landmarks[48, 0]) / 2
    # The beard's upper border falls from the sideburn to the mouth's corner.
    top = np.interp(
        np.abs(x), [0, corner_x + 6, 55, 68], [nose[1] - 3, mouth[1] + 2, mouth[1] + 16, 0]
    )
    edge = solid_noise(points, size=9, seed=style.seed + 33, octaves=2)
    area = smoothstep(-3, 15, top - y + 4 * edge)
    area *= smoothstep(chin[1] - 42, chin[1] - 18, y) * smoothstep(-115, -85, z)
    # Bare skin below the lower lip's corners, and a thinner moustache in the middle.
    grain = solid_noise(points * np.array([1.0, 0.45, 1.0], np.float32), size=0.9, seed=style.seed)
    hairs = 0.62 + 0.38 * smoothstep(-0.3, 0.6, grain)
    cover = np.clip(area * style.beard * (0.55 + 0.75 * hairs * style.beard), 0, 1)[:, None]
    colour = np.array(style.beard_colour, np.float32) * (0.8 + 0.5 * hairs[:, None])
    # A shaven shadow is bluish skin; a full beard is its hair's colour.
    shaven = albedo * np.array([0.66, 0.72, 0.8], np.float32)
    target = shaven + (colour - shaven) * np.float32(min(1.0, style.beard**1.5))
    albedo += cover * (target - albedo)


def _lips(albedo, points, landmarks, style):
    outer = smooth_curve(landmarks[48:60, :2], closed=True)
    seen = points[:, 2] > landmarks[[48, 54], 2].min() - 16
    index = np.flatnonzero(seen & _near(points, outer, 10))
    if not len(index):
        return
    here = points[index]
    edge = curve_distance(here[:, :2], outer, closed=True)
    signed = np.where(edge.inside, -edge.distance, edge.distance)
    wobble = 0.35 * solid_noise(here, size=2.5, seed=style.seed + 41)
    mask = smoothstep(0.9, -0.9, signed + wobble)
    grooves = solid_noise(
        here * np.array([1.0, 0.18, 0.2], np.float32), size=1.1, seed=style.seed + 42, octaves=2
    )
    tint = np.array(style.lip_tint, np.float32)
    colour = albedo[index] * tint * (1 - 0.1 * np.clip(grooves, -1, 1))[:, None]
    line = smooth_curve(
        np.concatenate([landmarks[48:49, :2], landmarks[60:65, :2], landmarks[54:55, :2]])
    )
    lower = smooth_curve(
        np.concatenate([landmarks[48:49, :2], landmarks[[67, 66, 65], :2], landmarks[54:55, :2]])
    )
    gap = np.minimum(
        curve_distance(here[:, :2], line).distance, curve_distance(here[:, :2], lower).distance
    )
    colour *= (1 - 0.35 * np.exp(-((gap / 1.1) ** 2)))[:, None]
    albedo[index] += mask[:, None] * (colour - albedo[index])


def _eyelids(albedo, points, landmarks, style):
    for rows in (np.arange(36, 42), np.arange(42, 48)):
        eye = landmarks[rows]
        outline = smooth_curve(eye[:, :2], closed=True)
        seen = points[:, 2] > eye[:, 2].min() - 14
        index = np.flatnonzero(seen & _near(points, outline, 22))
        if not len(index):
            continue
        here = points[index]
        edge = curve_distance(here[:, :2], outline, closed=True)
        centre = eye.mean(0)
        above = smoothstep(-2.5, 2.0, here[:, 1] - centre[1])
        out = np.where(edge.inside, 0, edge.distance)
        lash = np.exp(-((out / 0.9) ** 2)) * (0.22 + 0.68 * above) * style.lashes
        crease = np.exp(-(((out - 4.2) / 1.0) ** 2)) * above * 0.3
        lid = np.exp(-((out / 6.0) ** 2)) * 0.16
        bag = np.exp(-(((out - 7) / 5.0) ** 2)) * (1 - above) * 0.38 * style.shadow_under_eyes
        albedo[index] *= (1 - crease)[:, None] * (1 - lid[:, None] * np.array([0.6, 1.0, 0.9]))
        albedo[index] *= 1 - bag[:, None] * np.array([0.7, 1.0, 0.8])
        albedo[index] += lash[:, None] * (np.float32(0.012) - albedo[index])


def _brows(albedo, points, landmarks, style):
    for rows in (np.arange(17, 22), np.arange(26, 21, -1)):
        line = landmarks[rows]
        # iBUG's brow points lie near the upper border; hair grows about a line below it.
        curve = smooth_curve(line[:, :2] - np.array([0, 1.6]))
        seen = points[:, 2] > line[:, 2].min() - 14
        index = np.flatnonzero(seen & _near(points, curve, 12))
        if not len(index):
            continue
        here = points[index]
        found = curve_distance(here[:, :2], curve)
        along, offset = found.along, found.distance * found.side
        # From the tail (0) to the head (1) the brow grows wider; its ends fade.
        width = style.brow_width * np.interp(along, [0, 0.3, 0.8, 1], [1.3, 2.9, 4.2, 3.6])
        ends = smoothstep(0, 0.06, along) * smoothstep(1.0, 0.94, along)
        ends = np.where(
            (along <= 0) | (along >= 1), np.exp(-((found.distance / 2.0) ** 2)) * 0.4, ends
        )
        body = smoothstep(1.15, 0.45, found.distance / width) * ends
        length = float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())
        # Hairs lean outwards: strokes are long along the brow, thin across.
        strokes = np.stack(
            [along * length * 0.22 + offset * 0.25, offset * 1.25, np.zeros_like(offset)], axis=1
        )
        grain = solid_noise(strokes.astype(np.float32), size=0.9, seed=style.seed + 51, octaves=2)
        cover = np.clip(body * style.brow_density * (0.74 + 0.42 * grain), 0, 0.97)[:, None]
        colour = np.array(style.brow_colour, np.float32)
        albedo[index] += cover * (colour - albedo[index])


def _nostrils(albedo, points, landmarks):
    base = landmarks[33]
    for side in (32, 34):
        centre = 0.75 * landmarks[side] + 0.25 * base + np.array([0, 0.5, -2.5])
        centre[0] = landmarks[side, 0] * 1.15
        offset = (points - centre.astype(np.float32)) / np.array([3.4, 2.4, 5.0], np.float32)
        albedo *= (1 - 0.8 * np.exp(-(_squared(offset) ** 2)))[:, None]


def _near(points, curve, margin):
    low, high = curve.min(0) - margin, curve.max(0) + margin
    x, y = points[:, 0], points[:, 1]
    return (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])


def _squared(offset):
    # A sum over an axis of three is slow as a reduction.
    return np.einsum("nc,nc->n", offset, offset)


def lip_mask(places, landmarks):
    mask = np.zeros(len(places), np.float32)
    mouth = landmarks[48:60]
    near = _near(places, mouth, 2) & (places[:, 2] > mouth[:, 2].min() - 16)
    edge = curve_distance(places[near, :2], smooth_curve(mouth[:, :2], closed=True), closed=True)
    mask[near] = np.where(edge.inside, smoothstep(0, 1.5, edge.distance), 0)
    return mask
