"""Crops that landmark training sees, the mean shapes it starts from, and its errors."""

from __future__ import annotations

import numpy as np

from facekit.detect.faces import CROP_MARGIN, dense_crop, roll_of_dense
from facekit.detect.landmark_sets import FLIP478, dense_to_ibug68
from facekit.geometry.crop import points_crop
from facekit.train.portraits import Portraits


def jittered_crop(
    points: np.ndarray, rng: np.random.Generator, *, size: int, margin: float, tight: bool
) -> np.ndarray:
    """Return a (2, 3) affine to a crop about dense points, moved by random amounts.

    Tight crops vary as the second pass' do, one in five as after a poor first pass; the others as
    a detector's boxes do, and are sheared and squeezed a little.
    """
    roll = roll_of_dense(points)
    if tight:
        poor = 2.5 if rng.random() < 0.2 else 1.0
        turn, shift, scale, squeeze = rng.normal(0, 0.03 * poor), 0.01 * poor, 0.02 * poor, 0.0
    else:
        turn, shift, scale, squeeze = rng.normal(0, np.radians(10)), 0.045, 0.09, 0.04
    crop = points_crop(points, roll=roll + turn, size=size, margin=margin)
    linear = np.exp(rng.normal(0, scale)) * np.eye(2)
    linear = linear @ np.array([[np.exp(rng.normal(0, squeeze)), rng.normal(0, squeeze)], [0, 1]])
    middle = np.full(2, (size - 1) / 2)
    matrix = crop.matrix()
    offset = middle + rng.normal(0, shift, 2) * size - linear @ middle
    return np.column_stack([linear @ matrix[:, :2], linear @ matrix[:, 2] + offset])


def eye_error(points: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean error over the 68 points and irises, percent of the outer-eye distance."""
    distance = np.linalg.norm(truth[33] - truth[263])
    ours = np.concatenate([dense_to_ibug68(points), points[[468, 473]]])
    theirs = np.concatenate([dense_to_ibug68(truth), truth[[468, 473]]])
    return 100 * float(np.linalg.norm(ours - theirs, axis=1).mean() / distance)


def box_error(points: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean error over the 68 points, percent of their bounding box's diagonal.

    Unlike the outer-eye distance, the diagonal keeps its size in profile.
    """
    ours, theirs = dense_to_ibug68(points), dense_to_ibug68(truth)
    diagonal = np.linalg.norm(np.ptp(theirs, axis=0))
    return 100 * float(np.linalg.norm(ours - theirs, axis=1).mean() / diagonal)


def mean_shapes(
    points: np.ndarray, *, margin: float = CROP_MARGIN
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of aligned crops, symmetric, in crop fractions, and the most frontal's mean.

    Args:
        points: (N, 478, 3) labels.
        margin: of the crops.

    Returns:
        (478, 2) where the network starts, and (478, 2) for the triangulation: the mean of
        the tenth whose face is nearest to its own mirror image.
    """
    shapes = np.stack(
        [dense_crop(p, size=1, margin=margin).apply(p) for p in points[:, :, :2].astype(float)]
    )
    mirrored = shapes[:, FLIP478] * [-1, 1]
    asymmetry = np.linalg.norm(shapes - mirrored, axis=2).mean(1)
    frontal = shapes[np.argsort(asymmetry)[: max(1, len(shapes) // 10)]]
    mean, mesh = shapes.mean(0), frontal.mean(0)
    return (mean + mean[FLIP478] * [-1, 1]) / 2, (mesh + mesh[FLIP478] * [-1, 1]) / 2


def draw_shares(portraits: Portraits, renders: float, balance: float) -> np.ndarray:
    """Return how often each portrait is drawn (N,), float64.

    Photographs by trust times (1 / frequency of their kind of smile) ** balance; rendered heads
    together ``renders`` of all.
    """
    share = portraits.weights.astype(np.float64)
    drawn = portraits.rendered
    kind = np.digitize(portraits.smile, (0.1, 0.4, 0.7))
    for value in np.unique(kind[~drawn]):
        mine = (kind == value) & ~drawn
        share[mine] *= (1.0 / max(mine.mean(), 1e-9)) ** balance
    if not drawn.any() or drawn.all():
        return share
    share[~drawn] *= (1 - renders) / max(share[~drawn].sum(), 1e-9)
    share[drawn] *= renders / max(share[drawn].sum(), 1e-9)
    return share
