"""Portraits of people who do not exist: one person's photograph takes on another's features.

A few thousand people are photographed and each once: a network learns them by heart before it
has learnt what faces have in common. Shapes are exchanged in three dimensions after the pose has
been taken out; the skin inside the face is mixed where both look the same way.

Images are uint8 RGB; every draw comes from the generator that is passed.
"""

from __future__ import annotations

import cv2
import numpy as np

from facekit.geometry.alignment import align_similarity

# Skin is mixed only between heads that are turned alike: elsewhere one shows what the other hides.
SAME_VIEW = np.radians(9.0)


def blended_shape(points: np.ndarray, other: np.ndarray, amount: float) -> np.ndarray:
    """Return (478, 3) points of a face part-way to another's, in the first one's pose.

    Args:
        points, other: (478, 3) pixels of their own images, z relative.
        amount: 0 gives ``points``, 1 the other face turned, moved and scaled onto it.
    """
    aligned = align_similarity(other, points).apply(other)
    return points + amount * (aligned - points)


def view_angle(points: np.ndarray, other: np.ndarray) -> float:
    """Return the angle in radians between the directions two labelled heads look."""
    rotation = align_similarity(other, points).rotation
    return float(np.arccos(np.clip(rotation[2, 2], -1.0, 1.0)))


def mix_faces(crop: np.ndarray, other: np.ndarray, points: np.ndarray, amount: float) -> np.ndarray:
    """Return a crop whose face is mixed with another crop's, both with the same points.

    Args:
        crop, other: (S, S, 3) uint8.
        points: (478, 2) pixels of both.
        amount: share of the other at the face's middle; it fades out at the outline. The other's
            colours are brought to the first one's mean and spread before.
    """
    size = crop.shape[0]
    middle = points[:468].mean(0)
    inner = middle + 0.92 * (points[:468] - middle)
    hull = cv2.convexHull(inner.astype(np.float32))
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), 255)
    if not mask.any():
        return crop
    mean, spread = cv2.meanStdDev(crop, mask=mask)
    mean_other, spread_other = cv2.meanStdDev(other, mask=mask)
    gain = (spread / np.maximum(spread_other, 4.0)).clip(0.5, 2.0)
    matched = (other - mean_other[:, 0]) * gain[:, 0] + mean[:, 0]
    reach = 0.05 * float(np.ptp(points[:468, 0]))
    soft = cv2.GaussianBlur(mask, (0, 0), max(reach, 0.5)).astype(np.float32)[..., None]
    share = soft * np.float32(amount / 255)
    return np.clip(crop + share * (matched - crop) + 0.5, 0, 255).astype(np.uint8)
