"""ICT-FaceKit: a folder of Wavefront files, one for the neutral head and one for each mode.

R. Li et al., Learning formation of physically-based face attributes, 2020; MIT licence. Lengths
are centimetres; every file is a whole mesh, from which the neutral one is subtracted. Identities
are ``identity000.obj``, …, of weights N(0, 1); other files are expressions.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.obj import read_obj
from facekit.morphable.foreign import foreign_model
from facekit.morphable.model import MorphableModel

NEUTRAL = "generic_neutral_mesh.obj"
_LICENCE = "ICT-FaceKit: MIT License, Copyright (c) 2020 USC Institute for Creative Technologies"


def read_ict(folder: Path, *, num_identity: int | None = None) -> MorphableModel:
    """Read a folder (``FaceXModel``) with the neutral mesh, identities and expressions.

    Args:
        folder: of .obj files; ``vertex_indices.json`` gives the 68 landmarks when it is there.
        num_identity: how many identity files to read; None reads all.

    Raises:
        InputError: the neutral mesh is missing, or a mesh has other vertices.
    """
    path = folder / NEUTRAL
    if not path.is_file():
        raise InputError(f"{folder}: expected ICT-FaceKit's folder with {NEUTRAL}, found none")
    neutral = read_obj(path)
    files = sorted(p for p in folder.glob("*.obj") if p.name != NEUTRAL)
    identities = [p for p in files if p.stem.startswith("identity")][:num_identity]
    expressions = [p for p in files if not p.stem.startswith("identity")]
    uvs = face_uvs = None
    if neutral.uvs is not None:
        uvs, face_uvs = neutral.uvs.astype(np.float32), neutral.face_uvs
    return foreign_model(
        "ict_facekit",
        neutral.vertices,
        neutral.faces,
        _offsets(identities, neutral.vertices),
        expression=_offsets(expressions, neutral.vertices),
        expression_names=[p.stem for p in expressions],
        expression_kind="blendshape",
        uvs=uvs,
        face_uvs=face_uvs,
        ibug68=_landmarks(folder),
        millimetres=10.0,
        licence=_LICENCE,
        provenance=f"read from {len(files) + 1} meshes of {folder.name}",
    )


def _offsets(files: list[Path], neutral: np.ndarray) -> np.ndarray:
    modes = np.zeros((len(files), *neutral.shape))
    for mode, path in zip(modes, files, strict=True):
        vertices = read_obj(path).vertices
        if vertices.shape != neutral.shape:
            raise InputError(
                f"{path}: expected {len(neutral)} vertices like {NEUTRAL}, got {len(vertices)}"
            )
        mode[:] = vertices - neutral
    return modes


def _landmarks(folder: Path) -> list[int] | None:
    path = folder / "vertex_indices.json"
    if not path.is_file():
        return None
    try:
        return [int(i) for i in json.loads(path.read_text())["idx_to_landmark_verts"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a list idx_to_landmark_verts ({error})") from error
