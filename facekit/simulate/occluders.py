"""Things in front of a face: hands, sheets and cups, loose strands of hair."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facekit.render.shade import srgb_to_linear


@dataclass(frozen=True)
class OccluderStyle:
    """One occluder.

    Attributes:
        kind: ``fingers``, ``sheet`` or ``strands``.
        seed: seed of its shape.
        centre: (2,) in face sizes from the middle of the face, +x image right, +y down.
        size: in face sizes.
        angle: radians.
        colour: (3,) linear RGB.
    """

    kind: str
    seed: int
    centre: tuple[float, ...]
    size: float
    angle: float
    colour: tuple[float, ...]


def random_occluder(rng: np.random.Generator) -> OccluderStyle:
    """Draw an occluder that leaves most of the face free."""
    kind = str(rng.choice(["fingers", "sheet", "strands"]))
    around = rng.uniform(0, 2 * np.pi)
    far = rng.uniform(0.35, 0.6)
    if kind == "fingers":
        base = srgb_to_linear(np.array([200, 150, 125]) / 255) * rng.uniform(0.15, 1.1)
    else:
        base = np.clip(rng.uniform(0.02, 0.8) * (1 + rng.uniform(-0.6, 0.6, 3)), 0.01, 0.9)
    if kind == "strands":
        base = base * 0.15
    return OccluderStyle(
        kind=kind,
        seed=int(rng.integers(1 << 30)),
        centre=(float(far * np.cos(around)), float(far * np.sin(around))),
        size=float(rng.uniform(0.25, 0.5)),
        angle=float(rng.uniform(0, np.pi)),
        colour=tuple(float(c) for c in base),
    )


def draw_occluder(
    picture: np.ndarray, landmarks: np.ndarray, style: OccluderStyle
) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear picture (H, W, 3) with an occluder over it, and where it is, (H, W) bool.

    Args:
        picture: (H, W, 3) float32 linear RGB.
        landmarks: (68, 2) pixels, which place and size the occluder.
        style: what is drawn.
    """
    rng = np.random.default_rng(style.seed)
    low, high = landmarks.min(0), landmarks.max(0)
    face = float((high - low).max())
    centre = (low + high) / 2 + face * np.array(style.centre)
    axis = np.array([np.cos(style.angle), np.sin(style.angle)])
    side = np.array([-axis[1], axis[0]])
    length = style.size * face
    mask = np.zeros(picture.shape[:2], np.uint8)
    shade = np.ones(picture.shape[:2], np.float32)
    if style.kind == "sheet":
        corners = [centre + length * (a * axis + b * 0.7 * side) for a, b in _SQUARE]
        cv2.fillConvexPoly(mask, _fixed(np.array(corners)), 255, cv2.LINE_AA, 4)
    elif style.kind == "fingers":
        # Fingers point from outside towards the face.
        toward = -np.array(style.centre) / max(float(np.linalg.norm(style.centre)), 1e-6)
        across = np.array([-toward[1], toward[0]])
        for number in range(4):
            start = centre + across * (number - 1.5) * 0.1 * face - toward * face
            end = centre + across * (number - 1.5) * 0.1 * face
            end = end + toward * face * rng.uniform(-0.06, 0.1)
            width = max(1, round(0.095 * face))
            one = np.zeros_like(mask)
            cv2.line(one, _point(start), _point(end), 255, width, cv2.LINE_AA)
            soft = cv2.GaussianBlur(one.astype(np.float32) / 255, (0, 0), 0.03 * face + 0.3)
            shade = np.where(one > 127, 0.35 + 0.75 * soft, shade)
            mask = np.maximum(mask, one)
    else:
        for _ in range(int(rng.integers(6, 22))):
            start = np.array([rng.uniform(low[0], high[0]), low[1] - 0.5 * face])
            bend = rng.normal(0, 0.12, (4, 2)) * face
            steps = np.linspace(0, rng.uniform(0.5, 1.2) * face, 4)
            path = start + bend.cumsum(0) * 0.5 + steps[:, None] * np.array([0.1, 1.0])
            width = max(1, round(0.006 * face))
            cv2.polylines(mask, [_fixed(path)], False, 255, width, cv2.LINE_AA, 4)
    alpha = (mask.astype(np.float32) / 255)[..., None]
    colour = np.array(style.colour, np.float32) * shade[..., None]
    return picture * (1 - alpha) + alpha * colour, mask > 127


_SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * 16).astype(np.int32)


def _point(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
