"""Skin colour of one photographed face: coefficients of a model's albedo, and the light.

A photograph shows albedo times light. Light is solved for the present albedo; then what differs
from vertex to vertex is explained by the modes, and what all of the face has in common is
divided between skin tone and the light's level by the priors of both; and again. Neighbouring
vertices err alike, so thousands of them count as a few hundred measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.errors import ItemError
from facekit.fit.skin_light import (
    BALANCE_STD,
    DARKEST,
    EXPOSURE_STD,
    HOLLOWS,
    level_covariance,
    solve_light,
)
from facekit.fit.vertex_colours import VertexColours
from facekit.morphable.model import MorphableModel

_LEAST_SEEN = 50


@dataclass(frozen=True)
class AlbedoFitConfig:
    """Priors of the light and of what the modes leave.

    Attributes:
        level: expected logarithm of the light's level by channel: how bright and how white
            portraits are lit.
        exposure_std, balance_std: deviations from it, as ``basis.albedo`` has them.
        noise: deviation of the logarithm of colour that neither light nor modes explain.
        independent: how many independent measurements a whole face is worth.
        alien: distance of the logarithm from the mean beyond which it is no skin.
        rounds: of light and albedo.
    """

    level: tuple[float, float, float] = (-0.03, -0.04, 0.13)
    exposure_std: float = EXPOSURE_STD
    balance_std: float = BALANCE_STD
    noise: float = 0.12
    independent: float = 200.0
    alien: float = 0.6
    rounds: int = 4


class AlbedoFit(NamedTuple):
    """Skin colour and light of a face.

    Attributes:
        coefficients: (A,) standard deviations; covariance: (A, A) of their posterior.
        light: (9, 3) harmonics, linear RGB.
        used: vertices that counted.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    light: np.ndarray
    used: int


def fit_albedo(
    seen: VertexColours,
    model: MorphableModel,
    config: AlbedoFitConfig | None = None,
    *,
    openness: np.ndarray | None = None,
) -> AlbedoFit:
    """Return the albedo coefficients and the light that explain a face's colours.

    Args:
        seen: of the model's vertices; see ``vertex_colours``.
        model: with albedo modes.
        config: see ``AlbedoFitConfig``.
        openness: (V,) of ``mean_openness``, which an albedo learned by ``basis.albedo`` has been
            freed of; None sees no hollows.

    Raises:
        ItemError: the model has no albedo modes, or too little skin is seen.
    """
    config = config or AlbedoFitConfig()
    if not model.num_albedo:
        raise ItemError(f"model {model.name}: has no albedo modes")
    rows = skin_rows(seen, model)
    if len(rows) < _LEAST_SEEN:
        raise ItemError(f"albedo: expected {_LEAST_SEEN} vertices of skin or more, got {len(rows)}")
    mean = np.maximum(model.albedo_mean[rows].astype(np.float64), DARKEST)
    modes = model.albedo_modes[:, rows].astype(np.float64)
    colours, weights = seen.colours[rows].astype(np.float64), seen.facing[rows].astype(np.float64)
    if openness is not None:
        colours = colours / openness[rows, None] ** HOLLOWS
    basis = seen.basis[rows].astype(np.float64)
    observed = np.log(np.maximum(colours, DARKEST))
    level_precision = np.linalg.inv(level_covariance(config.exposure_std, config.balance_std))
    information = config.independent / config.noise**2
    coefficients = np.zeros(model.num_albedo)
    for _ in range(config.rounds):
        albedo = _albedo(mean, modes, coefficients)
        light = solve_light(colours, basis, albedo, weights)
        lit = np.log(np.maximum(basis @ light, 1e-3))
        off = (observed - lit - np.log(albedo)).mean(axis=1)
        counted = weights * (np.abs(off - np.median(off)) < config.alien)
        share = counted / counted.sum()
        # Gauss-Newton on the logarithm: what the albedo lacks at the present one.
        slope = modes / albedo
        lacking = observed - np.log(albedo) + np.tensordot(coefficients, slope, axes=1)
        # All of the face has the level in common; the rest, without the light, is pattern.
        level = share @ lacking
        pattern = lacking - lit - (level - share @ lit)
        common = np.einsum("n,knc->kc", share, slope)
        relief = slope - common[:, None]
        hessian = information * np.einsum("knc,n,mnc->km", relief, share, relief)
        hessian += common @ level_precision @ common.T + np.eye(len(coefficients))
        gradient = information * np.einsum("knc,n,nc->k", relief, share, pattern)
        gradient += common @ level_precision @ (level - np.array(config.level))
        coefficients = np.linalg.solve(hessian, gradient)
    light = solve_light(colours, basis, _albedo(mean, modes, coefficients), counted)
    return AlbedoFit(coefficients, np.linalg.inv(hessian), light, int((counted > 0).sum()))


def _albedo(mean: np.ndarray, modes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    return np.maximum(mean + np.tensordot(coefficients, modes, axes=1), DARKEST)


def skin_rows(seen: VertexColours, model: MorphableModel) -> np.ndarray:
    """Return the vertices of facial skin that a photograph shows."""
    skin = model.regions.get("face", np.ones(model.num_vertices, bool))
    for name in ("eyes", "mouth_inside", "nostrils"):
        skin = skin & ~model.regions.get(name, np.zeros(model.num_vertices, bool))
    return np.flatnonzero(skin & (seen.facing > 0))
