"""How far two rigs of the same cameras are apart, compared where it matters: in the volume."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.geometry.alignment import align_similarity
from facekit.geometry.cameras import project, undistort
from facekit.types import Rig

_GRID = 5


class RigDifference(NamedTuple):
    """Differences of the cameras that two rigs share, after a rigid alignment of the volume.

    Attributes:
        names: the cameras compared.
        position_mm: (C,) distances of their centres.
        rotation_deg: (C,) angles between their orientations.
        pixel: (C,) median distance of the volume's points projected by both.
        volume_mm: rms distance of the volume's points triangulated by the first rig.
        scale: the first rig's lengths over the second's, less 1.
    """

    names: list[str]
    position_mm: np.ndarray
    rotation_deg: np.ndarray
    pixel: np.ndarray
    volume_mm: float
    scale: float


def compare_rigs(rig: Rig, reference: Rig, *, reach_mm: float = 120.0) -> RigDifference:
    """Compare a rig with a reference by what it makes of points in the middle of the stage.

    Points of a grid about the place that the reference's cameras look at are projected by the
    reference's cameras and triangulated with the rig's; the rigid motion that takes them back
    aligns the rigs. Aligning the centres instead would put the rig's error into the motion.

    Raises:
        InputError: fewer than two cameras in common.
    """
    names = [name for name in rig.cameras if name in reference.cameras]
    if len(names) < 2:
        raise InputError("compare: expected at least two cameras with the same names in both rigs")
    mine = [rig.cameras[name] for name in names]
    theirs = [reference.cameras[name] for name in names]
    centres = np.array([-c.rotation.T @ c.translation for c in theirs])
    middle = _meeting([c.rotation[2] for c in theirs], centres)
    steps = np.linspace(-reach_mm, reach_mm, _GRID)
    points = middle + np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    normal, right = np.zeros((len(points), 3, 3)), np.zeros((len(points), 3))
    for camera, other in zip(mine, theirs, strict=True):
        seen = undistort(camera, project(other, points)[:, :2])
        rays = np.column_stack([seen, np.ones(len(seen))]) @ camera.rotation
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
        normal += across
        right += across @ (-camera.rotation.T @ camera.translation)
    found = np.linalg.solve(normal, right[..., None])[..., 0]
    motion = align_similarity(found, points, with_scale=False)
    own = np.array([-c.rotation.T @ c.translation for c in mine])
    angles, pixels = [], []
    for camera, other in zip(mine, theirs, strict=True):
        turn = camera.rotation @ motion.rotation.T @ other.rotation.T
        angles.append(np.degrees(np.linalg.norm(turn - turn.T) / (2 * np.sqrt(2))))
        back = motion.inverse().apply(points)
        gap = project(camera, back)[:, :2] - project(other, points)[:, :2]
        pixels.append(np.median(np.linalg.norm(gap, axis=1)))
    return RigDifference(
        names=names,
        position_mm=np.linalg.norm(motion.apply(own) - centres, axis=1),
        rotation_deg=np.array(angles),
        pixel=np.array(pixels),
        volume_mm=float(np.sqrt(((motion.apply(found) - points) ** 2).sum(1).mean())),
        scale=1 / align_similarity(found, points).scale - 1,
    )


def _meeting(axes: list[np.ndarray], centres: np.ndarray) -> np.ndarray:
    """Return the point nearest to all optical axes; the centres' mean direction if parallel."""
    across = np.array([np.eye(3) - np.outer(axis, axis) for axis in axes])
    normal = across.sum(0)
    right = np.einsum("nij,nj->i", across, centres)
    # Nearly parallel axes meet nowhere: a little weight keeps the point near the cameras.
    small = 1e-6 * len(axes)
    return np.linalg.solve(normal + small * np.eye(3), right + small * centres.mean(0))
