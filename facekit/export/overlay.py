"""The picture of a fit: the photograph, the face over it, the head alone, the head turned."""

from __future__ import annotations

import cv2
import numpy as np

from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA
from facekit.morphable.model import MorphableModel
from facekit.render.images import render_shaded, turned_camera
from facekit.types import Camera

PANEL = 360
_OPACITY = 0.72
_TURN_DEG = 38.0
_BACKGROUND = np.full((PANEL, PANEL, 3), 237, np.uint8)


def face_panels(
    image: np.ndarray, vertices: np.ndarray, model: MorphableModel, camera: Camera
) -> np.ndarray:
    """Return (PANEL, 4 PANEL, 3) uint8: crop, the face over it, the head alone, the head turned.

    The head is turned to the side that the photograph shows less of.

    Args:
        image: (H, W, 3) uint8 RGB.
        vertices: (V, 3) mm, head frame.
        model: gives faces and the face region.
        camera: head frame to ``image``.
    """
    region = model.regions.get("face", np.ones(len(vertices), bool))
    points = project(camera, vertices[region])[:, :2]
    low, high = points.min(0), points.max(0)
    side = 1.55 * float((high - low).max())
    corner = (low + high) / 2 - side / 2
    crop = _crop(image, corner, side)
    drawn = np.ascontiguousarray(model.faces[region[model.faces].all(1)])
    close = _crop_camera(camera, corner, side)
    picture = render_shaded(vertices, drawn, close)
    # The photograph shows through, so that eyes, brows and lips can be compared; a soft border
    # keeps the region's edge from looking like a feature of the face.
    border = PANEL // 40
    inside = cv2.erode(picture.alpha, np.ones((border, border), np.uint8))
    soft = picture._replace(alpha=cv2.blur(inside, (border, border)))
    head = region.copy()
    for name in ("ears", "scalp"):
        head |= model.regions.get(name, False)
    shows_right = (HEAD_TO_CAMERA @ camera.rotation)[0, 2] > 0
    side_view = turned_camera(
        vertices[head],
        yaw_deg=-_TURN_DEG if shows_right else _TURN_DEG,
        width=PANEL,
        height=PANEL,
        distance_mm=900.0,
    )
    alone, turned = (
        render_shaded(vertices, model.faces, view).over(_BACKGROUND) for view in (close, side_view)
    )
    panels = [crop, soft.over(crop, opacity=_OPACITY), alone, turned]
    return np.ascontiguousarray(np.concatenate(panels, axis=1))


def _crop(image: np.ndarray, corner: np.ndarray, side: float) -> np.ndarray:
    scale = side / PANEL
    # Pixel centres at integers: output x lies at corner + scale (x + 0.5) - 0.5.
    matrix = np.array([[scale, 0, corner[0] + scale / 2], [0, scale, corner[1] + scale / 2]])
    shrink = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    if scale > 1.5:
        # warpAffine does not average; a reduced copy of the neighbourhood does.
        x0, y0 = np.maximum(np.floor(corner).astype(int) - 2, 0)
        x1, y1 = np.ceil(corner + side).astype(int) + 2
        part = image[y0:y1, x0:x1]
        factor = 1 / scale
        width = max(1, round(part.shape[1] * factor))
        height = max(1, round(part.shape[0] * factor))
        image = cv2.resize(part, (width, height), interpolation=shrink)
        ratio = np.array([width / part.shape[1], height / part.shape[0]])
        offset = (corner + scale / 2 - [x0, y0] + 0.5) * ratio - 0.5
        matrix = np.array([[scale * ratio[0], 0, offset[0]], [0, scale * ratio[1], offset[1]]])
    return cv2.warpAffine(
        image,
        matrix,
        (PANEL, PANEL),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255),
    )


def _crop_camera(camera: Camera, corner: np.ndarray, side: float) -> Camera:
    scale = PANEL / side
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2] *= scale
    intrinsics[:2, 2] = scale * (camera.intrinsics[:2, 2] - corner) - 0.5
    return Camera(intrinsics, camera.rotation, camera.translation, PANEL, PANEL)
