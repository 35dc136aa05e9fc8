"""A small morphable model of known geometry: an ellipsoid with smooth modes and a face on it."""

from functools import cache

import numpy as np

from facekit.morphable.model import MorphableModel
from facekit.types import LandmarkMap

RADII = np.array([75.0, 110.0, 90.0])

# Where 68 landmarks lie on a face, in mm: iBUG order, person's right first, frontal view.
_BROW = [(-58, 36), (-50, 43), (-40, 45), (-29, 43), (-19, 39)]
_EYE = [(-45, 28), (-38, 32), (-27, 32), (-18, 27), (-27, 24), (-38, 24)]
_MOUTH = [
    *[(-26, -42), (-16, -37), (-6, -34), (0, -36), (6, -34), (16, -37), (26, -42)],
    *[(16, -49), (7, -53), (0, -54), (-7, -53), (-16, -49)],
    *[(-22, -42), (-6, -40), (0, -41), (6, -40), (22, -42), (6, -45), (0, -46), (-6, -45)],
]


def frontal_landmarks():
    """(68, 2) x and y in mm of a frontal face."""
    angles = np.linspace(np.pi, 2 * np.pi, 17)
    jaw = np.stack([68 * np.cos(angles), 15 + 95 * np.sin(angles)], axis=1)
    mirror = np.array([-1, 1])
    brows = np.array(_BROW), np.array(_BROW)[::-1] * mirror
    nose = np.array([(0, 25), (0, 15), (0, 5), (0, -6), *[(x, -17) for x in (-13, -6, 0, 6, 13)]])
    right = np.array(_EYE)
    left = right[[3, 2, 1, 0, 5, 4]] * mirror
    return np.concatenate([jaw, *brows, nose, right, left, np.array(_MOUTH)]).astype(float)


def ellipsoid(rows=41, columns=60):
    """A closed ellipsoid: vertices (V, 3), faces (F, 3) counter-clockwise from outside."""
    polar = np.linspace(0, np.pi, rows)[1:-1]
    azimuth = np.arange(columns) * 2 * np.pi / columns
    ring = np.stack(np.broadcast_arrays(np.sin(azimuth), 0.0, np.cos(azimuth)), axis=-1)
    points = np.sin(polar)[:, None, None] * ring + np.cos(polar)[:, None, None] * [0, 1, 0]
    vertices = np.concatenate([points.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]]) * RADII
    faces = []
    for i in range(rows - 2):
        for j in range(columns):
            k = (j + 1) % columns
            if i + 1 < rows - 2:
                a, b = i * columns + j, i * columns + k
                c, d = a + columns, b + columns
                faces += [(a, c, b), (b, c, d)]
    top, bottom = len(vertices) - 2, len(vertices) - 1
    last = (rows - 3) * columns
    for j in range(columns):
        k = (j + 1) % columns
        faces += [(top, j, k), (bottom, last + k, last + j)]
    return vertices, np.array(faces, np.int32)


def on_surface(vertices, faces, xy):
    """The landmark map of points seen from the front: first triangle hit along -z."""
    corners = vertices[faces]
    found, weights = [], []
    for point in np.atleast_2d(xy):
        a, b, c = (corners[:, i, :2] - point for i in range(3))

        def cross(p, q):
            return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

        areas = np.stack([cross(b, c), cross(c, a), cross(a, b)], axis=1)
        total = areas.sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            bary = areas / total[:, None]
        inside = (bary >= -1e-9).all(1) & (total > 0)
        depth = np.where(inside, (bary * corners[:, :, 2]).sum(1), -np.inf)
        best = int(np.argmax(depth))
        found.append(best)
        weights.append(bary[best])
    return LandmarkMap(np.array(found), np.clip(np.array(weights), 0, 1).astype(np.float32))


def _unwrapped(u, v, faces):
    """A cylinder's uvs: triangles across the seam use copies of its low side beyond u = 1."""
    count = len(u)
    corners = u[faces]
    crossing = np.ptp(corners, axis=1) > 0.5
    face_uvs = faces + count * (crossing[:, None] & (corners < 0.5))
    uvs = np.stack([np.concatenate([u, u + 1]) * 0.9, np.concatenate([v, v])], axis=1)
    return np.clip(uvs, 0, 1), face_uvs.astype(np.int32)


@cache
def toy_model(num_identity=8, num_expression=4):
    """An ellipsoid head: low-order polynomial identity modes, bumps as blendshapes."""
    vertices, faces = ellipsoid()
    unit = vertices / RADII
    x, y, z = unit.T
    zero = np.zeros_like(x)
    nose = np.exp(-((x / 0.25) ** 2 + ((y + 0.1) / 0.3) ** 2)) * (z > 0)
    waves = [
        np.stack([4 * x, zero, zero], 1),
        np.stack([zero, 5 * y, zero], 1),
        np.stack([zero, zero, 4 * z], 1),
        np.stack([zero, zero, 5 * nose], 1),
        np.stack([2 * x * y, zero, 2 * y * z], 1),
        np.stack([2 * x * np.abs(x), zero, zero], 1),
        np.stack([zero, 3 * y * y, zero], 1),
        np.stack([zero, zero, 3 * z * y * y], 1),
    ]
    bumps = []
    for cx, cy in ((0, -0.45), (0.5, 0.3), (-0.5, 0.3), (0.3, -0.4)):
        bump = np.exp(-(((x - cx) / 0.2) ** 2 + ((y - cy) / 0.15) ** 2)) * (z > 0)
        bumps.append(np.stack([0 * bump, -9 * bump, 2 * bump], 1))
    landmarks = frontal_landmarks()
    marks = {"ibug68": on_surface(vertices, faces, landmarks)}
    now7 = [36, 39, 42, 45, 33, 48, 54]
    marks["now7"] = LandmarkMap(marks["ibug68"].faces[now7], marks["ibug68"].barycentric[now7])
    E = num_expression
    count = len(vertices)
    uvs, face_uvs = _unwrapped(np.arctan2(x, z) / (2 * np.pi) + 0.5, 0.5 + 0.5 * y, faces)
    return MorphableModel(
        name="toy",
        mean=vertices.astype(np.float32),
        faces=faces,
        identity_modes=np.array(waves[:num_identity], np.float32),
        expression_modes=np.array(bumps[:E], np.float32),
        expression_names=("jawOpen", "eyeBlink_L", "eyeBlink_R", "mouthFrown_L")[:E],
        expression_kind=("blendshape",) * E,
        expression_bounds=np.tile([0.0, 1.0], (E, 1)),
        expression_mean=np.full(E, 0.05),
        expression_std=np.full(E, 0.25),
        albedo_mean=np.full((count, 3), 0.4, np.float32),
        albedo_modes=np.zeros((0, count, 3), np.float32),
        uvs=uvs.astype(np.float32),
        face_uvs=face_uvs,
        landmarks=marks,
        regions={"face": z > 0},
        licence="made by the tests",
    )
