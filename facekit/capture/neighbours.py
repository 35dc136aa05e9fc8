"""Which views are matched with which, and between which depths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facekit.capture.views import View, centre
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.types import Camera

# Angle between two views at the scene, degrees: full weight from the first to the second number,
# none beyond the outer ones. Small angles say little about depth, large ones do not match.
_ANGLES = (3.0, 10.0, 30.0, 50.0)
# The scene's radius is at most this share of its distance.
_WIDEST = 0.45


class Scene(NamedTuple):
    """The ball that the cameras look at: centre (3,) and radius in mm."""

    centre: np.ndarray
    radius: float


def find_scene(views: Sequence[View]) -> Scene:
    """Find what the cameras look at from their axes and the pixels that are wanted.

    The centre is the point nearest to all optical axes; the radius is what the views show about
    it, in the median view.

    Raises:
        InputError: the axes are parallel or meet behind the cameras.
    """
    system, right = np.zeros((3, 3)), np.zeros(3)
    for view in views:
        axis = view.camera.rotation[2]
        across = np.eye(3) - np.outer(axis, axis)
        system += across
        right += across @ centre(view.camera)
    if np.linalg.eigvalsh(system)[0] < 1e-3 * len(views):
        raise InputError(
            "cameras: their axes are nearly parallel, so nothing says where the subject is; "
            "give points of it (the sparse stage) or other views"
        )
    middle = np.linalg.solve(system, right)
    radii = []
    for view in views:
        x, y, z = project(view.camera, middle)
        if z <= 0:
            raise InputError(
                f"{view.name}: looks away from what the other cameras look at; "
                "check the cameras' file"
            )
        height, width = view.wanted.shape
        shown = 0.5 * min(width, height)
        if not view.wanted.all():
            rows, columns = np.nonzero(view.wanted)
            if len(rows):
                shown = min(shown, float(np.hypot(columns - x, rows - y).max()))
        radii.append(min(shown * z / view.camera.intrinsics[0, 0], _WIDEST * z))
    return Scene(middle, float(np.median(radii)))


def depth_range(camera: Camera, scene: Scene) -> tuple[float, float]:
    """Return the least and largest depth z of the scene's ball in a camera, mm.

    The least is at least a fiftieth of the largest; both are negative for a ball behind it.
    """
    z = float(project(camera, scene.centre)[2])
    far = z + scene.radius
    return max(z - scene.radius, 0.02 * far), far


def choose_neighbours(cameras: Sequence[Camera], scene: Scene, *, count: int) -> list[list[int]]:
    """Return, for each camera, the others to match with, best first.

    Pairs are ranked by the angle between them at the scene's centre, small ones first where it
    is large enough to tell depth; pairs beyond 50 degrees are left out.

    Args:
        cameras: of all views.
        scene: what they look at.
        count: how many at most.
    """
    rays = np.array([centre(camera) - scene.centre for camera in cameras])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip(rays @ rays.T, -1, 1)))
    low, full, turn, high = _ANGLES
    weight = np.clip((angles - low) / (full - low), 0, 1)
    weight *= np.clip((high - angles) / (high - turn), 0, 1)
    np.fill_diagonal(weight, 0)
    chosen = []
    for row, angle in zip(weight, angles, strict=True):
        order = np.lexsort((angle, -row))
        chosen.append([int(j) for j in order[:count] if row[j] > 0])
    return chosen


def scene_of_points(points: np.ndarray) -> Scene:
    """Return the ball that holds nearly all points (N, 3) of a mapping.

    Its centre is their median; its radius holds 98 % of them, and a tenth more.

    Raises:
        InputError: no points.
    """
    if not len(points):
        raise InputError("scene: expected points of the mapping, got none")
    middle = np.median(points, axis=0)
    away = np.linalg.norm(points - middle, axis=1)
    return Scene(middle, float(1.1 * np.quantile(away, 0.98)))
