"""Light that is more than spherical harmonics: a key light with a cast shadow, fill, ambient.

Directions are unit vectors TOWARDS the light in the camera frame (+x right, +y down, +z forward).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.render.rasterise import depth_map
from facekit.render.shade import ambient_sh, directional_light_sh
from facekit.simulate.parallel_view import (
    parallel_points,
    share_before,
    vertex_box,
    view_axes,
)

# So far away that a view is as good as parallel, mm.
_FAR = 1e5
_SHADOW_SIDE = 320
# Places of the penumbra that a shadow looks at.
_TAPS = 9
# Blood lets red light travel farthest under the skin, which softens red shading most.
SKIN_WRAP = np.array([0.22, 0.1, 0.06], np.float32)


@dataclass(frozen=True, eq=False)
class Lighting:
    """The light of a portrait; linear RGB, about 1 where a white surface is well lit.

    Attributes:
        ambient: (9, 3) spherical-harmonics shading (see ``render.shade.sh_shading``).
        key, fill: (3,) directions; key_colour, fill_colour: (3,) linear RGB.
        softness_mm: radius of the key light's penumbra on the face; 0 is a hard shadow.
    """

    ambient: np.ndarray
    key: np.ndarray
    key_colour: np.ndarray
    fill: np.ndarray
    fill_colour: np.ndarray
    softness_mm: float

    @property
    def harmonics(self) -> np.ndarray:
        """(9, 3): the whole light's projection onto spherical harmonics, without shadows."""
        return (
            self.ambient
            + directional_light_sh(self.key, self.key_colour)
            + directional_light_sh(self.fill, self.fill_colour)
        )


def random_light(rng: np.random.Generator) -> Lighting:
    """Draw a light: from flat daylight to a hard side light, warm or cool, mostly from above."""
    hardness = float(rng.beta(1.3, 1.5))
    temperature = rng.normal(0, 0.12)
    warm = np.array([1 + temperature, 1.0, 1 - 1.3 * temperature])
    cool = np.array([1 - 0.5 * temperature, 1.0, 1 + 0.5 * temperature])
    around = rng.normal(0, 0.75)
    up = rng.uniform(-0.15, 1.1)
    key = direction(around, up)
    level = rng.uniform(0.55, 1.05)
    ambient = ambient_sh(level * (0.85 - 0.6 * hardness) * cool)
    # A sky above and a floor below, and a brighter side.
    sky = rng.uniform(0.1, 0.45) * (1 - 0.5 * hardness)
    ambient += directional_light_sh(direction(rng.normal(0, 1.0), 1.2), sky * cool)
    ambient += directional_light_sh(direction(rng.uniform(-3, 3), -0.7), 0.3 * sky * warm)
    return Lighting(
        ambient=ambient,
        key=key,
        key_colour=level * (0.25 + 0.95 * hardness) * warm,
        fill=direction(-np.sign(around) * rng.uniform(0.3, 1.2), rng.uniform(-0.2, 0.6)),
        fill_colour=level * rng.uniform(0, 0.35) * cool * rng.uniform(0.9, 1.1, 3),
        softness_mm=float(rng.choice([0.5, 2.0, 5.0, 9.0])),
    )


def direction(around: float, up: float) -> np.ndarray:
    """Return the unit direction towards a light at angles (radians) from the camera's own place.

    ``around`` > 0 is image right, ``up`` > 0 is above; (0, 0) is a light at the camera.
    """
    return np.array([np.sin(around) * np.cos(up), -np.sin(up), -np.cos(around) * np.cos(up)])


class ShadowMap:
    """What a distant light sees of a mesh.

    Args:
        vertices: (V, 3) mm; faces: (F, 3).
        toward: (3,) unit direction towards the light, in the vertices' frame.
        side: pixels of the map's longer side.
        bounds: (2, 3) box of the vertices that matter; others may fall out of the map.
    """

    def __init__(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        toward: np.ndarray,
        *,
        side: int = _SHADOW_SIDE,
        bounds: np.ndarray | None = None,
    ) -> None:
        self._axes = view_axes(toward)
        box = np.asarray(vertex_box(vertices) if bounds is None else bounds, np.float64)
        # Each axis of the view reaches farthest in the corner that its signs choose.
        rising = self._axes > 0
        low = (self._axes * np.where(rising, box[0], box[1])).sum(1)
        high = (self._axes * np.where(rising, box[1], box[0])).sum(1)
        self._scale = (side - 1) / max(float((high - low)[:2].max()), 1e-6)
        self._shift = low
        width, height = np.ceil((high - low)[:2] * self._scale).astype(int) + 1
        points = parallel_points(vertices, self._axes, low, self._scale, far=_FAR)
        self.depth = depth_map(points, faces, int(width), int(height), cull=False)

    def lit(
        self, positions: np.ndarray, normals: np.ndarray, *, softness_mm: float, seed: int = 0
    ) -> np.ndarray:
        """Return how much of the light reaches positions (N, 3), (N,) float32 in [0, 1].

        Compares depths at nine places of a disc of radius ``softness_mm`` (percentage-closer
        filtering); positions are moved 2 mm out along their normals first.
        """
        turn = np.random.default_rng(seed).uniform(0, 6.28)
        tap = np.arange(_TAPS)
        # Vogel's spiral fills a disc evenly.
        radius = self._scale * max(softness_mm, 0.7 / self._scale) * np.sqrt((tap + 0.5) / _TAPS)
        angle = turn + tap * 2.399963
        offsets = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        points = parallel_points(
            positions, self._axes, self._shift, self._scale, far=_FAR, normals=normals, lift=2.0
        )
        return share_before(self.depth, points, offsets, slack=1.5 + 0.5 * softness_mm)

    def reaches(
        self, vertices: np.ndarray, normals: np.ndarray, *, lift: float, slack: float
    ) -> np.ndarray:
        """Return which vertices (V, 3) the light reaches, (V,) float32 0 or 1.

        Looks once, at the map's nearest pixel, from ``lift`` mm out along the normals, and
        forgives ``slack`` mm.
        """
        points = parallel_points(
            vertices, self._axes, self._shift, self._scale, far=_FAR, normals=normals, lift=lift
        )
        np.clip(points[:, 0], 0, self.depth.shape[1] - 1, out=points[:, 0])
        np.clip(points[:, 1], 0, self.depth.shape[0] - 1, out=points[:, 1])
        return share_before(self.depth, points, np.zeros((1, 2)), slack=slack)


def ambient_occlusion(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, *, directions: int = 16
) -> np.ndarray:
    """Return the cosine-weighted share of the surroundings that each vertex sees, (V,) float32.

    Looks at the mesh from evenly spread directions (a Fibonacci sphere) through small depth
    maps. Brightened a little (power 0.8) for the light that surfaces give each other.
    """
    number = np.arange(directions) + 0.5
    up = 1 - 2 * number / directions
    turn = np.pi * (1 + 5**0.5) * number
    flat = np.sqrt(1 - up**2)
    around = np.stack([flat * np.cos(turn), up, flat * np.sin(turn)], axis=1)
    seen = np.zeros(len(vertices), np.float32)
    whole = np.full(len(vertices), 1e-3, np.float32)
    bounds = vertex_box(vertices)
    for toward in around:
        cosine = np.maximum(normals @ toward.astype(np.float32), 0)
        view = ShadowMap(vertices, faces, toward, side=112, bounds=bounds)
        seen += cosine * view.reaches(vertices, normals, lift=1.5, slack=3.5)
        whole += cosine
    return (seen / whole) ** 0.8
