"""The picture of a fit: the photograph, the face drawn over it, and the head turned."""

from __future__ import annotations

import cv2
import numpy as np

from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.morphable.model import MorphableModel
from facekit.render.interpolate import interpolate_at, unit
from facekit.render.rasterise import rasterise
from facekit.render.shade import to_uint8
from facekit.types import Camera

PANEL = 360
# Rendered at this many pixels a side of an output pixel, then averaged.
_SAMPLES = 2
_BACKGROUND = 0.93
_OPACITY = 0.72
_TURN = np.radians(38.0)


def face_panels(
    image: np.ndarray, vertices: np.ndarray, model: MorphableModel, camera: Camera
) -> np.ndarray:
    """Return (PANEL, 3 PANEL, 3) uint8: crop, crop with the face over it, the head turned.

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
    large = _crop(image, corner, side, size=PANEL * _SAMPLES).astype(np.float32)
    close = _crop_camera(camera, corner, side)
    drawn = model.faces[region[model.faces].all(1)]
    clay, covered = _clay(vertices, model.faces, close, drawn)
    # The photograph shows through, so that eyes, brows and lips can be compared; a soft border
    # keeps the region's edge from looking like a feature of the face.
    border = PANEL * _SAMPLES // 80
    inside = cv2.erode(covered.astype(np.float32), np.ones((border, border), np.uint8))
    opacity = _OPACITY * cv2.blur(inside, (border, border))[..., None]
    over = np.where(covered[..., None], opacity * clay + (1 - opacity) * large, large)
    head = region.copy()
    for name in ("ears", "scalp"):
        head |= model.regions.get(name, False)
    turned, hit = _clay(vertices, model.faces, _side_view(vertices[head], camera), model.faces)
    turned = np.where(hit[..., None], turned, np.float32(255 * _BACKGROUND))
    panels = [crop, *(_average(picture) for picture in (over, turned))]
    return np.ascontiguousarray(np.concatenate(panels, axis=1))


def _crop(image: np.ndarray, corner: np.ndarray, side: float, size: int = PANEL) -> np.ndarray:
    scale = side / size
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
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255),
    )


def _crop_camera(camera: Camera, corner: np.ndarray, side: float) -> Camera:
    size = PANEL * _SAMPLES
    scale = size / side
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2] *= scale
    intrinsics[:2, 2] = scale * (camera.intrinsics[:2, 2] - corner) - 0.5
    return Camera(intrinsics, camera.rotation, camera.translation, size, size)


def _side_view(points: np.ndarray, camera: Camera) -> Camera:
    """A view from the side that the photograph shows less of, upright."""
    size = PANEL * _SAMPLES
    frontal = HEAD_TO_CAMERA @ camera.rotation
    turn = -_TURN if frontal[0, 2] > 0 else _TURN
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(turn, 0, 0)
    seen = points @ rotation.T
    centre = (seen.min(0) + seen.max(0)) / 2
    distance = 900.0
    extent = 1.3 * float(np.ptp(points[:, 1]))
    focal = size * distance / extent
    K = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
    return Camera(K, rotation, np.array([0, 0, distance]) - centre, size, size)


def _clay(
    vertices: np.ndarray, faces: np.ndarray, camera: Camera, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Clay under a soft studio light: (S, S, 3) float32 in [0, 255], and where it is."""
    points = project(camera, vertices)
    fragments = rasterise(points, drawn, camera.width, camera.height)
    hit = fragments.covered
    normals = vertex_normals(vertices, faces) @ camera.rotation.T
    n = unit(interpolate_at(fragments.triangle[hit], fragments.barycentric[hit], drawn, normals))
    key = n @ np.array([-0.45, -0.55, -0.70], np.float32)
    fill = n @ np.array([0.75, -0.05, -0.66], np.float32)
    rim = np.clip(1 + n[:, 2], 0, 1) ** 3
    light = 0.10 + 0.62 * np.clip(key, 0, 1) + 0.22 * np.clip(fill, 0, 1) + 0.10 * rim
    picture = np.zeros((camera.height, camera.width, 3), np.float32)
    picture[hit] = to_uint8(light[:, None] * np.array([0.80, 0.76, 0.72], np.float32))
    return picture, hit


def _average(picture: np.ndarray) -> np.ndarray:
    reduced = cv2.resize(picture, (PANEL, PANEL), interpolation=cv2.INTER_AREA)
    return np.clip(reduced + 0.5, 0, 255).astype(np.uint8)
