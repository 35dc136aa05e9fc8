"""Strands of hair that hang before a face: thin tubes that hide what matching wants to see."""

from __future__ import annotations

import numpy as np

from facekit.simulate.stage_heads import StageHead

_SIDES = 4
_STEPS = 28


def hanging_strands(
    head: StageHead, placed: np.ndarray, rng: np.random.Generator, *, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return strands as (V, 3) float32 vertices on the stage and (F, 3) int32 faces.

    Tufts grow on the forehead's hairline and the temples and fall over brows and cheeks, a few
    millimetres before the surface. Each strand is a square tube 0.3 to 0.7 mm wide.

    Args:
        head: whose; without landmarks the box of the mesh places the tufts.
        placed: (V, 3) the head's vertices on the stage.
        rng: draws the strands.
        count: how many.
    """
    marks = head.landmarks(placed)
    if marks is None:
        low, high = placed.min(0), placed.max(0)
        width, top = 0.35 * (high - low)[0], high[1]
        middle = np.array([(low + high)[0] / 2, top, high[2]])
        fall = 0.5 * (high - low)[1]
    else:
        width = 0.8 * abs(marks[45, 0] - marks[36, 0])
        middle = np.array([marks[27, 0], marks[19:25, 1].mean() + 0.9 * width, marks[27, 2]])
        fall = 1.25 * width
    rows = np.linspace(0, 1, _STEPS)
    strands, faces = [], []
    tufts = rng.uniform(-1, 1, max(3, count // 12))
    for number in range(count):
        side = float(np.clip(tufts[number % len(tufts)] + rng.normal(0, 0.11), -1.15, 1.15))
        start = middle + np.array([side * width, rng.normal(0, 4), 0])
        length = fall * rng.uniform(0.5, 1.1) * (0.7 + 0.6 * abs(side))
        swing = rng.normal(0, 0.16) * length
        path = start + np.stack(
            [
                swing * rows**2 + 0.04 * length * np.sin(5 * rows + rng.uniform(0, 6)),
                -length * rows,
                np.zeros(_STEPS),
            ],
            axis=1,
        )
        path[:, 2] = _front(placed, path) + 3 + 5 * rng.random() + 4 * np.sin(3 * rows)
        strands.append(_tube(path, rng.uniform(0.15, 0.35)))
        faces.append(_tube_faces() + number * _STEPS * _SIDES)
    return (
        np.concatenate(strands).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
    )


def _front(vertices: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Return the head's largest z near each place of a path, smoothed along it."""
    heights = np.empty(len(path))
    for row, point in enumerate(path):
        near = np.abs(vertices[:, :2] - point[:2]).max(axis=1) < 5
        heights[row] = vertices[near, 2].max() if near.any() else np.nan
    known = np.flatnonzero(np.isfinite(heights))
    if not len(known):
        return np.full(len(path), vertices[:, 2].max())
    heights = np.interp(np.arange(len(path)), known, heights[known])
    padded = np.pad(heights, 3, mode="edge")
    return np.convolve(padded, np.full(7, 1 / 7), mode="valid")


def _tube(path: np.ndarray, radius: float) -> np.ndarray:
    # The strands fall: a level ring about each place is a good enough cross section.
    angle = 2 * np.pi * np.arange(_SIDES) / _SIDES
    ring = radius * np.stack([np.sin(angle), np.zeros(_SIDES), np.cos(angle)], axis=1)
    return (path[:, None] + ring).reshape(-1, 3)


def _tube_faces() -> np.ndarray:
    faces = []
    for row in range(_STEPS - 1):
        for side in range(_SIDES):
            a, b = row * _SIDES + side, row * _SIDES + (side + 1) % _SIDES
            faces += [[a, a + _SIDES, b], [b, a + _SIDES, b + _SIDES]]
    return np.array(faces)
