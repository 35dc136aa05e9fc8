"""Backgrounds that are drawn: gradients, rooms out of focus, foliage, stripes, cloth, and noise."""

from __future__ import annotations

import cv2
import numpy as np

from facekit.simulate.noise import solid_noise


def random_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a picture (height, width, 3) float32, linear RGB in [0, 1], with nobody in it."""
    painters = [_gradient, _studio, _room, _foliage, _stripes, _cloth]
    painter = painters[int(rng.integers(len(painters)))]
    scale = min(1.0, 256 / max(width, height))
    small = (max(8, round(height * scale)), max(8, round(width * scale)))
    picture = painter(rng, *small).astype(np.float32)
    picture *= rng.uniform(0.35, 1.1)
    full = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(full, 0.0, 1.0)


def _colour(rng: np.random.Generator, saturation: float = 0.5) -> np.ndarray:
    return np.clip(rng.uniform(0.03, 0.8) * (1 + saturation * rng.uniform(-1, 1, 3)), 0.01, 0.95)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    longer = max(width, height)
    return x / longer, y / longer


def _noise(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, size: float, octaves: int = 3):
    points = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    return solid_noise(points, size=size, seed=int(rng.integers(1 << 30)), octaves=octaves).reshape(
        x.shape
    )


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    x, y = _grid(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    t = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    return (1 - t) * _colour(rng) + t * _colour(rng)


def _studio(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    x, y = _grid(height, width)
    centre = rng.uniform(0.25, 0.75, 2)
    spot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / rng.uniform(0.06, 0.5))
    mottle = 1 + rng.uniform(0, 0.25) * _noise(rng, x, y, 0.25)
    return _colour(rng, 0.3) * ((0.35 + 0.75 * spot) * mottle)[..., None]


def _room(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    x, y = _grid(height, width)
    picture = np.ones((height, width, 3), np.float32) * _colour(rng, 0.3)
    floor = rng.uniform(0.5, 1.1)
    picture[y > floor] = _colour(rng, 0.4)
    for _ in range(int(rng.integers(4, 16))):
        left, top = rng.uniform(-0.2, 1, 2)
        size = rng.uniform(0.03, 0.5, 2)
        box = (x > left) & (x < left + size[0]) & (y > top) & (y < top + size[1])
        # Rows of one pixel each: the noise of the box alone.
        shade = 1 + 0.3 * _noise(rng, x[box][None], y[box][None], 0.2, 2)[0]
        picture[box] = _colour(rng, 0.7) * shade[:, None]
    for _ in range(int(rng.integers(0, 5))):
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.01, 0.06)
        lamp = np.hypot(x - centre[0], y - centre[1]) < radius
        picture[lamp] = 1.0
    sigma = rng.uniform(0.6, 0.04 * max(width, height))
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def _foliage(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    x, y = _grid(height, width)
    base = np.array([0.12, 0.2, 0.06]) * rng.uniform(0.5, 2.0, 3)
    leaves = 0.5 + 0.9 * _noise(rng, x, y, rng.uniform(0.04, 0.15), 4)
    sky = np.clip(2.5 * (rng.uniform(0.1, 0.6) - y) + _noise(rng, x, y, 0.2), 0, 1)[..., None]
    picture = base * np.clip(leaves, 0.05, 2)[..., None]
    picture = picture * (1 - sky) + sky * np.array([0.55, 0.7, 0.95])
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.5, 4))


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    x, y = _grid(height, width)
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    along = x * np.cos(angle) + y * np.sin(angle) + 0.01 * _noise(rng, x, y, 0.2)
    wave = np.clip(0.5 + 2 * np.sin(along * 2 * np.pi / rng.uniform(0.03, 0.3)), 0, 1)[..., None]
    picture = wave * _colour(rng) + (1 - wave) * _colour(rng)
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.4, 3))


def _cloth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    x, y = _grid(height, width)
    folds = _noise(rng, x, 0.3 * y, rng.uniform(0.05, 0.3), 3)
    return _colour(rng, 0.6) * (0.75 + 0.45 * folds)[..., None]
