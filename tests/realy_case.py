"""REALY's regions and key points on the face of ``now_twin``, in its normalised unit."""

import numpy as np
from now_twin import height, surface
from toy import frontal_landmarks

from facekit.evaluate.realy import Region

UNIT = 9.0


def keypoints():
    """85 key points of ``now_twin``'s face: 68, and 17 more about nose and cheeks."""
    xy = frontal_landmarks()
    xy[:, 1] = np.clip(xy[:, 1], -60, 60)
    xy[:, 0] = np.clip(xy[:, 0], -60, 60)
    angle = np.linspace(0, np.pi, 17)
    more = np.stack([45 * np.cos(angle), -10 + 20 * np.sin(angle)], axis=1)
    xy = np.concatenate([xy, more])
    return np.column_stack([xy, height(xy[:, 0], xy[:, 1])]) / UNIT


def snapped(columns=22, rows=28):
    """The key points at vertices of the face: else even a perfect face is pulled a little."""
    vertices = surface(columns, rows)[0] / UNIT
    gaps = np.linalg.norm(keypoints()[:, None] - vertices[None], axis=-1)
    return vertices[gaps.argmin(1)]


def face_units(columns=14, rows=18, *, seed=0, noise=0.0):
    vertices, faces = surface(columns, rows)
    jitter = np.random.default_rng(seed).normal(scale=noise, size=vertices.shape)
    return (vertices + jitter) / UNIT, faces


def regions(columns=22, rows=28):
    """Four regions cut out of a fine face by the places of their vertices."""
    vertices, faces = surface(columns, rows)
    x, y, _ = vertices.T
    inside = {
        "nose": (np.abs(x) < 20) & (y > -28) & (y < 30),
        "mouth": (np.abs(x) < 35) & (y > -62) & (y < -25),
        "forehead": (y > 15) & (y < 80),
        "cheek": (np.abs(x) > 15) & (y > -60) & (y < 30),
    }
    return {name: cut(vertices / UNIT, faces, mask) for name, mask in inside.items()}


def cut(vertices, faces, mask):
    kept = faces[mask[faces].all(axis=1)]
    rows, inverse = np.unique(kept, return_inverse=True)
    return Region(vertices[rows], inverse.reshape(-1, 3).astype(np.int32))
