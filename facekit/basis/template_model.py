"""The template that lies in a model: its topology, regions, landmarks and mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.basis.anatomy import (
    EYELID_RIM,
    LEFT_BALL,
    LIP_RIM,
    MOUTH_PART,
    RIGHT_BALL,
    SOCKET_PART,
)
from facekit.basis.remesh import SurfacePoints
from facekit.basis.template_file import HeadTemplate, read_template
from facekit.errors import InputError
from facekit.morphable.model import MorphableModel
from facekit.morphable.native import is_native
from facekit.morphable.registry import load_model

_PARTS = (
    ("mouth_inside", MOUTH_PART),
    ("eye_socket", SOCKET_PART),
    ("eyeball_left", LEFT_BALL),
    ("eyeball_right", RIGHT_BALL),
)
_RIMS = (("lip_rim", LIP_RIM), ("eyelid_rim", EYELID_RIM))


def template_of_model(model: MorphableModel) -> HeadTemplate:
    """Return a model's topology as a template to register scans to.

    Parts and rims come from the model's regions; a model without them is all skin.

    Raises:
        InputError: the model has no left-right permutation.
    """
    if model.mirror is None:
        raise InputError(
            f"model {model.name}: a template needs a left-right permutation of its vertices,"
            " which this model lacks"
        )
    count = model.num_vertices
    part, rim = np.zeros(count, np.int8), np.zeros(count, np.int8)
    for names, codes in ((_PARTS, part), (_RIMS, rim)):
        for name, code in names:
            if name in model.regions:
                codes[model.regions[name]] = code
    uvs = np.zeros((1, 2)) if model.uvs is None else model.uvs
    face_uvs = np.zeros_like(model.faces) if model.face_uvs is None else model.face_uvs
    return HeadTemplate(
        vertices=model.mean.astype(np.float64),
        faces=model.faces,
        mirror=model.mirror,
        uvs=uvs,
        face_uvs=face_uvs,
        part=part,
        rim=rim,
        albedo=model.albedo_mean,
        skin=SurfacePoints(np.zeros((0, 3), np.int32), np.zeros((0, 3))),
        regions=dict(model.regions),
        landmarks=dict(model.landmarks),
        licence=model.licence,
        provenance=f"topology and mean of the model {model.name} ({model.sha256[:12]})",
    )


def open_template(name_or_path: str | Path) -> HeadTemplate:
    """Return the template of a template file, or of a model by name or path.

    Raises:
        InputError: neither can be read there.
    """
    path = Path(name_or_path)
    if path.is_file() and path.suffix == ".npz" and not is_native(path):
        return read_template(path)
    return template_of_model(load_model(name_or_path))
