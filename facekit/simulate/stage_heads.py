"""Whom a stage captures: heads of a model, of a file of heads, of ICT-FaceKit, or any mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from facekit.errors import InputError
from facekit.geometry.closest_point import closest_points
from facekit.geometry.mesh import Subdivision, loop_subdivide, submesh
from facekit.geometry.triangle_tree import build_tree
from facekit.io.meshes import read_mesh
from facekit.io.npz import read_npz
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model
from facekit.runs import file_sha256
from facekit.simulate.subject import EYE, MOUTH, SKIN, TEETH, ForeignHeads, model_material
from facekit.types import LandmarkMap

NEUTRAL = "neutral"
# Meshes are refined until they have this many faces: a few pixels each at 1024 pixels.
_FACES = 60_000
_ICT_MATERIAL = {
    "face": SKIN,
    "head_neck": SKIN,
    "mouth_socket": MOUTH,
    "eye_socket_left": SKIN,
    "eye_socket_right": SKIN,
    "gums_tongue": MOUTH,
    "teeth": TEETH,
    "eyeball_left": EYE,
    "eyeball_right": EYE,
}


@dataclass(frozen=True, eq=False)
class StageHead:
    """One capture's subject: a mesh in its own head frame, mm.

    Attributes:
        neutral: (V, 3) float32, where paint is looked up; vertices: (V, 3) float32, what is seen.
        faces: (F, 3) int32; material: (F,) int8 as of ``Subject``.
        marks: where the 68 iBUG points lie on ``faces``; None for a mesh without.
        base_faces: (F0, 3) int32 of the source mesh, whose vertices are the first ones here.
        base_rows: (V0,) int32 rows of the source file's vertices, where those are a part of them.
        identity: coefficients of the source model, empty when it has none.
    """

    neutral: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    marks: LandmarkMap | None
    base_faces: np.ndarray
    base_rows: np.ndarray | None = None
    identity: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def landmarks(self, vertices: np.ndarray) -> np.ndarray | None:
        """Return the 68 points (68, 3) on vertices (V, 3), or None."""
        if self.marks is None:
            return None
        corners = vertices[self.faces[self.marks.faces]]
        return np.einsum("nc,ncd->nd", self.marks.barycentric, corners)

    @cached_property
    def standard(self) -> tuple[float, np.ndarray]:
        """(scale, origin) into the standard head that paint is designed for; see ``Subject``."""
        marks = self.landmarks(self.neutral)
        if marks is None:
            box = np.stack([self.neutral.min(0), self.neutral.max(0)]).astype(np.float64)
            return 1.0, box.mean(0)
        return 90.0 / float(np.linalg.norm(marks[45] - marks[36])), (marks[36] + marks[45]) / 2

    @cached_property
    def centre(self) -> np.ndarray:
        """(3,) what stands in the stage's middle: a head's inside, behind the nose."""
        scale, origin = self.standard
        return origin if self.marks is None else origin + np.array([0.0, -25.0, -40.0]) / scale


class HeadSource(Protocol):
    """Where a stage's subjects come from: ``asset`` is its file's name and sha256."""

    asset: tuple[str, str]
    expressions: tuple[str, ...]

    def head(self, number: int, seed: int, expression: str = NEUTRAL) -> StageHead:
        """Return head ``number``, with an expression at full strength.

        Raises:
            InputError: there is no such head or expression.
        """
        ...


def open_heads(
    *, model: str = "builtin", heads: Path | None = None, mesh: Path | None = None
) -> HeadSource:
    """Open the source of a stage's subjects: a mesh, a file of heads, or else a model.

    Args:
        model: name or file of a morphable model.
        heads: ICT-FaceKit's ``.npz``, or a file of heads as of ``ForeignHeads``.
        mesh: one ``.obj`` or ``.ply`` in mm, of anything.

    Raises:
        InputError: heads and a mesh at once, or an unreadable file.
    """
    if heads is not None and mesh is not None:
        raise InputError("stage: expected a file of heads or a mesh, got both")
    if mesh is not None:
        return MeshHead(mesh)
    if heads is None:
        return ModelHeads(load_model(model))
    data = read_npz(heads, what="a file of heads")
    return IctHeads(heads, data) if "region_vertex_range" in data else FileHeads(heads)


class ModelHeads:
    """Random people of a morphable model: identity normal, within two deviations."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self.asset = (model.name, model.sha256)
        self.expressions = (NEUTRAL, *model.expression_names)
        self._refined = _Refined(model.mean, model.faces)
        marks = model.landmark_points("ibug68", model.mean)
        self._marks = self._refined.marks(model.mean, marks)

    def head(self, number: int, seed: int, expression: str = NEUTRAL) -> StageHead:
        """Return person ``number`` of a seed."""
        model = self._model
        rng = np.random.default_rng([seed, 21, number])
        identity = np.clip(rng.standard_normal(model.num_identity), -2, 2).astype(np.float32)
        neutral = model.shape(identity)
        vertices = neutral
        if expression != NEUTRAL:
            weights = np.zeros(model.num_expression, np.float32)
            weights[_row(expression, model.expression_names)] = 1
            vertices = model.shape(identity, weights)
        return self._refined.head(
            neutral, vertices, model_material(model), self._marks, identity=identity
        )


class IctHeads:
    """Random people of ICT-FaceKit's light model (centimetres in the file)."""

    def __init__(self, path: Path, data: dict[str, np.ndarray]) -> None:
        self.asset = (path.name, file_sha256(path))
        names = [str(name) for name in data["expression_names"]]
        self.expressions = (NEUTRAL, *names)
        material = np.full(data["neutral"].shape[0], -1, np.int8)
        regions = [str(name) for name in data["region_names"]]
        for name, kind in _ICT_MATERIAL.items():
            material[slice(*data["region_vertex_range"][regions.index(name)])] = kind
        self._rows, faces = submesh(data["faces"], material >= 0)
        self._material = material[self._rows][faces].max(axis=1)
        self._mean = 10 * data["neutral"][self._rows].astype(np.float64)
        self._identity = data["identity"][:, self._rows]
        self._expression = data["expression"][:, self._rows]
        self._refined = _Refined(self._mean, faces)
        marks = 10 * data["neutral"][data["landmarks68"]].astype(np.float64)
        self._marks = self._refined.marks(self._mean, marks)

    def head(self, number: int, seed: int, expression: str = NEUTRAL) -> StageHead:
        """Return person ``number`` of a seed."""
        rng = np.random.default_rng([seed, 22, number])
        weights = np.clip(rng.standard_normal(len(self._identity)), -2, 2).astype(np.float32)
        offset = np.tensordot(weights, self._identity.astype(np.float32), axes=1)
        neutral = self._mean + 10 * offset.astype(np.float64)
        vertices = neutral
        if expression != NEUTRAL:
            row = _row(expression, self.expressions[1:])
            vertices = neutral + 10 * self._expression[row].astype(np.float64)
        return self._refined.head(
            neutral, vertices, self._material, self._marks, identity=weights, rows=self._rows
        )


class FileHeads:
    """The heads of a file, by number; their one expression is called ``expressed``."""

    expressions: tuple[str, ...] = (NEUTRAL, "expressed")

    def __init__(self, path: Path) -> None:
        self.asset = (path.name, file_sha256(path))
        self._heads = ForeignHeads(path, steps=2)

    def head(self, number: int, seed: int, expression: str = NEUTRAL) -> StageHead:  # noqa: ARG002
        """Return head ``number`` of the file; the seed changes nothing."""
        subject = self._heads.subject(number)
        expressed = bool(_row(expression, self.expressions))
        return StageHead(
            neutral=subject.neutral,
            vertices=subject.vertices if expressed else subject.neutral,
            faces=subject.faces,
            material=subject.material,
            marks=subject.landmarks,
            base_faces=subject.truth_faces,
        )


class MeshHead:
    """One mesh of anything, in millimetres, all of it skin, without landmarks."""

    expressions: tuple[str, ...] = (NEUTRAL,)

    def __init__(self, path: Path) -> None:
        mesh = read_mesh(path)
        self.asset = (path.name, file_sha256(path))
        vertices = mesh.vertices.astype(np.float64)
        refined = _Refined(vertices, mesh.faces)
        skin = np.full(len(mesh.faces), SKIN, np.int8)
        self._head = refined.head(vertices, vertices, skin, None)

    def head(self, number: int, seed: int, expression: str = NEUTRAL) -> StageHead:  # noqa: ARG002
        """Return the mesh; number and seed change nothing."""
        _row(expression, self.expressions)
        return self._head


class _Refined:
    """A topology, subdivided until it is fine enough to be seen from near."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self._coarse = faces
        self._steps = 0
        while len(faces) * 4**self._steps < _FACES and self._steps < 4:
            self._steps += 1
        self._map: Subdivision | None = None
        if self._steps:
            self._map = loop_subdivide(vertices, faces, steps=self._steps)

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        return vertices if self._map is None else self._map.apply(vertices)

    @property
    def faces(self) -> np.ndarray:
        return self._coarse if self._map is None else self._map.faces

    def marks(self, vertices: np.ndarray, points: np.ndarray) -> LandmarkMap:
        found = closest_points(
            build_tree(self.apply(vertices.astype(np.float64)), self.faces), points
        )
        return LandmarkMap(found.triangle, found.barycentric.astype(np.float32))

    def head(
        self,
        neutral: np.ndarray,
        vertices: np.ndarray,
        material: np.ndarray,
        marks: LandmarkMap | None,
        *,
        identity: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> StageHead:
        fine = self.apply(np.asarray(neutral, np.float32))
        shown = fine if vertices is neutral else self.apply(np.asarray(vertices, np.float32))
        return StageHead(
            neutral=fine,
            vertices=shown,
            faces=self.faces,
            material=np.repeat(material, 4**self._steps),
            marks=marks,
            base_faces=self._coarse,
            base_rows=None if rows is None else rows.astype(np.int32),
            identity=np.zeros(0, np.float32) if identity is None else identity,
        )


def _row(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise InputError(f"expression: expected one of {', '.join(names)}, got {name!r}")
    return names.index(name)
