"""What the readers of foreign formats share: raw arrays to a model in facekit's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.geometry.alignment import align_similarity
from facekit.morphable.builtin import load_builtin
from facekit.morphable.model import MorphableModel
from facekit.types import LandmarkMap

NOW7_IBUG_ROWS = (36, 39, 42, 45, 33, 48, 54)


def foreign_model(
    name: str,
    mean: np.ndarray,
    faces: np.ndarray,
    identity: np.ndarray,
    *,
    millimetres: float,
    licence: str,
    provenance: str,
    expression: np.ndarray | None = None,
    expression_names: Sequence[str] | None = None,
    expression_kind: str = "pca",
    srgb_mean: np.ndarray | None = None,
    srgb_modes: np.ndarray | None = None,
    uvs: np.ndarray | None = None,
    face_uvs: np.ndarray | None = None,
    ibug68: Sequence[int] | None = None,
    now7: Sequence[int] | None = None,
) -> MorphableModel:
    """Make a model of a foreign format's arrays.

    Shapes are scaled to millimetres, faces turned counter-clockwise from outside, colours made
    linear, and the head moved rigidly so that its ``now7`` points lie on the built-in model's.
    The move keeps the size: every format read here states its unit.

    Args:
        name: of the model.
        mean: (V, 3) in the format's unit; faces: (F, 3) from 0.
        identity: (K, V, 3) modes per standard deviation, in the format's unit.
        millimetres: of one unit.
        licence, provenance: texts.
        expression: (E, V, 3) per deviation (``pca``) or per full weight (``blendshape``).
        expression_names: E names; None numbers them.
        expression_kind: ``pca`` or ``blendshape``.
        srgb_mean: (V, 3) sRGB in [0, 1]; srgb_modes: (A, V, 3) per deviation.
        uvs, face_uvs: texture coordinates.
        ibug68: 68 vertex numbers; now7: 7 vertex numbers. Without either the model keeps its own
            frame and has no landmark sets.

    Raises:
        InputError: arrays that do not belong together, or landmark vertices out of range.
    """
    mean = check_array(mean, f"{name} mean", shape=("V", 3)).astype(np.float64)
    v = len(mean)
    triangles = outward_faces(mean, check_faces(faces, v, f"{name} faces"))
    identity = check_array(identity, f"{name} identity modes", shape=("K", v, 3))
    if expression is None:
        expression = np.zeros((0, v, 3))
    expression = check_array(expression, f"{name} expression modes", shape=("E", v, 3))
    e = len(expression)
    names = expression_names or [f"expression_{i:03d}" for i in range(e)]
    pca = expression_kind == "pca"
    bounds = np.array([-np.inf, np.inf] if pca else [0.0, 1.0], np.float32)
    colour, colour_modes = _linear_albedo(v, srgb_mean, srgb_modes)
    landmarks = {}
    if ibug68 is not None:
        landmarks["ibug68"] = vertex_landmarks(triangles, ibug68, 68, v)
        now7 = now7 or [int(ibug68[i]) for i in NOW7_IBUG_ROWS]
    if now7 is not None:
        landmarks["now7"] = vertex_landmarks(triangles, now7, 7, v)
    model = MorphableModel(
        name=name,
        mean=(mean * millimetres).astype(np.float32),
        faces=triangles,
        identity_modes=(identity * millimetres).astype(np.float32),
        expression_modes=(expression * millimetres).astype(np.float32),
        expression_names=tuple(names),
        expression_kind=(expression_kind,) * e,
        expression_bounds=np.tile(bounds, (e, 1)),
        expression_mean=np.full(e, 0.0 if pca else 0.05, np.float32),
        expression_std=np.full(e, 1.0 if pca else 0.15, np.float32),
        albedo_mean=colour,
        albedo_modes=colour_modes,
        uvs=uvs,
        face_uvs=face_uvs,
        landmarks=landmarks,
        licence=licence,
        provenance=provenance,
    )
    return align_to_builtin(model) if "now7" in landmarks else model


def align_to_builtin(model: MorphableModel) -> MorphableModel:
    """Return the model moved rigidly so that its ``now7`` points lie on the built-in model's."""
    builtin = load_builtin()
    source = model.landmark_points("now7", model.mean)
    move = align_similarity(source, builtin.landmark_points("now7", builtin.mean), with_scale=False)
    turn = move.rotation.T.astype(np.float32)
    return replace(
        model,
        mean=move.apply(model.mean.astype(np.float64)).astype(np.float32),
        identity_modes=model.identity_modes @ turn,
        expression_modes=model.expression_modes @ turn,
        provenance=model.provenance
        + f"; moved rigidly onto the built-in model's now7: {np.round(move.matrix(), 6).tolist()}",
    )


def vertex_landmarks(
    faces: np.ndarray, vertices: Sequence[int], count: int, num_vertices: int
) -> LandmarkMap:
    """Return the map of landmarks that are vertices.

    Raises:
        InputError: another number of landmarks, or one that is no vertex of a face.
    """
    marks = np.asarray(vertices, dtype=np.int64).ravel()
    if len(marks) != count:
        raise InputError(f"landmarks: expected {count} vertex numbers, got {len(marks)}")
    first = np.full(num_vertices, -1)
    # Backwards, so that the first face of a vertex is the one that stays.
    first[faces[::-1].ravel()] = np.repeat(np.arange(len(faces))[::-1], 3)
    for mark in marks.tolist():
        if not 0 <= mark < num_vertices or first[mark] < 0:
            raise InputError(
                f"landmarks: expected vertices of faces in [0, {num_vertices}), got {mark}"
            )
    where = first[marks]
    weights = (faces[where] == marks[:, None]).astype(np.float32)
    return LandmarkMap(where.astype(np.int32), weights / weights.sum(axis=1, keepdims=True))


def outward_faces(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the faces counter-clockwise from outside, turned all together when they are not.

    A head, or a face open at the back, encloses positive volume seen from its middle at the back.
    """
    centre = vertices.mean(axis=0)
    centre[2] = vertices[:, 2].min()
    a, b, c = (vertices[faces[:, k]] - centre for k in range(3))
    volume = float(np.einsum("fd,fd->f", a, np.cross(b, c)).sum())
    return faces if volume >= 0 else np.ascontiguousarray(faces[:, ::-1])


def _linear_albedo(
    num_vertices: int, mean: np.ndarray | None, modes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return linear albedo mean and modes; modes by the tone curve's slope at the mean."""
    if mean is None:
        grey = np.full((num_vertices, 3), 0.4, np.float32)
        return grey, np.zeros((0, num_vertices, 3), np.float32)
    value = np.clip(check_array(mean, "colour mean", shape=(num_vertices, 3)), 0.0, 1.0)
    low = value <= 0.04045
    base = (np.maximum(value, 0.04045) + 0.055) / 1.055
    linear = np.where(low, value / 12.92, base**2.4)
    slope = np.where(low, 1 / 12.92, 2.4 / 1.055 * base**1.4)
    if modes is None:
        modes = np.zeros((0, num_vertices, 3))
    check_array(modes, "colour modes", shape=("A", num_vertices, 3))
    return linear.astype(np.float32), (modes * slope).astype(np.float32)


def blocks(matrix: np.ndarray, num_vertices: int, name: str) -> np.ndarray:
    """Return columns (3V, K) of interleaved x, y, z as modes (K, V, 3) float64."""
    table = check_array(matrix, name, shape=(3 * num_vertices, "K"))
    return table.T.reshape(-1, num_vertices, 3).astype(np.float64)
