"""Carry heads and expressions of the source to the template's vertices."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from facekit.basis.eyelids import close_left_eyelids
from facekit.basis.ict_source import IctSource
from facekit.basis.template import Template, eyeball_directions
from facekit.geometry.alignment import align_similarity
from facekit.geometry.rotations import euler_to_matrix

# How far a look at weight 1 turns the eyeball: outwards (yaw) and up (pitch), degrees; about what
# the lids of the source's looks follow.
_GAZE_DEG = {
    "eyeLookUp": (0.0, 25.0),
    "eyeLookDown": (0.0, -28.0),
    "eyeLookOut": (30.0, 0.0),
    "eyeLookIn": (-30.0, 0.0),
}
# The eyeball stays this far behind the eyelids' inner edges, so that they never sink into it.
_EYELID_GAP_MM = 0.6


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
        """The eyeballs of the neutral head, left and right, mirror images of each other.

        The sphere on which the eyelids' inner edges glide between open and shut, a little
        smaller: the source's own eyeballs are not round and would cut through closed lids.
        """
        source = self.source
        rim = np.unique(source.left_half().eyelid_rim)
        blink = source.symmetric_expression("eyeBlink_L")[rim]
        glide = [source.symmetric[rim] + share * blink for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        fitted = fit_sphere(np.concatenate(glide))
        left = Sphere(fitted.centre, fitted.radius - _EYELID_GAP_MM)
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
            moved = align_similarity(self.source.neutral[rows], vertices[rows])
            ball = sphere.centre + sphere.radius * directions * [flip, 1, 1]
            parts.append(moved.apply(ball))
        return np.concatenate(parts)

    def carry_neutral(self) -> np.ndarray:
        """Return the template's vertices of the source's own neutral head, exactly symmetric."""
        points = self.carry(self.source.neutral)
        return 0.5 * (points + points[self.template.mirror] * [-1, 1, 1])

    def carry_expression(self, name: str) -> np.ndarray:
        """Return the template's vertices (V', 3) of the source's mean with an expression at 1.

        Blinks are completed, so that the lids meet in front of the eyeball, and looks turn the
        eyeball, which the source leaves to its rig.
        """
        pose = self.carry(self.source.neutral + self.source.expression(name))
        if name[:-2] in _GAZE_DEG:
            return self._turn_eyeball(pose, name)
        if not name.startswith("eyeBlink"):
            return pose
        flip = np.array([-1.0, 1.0, 1.0])
        mirror = self.template.mirror
        neutral = self.carry(self.source.neutral)
        right = name.endswith("_R")
        if right:
            pose, neutral = pose[mirror] * flip, neutral[mirror] * flip
        sphere = self.spheres[0]
        closed = close_left_eyelids(
            neutral, pose, self.template, centre=sphere.centre, radius=sphere.radius
        )
        return closed[mirror] * flip if right else closed

    def _turn_eyeball(self, pose: np.ndarray, name: str) -> np.ndarray:
        right = name.endswith("_R")
        yaw, pitch = np.radians(_GAZE_DEG[name[:-2]])
        # Out is to the person's left for the left eye and to the right for the right one.
        turn = euler_to_matrix(-yaw if right else yaw, pitch, 0.0)
        rows = self.template.part == (4 if right else 3)
        centre = self.spheres[1 if right else 0].centre
        turned = pose.copy()
        turned[rows] = (pose[rows] - centre) @ turn.T + centre
        return turned


def fit_sphere(points: np.ndarray) -> Sphere:
    """Fit a sphere to points (N, 3) by algebraic least squares, repeated without outliers."""
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
