"""Poses and expressions made calm over time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.geometry.crop_pose import REFERENCE_MM
from facekit.geometry.rotations import matrix_to_rotvec, rotvec_to_matrix
from facekit.track.filters import OneEuro, OneEuroSettings, SpeedShare

# A face's radius, by which its motion in the image is counted: then a turn by a radian and a
# shift by a radius are motions of one size.
_RADIUS_MM = 80.0
# Chosen on rendered heads that stand still under noise, and on ones that turn.
POSE = OneEuroSettings(least_hz=0.4, gain=28.0, speed_hz=0.6)
EXPRESSION = OneEuroSettings(least_hz=1.0, gain=20.0, speed_hz=3.0)


class HeadPose(NamedTuple):
    """Head-to-camera rotation (3, 3) and translation (3,) in mm."""

    rotation: np.ndarray
    translation: np.ndarray

    def place(self) -> np.ndarray:
        """Return where the head's middle is seen, (3,): x / z, y / z and the logarithm of z."""
        middle = self.rotation @ REFERENCE_MM + self.translation
        return np.array([middle[0] / middle[2], middle[1] / middle[2], np.log(middle[2])])


def pose_at(rotation: np.ndarray, place: np.ndarray) -> HeadPose:
    """Return the pose of a rotation (3, 3) and a place (3,); undoes ``HeadPose.place``."""
    middle = np.append(place[:2], 1.0) * np.exp(place[2])
    return HeadPose(rotation, middle - rotation @ REFERENCE_MM)


class MotionFilter:
    """Filters one face's pose and expression; each comes out late by at most about a frame.

    The turn, the place in the image and the logarithm of the distance share one cutoff, so that
    a face never turns before it moves.

    Args:
        pose, expression: how much is filtered.
    """

    def __init__(
        self, *, pose: OneEuroSettings = POSE, expression: OneEuroSettings = EXPRESSION
    ) -> None:
        self._share = SpeedShare(pose, together=True)
        self._expression = OneEuro(expression)
        self._seen: HeadPose | None = None
        self._calm: HeadPose | None = None

    def __call__(
        self, pose: HeadPose, expression: np.ndarray, seconds: float
    ) -> tuple[HeadPose, np.ndarray]:
        """Return the filtered pose and expression (E,), ``seconds`` after the ones before."""
        if self._seen is None or self._calm is None or seconds <= 0:
            self.reset()
            self._calm = pose
        else:
            turn = matrix_to_rotvec(pose.rotation @ self._seen.rotation.T)
            place, before = pose.place(), self._seen.place()
            shift = (place - before) * [*[np.exp(before[2]) / _RADIUS_MM] * 2, 1.0]
            share = float(self._share(np.concatenate([turn, shift]) / seconds, seconds))
            behind = matrix_to_rotvec(pose.rotation @ self._calm.rotation.T)
            calm = self._calm.place()
            self._calm = pose_at(
                rotvec_to_matrix(share * behind) @ self._calm.rotation,
                calm + share * (place - calm),
            )
        self._seen = pose
        return self._calm, self._expression(expression, seconds)

    def reset(self) -> None:
        """Forget everything: the next pose and expression come out as they are."""
        self._seen = self._calm = None
        self._share.reset()
        self._expression.reset()
