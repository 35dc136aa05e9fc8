"""Skin as photographs show it, vertex by vertex, with the light divided out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from facekit.errors import InputError
from facekit.fit.skin_light import (
    BALANCE_STD,
    DARKEST,
    EXPOSURE_STD,
    HOLLOWS,
    level_covariance,
    solve_light,
)
from facekit.fit.vertex_colours import VertexColours
from facekit.fit.visibility import mean_openness
from facekit.geometry.mesh import vertex_adjacency
from facekit.morphable.model import MorphableModel
from facekit.simulate.skin import tone_of_ita

# Logarithms of linear RGB that blood in the skin takes away, green's being 1.
_BLOOD = np.array([0.15, 1.0, 0.75])
# Vertices at which a photograph's light is solved.
_LIGHT_POINTS = 1200


@dataclass(frozen=True)
class AlbedoConfig:
    """How an albedo is learned.

    Attributes:
        modes: principal components.
        rounds: of light and mean.
        ita_deg: individual typology angle that the mean plain skin is given.
        tone_std, blood_std: prior deviations of the logarithm of skin's green light by melanin
            and by blood, among all people rather than those photographed.
        exposure_std, balance_std: prior deviations of the logarithm of the light on a face, of
            all channels together and of each.
        seed: of the tones that are drawn from what the priors leave open.
        hollows: how much of the ambient occlusion of the mean head shows in photographs.
        alien: distance of the logarithm from the mean beyond which plain skin is no skin; brows,
            lids and lips vary twice as much.
        least_seen: share of photographs that must show a vertex' skin.
        border_mm: band along the face's outline, where hair and collars begin, that is left out.
        pca_rounds: of expectation-maximisation.
    """

    modes: int = 10
    rounds: int = 4
    ita_deg: float = 28.0
    tone_std: float = 0.4
    blood_std: float = 0.06
    exposure_std: float = EXPOSURE_STD
    balance_std: float = BALANCE_STD
    hollows: float = HOLLOWS
    alien: float = 0.45
    least_seen: float = 0.3
    border_mm: float = 5.0
    pca_rounds: int = 25
    seed: int = 0


class SkinParts(NamedTuple):
    """Which vertices of a model show skin.

    Attributes:
        rows: (R,) vertices that may be learned.
        mirror: (R,) which row is the partner's.
        plain: (V,) bool: cheeks, forehead, nose, chin.
        limit: (R,) distance from the mean, of the logarithm, that is no skin.
        light: vertices the light is solved at.
        hollows: (V,) factor of ambient occlusion.
    """

    rows: np.ndarray
    mirror: np.ndarray
    plain: np.ndarray
    limit: np.ndarray
    light: np.ndarray
    hollows: np.ndarray


def skin_parts(model: MorphableModel, config: AlbedoConfig) -> SkinParts:
    """Return which vertices of a model show skin.

    Raises:
        InputError: a model without a ``face`` region or a mirror.
    """
    if "face" not in model.regions or model.mirror is None:
        raise InputError(f"model {model.name}: an albedo needs a 'face' region and a mirror")
    mirror = model.mirror
    none = np.zeros(model.num_vertices, bool)

    def region(name: str) -> np.ndarray:
        return model.regions.get(name, none)

    face = model.regions["face"]
    skin = face & model.regions.get("skin", ~none)
    for name in ("eyeballs", "eye_socket", "mouth_inside", "nostrils"):
        skin = skin & ~region(name)
    outline = np.flatnonzero(_border(model, face))
    if len(outline):
        away = cKDTree(model.mean[outline]).query(model.mean)[0]
        skin = skin & (away > config.border_mm)
    skin = skin & skin[mirror]
    varied = region("brows") | region("lips") | region("eyelids") | region("eyelid_rim")
    plain = skin & ~varied
    rows = np.flatnonzero(skin)
    candidates = np.flatnonzero(plain)
    return SkinParts(
        rows,
        np.searchsorted(rows, mirror[rows]),
        plain,
        np.where(varied[rows], 2 * config.alien, config.alien),
        candidates[:: max(1, len(candidates) // _LIGHT_POINTS)],
        mean_openness(model) ** config.hollows,
    )


def _border(model: MorphableModel, region: np.ndarray) -> np.ndarray:
    """Return the region's vertices with a neighbour outside that is skin too."""
    outside = ~region & model.regions.get("skin", np.ones(len(region), bool))
    return region & ((vertex_adjacency(model.faces, len(region)) @ outside.astype(float)) > 0)


def without_light(
    photographs: Sequence[VertexColours],
    mean: np.ndarray,
    parts: SkinParts,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the light out of photographs.

    Args:
        photographs: see ``fit.vertex_colours``.
        mean: (V, 3) albedo that lights are solved with, linear RGB.
        parts: see ``skin_parts``.

    Returns:
        Logarithms of albedo (N, R, 3) float16, NaN where no skin is seen, and levels (N, 3): each
        photograph's mean logarithm of light over its skin, which is taken out with the light.
    """
    logs = np.full((len(photographs), len(parts.rows), 3), np.nan, np.float16)
    levels = np.zeros((len(photographs), 3))
    expected = np.log(mean[parts.rows])
    for index, photo in enumerate(photographs):
        at = parts.light[photo.facing[parts.light] > 0]
        if len(at) < 50:
            continue
        shown = mean[at] * parts.hollows[at, None]
        basis = photo.basis[at].astype(np.float64)
        light = solve_light(photo.colours[at], basis, shown, photo.facing[at].astype(np.float64))
        lit = np.maximum(basis @ light, 1e-3)
        levels[index] = np.log(lit).mean(axis=0)
        shade = np.maximum(photo.basis[parts.rows] @ light, 1e-3) * parts.hollows[parts.rows, None]
        value = np.log(np.maximum(photo.colours[parts.rows], DARKEST) / shade)
        offset = (value - expected).mean(axis=1)
        good = (photo.facing[parts.rows] > 0) & (np.abs(offset) < parts.limit)
        good &= shade.min(axis=1) > 0.2 * np.exp(levels[index].mean())
        logs[index, good] = value[good]
    return logs, levels


def split_levels(
    levels: np.ndarray, tone: np.ndarray, light: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Divide photographs' levels between skin tone and light, and return tones (N, 3).

    A level is tone plus light; with covariances T and G the tone of a level c is normal with mean
    T (T + G)^-1 (c - mean) and covariance T - T (T + G)^-1 T. It is drawn from that: expected
    tones would be more alike than people are.

    Args:
        levels: (N, 3) logarithms of linear RGB.
        tone, light: (3, 3) covariances.
        seed: of the draws.
    """
    gain = np.linalg.solve(tone + light, tone).T
    left = tone - gain @ tone
    values, axes = np.linalg.eigh(0.5 * (left + left.T))
    root = axes * np.sqrt(np.maximum(values, 0))
    draws = np.random.default_rng(seed).standard_normal(levels.shape) @ root.T
    return (levels - levels.mean(0)) @ gain.T + draws


def level_priors(config: AlbedoConfig) -> tuple[np.ndarray, np.ndarray]:
    """Covariances (3, 3) of the logarithms of skin tone and of light."""
    melanin = np.log(tone_of_ita(-20.0) / tone_of_ita(50.0))
    parts = [
        config.tone_std * melanin / abs(melanin[1]),
        config.blood_std * _BLOOD,
    ]
    tone = sum(np.outer(part, part) for part in parts)
    return np.asarray(tone), level_covariance(config.exposure_std, config.balance_std)
