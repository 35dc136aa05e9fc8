"""Carry heads and expressions of the source to the template's vertices."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from facekit.basis.ict_source import IctSource
from facekit.basis.template import Template, eyeball_directions

# The sphere's radius is a little below the eyeball's own, so that eyelids never sink into it.
_EYEBALL_SHRINK = 0.995


class Sphere(NamedTuple):
    """Centre (3,) and radius, mm."""

    centre: np.ndarray
    radius: float


class Carrier:
    """Takes source vertices (V, 3) to template vertices: skin by its map, eyeballs rigidly.

    An eyeball of the template follows the similarity that takes the source's neutral eyeball to
    the wanted one, so it stays a sphere and turns with the gaze.
    """

    def __init__(self, source: IctSource, template: Template) -> None:
        self.source = source
        self.template = template
        self._skin = template.skin.matrix(len(source.neutral))

    @cached_property
    def spheres(self) -> tuple[Sphere, Sphere]:
        """The eyeballs of the neutral head, left and right, mirror images of each other."""
        points = self.source.neutral[self.source.region("eyeball_left")]
        left = fit_sphere(points)
        left = Sphere(left.centre, left.radius * _EYEBALL_SHRINK)
        return left, Sphere(left.centre * [-1, 1, 1], left.radius)

    def carry(self, vertices: np.ndarray) -> np.ndarray:
        """Return the template's vertices (V', 3) float64 of one source head (V, 3), mm."""
        vertices = np.asarray(vertices, np.float64)
        parts = [self._skin @ vertices]
        directions = eyeball_directions()
        for name, sphere, flip in (
            ("eyeball_left", self.spheres[0], 1.0),
            ("eyeball_right", self.spheres[1], -1.0),
        ):
            rows = self.source.region(name)
            scale, rotation, translation = _similarity(self.source.neutral[rows], vertices[rows])
            ball = sphere.centre + sphere.radius * directions * [flip, 1, 1]
            parts.append(scale * ball @ rotation.T + translation)
        return np.concatenate(parts)

    def carry_neutral(self) -> np.ndarray:
        """Return the template's vertices of the source's own neutral head, exactly symmetric."""
        points = self.carry(self.source.neutral)
        return 0.5 * (points + points[self.template.mirror] * [-1, 1, 1])

    def carry_expression(self, name: str) -> np.ndarray:
        """Return an expression's displacements (V', 3) at weight 1, float64, mm."""
        source = self.source
        return self.carry(source.neutral + source.expression(name)) - self.carry(source.neutral)


def fit_sphere(points: np.ndarray) -> Sphere:
    """Fit a sphere to points (N, 3) by algebraic least squares, twice: outliers (a cornea) out."""
    keep = np.ones(len(points), bool)
    for _ in range(3):
        used = points[keep]
        system = np.column_stack([2 * used, np.ones(len(used))])
        solution = np.linalg.lstsq(system, (used**2).sum(1), rcond=None)[0]
        centre = solution[:3]
        radius = float(np.sqrt(solution[3] + centre @ centre))
        off = np.abs(np.linalg.norm(points - centre, axis=1) - radius)
        keep = off <= max(2 * float(np.median(off)), 1e-6)
    return Sphere(centre, radius)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    from facekit.geometry.alignment import align_similarity

    return align_similarity(source, target)
