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


def closest_twin(points, vertices, faces):
    """Closest points by brute force: the plane's foot when inside, else the best of the edges."""
    best = np.full(len(points), np.inf)
    where, which = np.zeros((len(points), 3)), np.zeros(len(points), int)
    border = np.zeros(len(points), bool)
    count = {}
    for f in faces:
        for k in range(3):
            edge = tuple(sorted((f[k], f[(k + 1) % 3])))
            count[edge] = count.get(edge, 0) + 1
    open_vertices = {v for edge, n in count.items() if n == 1 for v in edge}
    for index, f in enumerate(faces):
        a, b, c = vertices[f]
        # Solve for the foot in the plane's own coordinates.
        basis = np.stack([b - a, c - a], axis=1)
        uv = np.linalg.lstsq(basis, (points - a).T, rcond=None)[0].T
        inside = (uv >= 0).all(1) & (uv.sum(1) <= 1)
        foot = a + uv @ basis.T
        candidates = [(foot, inside, np.zeros(len(points), bool))]
        for k in range(3):
            i, j = f[k], f[(k + 1) % 3]
            u, d = vertices[i], vertices[j] - vertices[i]
            t = np.clip((points - u) @ d / (d @ d), 0, 1)
            is_open = np.full(len(points), count[tuple(sorted((i, j)))] == 1)
            is_open = np.where(t == 0, i in open_vertices, is_open)
            is_open = np.where(t == 1, j in open_vertices, is_open)
            candidates.append((u + t[:, None] * d, np.ones(len(points), bool), is_open))
        for place, valid, is_open in candidates:
            distance = np.where(valid, np.linalg.norm(place - points, axis=1), np.inf)
            better = distance < best - 1e-12
            best[better], where[better], which[better] = distance[better], place[better], index
            border[better] = is_open[better]
    return where, which, border
