"""Heads that a morphable model cannot make: smooth random departures from its shapes.

A network that has only seen a model's own heads takes their regularities for everybody's, and
fails on other people. Departures that no coefficients describe teach it to look.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facekit.errors import InputError
from facekit.geometry.alignment import similarity_motions
from facekit.morphable.model import MorphableModel
from facekit.simulate.noise import solid_noise
from facekit.simulate.subject import Subject

# Lattice cells of the departures, mm, and each one's share.
_CELLS = ((80.0, 1.0), (40.0, 0.6), (20.0, 0.3))
# How much of a departure both sides of the face share.
_SYMMETRIC = 0.8


class IrregularShapes:
    """Random departures from a model's shapes, and the coefficients nearest to what comes out.

    Args:
        model: with a left-right map of its vertices.
        amount_mm: largest root mean square of a departure over the region ``scan``; a person's is
            drawn evenly up to it.

    Raises:
        InputError: a negative amount, or no left-right map.
    """

    def __init__(self, model: MorphableModel, amount_mm: float) -> None:
        if not amount_mm >= 0:
            raise InputError(f"irregular: expected 0 mm or more, got {amount_mm}")
        if model.mirror is None:
            raise InputError(f"model {model.name}: expected a left-right map of its vertices")
        self._model, self._mirror, self.amount_mm = model, model.mirror, amount_mm
        region = model.regions.get("scan", np.ones(model.num_vertices, bool))
        self._rows = np.flatnonzero(region)
        # Least squares over modes and a small similarity together.
        self._motions = similarity_motions(model.mean)
        shape = model.identity_modes[:, self._rows].astype(np.float64)
        fields = np.concatenate([shape, self._motions[:, self._rows]])
        self._columns = fields.reshape(len(fields), -1).T
        normal = self._columns.T @ self._columns
        self._solve = np.linalg.inv(
            normal + 1e-6 * np.trace(normal) / len(normal) * np.eye(len(normal))
        )

    def departure(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random displacement of every vertex, (V, 3) float64 mm.

        A mere move, turn or growth of the head is left out of it: the pose would have to say it.
        """
        total = np.zeros((self._model.num_vertices, 3))
        for cell, share in _CELLS:
            for axis in range(3):
                seed = int(rng.integers(1 << 30))
                total[:, axis] += share * solid_noise(self._model.mean, size=cell, seed=seed)
        both = 0.5 * (total + total[self._mirror] * [-1, 1, 1])
        total = _SYMMETRIC * both + (1 - _SYMMETRIC) * total
        total -= np.tensordot(self._fitted(total)[-len(self._motions) :], self._motions, 1)
        size = np.sqrt((total[self._rows] ** 2).sum(1).mean())
        return total * (self.amount_mm * rng.uniform() / max(size, 1e-9))

    def coefficients(self, displacement: np.ndarray) -> np.ndarray:
        """Return the identity coefficients (K,) that come nearest to a displacement (V, 3).

        Least squares over the region ``scan``, after the best small similarity.
        """
        return self._fitted(displacement)[: self._model.num_identity]

    def _fitted(self, displacement: np.ndarray) -> np.ndarray:
        """Modes and small similarity (K + 7,) that come nearest to a displacement (V, 3)."""
        return self._solve @ (self._columns.T @ displacement[self._rows].ravel())

    def bend(self, rng: np.random.Generator, subject: Subject) -> Subject:
        """Return a model's subject with a departure, and the coefficients nearest to it."""
        moved = self.departure(rng)
        neutral = (subject.neutral + moved).astype(np.float32)
        vertices = (subject.vertices + moved).astype(np.float32)
        identity = subject.identity + self.coefficients(moved)
        return replace(
            subject,
            neutral=neutral,
            vertices=vertices,
            truth_neutral=neutral,
            truth_vertices=vertices,
            identity=identity.astype(np.float32),
        )
