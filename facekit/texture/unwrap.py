"""What a photograph shows of a head, texel by texel, and where it cannot be trusted."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.sampling import sample_image
from facekit.render.rasterise import rasterise
from facekit.render.shade import srgb_to_linear
from facekit.texture.atlas import TexelAtlas
from facekit.types import Camera

# The z-buffer against which texels are tested has at most this many pixels a side.
_BUFFER_SIDE = 1200
# Cosine between normal and view below which a texel is too stretched to be of use.
_LEAST_FACING, _LEAST_INSIDE = 0.4, 0.05
# A texel this far behind the nearest surface is hidden, mm.
_DEPTH_TOLERANCE = 3.0
# A jump of the depth this large, mm, this near on the face, mm, is an outline: the fitted head's
# is a little off the photographed one's, and beyond it lies something else.
_JUMP_MM, _GUARD_MM = 12.0, 3.0
# Farther than any head; stands for the background.
_FAR = np.float32(1e9)


class Unwrapped(NamedTuple):
    """A photograph on a chart's covered texels.

    Attributes:
        colour: (N, 3) float32 linear RGB; meaningless where nothing is seen.
        seen: (N,) bool: the camera sees the texel well, inside the photograph and its mask.
        normal: (N, 3) float32 unit normals, camera frame.
        spots: (N, 2) float32 where the texels lie in the photograph, pixels.
    """

    colour: np.ndarray
    seen: np.ndarray
    normal: np.ndarray
    spots: np.ndarray


def unwrap(
    atlas: TexelAtlas,
    image: np.ndarray,
    vertices: np.ndarray,
    camera: Camera,
    *,
    mask: np.ndarray | None = None,
    mirrored: bool = False,
) -> Unwrapped:
    """Sample a photograph at every texel of a fitted head.

    A texel counts as seen when it faces the camera (cosine at least 0.4), nothing lies before it,
    no outline of the head is within 3 mm of it in the picture, and it lies inside the photograph.

    Args:
        atlas: the texels.
        image: (H, W, 3) uint8 sRGB.
        vertices: (V, 3) mm, head frame.
        camera: head frame to image.
        mask: (H, W) in [0, 1] or bool: where the photograph shows the head; below 0.5 nothing is
            taken.
        mirrored: sample each texel's mirror partner instead.

    Raises:
        InputError: arrays of other shapes, or a mask outside [0, 1].
    """
    image = check_array(image, "image", shape=(camera.height, camera.width, 3), dtype="uint8")
    vertices = check_array(vertices, "vertices", shape=(atlas.model.num_vertices, 3))
    order = _order(atlas, mirrored)
    points = project(camera, vertices)
    normals = vertex_normals(vertices, atlas.model.faces) @ camera.rotation.T
    towards = vertices @ camera.rotation.T + camera.translation
    towards = towards / np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
    facing = -np.einsum("vd,vd->v", normals, towards)
    texels = atlas.interpolate(np.column_stack([points, facing])[order])
    x, y, depth = texels[:, 0], texels[:, 1], texels[:, 2]
    # The mouth's inside is seen between the lips, at any slant: what shows there is teeth.
    inside = atlas.share("mouth_inside") > 0.5
    seen = (texels[:, 3] >= np.where(inside, _LEAST_INSIDE, _LEAST_FACING)) & (depth > 1)
    seen &= (x >= 0.5) & (y >= 0.5) & (x <= camera.width - 1.5) & (y <= camera.height - 1.5)
    unhidden, clear = _unhidden(atlas, points, camera, x, y, depth)
    seen &= unhidden & (clear | inside)
    if mask is not None:
        seen &= sample_image(_checked_mask(mask, camera), x, y)[:, 0] >= 0.5
    normal = atlas.interpolate(normals[order])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    colours = _sampled_colours(atlas, image, points, x, y)
    return Unwrapped(colours, seen, normal, texels[:, :2])


def _order(atlas: TexelAtlas, mirrored: bool) -> np.ndarray:
    if not mirrored:
        return np.arange(atlas.model.num_vertices)
    if atlas.model.mirror is None:
        raise InputError(f"model {atlas.model.name}: has no left-right pairs to mirror by")
    return np.asarray(atlas.model.mirror)


def _checked_mask(mask: np.ndarray, camera: Camera) -> np.ndarray:
    values = check_array(mask, "mask", shape=(camera.height, camera.width)).astype(np.float32)
    if values.size and (values.min() < 0 or values.max() > 1):
        raise InputError(
            f"mask: expected values in [0, 1], got {values.min():g} to {values.max():g}"
        )
    return values


def _sampled_colours(
    atlas: TexelAtlas, image: np.ndarray, points: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Linear colours at image positions; a photograph much finer than the texels is reduced."""
    px_per_mm = _px_per_mm(atlas, points)
    ratio = atlas.texels_per_mm / max(px_per_mm, 1e-9)
    if ratio < 0.7:
        height, width = image.shape[:2]
        size = (max(2, round(width * ratio)), max(2, round(height * ratio)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Pixel centres at integers: x' = s (x + 0.5) - 0.5.
        x = size[0] / width * (x + 0.5) - 0.5
        y = size[1] / height * (y + 0.5) - 0.5
    # Light is what mixes linearly.
    linear = srgb_to_linear(np.arange(256) / np.float32(255))[image]
    return sample_image(linear, x, y)


def _px_per_mm(atlas: TexelAtlas, points: np.ndarray) -> float:
    size = np.ptp(points[:, :2], axis=0).max()
    return float(size / max(np.ptp(atlas.model.mean, axis=0).max(), 1e-6))


def _unhidden(
    atlas: TexelAtlas,
    points: np.ndarray,
    camera: Camera,
    x: np.ndarray,
    y: np.ndarray,
    depth: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Which texels have nothing before them, and which no outline beside them, (N,) bool each."""
    if points[:, 2].min() <= 1:
        return np.zeros(len(x), bool), np.zeros(len(x), bool)
    guard_px = _GUARD_MM * float(camera.intrinsics[0, 0] / np.median(points[:, 2]))
    # Room about the head, so that its outline has background beside it.
    margin = guard_px + 2
    low, high = points[:, :2].min(0) - margin, points[:, :2].max(0) + margin
    scale = min(_BUFFER_SIDE / max(float((high - low).max()), 1e-6), 4.0)
    width, height = (int(n) for n in np.ceil((high - low) * scale) + 1)
    small = points.astype(np.float64)
    small[:, :2] = (points[:, :2] - low) * scale
    fragments = rasterise(small, atlas.model.faces, width, height)
    buffer = np.where(fragments.covered, fragments.depth(small, atlas.model.faces), _FAR)
    column = np.clip(np.rint((x - low[0]) * scale), 0, width - 1).astype(np.int32)
    row = np.clip(np.rint((y - low[1]) * scale), 0, height - 1).astype(np.int32)
    # The farthest of a pixel's neighbours: a texel between pixels lies on no pixel's ray.
    reach = cv2.dilate(buffer, np.ones((3, 3), np.uint8))[row, column]
    radius = max(1, round(guard_px * scale))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    farthest = cv2.dilate(buffer, disc)[row, column]
    nearest = cv2.erode(buffer, disc)[row, column]
    clear = (farthest < depth + _JUMP_MM) & (nearest > depth - _JUMP_MM)
    return depth < reach + _DEPTH_TOLERANCE, clear
