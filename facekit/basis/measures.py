"""How good a basis is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.geometry.mesh import vertex_areas
from facekit.morphable.model import MorphableModel


class ShapeError(NamedTuple):
    """Mean and largest distance of corresponding vertices, mm."""

    mean_mm: float
    max_mm: float


def quantisation_error(
    exact: MorphableModel, stored: MorphableModel, *, count: int = 20, seed: int = 0
) -> ShapeError:
    """Compare a model with its stored twin on random shapes.

    Identities N(0, 1); blendshapes exponential of mean 0.15, cut to [0, 1]; ``pca`` modes N(0, 1).

    Raises:
        InputError: the models have other vertices or modes.
    """
    same = ("num_vertices", "num_identity", "num_expression")
    if any(getattr(exact, n) != getattr(stored, n) for n in same):
        raise InputError("quantisation error: expected two models of the same size")
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(count):
        identity = rng.standard_normal(exact.num_identity)
        pca = rng.standard_normal(exact.num_expression)
        mild = np.minimum(rng.exponential(0.15, exact.num_expression), 1)
        expression = np.where(np.array(exact.expression_kind, dtype=object) == "pca", pca, mild)
        gap = exact.shape(identity, expression) - stored.shape(identity, expression)
        distances.append(np.linalg.norm(gap, axis=1))
    return ShapeError(float(np.mean(distances)), float(np.max(distances)))


def mode_sizes(model: MorphableModel) -> np.ndarray:
    """Return (K,) each identity mode's root mean square displacement over the surface, mm."""
    areas = vertex_areas(model.mean, model.faces)
    squares = (model.identity_modes.astype(np.float64) ** 2).sum(axis=2)
    return np.sqrt(squares @ (areas / areas.sum()))
