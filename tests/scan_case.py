"""Face-like scans and predictions of known error, and folders of them."""

import numpy as np
from now_twin import height, landmarks, surface
from toy import ellipsoid

from facekit.evaluate.faces3d import FaceSurface
from facekit.io.meshes import write_mesh
from facekit.types import Mesh


def five():
    xy = np.array([[-32, 32], [32, 32], [0, -8], [-24, -42], [24, -42.0]])
    return np.column_stack([xy, height(xy[:, 0], xy[:, 1])])


def face(columns=40, rows=54, *, seed=None, noise=0.0, source="a face"):
    """The face of ``now_twin`` as a surface with seven and five landmarks."""
    vertices, faces = surface(columns, rows)
    if seed is not None:
        vertices = vertices + np.random.default_rng(seed).normal(scale=noise, size=vertices.shape)
    return FaceSurface(vertices, faces, {"now7": landmarks(), "five": five()}, source)


def moved(item, *, scale=1.0, rotation=None, shift=(0, 0, 0), landmarks=None):
    turn = np.eye(3) if rotation is None else rotation
    marks = {k: scale * v @ turn.T + shift for k, v in item.landmarks.items()}
    return FaceSurface(
        scale * item.vertices @ turn.T + shift, item.faces, landmarks or marks, "moved"
    )


def egg(scale=1.0):
    """A closed ellipsoid with five landmarks; symmetric, so that no motion helps a scaled copy."""
    vertices, faces = ellipsoid(49, 72)
    marks = np.array([[-30, 35, 80], [30, 35, 80], [0, 0, 90], [-25, -40, 80], [25, -40, 80.0]])
    return FaceSurface(scale * vertices, faces, {"five": scale * marks}, "an egg")


def write_face(path, item, *, marks="now7"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(path, Mesh(item.vertices, item.faces))
    if marks:
        np.save(path.with_suffix(".npy"), item.landmarks[marks])
