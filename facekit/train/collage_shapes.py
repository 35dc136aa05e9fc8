"""Shapes that collages are cut and covered with."""

from __future__ import annotations

import cv2
import numpy as np


def oval(piece: np.ndarray, extent: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a piece resized to (width, height) and a soft oval share (height, width) of it."""
    filled = cv2.resize(piece, extent, interpolation=cv2.INTER_LINEAR)
    share = np.zeros(extent[::-1], np.float32)
    middle = (extent[0] // 2, extent[1] // 2)
    axes = (max(1, int(0.47 * extent[0])), max(1, int(0.47 * extent[1])))
    cv2.ellipse(share, middle, axes, 0, 0, 360, 1.0, -1)
    return filled, cv2.GaussianBlur(share, (0, 0), max(0.5, 0.03 * extent[1]))


def head_mask(points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a soft mask (height, width) uint8 around the head, hair partly included."""
    middle = (points.min(0) + points.max(0)) / 2
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
    grown = middle + (hull - middle) * rng.uniform(1.02, 1.7)
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(mask, np.round(grown).astype(np.int32), 255)
    extent = float(np.ptp(hull, axis=0).max())
    return cv2.GaussianBlur(mask, (0, 0), max(0.5, min(5.0, extent * rng.uniform(0.005, 0.05))))


def cover_mask(box: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a mask (size, size) uint8 of something held before part of a face.

    Either a piece whose straight edge crosses the face, from its middle to near its outline, on
    any side and reaching beyond it, or a rounded piece about a place on it.

    Args:
        box: (4,) the face's x, y, width, height.
        size: side of the canvas.
        rng: of the draw.
    """
    mask = np.zeros((size, size), np.uint8)
    extent = float(box[2:].max())
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    middle = box[:2] + box[2:] / 2
    if rng.random() < 0.6:
        near = middle + along * extent * rng.uniform(0.0, 0.4)
        far = near + along * extent * rng.uniform(0.2, 0.9)
        half = across * extent * rng.uniform(0.2, 0.7)
        corners = np.array([near - half, near + half, far + half, far - half])
        cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 255)
    else:
        centre = np.round(middle + along * extent * rng.uniform(0.1, 0.5)).astype(int)
        axes = np.maximum(1, extent * rng.uniform(0.1, 0.35, 2)).astype(int)
        at, reach = (int(centre[0]), int(centre[1])), (int(axes[0]), int(axes[1]))
        cv2.ellipse(mask, at, reach, float(np.degrees(angle)), 0, 360, 255, -1)
    return mask
