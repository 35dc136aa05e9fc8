"""A small folder of made-up portraits: dots on texture, labelled exactly."""

import cv2
import numpy as np

from facekit.detect.landmark_sets import FLIP478
from facekit.io.images import write_image


def symmetric_shape(seed=0):
    """478 points (x, y in about [-1, 1], z) that are their own mirror image, eyes in place."""
    rng = np.random.default_rng(seed)
    points = np.column_stack(
        [rng.uniform(-0.75, 0.75, 478), rng.uniform(-1, 1, 478), np.zeros(478)]
    )
    for i in range(478):
        j = FLIP478[i]
        if i == j:
            points[i, 0] = 0
        elif i < j:
            x = abs(points[i, 0]) + 0.02
            points[i, 0], points[j] = -x, [x, points[i, 1], 0]
    for i, (x, y) in {33: (-0.45, -0.3), 133: (-0.17, -0.3), 468: (-0.31, -0.3)}.items():
        points[i] = [x, y, 0]
        points[FLIP478[i]] = [-x, y, 0]
    points[10], points[152], points[4] = [0, -1, 0], [0, 1, 0], [0, 0.1, 0]
    points[:, 2] = 0.6 * (points[:, 0] ** 2 + 0.5 * points[:, 1] ** 2)
    return points


def draw_portrait(rng, size=(150, 190)):
    """Return an RGB image and its (478, 3) labels in pixels."""
    width, height = size
    base = cv2.resize(rng.integers(60, 120, (6, 5, 3)).astype(np.uint8), size)
    centre = np.array([width / 2, height * 0.45]) + rng.normal(0, 4, 2)
    scale = 45 + rng.normal(0, 3)
    points = symmetric_shape() * scale
    angle = rng.normal(0, 0.1)
    c, s = np.cos(angle), np.sin(angle)
    points[:, :2] = points[:, :2] @ np.array([[c, s], [-s, c]]) + centre
    colour = tuple(int(v) for v in rng.integers(150, 250, 3))
    spot = tuple(int(v) for v in centre)
    cv2.ellipse(base, spot, (36, 46), np.degrees(angle), 0, 360, colour, -1)
    for index in (33, 133, 263, 362, 4, 61, 291, 468, 473):
        cv2.circle(base, tuple(round(float(v)) for v in points[index, :2]), 3, (20, 20, 20), -1)
    return base, points.astype(np.float32)


def write_portraits(folder, count=40, seed=0):
    """Write ``count`` portraits of as many people in two sets; return the folder."""
    rng = np.random.default_rng(seed)
    for group in ("first", "second"):
        names, sizes, points, boxes = [], [], [], []
        for k in range(count // 2):
            image, labels = draw_portrait(rng)
            write_image(folder / group / f"{k:03d}.png", image)
            low, high = labels[:, :2].min(0), labels[:, :2].max(0)
            names.append(f"{k:03d}.png")
            sizes.append(image.shape[1::-1])
            points.append(labels)
            boxes.append([*low, *(high - low)])
        np.savez(
            folder / f"labels_{group}.npz",
            files=np.array(names),
            size=np.array(sizes, np.int32),
            box=np.array(boxes, np.float32),
            landmarks478=np.stack(points),
            landmark_score=np.ones(len(names), np.float32),
            identity128=rng.normal(size=(len(names), 128)).astype(np.float16),
        )
    return folder
