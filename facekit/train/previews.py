"""Overlays of validation faces, written while a network trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import warp
from facekit.morphable.model import MorphableModel
from facekit.render.images import render_shaded
from facekit.types import Camera

# Faces of a sheet.
SHOWN = 8
# Side of a face in the sheet, pixels; faces in a row.
_SIDE, _COLUMNS = 192, 4
_OPACITY = 0.72


class Preview(NamedTuple):
    """A crop and what a network says of it.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        params: ``identity``, ``expression``, ``rotation``, ``translation_mm`` and ``intrinsics``
            as in ``params.npz``, in the crop's camera.
    """

    image: np.ndarray
    params: Mapping[str, Any]


def preview_sheet(model: MorphableModel, faces: Sequence[Preview]) -> np.ndarray:
    """Return a sheet (H, W, 3) uint8: each crop, and beside it the face region drawn over it."""
    region = model.regions.get("face", np.ones(model.num_vertices, bool))
    drawn = np.ascontiguousarray(model.faces[region[model.faces].all(1)])
    cells = [_cell(model, drawn, face) for face in faces]
    blank = np.full((_SIDE, 2 * _SIDE, 3), 255, np.uint8)
    cells += [blank] * (-len(cells) % _COLUMNS)
    rows = [np.concatenate(cells[i : i + _COLUMNS], axis=1) for i in range(0, len(cells), _COLUMNS)]
    return np.concatenate(rows)


def _cell(model: MorphableModel, faces: np.ndarray, face: Preview) -> np.ndarray:
    factor = _SIDE / face.image.shape[0]
    grown = SimilarityTransform(factor, np.eye(2), np.full(2, (factor - 1) / 2))
    image = warp(np.ascontiguousarray(face.image), grown, size=_SIDE)
    lens = np.array(face.params["intrinsics"], np.float64)
    lens[:2] *= factor
    lens[:2, 2] += (factor - 1) / 2
    rotation = np.asarray(face.params["rotation"], np.float64)
    place = np.asarray(face.params["translation_mm"], np.float64)
    vertices = model.shape(face.params["identity"], face.params["expression"])
    camera = Camera(lens, rotation, place, _SIDE, _SIDE)
    over = render_shaded(vertices, faces, camera).over(image, opacity=_OPACITY)
    return np.concatenate([image, over], axis=1)
