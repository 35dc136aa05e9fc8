"""The source heads: ICT-FaceKit's light model in one .npz, in millimetres.

The file holds ``neutral``, ``faces``, ``identity``, ``expression`` (centimetres), region ranges
and 68 landmark vertices. ICT-FaceKit: Li et al., Learning formation of physically-based face
attributes, 2020; MIT licence.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from facekit.errors import InputError
from facekit.geometry.mesh import mesh_edges
from facekit.io.npz import read_npz

CENTIMETRE = 10.0
# Regions of the half surface's faces.
SKIN, MOUTH, EYE_SOCKET = 0, 1, 2
_KEYS = (
    "neutral",
    "faces",
    "identity",
    "expression",
    "expression_names",
    "region_names",
    "region_vertex_range",
    "landmarks68",
)


class HalfSurface(NamedTuple):
    """The left half of the source's skin, mouth bag and eye socket.

    Attributes:
        faces: (F, 3) int32 of source vertices; regions: (F,) int SKIN, MOUTH or EYE_SOCKET.
        midline, lip_rim, eyelid_rim, neck_border: edges (S, 2) of source vertices.
    """

    faces: np.ndarray
    regions: np.ndarray
    midline: np.ndarray
    lip_rim: np.ndarray
    eyelid_rim: np.ndarray
    neck_border: np.ndarray


class IctSource:
    """ICT-FaceKit's mean, identity modes and expressions, with its left-right symmetry.

    Args:
        path: the .npz.

    Raises:
        InputError: the file is missing, no such file, or not symmetric.
    """

    def __init__(self, path: Path) -> None:
        data = read_npz(path, what="ICT-FaceKit's .npz")
        missing = [key for key in _KEYS if key not in data]
        if missing:
            raise InputError(f"{path}: expected ICT-FaceKit's .npz; missing {missing}")
        self._data = data
        self.neutral = self._data["neutral"].astype(np.float64) * CENTIMETRE
        self.faces = self._data["faces"]
        self.landmarks68 = self._data["landmarks68"]
        self.expression_names = tuple(str(n) for n in self._data["expression_names"])
        names = [str(n) for n in self._data["region_names"]]
        self._ranges = dict(zip(names, self._data["region_vertex_range"].tolist(), strict=True))

    def region(self, name: str) -> slice:
        """Return a region's vertices."""
        return slice(*self._ranges[name])

    @cached_property
    def skin_size(self) -> int:
        """Number of leading vertices that are skin, mouth bag and eye sockets."""
        return self._ranges["eye_socket_right"][1]

    @cached_property
    def mirror(self) -> np.ndarray:
        """(skin_size,) partner of each skin vertex across x = 0."""
        points = self.neutral[: self.skin_size]
        distance, partner = cKDTree(points).query(points * [-1, 1, 1])
        if distance.max() > 0.5 or (partner[partner] != np.arange(len(partner))).any():
            raise InputError("ICT-FaceKit: expected a neutral head that is left-right symmetric")
        return partner

    @cached_property
    def midline(self) -> np.ndarray:
        """Skin vertices that are their own partner."""
        return np.flatnonzero(self.mirror == np.arange(len(self.mirror)))

    @cached_property
    def symmetric(self) -> np.ndarray:
        """(skin_size, 3) the neutral skin made exactly symmetric, mm."""
        return self._symmetrise(self.neutral[: self.skin_size])

    @cached_property
    def ear_left(self) -> np.ndarray:
        """Vertices of the left ear: what stands out beside the head between brow and mouth."""
        x, y, z = self.symmetric.T
        return np.flatnonzero((x > 74) & (y > -12) & (y < 48) & (z < 32) & (z > -30))

    def _symmetrise(self, points: np.ndarray) -> np.ndarray:
        both = 0.5 * (points + points[self.mirror] * [-1, 1, 1])
        both[self.midline, 0] = 0.0
        return both

    def expression(self, name: str) -> np.ndarray:
        """Return an expression's displacements of every source vertex (V, 3) float64, mm."""
        row = self.expression_names.index(name)
        return self._data["expression"][row].astype(np.float64) * CENTIMETRE

    def symmetric_expression(self, name: str) -> np.ndarray:
        """Return an expression's displacements of the skin, averaged with their mirror image."""
        return self._symmetrise(self.expression(name)[: self.skin_size])

    def identity(self, weights: np.ndarray) -> np.ndarray:
        """Return the heads (N, V, 3) float32 of weights (N, K), mm."""
        modes = self._data["identity"][: weights.shape[1]].astype(np.float32)
        heads = np.tensordot(weights.astype(np.float32), modes, axes=1)
        return (heads + self._data["neutral"]) * np.float32(CENTIMETRE)

    @property
    def num_identity(self) -> int:
        """K, the number of identity modes."""
        return len(self._data["identity"])

    def left_half(self) -> HalfSurface:
        """Return the half surface with x >= 0 and its feature curves."""
        return self._half

    @cached_property
    def _half(self) -> HalfSurface:
        n = self.skin_size
        x = self.symmetric[:, 0]
        faces = self.faces[(self.faces < n).all(1)]
        faces = faces[x[faces].mean(1) > 0]
        if x[faces].min() < -1e-6:
            raise InputError("ICT-FaceKit: expected no triangle across the midline")
        first_mouth = self._ranges["mouth_socket"][0]
        first_socket = self._ranges["eye_socket_left"][0]
        lowest = faces.max(1)
        regions = np.select([lowest >= first_socket, lowest >= first_mouth], [EYE_SOCKET, MOUTH])
        edges = mesh_edges(faces)
        by_edge = np.zeros((len(edges.vertices), 3), int)
        for region in (SKIN, MOUTH, EYE_SOCKET):
            used = edges.face_edges[regions == region].ravel()
            by_edge[:, region] = np.bincount(used, minlength=len(by_edge))
        pairs, open_edge = edges.vertices, edges.num_faces == 1
        middle = (x[pairs] == 0).all(1)
        return HalfSurface(
            faces.astype(np.int32),
            regions,
            pairs[open_edge & middle],
            pairs[(by_edge[:, SKIN] > 0) & (by_edge[:, MOUTH] > 0)],
            pairs[(by_edge[:, SKIN] > 0) & (by_edge[:, EYE_SOCKET] > 0)],
            pairs[open_edge & ~middle],
        )
