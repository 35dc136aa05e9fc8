"""Painted eyes: sclera, iris and pupil, on eyeballs or, where a head has none, on its skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.simulate.curves import curve_distance, percentiles, smooth_curve, smoothstep
from facekit.simulate.noise import solid_noise
from facekit.simulate.skin import iris_colours

# Of an adult's eye, in millimetres.
_IRIS_RADIUS = 5.9


@dataclass(frozen=True)
class EyeStyle:
    """One person's eyes.

    Attributes:
        seed: seed of the iris pattern.
        iris: (3,) linear RGB; pupil_mm: pupil radius.
        sclera: (3,) linear RGB.
        gaze: (2,) direction of view in the head frame, radians towards +X and +Y.
    """

    seed: int
    iris: tuple[float, ...]
    pupil_mm: float
    sclera: tuple[float, ...]
    gaze: tuple[float, ...]


def random_eyes(rng: np.random.Generator, *, ita_deg: float) -> EyeStyle:
    """Draw eyes; light irises are rare on dark skin."""
    palette = iris_colours()
    last = 3 if ita_deg < 10 else len(palette)
    position = rng.uniform(0, last - 1)
    base = palette[int(position)]
    mix = base + (position % 1) * (palette[min(int(position) + 1, last - 1)] - base)
    white = rng.uniform(0.28, 0.44)
    return EyeStyle(
        seed=int(rng.integers(1 << 30)),
        iris=tuple(float(c) for c in mix * rng.uniform(0.75, 1.2)),
        pupil_mm=float(rng.uniform(1.4, 2.9)),
        sclera=(float(white), float(white * 0.93), float(white * rng.uniform(0.86, 0.94))),
        gaze=(float(rng.normal(0, 0.12)), float(rng.normal(-0.02, 0.06))),
    )


def paint_eyeballs(
    places: np.ndarray, landmarks: np.ndarray, style: EyeStyle
) -> tuple[np.ndarray, np.ndarray]:
    """Return albedo (N, 3) linear RGB of places on the eyeballs, and which are iris (N,).

    The iris is a disc about the point of the eyeball's front that the gaze leaves through; the
    eyeball's centre is taken 12 mm behind its front.

    Args:
        places: (N, 3) on the neutral head, standard millimetres (see ``paint_skin``).
        landmarks: (68, 3), likewise.
        style: whose eyes.
    """
    points = np.ascontiguousarray(places, np.float32)
    albedo = np.tile(np.array(style.sclera, np.float32), (len(points), 1))
    iris_mask = np.zeros(len(points), np.float32)
    for rows, side in ((np.arange(36, 42), -1), (np.arange(42, 48), 1)):
        mine = points[:, 0] * side > 0
        if not mine.any():
            continue
        here = points[mine]
        front = percentiles(here[:, 2], [99.5])[0]
        middle = landmarks[rows].mean(0)
        toward = np.array([style.gaze[0] * 12, style.gaze[1] * 12])
        offset = here[:, :2] - (middle[:2] + toward).astype(np.float32)
        radius = np.hypot(offset[:, 0], offset[:, 1])
        behind = here[:, 2] < front - 9
        radius = np.where(behind, 99, radius)
        colour, mask = _iris(radius, offset, style)
        veins = solid_noise(here, size=1.6, seed=style.seed + 3, octaves=3)
        white = albedo[mine] * (1 - 0.1 * np.clip(veins, 0, 1)[:, None] * np.array([0.2, 1, 1]))
        # Towards the corners the white turns reddish.
        corner = smoothstep(8, 14, np.abs(here[:, 0] - middle[0]))[:, None]
        white = white * (1 - corner * np.array([0.08, 0.3, 0.28]))
        albedo[mine] = white + mask[:, None] * (colour - white)
        iris_mask[mine] = mask
    return albedo.astype(np.float32), iris_mask


def paint_flat_eyes(
    albedo: np.ndarray, places: np.ndarray, landmarks: np.ndarray, style: EyeStyle
) -> None:
    """Paint open eyes onto skin albedo (N, 3) in place, inside the eyes' outlines."""
    for rows in (np.arange(36, 42), np.arange(42, 48)):
        eye = landmarks[rows]
        middle = eye[:, :2].mean(0)
        near = np.abs(places[:, 0] - middle[0]) < 30
        near &= np.abs(places[:, 1] - middle[1]) < 30
        near &= places[:, 2] > eye[:, 2].min() - 14
        index = np.flatnonzero(near)
        if not len(index):
            continue
        here = places[index]
        edge = curve_distance(here[:, :2], smooth_curve(eye[:, :2], closed=True), closed=True)
        inside = smoothstep(0.4, -0.4, np.where(edge.inside, -edge.distance, edge.distance))
        centre = eye[:, :2].mean(0) + np.array(style.gaze) * 12
        offset = here[:, :2] - centre.astype(np.float32)
        colour, mask = _iris(np.hypot(offset[:, 0], offset[:, 1]), offset, style)
        white = np.array(style.sclera, np.float32)
        shade = 0.55 + 0.45 * smoothstep(0, 3.0, edge.distance)[:, None]
        eyeball = (white + mask[:, None] * (colour - white)) * shade
        albedo[index] += inside[:, None] * (eyeball - albedo[index])


def _iris(radius: np.ndarray, offset: np.ndarray, style: EyeStyle) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    ray = np.stack([9 * np.cos(angle), 9 * np.sin(angle), 0.4 * radius], axis=1)
    fibres = solid_noise(ray.astype(np.float32), size=1.0, seed=style.seed, octaves=2)
    ring = 1 - 0.6 * smoothstep(_IRIS_RADIUS - 1.4, _IRIS_RADIUS - 0.1, radius)
    centre = 1 + 0.35 * np.exp(-(((radius - style.pupil_mm - 0.8) / 1.0) ** 2))
    level = (1 + 0.3 * fibres) * ring * centre
    colour = np.array(style.iris, np.float32) * level[:, None].astype(np.float32)
    pupil = smoothstep(style.pupil_mm + 0.25, style.pupil_mm - 0.25, radius)[:, None]
    colour = colour + pupil * (np.float32(0.003) - colour)
    mask = smoothstep(_IRIS_RADIUS + 0.35, _IRIS_RADIUS - 0.35, radius)
    return colour.astype(np.float32), mask.astype(np.float32)
