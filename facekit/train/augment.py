"""Augmentation of face crops: geometry, turned heads, light, quality and occlusion.

Images are uint8 RGB; every draw comes from the generator that is passed.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numba
import numpy as np
from numba import types
from scipy.spatial import ConvexHull, Delaunay

from facekit.geometry.rotations import euler_to_matrix

# Rings about the face that carry hair, ears and background along with a turned head: radius
# over the face outline's, share of the face's motion, and depth behind the outline (in face
# widths).
_RINGS = ((1.2, 0.8, 0.05), (1.55, 0.45, 0.1), (2.3, 0.0, 0.1))


class TurnMesh(NamedTuple):
    """How the image plane is cut into triangles when a head is turned.

    Attributes:
        outline: (H,) rows of the dense points on the frontal outline.
        triangles: (T, 3) int32 rows of the dense points followed by the rings.
    """

    outline: np.ndarray
    triangles: np.ndarray


def build_turn_mesh(mean: np.ndarray) -> TurnMesh:
    """Triangulate a mean frontal shape (478, 2) and the rings about it (Delaunay)."""
    outline = ConvexHull(mean[:468]).vertices.astype(np.int32)
    rings = [_ring(mean, outline, radius) for radius, _, _ in _RINGS]
    points = np.concatenate([mean, *rings])
    return TurnMesh(outline, Delaunay(points).simplices.astype(np.int32))


def turned_points(
    points: np.ndarray,
    mesh: TurnMesh,
    yaw: float,
    pitch: float,
    *,
    shape: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a labelled head about its centre, orthographically, and give it another shape.

    Args:
        points: (478, 3) pixels, z relative and smaller nearer.
        mesh: see ``build_turn_mesh``.
        yaw, pitch: radians added; yaw > 0 turns the nose to image right, pitch > 0 lifts it.
        shape: (478, 3) points in the same place and pose that are turned instead; None keeps
            the head's own.

    Returns:
        source (M, 2) and target (M, 3) positions of the dense points and the rings.
    """
    goal = (points if shape is None else shape).astype(np.float64)
    outline = goal[mesh.outline]
    width = np.ptp(outline[:, 0])
    pivot = np.array([outline[:, 0].mean(), outline[:, 1].mean(), outline[:, 2].mean()])
    # Head frame has y up and z towards the camera: the labels have both reversed.
    flip = np.array([1.0, -1.0, -1.0])
    rotation = (flip[:, None] * euler_to_matrix(yaw, pitch, 0.0)) * flip
    still = points[:, :2].astype(np.float64)
    sources, targets = [still], [(goal - pivot) @ rotation.T + pivot]
    for radius, share, depth in _RINGS:
        ring = np.empty((len(outline), 3))
        ring[:, :2] = _ring(goal[:, :2], mesh.outline, radius)
        ring[:, 2] = outline[:, 2] + depth * width
        moved = (ring - pivot) @ rotation.T + pivot
        # The background stays where the photograph has it.
        ring[:, :2] = _ring(still, mesh.outline, radius)
        sources.append(ring[:, :2])
        targets.append(ring + share * (moved - ring))
    return np.concatenate(sources), np.concatenate(targets)


def deformed_points(
    source: np.ndarray, target: np.ndarray, rng: np.random.Generator, *, amount: float
) -> np.ndarray:
    """Return moved positions (M, 3) after a random smooth deformation in the image plane.

    A few Gaussian bumps push parts of the face by about ``amount`` face widths: longer chins,
    wider jaws, other mouths. So few people are photographed; their faces become many.

    Args:
        source, target: see ``turned_points``; bumps lie on the dense points of ``source``.
        rng: of every draw.
        amount: standard deviation of a bump's height over the face's width.
    """
    width = float(np.ptp(source[:468, 0]))
    moved = target.copy()
    for _ in range(int(rng.integers(2, 6))):
        centre = source[int(rng.integers(468))]
        reach = width * float(rng.uniform(0.12, 0.4))
        height = rng.normal(0, amount * width, 2)
        share = np.exp(-0.5 * ((source - centre) ** 2).sum(1) / reach**2)
        moved[:, :2] += share[:, None] * height
    return moved


def _ring(points: np.ndarray, outline: np.ndarray, radius: float) -> np.ndarray:
    edge = points[outline]
    centre = (edge.min(0) + edge.max(0)) / 2
    return centre + radius * (edge - centre)


@numba.njit(
    types.void(
        types.float64[:, ::1],
        types.float64[:, ::1],
        types.int32[:, ::1],
        types.float64[:, ::1],
        types.float64[:, ::1],
        types.float64[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def _fill_map(source, target, triangles, map_x, map_y, depth):  # pragma: no cover - compiled
    height, width = map_x.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = target[a, 0], target[a, 1]
        bx, by = target[b, 0], target[b, 1]
        cx, cy = target[c, 0], target[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        sa = (source[b, 0] - source[a, 0]) * (source[c, 1] - source[a, 1])
        sa -= (source[b, 1] - source[a, 1]) * (source[c, 0] - source[a, 0])
        # A triangle that the turn has folded over shows the head's inside.
        if abs(area) < 1e-6 or area * sa <= 0:
            continue
        inverse = 1.0 / area
        # Each weight is linear in x: a row starts at its left end and adds one slope.
        slope_b, slope_c = (cy - ay) * inverse, -(by - ay) * inverse
        x0 = max(0, int(np.ceil(min(ax, bx, cx))))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0 = max(0, int(np.ceil(min(ay, by, cy))))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy))))
        for y in range(y0, y1 + 1):
            start_b = -(y - ay) * (cx - ax) * inverse
            start_c = (bx - ax) * (y - ay) * inverse
            for x in range(x0, x1 + 1):
                wb = start_b + (x - ax) * slope_b
                wc = start_c + (x - ax) * slope_c
                wa = 1.0 - wb - wc
                if wa < -1e-6 or wb < -1e-6 or wc < -1e-6:
                    continue
                z = wa * target[a, 2] + wb * target[b, 2] + wc * target[c, 2]
                if z < depth[y, x]:
                    depth[y, x] = z
                    map_x[y, x] = wa * source[a, 0] + wb * source[b, 0] + wc * source[c, 0]
                    map_y[y, x] = wa * source[a, 1] + wb * source[b, 1] + wc * source[c, 1]


def warp_turned(
    image: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray,
    matrix: np.ndarray,
    *,
    size: tuple[int, int],
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Return the (height, width, C) crop of an image whose triangles moved.

    Args:
        image: (H, W, C) uint8.
        source, target, triangles: image positions (M, 2) and moved ones (M, 3), see
            ``turned_points``.
        matrix: (2, 3) image pixels to crop pixels.
        size: (width, height) of the crop.
        border: OpenCV's border mode.
    """
    inverse = cv2.invertAffineTransform(matrix)
    x, y = np.arange(size[0], dtype=np.float64)[None], np.arange(size[1], dtype=np.float64)[:, None]
    map_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    map_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    moved = np.empty((len(target), 3))
    moved[:, :2] = target[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    moved[:, 2] = target[:, 2]
    depth = np.full(map_x.shape, np.inf)
    source = np.ascontiguousarray(source, dtype=np.float64)
    _fill_map(source, moved, triangles, map_x, map_y, depth)
    return cv2.remap(
        image,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=border,
    )


@numba.njit(
    types.void(
        types.Array(types.uint8, 3, "C", readonly=True),
        types.float32[:, ::1],
        types.float32[::1],
        types.Array(types.float32, 1, "C", readonly=True),
        types.int64,
        types.float32,
        types.uint8[:, :, ::1],
    ),
    nogil=True,
    cache=True,
)
def _develop(image, curve, ramp, noise, offset, amount, out):  # pragma: no cover - compiled
    height, width = image.shape[:2]
    n = noise.shape[0]
    k = offset
    for y in range(height):
        for x in range(width):
            light = ramp[0] + ramp[1] * x + ramp[2] * y
            for c in range(3):
                value = curve[c, image[y, x, c]] * light + amount * noise[k]
                k += 1
                if k == n:
                    k = 0
                out[y, x, c] = np.uint8(min(255.0, max(0.0, value + 0.5)))


_NOISE = np.random.default_rng(7).standard_normal(1 << 18).astype(np.float32)
_NOISE.setflags(write=False)


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change exposure, contrast, white balance, gamma and light, and add noise; (H, W, 3)."""
    levels = np.arange(256, dtype=np.float32)
    gain = np.exp(rng.normal(-0.05, 0.2)) * np.exp(rng.normal(0, 0.08, 3))
    gamma = np.exp(rng.normal(0, 0.2))
    contrast = np.exp(rng.normal(0, 0.2))
    base = 255 * (levels / 255) ** gamma
    base = (base - 110) * contrast + 110 + rng.normal(0, 12)
    curve = (gain[:, None] * base[None]).astype(np.float32)
    height, width = image.shape[:2]
    slope = rng.normal(0, 0.35, 2) / [width, height]
    middle = (slope * [width - 1, height - 1]).sum() / 2
    ramp = np.array([1 - middle, *slope], dtype=np.float32)
    amount = np.float32(rng.exponential(5.0) if rng.random() < 0.5 else 0.0)
    out = np.empty_like(image)
    image = np.ascontiguousarray(image)
    _develop(image, curve, ramp, _NOISE, int(rng.integers(len(_NOISE))), amount, out)
    return out


def to_grey(image: np.ndarray) -> np.ndarray:
    """Return the luma of an RGB image in three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lose detail: low resolution, blur, motion, or JPEG; each in turn, rarely together."""
    size = image.shape[0]
    draw = rng.random(4)
    if draw[0] < 0.2:
        small = int(np.exp(rng.uniform(np.log(size / 7), np.log(size))))
        mode = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(rng.integers(3))]
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=mode)
    if draw[1] < 0.12:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 2.5)))
    if draw[2] < 0.08:
        length = int(rng.integers(3, 10))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        step = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
        middle = np.full(2, (length - 1) / 2)
        ends = [tuple(int(v) for v in np.round(middle + s * step)) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    if draw[3] < 0.15:
        image = through_jpeg(image, int(rng.integers(15, 85)))
    return image


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return an image (H, W, 3) as JPEG of a quality in [1, 100] gives it back."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def occlude(image: np.ndarray, rng: np.random.Generator, texture: np.ndarray) -> np.ndarray:
    """Cover part of the crop by rectangles, ellipses or strips of colour or of another image."""
    image = image.copy()
    size = image.shape[0]
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros((size, size), np.uint8)
        centre = rng.uniform(0.05, 0.95, 2) * size
        half = np.exp(rng.uniform(np.log(0.03), np.log(0.24), 2)) * size
        angle = float(rng.uniform(0, 180))
        at = (float(centre[0]), float(centre[1]))
        if rng.random() < 0.5:
            box = cv2.boxPoints((at, (float(2 * half[0]), float(2 * half[1])), angle))
            cv2.fillConvexPoly(mask, np.round(box).astype(np.int32), 255)
        else:
            axes = (int(half[0]) + 1, int(half[1]) + 1)
            whole = (round(at[0]), round(at[1]))
            cv2.ellipse(mask, whole, axes, angle, 0, 360, 255, -1)
        if rng.random() < 0.5:
            fill = np.empty_like(image)
            fill[:] = rng.integers(0, 256, 3)
        else:
            y = int(rng.integers(0, max(1, texture.shape[0] - size)))
            x = int(rng.integers(0, max(1, texture.shape[1] - size)))
            fill = texture[y : y + size, x : x + size]
            if fill.shape != image.shape:
                fill = cv2.resize(fill, (size, size))
        cv2.copyTo(np.ascontiguousarray(fill), mask, image)
    return image
