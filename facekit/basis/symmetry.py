"""Left-right symmetric landmark maps."""

from __future__ import annotations

import numpy as np

from facekit.errors import InputError
from facekit.types import LandmarkMap


def mirror_faces(faces: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Return (F,) the face that is each face's mirror image.

    Raises:
        InputError: the faces are not symmetric under ``mirror`` (V,).
    """
    key = {tuple(sorted(face)): f for f, face in enumerate(faces.tolist())}
    try:
        return np.array([key[tuple(sorted(face))] for face in mirror[faces].tolist()], np.int32)
    except KeyError as error:
        raise InputError(
            f"mirror: expected symmetric faces, but the image {error.args[0]} of one is none"
        ) from error


def mirrored_map(
    faces: np.ndarray, mirror: np.ndarray, marks: LandmarkMap, partner: np.ndarray
) -> LandmarkMap:
    """Return the map whose point i is the mirror image of point ``partner[i]``."""
    source = marks.faces[partner]
    other = mirror_faces(faces, mirror)[source]
    # Corners of a face and of its image come in different orders: pair them by vertex.
    wanted = mirror[faces[source]]
    place = (faces[other][:, :, None] == wanted[:, None, :]).argmax(-1)
    weights = np.take_along_axis(marks.barycentric[partner], place, axis=1)
    return LandmarkMap(other, weights)


def symmetric_map(
    vertices: np.ndarray,
    faces: np.ndarray,
    mirror: np.ndarray,
    marks: LandmarkMap,
    partner: np.ndarray,
) -> LandmarkMap:
    """Return the map whose right half is the mirror image of its left half.

    Args:
        vertices: (V, 3) a head symmetric about x = 0.
        faces: (F, 3); mirror: (V,) vertex partners.
        marks: N points, of which point ``partner[i]`` mirrors point i.
        partner: (N,) an involution. A point that is its own partner is moved to the midline of
            its face.

    Raises:
        InputError: a point that is its own partner lies on a face away from the midline.
    """
    other = mirrored_map(faces, mirror, marks, partner)
    place = np.einsum("nk,nkd->nd", marks.barycentric, vertices[faces[marks.faces]])
    # Of two partners the one further to the left keeps its place.
    keep = place[:, 0] >= place[partner, 0]
    chosen = np.where(keep, marks.faces, other.faces).astype(np.int32)
    weights = np.where(keep[:, None], marks.barycentric, other.barycentric).astype(np.float64)
    own = partner == np.arange(len(partner))
    off = mirror[faces[chosen]] != faces[chosen]
    weights = np.where(own[:, None] & off, 0.0, weights)
    total = weights.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise InputError(
            f"landmarks {np.flatnonzero(total[:, 0] <= 0).tolist()}: expected points of the"
            " midline to lie on faces that touch it"
        )
    return LandmarkMap(chosen, (weights / total).astype(np.float32))
