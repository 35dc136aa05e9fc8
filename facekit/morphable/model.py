"""The morphable model: a mean head, linear modes, and what lies where on its surface."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.types import LandmarkMap, Mesh


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A 3D morphable face model in millimetres, head frame.

    Identity and albedo coefficients are in standard deviations: a mode is stored already
    multiplied by its deviation. A vertex is
    ``mean + sum_k identity_k * identity_modes[k] + sum_e expression_e * expression_modes[e]``.

    Attributes:
        name: short name, e.g. ``builtin``.
        mean: (V, 3) float32, mm.
        faces: (F, 3) int32.
        identity_modes: (K, V, 3) float32, mm per standard deviation.
        expression_modes: (E, V, 3) float32, mm per unit.
        expression_names: E names.
        expression_kind: E strings, ``blendshape`` (weight in bounds) or ``pca`` (deviations).
        expression_bounds: (E, 2) float32; infinite for unbounded.
        expression_mean, expression_std: (E,) float32, the prior.
        albedo_mean: (V, 3) float32 linear RGB in [0, 1].
        albedo_modes: (A, V, 3) float32 linear RGB per standard deviation; A may be 0.
        uvs: (T, 2) float32; face_uvs: (F, 3) int32.
        landmarks: named maps of landmark sets to the surface (``ibug68``, ``now7``, ...).
        regions: named (V,) bool masks.
        mirror: (V,) int32 left-right partner of each vertex, or None.
        licence: licence text; provenance: how it was made.
    """

    name: str
    mean: np.ndarray
    faces: np.ndarray
    identity_modes: np.ndarray
    expression_modes: np.ndarray
    expression_names: tuple[str, ...]
    expression_kind: tuple[str, ...]
    expression_bounds: np.ndarray
    expression_mean: np.ndarray
    expression_std: np.ndarray
    albedo_mean: np.ndarray
    albedo_modes: np.ndarray
    uvs: np.ndarray | None = None
    face_uvs: np.ndarray | None = None
    landmarks: dict[str, LandmarkMap] = field(default_factory=dict)
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    mirror: np.ndarray | None = None
    licence: str = ""
    provenance: str = ""

    def __post_init__(self) -> None:
        v = len(check_array(self.mean, "model mean", shape=("V", 3), dtype="float"))
        object.__setattr__(self, "faces", check_faces(self.faces, v, "model faces"))
        check_array(self.identity_modes, "model identity_modes", shape=("K", v, 3))
        e = len(check_array(self.expression_modes, "model expression_modes", shape=("E", v, 3)))
        for name in ("expression_names", "expression_kind"):
            if len(getattr(self, name)) != e:
                raise InputError(
                    f"model {name}: expected {e} entries, got {len(getattr(self, name))}"
                )
        check_array(self.expression_bounds, "model bounds", shape=(e, 2), finite=False)
        check_array(self.expression_mean, "model expression_mean", shape=(e,))
        check_array(self.expression_std, "model expression_std", shape=(e,))
        check_array(self.albedo_mean, "model albedo_mean", shape=(v, 3))
        check_array(self.albedo_modes, "model albedo_modes", shape=("A", v, 3))
        for name, mask in self.regions.items():
            check_array(mask, f"model region {name}", shape=(v,), dtype="bool")
        if self.mirror is not None:
            check_array(self.mirror, "model mirror", shape=(v,), dtype="int")

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.mean)

    @property
    def num_identity(self) -> int:
        """K."""
        return len(self.identity_modes)

    @property
    def num_expression(self) -> int:
        """E."""
        return len(self.expression_modes)

    @property
    def num_albedo(self) -> int:
        """A."""
        return len(self.albedo_modes)

    def shape(
        self, identity: np.ndarray | None = None, expression: np.ndarray | None = None
    ) -> np.ndarray:
        """Return vertices (V, 3) float32 in mm for (up to K,) and (E,) coefficients.

        Missing coefficients are 0; a shorter identity vector uses the first modes.
        """
        vertices = self.mean.astype(np.float32, copy=True)
        for modes, coefficients, name in (
            (self.identity_modes, identity, "identity"),
            (self.expression_modes, expression, "expression"),
        ):
            if coefficients is None:
                continue
            values = check_array(coefficients, name, shape=("K",)).astype(np.float32)
            if len(values) > len(modes):
                raise InputError(f"{name}: expected at most {len(modes)}, got {len(values)}")
            vertices += np.tensordot(values, modes[: len(values)], axes=1)
        return vertices

    def albedo(self, coefficients: np.ndarray | None = None) -> np.ndarray:
        """Return per-vertex linear RGB (V, 3), clipped to [0, 1]."""
        albedo = self.albedo_mean.astype(np.float32, copy=True)
        if coefficients is not None and len(coefficients):
            values = np.asarray(coefficients, np.float32)
            albedo += np.tensordot(values, self.albedo_modes[: len(values)], axes=1)
        return np.clip(albedo, 0, 1)

    def mesh(
        self, identity: np.ndarray | None = None, expression: np.ndarray | None = None
    ) -> Mesh:
        """Return the posed-free mesh of the coefficients, in the head frame."""
        return Mesh(self.shape(identity, expression), self.faces, self.uvs, self.face_uvs)

    def landmark_map(self, name: str) -> LandmarkMap:
        """Return a landmark set's map, or raise InputError naming those that exist."""
        if name not in self.landmarks:
            known = ", ".join(sorted(self.landmarks)) or "none"
            raise InputError(f"model {self.name}: has no landmark set {name!r}; it has {known}")
        return self.landmarks[name]

    def landmark_points(self, name: str, vertices: np.ndarray) -> np.ndarray:
        """Return a landmark set's points (N, 3) on vertices (V, 3) of this topology."""
        marks = self.landmark_map(name)
        return np.einsum("nc,ncd->nd", marks.barycentric, vertices[self.faces[marks.faces]])

    @cached_property
    def sha256(self) -> str:
        """Content hash over the arrays that define shapes and colours."""
        digest = hashlib.sha256()
        for name in (
            "mean",
            "faces",
            "identity_modes",
            "expression_modes",
            "albedo_mean",
            "albedo_modes",
        ):
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        digest.update("\0".join(self.expression_names).encode())
        return digest.hexdigest()
