"""What a number must be compared with: faces that a model gives without seeing the photograph.

The mean face, the face that the scan's landmarks alone give, and the model's best projection of
the scan: a floor that any method has to beat, and the ceiling of methods with that model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from facekit.errors import ItemError
from facekit.evaluate.faces3d import FaceSurface, read_prediction
from facekit.evaluate.projection import project_shape
from facekit.geometry.alignment import align_similarity
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model

MEAN_FACE, LANDMARK_ONLY, PROJECTION = "mean_face", "landmark_only", "projection"
# What a landmark of a scan may be off by, mm.
_LANDMARK_MM = 1.5
# Plenty for the projection's hundred unknowns.
_MAX_POINTS = 3000
_SETS = ("ibug68", "now7", "five")


def known_model(name: str, predictions: Iterable[Path]) -> MorphableModel | None:
    """Return the model that predictions were made with.

    Args:
        name: ``none``, a model's name or file, or ``auto``: the built-in model when the first
            prediction that can be read has its topology.
        predictions: mesh files or fit folders.

    Raises:
        InputError, MissingDependencyError: no such model.
    """
    return model_of_faces(name, _faces(predictions))


def model_of_faces(name: str, faces: Iterable[np.ndarray]) -> MorphableModel | None:
    """Return the model of a name, or for ``auto`` the built-in one if the first faces are its."""
    if name == "none":
        return None
    if name != "auto":
        return load_model(name)
    builtin = load_model("builtin")
    first = next(iter(faces), None)
    return builtin if first is not None and np.array_equal(first, builtin.faces) else None


def _faces(predictions: Iterable[Path]) -> Iterator[np.ndarray]:
    for path in predictions:
        try:
            yield read_prediction(path).faces
        except ItemError:
            continue


def model_surface(
    model: MorphableModel, vertices: np.ndarray | None = None, *, source: str = ""
) -> FaceSurface:
    """Return a shape (V, 3) of a model, its mean by default, with all its landmark sets."""
    shape = np.asarray(model.mean if vertices is None else vertices, np.float64)
    marks = {name: model.landmark_points(name, shape) for name in _SETS if name in model.landmarks}
    return FaceSurface(shape, model.faces, marks, source or f"model {model.name}")


def control_faces(
    model: MorphableModel, scan: FaceSurface, crop: np.ndarray, *, metrical: bool = False
) -> dict[str, FaceSurface]:
    """Return the controls of one scan.

    Args:
        model: the model that the predictions were made with.
        scan: with landmarks of which the model knows a set; else only the mean face is given.
        crop: (n,) indices of the scan's scored vertices, which the projection sees.
        metrical: the measure holds the prediction's own scale. The landmarks' face and the
            projection then have the scan's size by their coefficients alone, in mm; else their
            size is free, as the measure fits it again.

    Raises:
        InputError: fewer than ten scored vertices.
    """
    faces = {MEAN_FACE: model_surface(model, source="the mean face")}
    name = next((s for s in _SETS if s in model.landmarks and s in scan.landmarks), None)
    if name is None:
        return faces
    target = scan.landmarks[name]
    shape = landmark_shape(model, name, target, with_scale=not metrical)
    faces[LANDMARK_ONLY] = model_surface(model, shape, source="the landmarks' face")
    marks = model.landmark_points(name, shape)
    start = align_similarity(marks, target, with_scale=not metrical)
    points = scan.vertices[crop[:: max(1, -(-len(crop) // _MAX_POINTS))]]
    projection = project_shape(model, points, start, with_scale=not metrical)
    faces[PROJECTION] = model_surface(model, projection.vertices, source="the projection")
    return faces


def landmark_shape(
    model: MorphableModel,
    name: str,
    target: np.ndarray,
    *,
    with_scale: bool = True,
    rounds: int = 10,
) -> np.ndarray:
    """Return the neutral shape (V, 3) that 3D landmarks alone make likely.

    Alternates the least-squares similarity with the most probable identity under the model's
    prior and 1.5 mm of noise in each coordinate of a landmark.

    Args:
        model: its identity modes are used.
        name: the landmark set.
        target: (N, 3) its points, mm.
        with_scale: the similarity's scale is free; False: the face has the landmarks' size.
        rounds: of the alternation.
    """
    marks = model.landmark_map(name)
    corners = model.faces[marks.faces]
    rows = np.einsum("nc,kncd->knd", marks.barycentric, model.identity_modes[:, corners])
    basis = rows.reshape(len(rows), -1).astype(np.float64)
    mean = model.landmark_points(name, model.mean.astype(np.float64))
    identity = np.zeros(len(rows))
    for _ in range(rounds):
        current = mean + (identity @ basis).reshape(-1, 3)
        fit = align_similarity(current, target, with_scale=with_scale)
        wanted = (fit.inverse().apply(target) - mean).ravel()
        noise = (_LANDMARK_MM / fit.scale) ** 2
        system = basis @ basis.T + noise * np.eye(len(basis))
        identity = np.linalg.solve(system, basis @ wanted)
    return model.shape(identity).astype(np.float64)
