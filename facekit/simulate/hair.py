"""Hair: a cap that grows out of the scalp, and long hair that falls beside and behind the head.

Shapes are described on the standard head (see ``paint_skin``): eyes at y = 0, nose tip at about
z = 30, ears near z = -75.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from facekit.geometry.mesh import submesh, vertex_normals
from facekit.render.shade import srgb_to_linear
from facekit.simulate.curves import curve_distance, smoothstep
from facekit.simulate.noise import solid_noise
from facekit.simulate.pieces import Piece, grid_faces
from facekit.simulate.subject import HAIR

# The hairline of an average head, (z, y) from the nape over the ear to the forehead.
_LINE = np.array(
    [
        *[(-400.0, -52.0), (-150, -50), (-128, -42), (-106, -14), (-98, 12), (-86, 20), (-72, 14)],
        *[(-68, -12), (-62, -12), (-57, 22), (-46, 46), (-30, 58), (-10, 63), (60, 66)],
    ]
)
_CROWN = np.array([0.0, 105.0, -80.0], np.float32)


@dataclass(frozen=True)
class HairStyle:
    """One person's hair.

    Attributes:
        seed: seed of strands and waves.
        colour: (3,) linear RGB.
        thickness: of the cap in mm; 0 is a bald head.
        hairline: mm by which the hairline over the forehead is higher (a fringe is below 0).
        length: how far long hair falls below the eyes, mm; 0 for short hair.
        opening_deg: half the opening of long hair in front, from the nose's direction.
        cover: opacity of the cap, under 1 for a shaven or thin one.
    """

    seed: int
    colour: tuple[float, ...]
    thickness: float
    hairline: float
    length: float
    opening_deg: float
    cover: float


@cache
def _palette() -> np.ndarray:
    """Return typical hair colours (8, 3), linear RGB, black to white."""
    return srgb_to_linear(
        np.array(
            [
                [22, 18, 17],
                [44, 30, 24],
                [82, 54, 36],
                [130, 92, 58],
                [176, 138, 92],
                [122, 56, 32],
                [128, 125, 121],
                [158, 155, 150],
            ]
        )
        / 255.0
    )


def random_hair_colour(rng: np.random.Generator, *, dark: float) -> np.ndarray:
    """Draw linear RGB (3,); ``dark`` in [0, 1] is the probability of black or dark brown."""
    palette = _palette()
    light = np.array([0, 0, 0.28, 0.2, 0.16, 0.1, 0.16, 0.1])
    weights = dark * np.array([0.6, 0.32, 0, 0, 0, 0, 0.05, 0.03]) + (1 - dark) * light
    chosen = palette[rng.choice(len(palette), p=weights / weights.sum())]
    return np.clip(chosen * rng.uniform(0.8, 1.25), 0.003, 0.7)


def random_hair(rng: np.random.Generator, *, colour: np.ndarray) -> HairStyle:
    """Draw a hair style: bald, shaven, short, with a fringe, or long."""
    kind = rng.choice(["bald", "shaven", "short", "fringe", "long"], p=[0.05, 0.1, 0.4, 0.12, 0.33])
    hairline = {"bald": 0.0, "shaven": rng.uniform(-4, 22), "fringe": rng.uniform(-30, -14)}
    return HairStyle(
        seed=int(rng.integers(1 << 30)),
        colour=tuple(float(c) for c in colour),
        thickness=float({"bald": 0.0, "shaven": 1.0}.get(kind, rng.uniform(5, 17))),
        hairline=float(hairline.get(kind, rng.uniform(-6, 20))),
        length=float(rng.uniform(60, 240)) if kind == "long" else 0.0,
        opening_deg=float(rng.uniform(48, 68)),
        cover=float(rng.uniform(0.45, 0.85)) if kind == "shaven" else 1.0,
    )


def hair_mask(places: np.ndarray, style: HairStyle) -> np.ndarray:
    """Return how much of each scalp place (N, 3) hair covers, (N,) in [0, 1]."""
    if style.thickness <= 0:
        return np.zeros(len(places), np.float32)
    fine = solid_noise(places, size=1.6, seed=style.seed + 1)
    return (style.cover * smoothstep(-3, 3, _beyond_line(places, style) + 1.8 * fine)).astype(
        np.float32
    )


def _beyond_line(places: np.ndarray, style: HairStyle) -> np.ndarray:
    """Return the distance (N,) from the hairline, mm: positive on the scalp, negative off it."""
    line = _LINE.copy()
    line[:, 1] += style.hairline * smoothstep(-60, -20, line[:, 0])
    found = curve_distance(places[:, [2, 1]], line)
    edge = solid_noise(places, size=14, seed=style.seed, octaves=2)
    # The line runs from the nape to the forehead, with the scalp on its left.
    return found.distance * found.side + 3 * edge


def hair_cap(
    vertices: np.ndarray, faces: np.ndarray, places: np.ndarray, skin: np.ndarray, style: HairStyle
) -> Piece | None:
    """Grow the cap out of the head's own surface.

    Args:
        vertices: (V, 3) head, mm; faces: (F, 3); skin: (F,) bool, faces that hair may grow on.
        places: (V, 3) the same vertices on the neutral standard head.
        style: whose hair.
    """
    if style.thickness <= 0:
        return None
    beyond = _beyond_line(places, style)
    grown = smoothstep(-5, 15, beyond)
    on_skin = np.zeros(len(vertices), bool)
    on_skin[faces[skin]] = True
    rows, cap = submesh(faces, (grown > 0) & on_skin)
    if not len(cap):
        return None
    normals = vertex_normals(vertices, faces)[rows]
    lump = 1 + 0.28 * solid_noise(places[rows], size=28, seed=style.seed + 2, octaves=2)
    # Lifted a little everywhere, so that it lies over the skin it grows from.
    rise = 0.5 + style.thickness * grown[rows] * lump
    return Piece(
        (vertices[rows] + rise[:, None] * normals).astype(np.float32),
        cap,
        np.full(len(cap), HAIR, np.int8),
        places[rows].astype(np.float32),
        two_sided=False,
        rows=rows,
    )


def long_hair(places: np.ndarray, style: HairStyle) -> Piece | None:
    """Let hair fall from the sides and the back of a head with vertices at ``places`` (V, 3).

    Returns the piece in the STANDARD head's millimetres, or None for short hair.
    """
    if style.length <= 0 or style.thickness <= 0:
        return None
    axis_z = -72.0
    azimuth = np.arctan2(places[:, 0], places[:, 2] - axis_z)
    radius = np.hypot(places[:, 0], places[:, 2] - axis_z)
    opening = np.radians(style.opening_deg)
    angles = np.linspace(opening, 2 * np.pi - opening, 72)
    heights = np.linspace(48, -style.length, 40)
    outline = np.zeros((len(heights), len(angles)))
    step_y, step_a = heights[0] - heights[1], angles[1] - angles[0]
    row_of = np.rint((heights[0] - places[:, 1]) / step_y).astype(int)
    column_of = np.rint(((azimuth - opening) % (2 * np.pi)) / step_a).astype(int)
    # Below the jaw the neck is thinner than the head, and hair does not follow it.
    use = (row_of >= 0) & (row_of < len(heights)) & (column_of < len(angles))
    use &= places[:, 1] > -86
    np.maximum.at(outline, (row_of[use], column_of[use]), radius[use])
    outline = ndimage.maximum_filter(outline, size=(5, 5), mode="nearest")
    for row in range(1, len(heights)):
        # Hair does not swing back under the skull at once.
        outline[row] = np.maximum(outline[row], outline[row - 1] * 0.985)
    kernel = np.array([1, 2, 3, 2, 1]) / 9
    padded = np.pad(outline, ((0, 0), (2, 2)), mode="edge")
    outline = np.stack([np.convolve(line, kernel, "valid") for line in padded])
    y, a = np.meshgrid(heights, angles, indexing="ij")
    ramp = smoothstep(48, 20, y)
    spot = np.stack([a * 70, y * 0.35, 0 * y], axis=-1).reshape(-1, 3).astype(np.float32)
    wave = solid_noise(spot, size=22, seed=style.seed + 4, octaves=2).reshape(y.shape)
    reach = outline + 1.5 + style.thickness * 0.9 * ramp * (1 + 0.4 * wave) - 3 * (1 - ramp)
    # Towards the opening hair lies closer to the face.
    edge = smoothstep(0, 0.5, np.minimum(a - opening, 2 * np.pi - opening - a))
    reach -= 5 * (1 - edge)
    shape = np.stack([reach * np.sin(a), y, axis_z + reach * np.cos(a)], axis=-1).reshape(-1, 3)
    faces = grid_faces(len(heights), len(angles))
    return Piece(
        shape.astype(np.float32),
        faces,
        np.full(len(faces), HAIR, np.int8),
        shape.astype(np.float32),
        two_sided=True,
    )


def paint_hair(places: np.ndarray, style: HairStyle) -> np.ndarray:
    """Return strands' albedo at places (N, 3), standard millimetres, (N, 3) float32."""
    across, down = _strand_coordinates(places)
    strands = np.stack([across, 0.05 * down, np.zeros_like(across)], axis=1).astype(np.float32)
    fine = solid_noise(strands, size=0.9, seed=style.seed + 11, octaves=2)
    locks = solid_noise(strands * np.float32(0.16), size=0.9, seed=style.seed + 12, octaves=2)
    level = np.clip(0.85 + 0.4 * fine + 0.4 * locks, 0.25, 1.7)
    return (np.array(style.colour, np.float32) * level[:, None]).astype(np.float32)


def strand_direction(places: np.ndarray) -> np.ndarray:
    """Return unit directions (N, 3) along which strands lie: away from the crown, downwards."""
    away = places - _CROWN
    away[:, 1] = np.minimum(away[:, 1], 0) - 35
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)


def _strand_coordinates(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    away = places - _CROWN
    flat = np.hypot(away[:, 0], away[:, 2])
    down = np.hypot(flat, away[:, 1])
    angle = np.arctan2(away[:, 0], away[:, 2])
    # A triangle wave of the angle has no seam at the back.
    return np.abs(angle) * np.sign(np.sin(angle)) * 75, down
