"""Images without faces: procedural textures and pieces of photographs."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

# scikit-image's photographs and scans without faces that training sees. Its coins carry heads and
# its cameraman has a face; the others (UNSEEN_PICTURES) are kept to count false alarms.
TRAINING_PICTURES = (
    "brick",
    "grass",
    "gravel",
    "horse",
    "immunohistochemistry",
    "retina",
    "hubble_deep_field",
    "cell",
    "colorwheel",
    "clock",
    "rocket",
    "stereo_motorcycle",
)
UNSEEN_PICTURES = ("chelsea", "coffee", "moon", "page", "text")


def load_pictures(names: tuple[str, ...]) -> list[np.ndarray]:
    """Return scikit-image's pictures by name as RGB uint8, longest side at most 768."""
    out = []
    for name in names:
        content = getattr(data, name)()
        # The stereo pair comes with its disparities.
        image = np.asarray(content[0] if isinstance(content, tuple) else content)
        if image.dtype == bool:
            image = image.astype(np.uint8) * 255
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        image = np.ascontiguousarray(image[..., :3])
        scale = 768 / max(image.shape[:2])
        if scale < 1:
            size = round(image.shape[1] * scale), round(image.shape[0] * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        out.append(image)
    return out


def background(size: int, rng: np.random.Generator, pictures: list[np.ndarray]) -> np.ndarray:
    """Return a random (size, size, 3) uint8 image without a face."""
    kind = rng.random()
    if pictures and kind < 0.4:
        return _piece(size, rng, pictures[int(rng.integers(len(pictures)))])
    if kind < 0.5:
        return _clouds(size, rng)
    if kind < 0.56:
        return _gradient(size, rng)
    if kind < 0.64:
        return _stripes(size, rng)
    if kind < 0.78:
        return written(size, rng)
    if kind < 0.87:
        return _relief(size, rng)
    return _blobs(size, rng)


def shuffled(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return a face whose parts have changed places: it has eyes and skin but is no face."""
    low = np.maximum(points.min(0).astype(int), 0)
    high = np.minimum(points.max(0).astype(int), np.array(image.shape[1::-1]))
    side = int((high - low).min()) // 3
    if side < 8:
        return None
    tiles = [
        image[
            low[1] + r * side : low[1] + (r + 1) * side, low[0] + c * side : low[0] + (c + 1) * side
        ]
        for r in range(3)
        for c in range(3)
    ]
    order = rng.permutation(9)
    if (order == np.arange(9)).sum() > 3:
        return None
    rows = [np.hstack([tiles[order[3 * r + c]] for c in range(3)]) for r in range(3)]
    return np.ascontiguousarray(np.vstack(rows))


def written(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a (size, size, 3) uint8 piece of a page: round letters look like faces from afar."""
    height = float(np.exp(rng.uniform(np.log(0.04), np.log(0.7)))) * size
    ink, paper = _colour(rng) * 0.5, 255 - _colour(rng) * 0.35
    if rng.random() < 0.25:
        ink, paper = paper, ink
    side = 2 * size
    page = Image.new("RGB", (side, side), tuple(int(v) for v in paper))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=max(6.0, height))
    spacing = max(6.0, height) * rng.uniform(1.1, 1.7)
    for line in np.arange(-rng.uniform(0, spacing), side, spacing):
        letters = rng.choice(_LETTERS, size=int(2.2 * side / max(6.0, height)) + 1)
        draw.text(
            (float(-rng.uniform(0, height)), float(line)),
            "".join(letters),
            fill=tuple(int(v) for v in ink),
            font=font,
        )
    angle = rng.normal(0, 8) if rng.random() < 0.6 else rng.uniform(0, 360)
    matrix = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1.0), np.float64)
    matrix[:, 2] -= (side - size) / 2
    image = cv2.warpAffine(np.asarray(page), matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 2.0)))
    return image


_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzaeionsmgdABDOPQRS0123689@&%.,:    "))


def _relief(size: int, rng: np.random.Generator) -> np.ndarray:
    """A rough surface with pits and bumps in light from one side."""
    height = np.zeros((size, size), np.float32)
    strength = 1.0
    for cells in (2, 4, 8, 16, 32, 64):
        layer = rng.normal(0, 1, (cells + 1, cells + 1)).astype(np.float32)
        height += strength * cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
        strength *= rng.uniform(0.25, 0.7)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(int(rng.integers(0, 16))):
        centre, radius = rng.uniform(0, size, 2), np.exp(rng.uniform(np.log(3), np.log(size / 4)))
        away = np.hypot(x - centre[0], (y - centre[1]) * rng.uniform(0.8, 1.6)) / radius
        shape = np.exp(-0.5 * away**4) if rng.random() < 0.6 else np.exp(-8 * (away - 1) ** 2)
        height += rng.normal(0, 1.2) * shape.astype(np.float32)
    slope_y, slope_x = np.gradient(height * size / 24)
    angle = rng.uniform(0, 2 * np.pi)
    light = (slope_x * np.cos(angle) + slope_y * np.sin(angle)) * rng.uniform(0.3, 1.5)
    shade = (0.55 + 0.45 * np.tanh(light))[..., None]
    return np.clip(shade * (90 + 0.65 * _colour(rng)), 0, 255).astype(np.uint8)


def _piece(size: int, rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    side = float(np.exp(rng.uniform(np.log(48), np.log(min(picture.shape[:2])))))
    centre = rng.uniform(0, 1, 2) * picture.shape[1::-1]
    angle, scale = rng.uniform(0, 360), size / side
    middle = (float(centre[0]), float(centre[1]))
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, angle, scale), np.float64)
    matrix[:, 2] += size / 2 - centre
    if rng.random() < 0.5:
        matrix[0] = -matrix[0]
        matrix[0, 2] += size - 1
    return cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)


def _colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 255, 3)


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros((size, size, 3), np.float32)
    weight = 1.0
    for cells in (2, 4, 8, 16, 32, 64):
        layer = rng.normal(0, 1, (cells + 1, cells + 1, 3)).astype(np.float32)
        if rng.random() < 0.5:
            layer = layer.mean(2, keepdims=True).repeat(3, axis=2)
        total += weight * cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= rng.uniform(0.4, 0.9)
    spread = rng.uniform(10, 70)
    return np.clip(_colour(rng) + spread * total, 0, 255).astype(np.uint8)


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    corners = np.stack([_colour(rng) for _ in range(4)]).reshape(2, 2, 3).astype(np.float32)
    return np.clip(cv2.resize(corners, (size, size)), 0, 255).astype(np.uint8)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    out = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        angle = rng.uniform(0, np.pi)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.05, 0.8))
        out += np.sign(wave) if rng.random() < 0.5 else wave
    share = (np.clip(out, -1, 1) * 0.5 + 0.5)[..., None]
    return (share * _colour(rng) + (1 - share) * _colour(rng)).astype(np.uint8)


def _blobs(size: int, rng: np.random.Generator) -> np.ndarray:
    """Ellipses, boxes and lines; some ovals carry dots where a face has its features."""
    image = _clouds(size, rng) if rng.random() < 0.5 else _gradient(size, rng)
    for _ in range(int(rng.integers(2, 14))):
        colour = tuple(float(v) for v in _colour(rng))
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        half = np.exp(rng.uniform(np.log(3), np.log(size / 3), 2)).astype(int)
        angle = float(rng.uniform(0, 180))
        shape = rng.random()
        if shape < 0.5:
            cv2.ellipse(image, centre, (int(half[0]), int(half[1])), angle, 0, 360, colour, -1)
        elif shape < 0.75:
            rect = (tuple(map(float, centre)), (float(2 * half[0]), float(2 * half[1])), angle)
            cv2.fillConvexPoly(image, cv2.boxPoints(rect).astype(np.int32), colour)
        else:
            end = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.line(image, centre, end, colour, int(rng.integers(1, 12)))
        if shape < 0.2:
            dark = tuple(float(v) for v in _colour(rng) * 0.4)
            for offset in ((-0.35, -0.25), (0.35, -0.25), (0, 0.4)):
                dot = tuple(int(c + o * h) for c, o, h in zip(centre, offset, half, strict=True))
                cv2.circle(image, dot, max(1, int(half.min() * rng.uniform(0.08, 0.25))), dark, -1)
    return image
