"""The rows of a morphable model that 68 landmarks see, with the jaw free to move.

Where a labeller's jaw landmarks mark the outline of the face in the image and not fixed points of
the surface (``DetectedFace.jaw_on_outline``), the outline on the far side wanders over the cheek
towards the nose as the head turns away. Each jaw landmark therefore has a strip of candidates, and
the fit of such landmarks takes the one on the outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facekit.geometry.mesh import vertex_normals
from facekit.morphable.model import MorphableModel
from facekit.types import LandmarkMap

NUM_JAW = 17


@dataclass(frozen=True, eq=False)
class LandmarkBasis:
    """Linear maps from coefficients to landmark positions, rows of a model.

    Rows 0 to 67 are the landmarks; further rows are the jaw's other candidates.

    Attributes:
        mean: (P, 3) float64, mm, head frame.
        modes: (P, 3, K + E) float64, mm per coefficient, identity first.
        normals: (P, 3) unit normals on the mean.
        strips: 17 arrays of rows, each from the landmark itself towards the face's middle.
        covariance_mm2: (68, 2, 2) spread of a labeller about the rows, frontal image axes.
        num_identity: K.
    """

    mean: np.ndarray
    modes: np.ndarray
    normals: np.ndarray
    strips: tuple[np.ndarray, ...]
    covariance_mm2: np.ndarray
    num_identity: int

    def points(self, coefficients: np.ndarray) -> np.ndarray:
        """Return all rows' positions (P, 3) for coefficients (K + E,)."""
        return self.mean + self.modes @ coefficients

    def visible_rows(
        self, points: np.ndarray, rotation: np.ndarray, translation: np.ndarray
    ) -> np.ndarray:
        """Choose the row of each landmark, (68,) int, for a head-to-camera pose.

        A jaw landmark keeps its own row while that faces the camera; when it has turned away, it
        takes the first candidate of its strip that faces it, which lies at the outline. With no
        such candidate it takes the last one.
        """
        rows = np.arange(68)
        # Strips are filled up with their last row, which stands in where no candidate faces it.
        seen = self._facing(points, rotation, translation)[self.padded_strips]
        seen[:, -1] = True
        chosen = seen.argmax(axis=1)
        rows[: len(chosen)] = self.padded_strips[np.arange(len(chosen)), chosen]
        return rows

    @cached_property
    def padded_strips(self) -> np.ndarray:
        """The strips as one array (17, longest + 1)."""
        length = max(len(strip) for strip in self.strips) + 1
        return np.array([[*strip, *[strip[-1]] * (length - len(strip))] for strip in self.strips])

    def _facing(
        self, points: np.ndarray, rotation: np.ndarray, translation: np.ndarray
    ) -> np.ndarray:
        towards = points @ rotation.T + translation
        return np.einsum("pd,pd->p", self.normals @ rotation.T, towards) < 0


def build_landmark_basis(model: MorphableModel) -> LandmarkBasis:
    """Collect the rows of a model's ``ibug68`` map and of its ``jaw_strip_00`` to ``_16``.

    A model without strips keeps its jaw landmarks fixed; one without a stored covariance gets
    2 mm (jaw: 4 mm) in each direction.

    Raises:
        InputError: the model has no ``ibug68`` map.
    """
    marks = model.landmark_map("ibug68")
    means, modes, normals = [], [], []
    vertex_normal = vertex_normals(model.mean, model.faces)
    all_modes = (model.identity_modes, model.expression_modes)

    def add(mark: LandmarkMap) -> None:
        corners = model.faces[mark.faces]
        weights = mark.barycentric.astype(np.float64)
        means.append(np.einsum("nc,ncd->nd", weights, model.mean[corners]))
        parts = [
            np.einsum("nc,kncd->ndk", weights, block[:, corners].astype(np.float64))
            for block in all_modes
        ]
        modes.append(np.concatenate(parts, axis=2))
        normal = np.einsum("nc,ncd->nd", weights, vertex_normal[corners])
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))

    add(marks)
    strips: list[np.ndarray] = []
    first = 68
    for index in range(NUM_JAW):
        name = f"jaw_strip_{index:02d}"
        if name not in model.landmarks:
            strips.append(np.array([index]))
            continue
        candidates = model.landmarks[name]
        add(candidates)
        offsets = np.linalg.norm(means[-1] - means[0][index], axis=1)
        # Candidates run from the back of the head forwards; those behind the landmark never
        # become the outline before it does.
        keep = np.arange(int(offsets.argmin()) + 1, len(offsets))
        strips.append(np.concatenate([[index], first + keep]))
        first += len(offsets)
    covariance = marks.covariance_mm2
    if covariance is None:
        deviation = np.where(np.arange(68) < NUM_JAW, 4.0, 2.0)
        covariance = deviation[:, None, None] ** 2 * np.eye(2)
    return LandmarkBasis(
        np.concatenate(means).astype(np.float64),
        np.concatenate(modes),
        np.concatenate(normals),
        tuple(strips),
        np.asarray(covariance, np.float64),
        model.num_identity,
    )
