"""Procedural skin: tone, redness, spots and pores, with painted brows, lips and eyelids.

Everything is a function of the place on the neutral head, brought to a standard head (outer eye
corners 90 mm apart, origin between them), and is steered by the 68 landmarks: it works on any
mesh and is no model's albedo. Colours are linear RGB albedo.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from facekit.render.shade import srgb_to_linear
from facekit.simulate import paint_kernels
from facekit.simulate.curves import smooth_curve
from facekit.simulate.noise import solid_noise, solid_noise_gradient

# Linear RGB of skin against the individual typology angle (ITA, degrees): published ranges of
# skin colour in CIELAB (a* 6-14, b* 12-22) at each angle's lightness.
_TONE_ITA = np.array([-75.0, -50, -30, 10, 28, 41, 55, 72])
_TONE_LAB = np.array(
    [
        [27, 8, 10],
        [33, 10.5, 13.5],
        [40, 12, 17],
        [53, 13, 20.5],
        [60, 12.5, 20],
        [65.5, 11.5, 18],
        [71, 10.5, 15.5],
        [77, 8.5, 11.5],
    ]
)


@dataclass(frozen=True)
class SkinStyle:
    """One person's skin, brows and lips.

    Attributes:
        seed: seed of the solid noise.
        ita_deg: individual typology angle: above 55 very light, below -30 dark.
        warmth: shift of b* in CIELAB; redness: strength of the red zones, 1 typical.
        mottle, freckles, pores: strengths, 1 typical, 0 none.
        gloss: strength of the highlight, 1 typical.
        brow_colour: (3,) linear RGB; brow_density, brow_width: 1 typical.
        lip_tint: (3,) factors on the skin's own colour.
        beard: 0 none to 1 full; beard_colour: (3,).
        shadow_under_eyes: 0 to 1; lashes: 0 to 1.
    """

    seed: int
    ita_deg: float
    warmth: float
    redness: float
    mottle: float
    freckles: float
    pores: float
    gloss: float
    brow_colour: tuple[float, ...]
    brow_density: float
    brow_width: float
    lip_tint: tuple[float, ...]
    beard: float
    beard_colour: tuple[float, ...]
    shadow_under_eyes: float
    lashes: float

    @property
    def tone(self) -> np.ndarray:
        """(3,) linear RGB of the bare skin."""
        return _tone(self.ita_deg, self.warmth).copy()


def tone_of_ita(ita_deg: float, warmth: float = 0.0) -> np.ndarray:
    """Return the linear RGB (3,) of skin with an individual typology angle in degrees.

    The angle is ``atan((L* - 50) / b*)``; lightness and hue follow a table of typical skin.

    Source: Chardon, Cretois, Hourseau, Skin colour typology and suntanning pathways, 1991.
    """
    lab = np.array([np.interp(ita_deg, _TONE_ITA, column) for column in _TONE_LAB.T])
    lab[2] = max(lab[2] + warmth, 2.0)
    return lab_to_linear(lab)


# A painter asks several times for a skin's tone.
_tone = lru_cache(maxsize=64)(tone_of_ita)


def lab_to_linear(lab: np.ndarray) -> np.ndarray:
    """Return linear sRGB (3,) of CIELAB (D65), clipped to [0.002, 1]."""
    f_y = (lab[0] + 16) / 116
    f = np.array([f_y + lab[1] / 500, f_y, f_y - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    xyz *= [0.95047, 1.0, 1.08883]
    matrix = np.array(
        [
            [3.2404542, -1.5371385, -0.4985314],
            [-0.9692660, 1.8760108, 0.0415560],
            [0.0556434, -0.2040259, 1.0572252],
        ]
    )
    return np.clip(matrix @ xyz, 0.002, 1)


def random_skin(rng: np.random.Generator, *, hair_colour: np.ndarray) -> SkinStyle:
    """Draw a person's skin: tones from very dark to very light, equally likely over the angle."""
    ita = float(rng.uniform(-68, 68))
    light = (ita + 68) / 136
    lipstick = rng.random() < 0.25
    if lipstick:
        tint = np.array([1.05, 0.32, 0.36]) * rng.uniform(0.7, 1.15, 3)
    else:
        tint = np.array([0.98, 0.66, 0.68]) + rng.uniform(-0.1, 0.1, 3)
    beard = float(rng.choice([0, 0, 0, 0.25, 0.5, 0.9], p=[0.3, 0.15, 0.15, 0.2, 0.1, 0.1]))
    hair = tuple(float(c) for c in np.clip(hair_colour * rng.uniform(0.5, 1.1), 0.004, 0.4))
    return SkinStyle(
        seed=int(rng.integers(1 << 30)),
        ita_deg=ita,
        warmth=float(rng.normal(0, 2)),
        redness=float(rng.uniform(0.4, 1.5)),
        mottle=float(rng.uniform(0.5, 1.6)),
        freckles=float(max(0, rng.normal(-0.4, 0.8)) * (0.3 + light)),
        pores=float(rng.uniform(0.4, 1.3)),
        gloss=float(rng.uniform(0.35, 1.5)),
        brow_colour=hair,
        brow_density=float(rng.uniform(0.6, 1.25)),
        brow_width=float(rng.uniform(0.7, 1.35)),
        lip_tint=tuple(float(t) for t in tint),
        beard=0.0 if lipstick else beard,
        beard_colour=hair,
        shadow_under_eyes=float(rng.uniform(0, 0.6)),
        lashes=float(rng.uniform(0.35, 1)),
    )


class SkinPaint(NamedTuple):
    """Painted skin.

    Attributes:
        albedo: (N, 3) float32 linear RGB.
        lips: (N,) float32, 1 on the lips and 0 off them.
    """

    albedo: np.ndarray
    lips: np.ndarray


def paint_skin(places: np.ndarray, landmarks: np.ndarray, style: SkinStyle) -> np.ndarray:
    """Return the albedo of places on the skin, (N, 3) float32; see ``paint_skin_and_lips``."""
    return paint_skin_and_lips(places, landmarks, style).albedo


def paint_skin_and_lips(places: np.ndarray, landmarks: np.ndarray, style: SkinStyle) -> SkinPaint:
    """Paint places on the skin, and say which are lips.

    Args:
        places: (N, 3) on the neutral head, in the standard head's millimetres.
        landmarks: (68, 3) iBUG points of the neutral head, likewise.
        style: whose skin.
    """
    points = np.ascontiguousarray(places, np.float32)
    albedo = np.tile(style.tone.astype(np.float32), (len(points), 1))
    _tint(albedo, points, landmarks, style)
    _beard(albedo, points, landmarks, style)
    on_lips = _lips(albedo, points, landmarks, style)
    _eyelids(albedo, points, landmarks, style)
    _brows(albedo, points, landmarks, style)
    centres = 0.75 * landmarks[[32, 34]] + 0.25 * landmarks[33] + np.array([0, 0.5, -2.5])
    centres[:, 0] = landmarks[[32, 34], 0] * 1.15
    paint_kernels.nostrils(albedo, points, centres.astype(np.float32))
    return SkinPaint(albedo, on_lips)


def skin_bumps(places: np.ndarray, style: SkinStyle) -> np.ndarray:
    """Return the slope of pores and fine wrinkles, (N, 3): subtract it from the normals."""
    fine = solid_noise_gradient(places, size=1.3, seed=style.seed + 71, octaves=2, gain=0.6)
    coarse = solid_noise_gradient(places, size=7, seed=style.seed + 72, octaves=2)
    return style.pores * (0.035 * fine[:, :3] + 0.16 * coarse[:, :3])


def _tint(albedo: np.ndarray, points: np.ndarray, landmarks: np.ndarray, style: SkinStyle) -> None:
    """Mottle and redden the skin, and put freckles and moles on it."""
    noise = np.stack(
        [
            solid_noise(points, size=45, seed=style.seed, octaves=2),
            solid_noise(points, size=6, seed=style.seed + 5, octaves=3, gain=0.65),
            solid_noise(points, size=17, seed=style.seed + 9, octaves=2),
            solid_noise(points, size=9, seed=style.seed + 3),
            solid_noise(points, size=3.2, seed=style.seed + 21),
            solid_noise(points, size=6.5, seed=style.seed + 22),
        ]
    )
    cheek_y = 0.55 * landmarks[33, 1] + 0.45 * landmarks[[36, 45], 1].mean()
    zones = [[*landmarks[30], 13.0, 0.5], [*landmarks[8], 20.0, 0.22]]
    for side in (-1, 1):
        zones.append([side * 38, cheek_y, landmarks[36, 2] - 2, 24.0, 0.55])
        zones.append([side * 78, -18, landmarks[36, 2] - 95, 26.0, 0.5])
    # Dark skin shows less of the blood.
    shown = 0.14 + 0.2 * np.clip((style.ita_deg + 40) / 100, 0, 1)
    paint_kernels.tint(
        albedo,
        points,
        noise,
        np.array(zones, np.float32),
        style.mottle,
        style.redness,
        shown,
        min(style.freckles, 1.5),
    )


def _beard(albedo: np.ndarray, points: np.ndarray, landmarks: np.ndarray, style: SkinStyle) -> None:
    if style.beard <= 0:
        return
    mouth, chin, nose = landmarks[48:60].mean(0), landmarks[8], landmarks[33]
    corner_x = abs(landmarks[54, 0] - landmarks[48, 0]) / 2
    # The beard's upper border falls from the sideburn to the mouth's corner.
    border = [[0, nose[1] - 3], [corner_x + 6, mouth[1] + 2], [55, mouth[1] + 16], [68, 0]]
    paint_kernels.beard(
        albedo,
        points,
        solid_noise(points, size=9, seed=style.seed + 33, octaves=2),
        solid_noise(points * np.array([1.0, 0.45, 1.0], np.float32), size=0.9, seed=style.seed),
        np.array(border, np.float32),
        style.beard,
        min(1.0, style.beard**1.5),
        chin[1],
        np.array(style.beard_colour, np.float32),
    )


def _lips(
    albedo: np.ndarray, points: np.ndarray, landmarks: np.ndarray, style: SkinStyle
) -> np.ndarray:
    """Paint the lips and return where they are, (N,) in [0, 1]."""
    on_lips = np.zeros(len(points), np.float32)
    outer = _curve(landmarks[48:60, :2], closed=True)
    rows = _near(points, outer, 10, landmarks[[48, 54], 2].min() - 16)
    if not len(rows):
        return on_lips
    here = points[rows]
    corners = landmarks[[48, 54], :2]
    paint_kernels.lips(
        albedo,
        here,
        rows,
        outer,
        _curve(np.concatenate([corners[:1], landmarks[60:65, :2], corners[1:]])),
        _curve(np.concatenate([corners[:1], landmarks[[67, 66, 65], :2], corners[1:]])),
        solid_noise(here, size=2.5, seed=style.seed + 41),
        solid_noise(
            here * np.array([1.0, 0.18, 0.2], np.float32),
            size=1.1,
            seed=style.seed + 42,
            octaves=2,
        ),
        np.array(style.lip_tint, np.float32),
        on_lips,
    )
    return on_lips


def _eyelids(
    albedo: np.ndarray, points: np.ndarray, landmarks: np.ndarray, style: SkinStyle
) -> None:
    for eye in (landmarks[36:42], landmarks[42:48]):
        outline = _curve(eye[:, :2], closed=True)
        rows = _near(points, outline, 22, eye[:, 2].min() - 14)
        paint_kernels.eyelid(
            albedo,
            points,
            rows,
            outline,
            eye[:, 1].mean(),
            style.lashes,
            style.shadow_under_eyes,
        )


# Width of a brow in mm over the relative length from its tail to its head, which is wider.
_BROW = np.array([[0, 1.3], [0.3, 2.9], [0.8, 4.2], [1, 3.6]], np.float32)


def _brows(albedo: np.ndarray, points: np.ndarray, landmarks: np.ndarray, style: SkinStyle) -> None:
    colour = np.array(style.brow_colour, np.float32)
    for line in (landmarks[17:22], landmarks[26:21:-1]):
        # iBUG's brow points lie near the upper border; hair grows about a line below it.
        curve = _curve(line[:, :2] - np.array([0, 1.6]))
        rows = _near(points, curve, 12, line[:, 2].min() - 14)
        if not len(rows):
            continue
        strokes = np.empty((len(rows), 3), np.float32)
        body = np.empty(len(rows), np.float32)
        paint_kernels.brow(points, rows, curve, style.brow_width, _BROW, strokes, body)
        grain = solid_noise(strokes, size=0.9, seed=style.seed + 51, octaves=2)
        paint_kernels.cover_brow(albedo, rows, body, grain, style.brow_density, colour)


def _curve(points: np.ndarray, *, closed: bool = False) -> np.ndarray:
    smooth = smooth_curve(points, closed=closed)
    return np.concatenate([smooth, smooth[:1]] if closed else [smooth]).astype(np.float32)


def _near(points: np.ndarray, curve: np.ndarray, margin: float, behind: float) -> np.ndarray:
    """Return the rows (M,) of points near a curve in the frontal plane and before a depth."""
    rows = np.empty(len(points), np.int64)
    return rows[: paint_kernels.near_curve(points, curve, margin, behind, rows)]


@cache
def iris_colours() -> np.ndarray:
    """Return typical irises, (7, 3) linear RGB, dark brown to light blue."""
    srgb = np.array(
        [
            [45, 28, 18],
            [70, 42, 24],
            [98, 66, 36],
            [110, 98, 58],
            [76, 90, 72],
            [80, 98, 116],
            [98, 118, 132],
        ]
    )
    return srgb_to_linear(srgb / 255)
