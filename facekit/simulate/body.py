"""Shoulders and clothes below the neck, and glasses; all on the standard head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.simulate.curves import percentiles, smoothstep
from facekit.simulate.noise import solid_noise
from facekit.simulate.pieces import Piece, grid_faces, merge, tube
from facekit.simulate.subject import CLOTH, FRAME, LENS


@dataclass(frozen=True)
class ClothStyle:
    """One person's clothes.

    Attributes:
        seed: seed of folds and pattern.
        colour, second: (3,) linear RGB; ``second`` is the stripes'.
        stripe_mm: width of stripes, 0 for none.
        neckline: depth of the neck opening in mm; 0 closes it high.
        width: of the shoulders over the average.
    """

    seed: int
    colour: tuple[float, ...]
    second: tuple[float, ...]
    stripe_mm: float
    neckline: float
    width: float


@dataclass(frozen=True)
class GlassesStyle:
    """One pair of glasses, or none where ``radius`` is 0.

    Attributes:
        radius: of the rim's wire, mm; 0 for no glasses.
        colour: (3,) linear RGB of the frame.
        half_width, half_height: of a lens, mm.
        roundness: exponent of the superellipse, 2 round, 5 nearly rectangular.
        dark: sunglasses.
    """

    radius: float
    colour: tuple[float, ...]
    half_width: float
    half_height: float
    roundness: float
    dark: bool


def random_cloth(rng: np.random.Generator) -> ClothStyle:
    """Draw clothes of any colour, mostly muted."""
    colour = np.clip(rng.uniform(0.01, 0.6) * (1 + rng.uniform(-0.5, 0.5, 3)), 0.006, 0.6)
    second = np.clip(rng.uniform(0.02, 0.6) * (1 + rng.uniform(-0.4, 0.4, 3)), 0.01, 0.65)
    return ClothStyle(
        seed=int(rng.integers(1 << 30)),
        colour=tuple(float(c) for c in colour),
        second=tuple(float(c) for c in second),
        stripe_mm=float(rng.uniform(6, 30)) if rng.random() < 0.25 else 0.0,
        neckline=float(np.clip(rng.normal(10, 25), 0, 60)),
        width=float(rng.uniform(0.85, 1.2)),
    )


def random_glasses(rng: np.random.Generator, *, probability: float) -> GlassesStyle:
    """Draw glasses with this probability, a tenth of them dark."""
    wears = rng.random() < probability
    dark = rng.random() < 0.1
    tone = rng.choice([0.01, 0.02, 0.08, 0.3]) * (1 + rng.uniform(-0.4, 0.4, 3))
    half_width = rng.uniform(22, 27.5)
    return GlassesStyle(
        radius=float(rng.uniform(0.7, 2.3)) if wears else 0.0,
        colour=tuple(float(c) for c in np.clip(tone, 0.004, 0.6)),
        half_width=float(half_width),
        half_height=float(half_width * rng.uniform(0.62, 0.95)),
        roundness=float(rng.uniform(2, 4.5)),
        dark=bool(dark),
    )


def torso(neck: Neck, style: ClothStyle) -> Piece:
    """Put shoulders under the neck; standard millimetres.

    Args:
        neck: of ``find_neck``.
        style: whose clothes.
    """
    centre, rings = _neck_rings(neck)
    rings[-4:, 0] = np.maximum(rings[-4:, 0], rings[-5, 0]) * style.width
    fine = np.linspace(0, len(rings) - 1, 48)
    profile = np.stack([np.interp(fine, np.arange(len(rings)), c) for c in rings.T], axis=1)
    profile = np.apply_along_axis(
        lambda c: np.convolve(np.pad(c, 4, mode="edge"), np.ones(9) / 9, "valid"), 0, profile
    )
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    full = len(rings) - 1
    power = 2 / np.interp(fine, [0, full - 3, full], [2.4, 2.7, 2.5])[:, None]
    sine, cosine = np.sin(angle)[None], np.cos(angle)[None]
    shape = np.stack(
        [
            profile[:, :1] * np.sign(sine) * np.abs(sine) ** power,
            np.broadcast_to(profile[:, 2:3], (len(profile), len(angle))),
            profile[:, 3:] + profile[:, 1:2] * np.sign(cosine) * np.abs(cosine) ** power,
        ],
        axis=-1,
    ).reshape(-1, 3)
    folds = solid_noise(
        (shape * np.array([1, 0.5, 1])).astype(np.float32), size=55, seed=style.seed, octaves=3
    )
    shape += 5 * folds[:, None] * shape / np.maximum(np.linalg.norm(shape, axis=1), 1)[:, None]
    faces = grid_faces(len(profile), len(angle), wrap=True)
    return Piece(
        (shape + centre).astype(np.float32),
        faces,
        np.full(len(faces), CLOTH, np.int8),
        shape.astype(np.float32),
        two_sided=True,
    )


class Neck(NamedTuple):
    """A neck low down, where it is narrow and clothes begin: its height y, and its size there."""

    height: float
    half_width: float
    half_depth: float
    middle_z: float


def find_neck(places: np.ndarray, chin: float) -> Neck:
    """Return the neck of a head with vertices at ``places`` (V, 3) and its chin at this height."""
    low = float(places[:, 1].min())
    sizes = []
    for level in np.linspace(max(low + 6, chin - 60), max(low + 12, chin - 8), 12):
        band = places[np.abs(places[:, 1] - level) < 6]
        if len(band) < 8:
            continue
        front, back = percentiles(band[:, 2], [97, 3])
        wide = percentiles(np.abs(band[:, 0]), [96])[0]
        sizes.append((level, wide, (front - back) / 2, (front + back) / 2))
    if not sizes:
        return Neck(low, 50.0, 50.0, float(np.median(places[:, 2])))
    # Where a neck is cut off aslant the lowest levels hold a part of it only.
    usual = np.median(np.array(sizes), axis=0)
    whole = [s for s in sizes if s[1] > 0.92 * usual[1] and s[2] > 0.85 * usual[2]]
    narrow = 1.1 * min(s[1] for s in whole)
    height, wide, deep, middle = next(s for s in whole if s[1] <= narrow)
    return Neck(float(height), float(wide), float(deep), float(middle))


def _neck_rings(neck: Neck) -> tuple[np.ndarray, np.ndarray]:
    """Return where the collar is (3,), and half width, half depth, height, shift of each ring.

    The rings begin within the neck and widen to the shoulders; heights count from the collar.
    """
    collar, wide, deep, middle = neck
    rings = [
        [wide * 0.5, deep * 0.5, 60, 6],
        [wide * 0.86, deep * 0.84, 22, 2],
        [wide * 1.05, deep * 1.04, 6, 0],
        [wide * 1.26, deep * 1.2, -7, -1],
        [wide * 1.5, deep * 1.25, -20, -3],
        [wide * 2.1, deep * 1.3, -38, -6],
        [170, 92, -64, -8],
        [203, 112, -112, -4],
        [212, 120, -190, 4],
        [205, 124, -420, 6],
    ]
    return np.array([0.0, collar, middle]), np.array(rings, np.float64)


def paint_cloth(places: np.ndarray, style: ClothStyle, skin: np.ndarray) -> np.ndarray:
    """Return albedo (N, 3) of places on the torso (its own frame, y = 0 at the neck's end)."""
    x, y, z = places.T
    colour = np.tile(np.array(style.colour, np.float32), (len(places), 1))
    if style.stripe_mm > 0:
        wave = np.sin(y * np.pi / style.stripe_mm)
        colour += smoothstep(-0.15, 0.15, wave)[:, None] * (
            np.array(style.second, np.float32) - colour
        )
    weave = solid_noise(places, size=1.5, seed=style.seed + 1)
    broad = solid_noise(places, size=60, seed=style.seed + 2, octaves=2)
    colour *= (1 + 0.1 * weave + 0.12 * broad)[:, None]
    depth = -12 - style.neckline * np.clip(1 - np.abs(x) / (42 + style.neckline), 0, 1)
    bare = smoothstep(depth - 0.8, depth + 0.8, y) * np.where(z > 0, 1.0, smoothstep(-10, -8, y))
    colour += bare[:, None] * (skin.astype(np.float32) - colour)
    return np.clip(colour, 0.003, 0.95).astype(np.float32)


def glasses(landmarks: np.ndarray, style: GlassesStyle) -> Piece | None:
    """Put glasses on a face; standard millimetres.

    Args:
        landmarks: (68, 3) of the face as it is rendered.
        style: which glasses; None is returned for none.
    """
    if style.radius <= 0:
        return None
    parts, lens_parts = [], []
    front = float(max(landmarks[27, 2] + 1.5, landmarks[19, 2] + 6, landmarks[24, 2] + 6))
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    inner = []
    for rows, side in ((np.arange(36, 42), -1.0), (np.arange(42, 48), 1.0)):
        centre = landmarks[rows].mean(0)
        centre = np.array([side * max(abs(centre[0]), style.half_width + 6), centre[1] - 2, 0])
        power = 2 / style.roundness
        x = style.half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
        y = style.half_height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
        # The lens bends back towards the temple.
        away = np.maximum((x * side + style.half_width) / (2 * style.half_width), 0)
        rim = np.stack([centre[0] + x, centre[1] + y, front - 9 * away**2], axis=1)
        parts.append(tube(rim, style.radius, closed=True))
        outer = rim[np.argmax(rim[:, 0] * side)] + [0, 4, 0]
        inner.append(rim[np.argmin(rim[:, 0] * side)] + [0, 4, 0])
        ear = np.array([side * 78, 8, -80.0])
        bar = np.stack(
            [outer, outer + [side * 4, 0, -6], 0.5 * (outer + ear) + [side * 5, 2, 0], ear]
        )
        parts.append(tube(bar, style.radius))
        if style.dark:
            fan = np.concatenate([[rim.mean(0)], rim]).astype(np.float32)
            around = np.arange(40)
            triangles = np.stack([0 * around, 1 + around, 1 + (around + 1) % 40], axis=1)
            lens_parts.append((fan, triangles.astype(np.int32)))
    middle = (inner[0] + inner[1]) / 2 + [0, 2.5, 2]
    parts.append(tube(np.stack([inner[0], middle, inner[1]]), style.radius))
    vertices, faces = merge(parts + lens_parts)
    material = np.full(len(faces), FRAME, np.int8)
    if lens_parts:
        material[-sum(len(p[1]) for p in lens_parts) :] = LENS
    return Piece(
        vertices.astype(np.float32), faces, material, vertices.astype(np.float32), two_sided=True
    )
