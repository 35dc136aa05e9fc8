"""A frame with the tracked faces drawn over it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facekit.geometry.cameras import project
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.morphable.model import MorphableModel
from facekit.render.images import render_shaded
from facekit.track.tracker import TrackedFace
from facekit.types import Camera

_OPACITY = 0.65
# Linear RGB of each person in turn: clay, then tints that differ also in grey.
_TINTS = np.array(
    [
        (0.56, 0.50, 0.46),
        (0.30, 0.47, 0.62),
        (0.62, 0.42, 0.25),
        (0.38, 0.58, 0.38),
        (0.58, 0.36, 0.52),
    ]
)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class OverlayPainter:
    """Draws faces; holds what is computed once.

    Args:
        model: gives triangles and the face region.
        intrinsics: (3, 3) of the video.
    """

    def __init__(self, model: MorphableModel, intrinsics: np.ndarray) -> None:
        self._model, self._intrinsics = model, intrinsics
        region = model.regions.get("face", np.ones(model.num_vertices, bool))
        self._region = np.flatnonzero(region)
        self._faces = np.ascontiguousarray(model.faces[region[model.faces].all(1)])

    def draw(self, image: np.ndarray, faces: Sequence[TrackedFace], *, seconds: float) -> None:
        """Draw every face, its id and angles, and the time into a picture (H, W, 3) uint8 RGB."""
        # The farthest first, so that the nearest is on top.
        for face in sorted(faces, key=lambda f: -float(f.pose.translation[2])):
            self._draw_head(image, face)
        for face in faces:
            self._label(image, face)
        words = f"{seconds:8.2f} s" + ("" if faces else "   no face")
        _write(image, words, (12, image.shape[0] - 14), max(image.shape[0] / 1100, 0.35))

    def _draw_head(self, image: np.ndarray, face: TrackedFace) -> None:
        height, width = image.shape[:2]
        vertices = self._model.shape(face.identity, face.expression)
        camera = Camera(self._intrinsics, *face.pose, width, height)
        seen = project(camera, vertices[self._region])
        if (seen[:, 2] <= 1).any():
            return
        low = np.clip(np.floor(seen[:, :2].min(0)) - 2, 0, [width, height]).astype(int)
        high = np.clip(np.ceil(seen[:, :2].max(0)) + 3, 0, [width, height]).astype(int)
        if (high - low < 2).any():
            return
        intrinsics = self._intrinsics.copy()
        intrinsics[:2, 2] -= low
        extent = high - low
        close = Camera(intrinsics, *face.pose, int(extent[0]), int(extent[1]))
        tint = _TINTS[(face.person - 1) % len(_TINTS)]
        picture = render_shaded(vertices, self._faces, close, albedo=tint, supersample=1)
        # A soft border keeps the region's edge from looking like a feature of the face.
        border = max(3, int(face.box[2]) // 40)
        inside = cv2.erode(picture.alpha, np.ones((border, border), np.uint8))
        soft = picture._replace(alpha=cv2.blur(inside, (border, border)))
        part = image[low[1] : high[1], low[0] : high[0]]
        part[:] = soft.over(part, opacity=_OPACITY)

    def _label(self, image: np.ndarray, face: TrackedFace) -> None:
        yaw, pitch, roll = camera_rotation_to_euler_deg(face.pose.rotation)
        x, y = face.box[0], face.box[1] - 0.12 * face.box[3]
        words = f"{face.person}  yaw {yaw:+.0f}  pitch {pitch:+.0f}  roll {roll:+.0f}"
        place = max(2, round(float(x))), max(16, round(float(y)))
        _write(image, words, place, max(image.shape[0] / 1100, 0.35))


def _write(image: np.ndarray, words: str, place: tuple[int, int], size: float) -> None:
    thick = max(1, round(2 * size))
    x, y = place
    for colour, spot in ((_BLACK, (x + thick, y + thick)), (_WHITE, place)):
        cv2.putText(image, words, spot, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)
