"""Small heads of known geometry for the tests of bases."""

import numpy as np
from toy import ellipsoid

from facekit.basis.remesh import SurfacePoints
from facekit.basis.template_file import HeadTemplate
from facekit.types import LandmarkMap

FLIP = np.array([-1.0, 1.0, 1.0])


def mirror_of(vertices):
    distance = np.linalg.norm(vertices[None] - (vertices * FLIP)[:, None], axis=2)
    assert distance.min(axis=1).max() < 1e-6
    return distance.argmin(axis=1).astype(np.int32)


def symmetric_faces(faces, mirror):
    """Keep the left faces and their images: the ellipsoid's diagonals are not symmetric."""
    return np.concatenate([faces, mirror[faces][:, ::-1]])


def toy_template(rows=13, columns=24):
    """An ellipsoid with a symmetric triangulation: half of it and the half's mirror image."""
    vertices, faces = ellipsoid(rows, columns)
    vertices = np.where(np.abs(vertices) < 1e-9, 0.0, vertices)
    mirror = mirror_of(vertices)
    half = faces[vertices[faces][:, :, 0].mean(axis=1) > 1e-9]
    faces = np.concatenate([half, mirror[half][:, ::-1]]).astype(np.int32)
    v = len(vertices)
    right = np.flatnonzero((mirror[half] != half).any(axis=1))[:1]
    marks = LandmarkMap(
        np.concatenate([right + len(half), right]).astype(np.int32),
        np.full((2, 3), 1 / 3, np.float32),
    )
    return HeadTemplate(
        vertices=vertices,
        faces=faces,
        mirror=mirror,
        uvs=np.random.default_rng(0).random((v, 2)),
        face_uvs=faces,
        part=np.zeros(v, np.int8),
        rim=np.zeros(v, np.int8),
        albedo=np.full((v, 3), 0.4, np.float32),
        skin=SurfacePoints(np.zeros((v, 3), np.int32), np.eye(v, 3)),
        regions={"scan": vertices[:, 2] > 0, "face": vertices[:, 2] > 0},
        landmarks={"tragion": marks},
        licence="made by the tests",
        provenance="ellipsoid",
    )


def toy_modes(vertices, count=6, seed=0):
    """Smooth displacement fields of falling size, some symmetric, some not."""
    rng = np.random.default_rng(seed)
    scaled = vertices / np.abs(vertices).max(axis=0)
    fields = []
    for k in range(count):
        waves = np.sin(scaled @ rng.normal(0, 2, (3, 3)) + rng.normal(0, 1, 3))
        fields.append(waves * 6.0 / (k + 1))
    return np.array(fields)
