"""Skin colour of many people, learned from photographs their heads were fitted to.

Every photograph shows albedo times light. With a first mean albedo the light of each is solved
(nine harmonics a channel, robustly); what is left after dividing it out, over all photographs, is a
better mean, and so on. How bright and how yellow a person is cannot be told from how bright and
how yellow the light was: the mean is given the colour of skin as it was measured, and a
photograph's level is divided between skin and light by priors of both (``split_levels``), else
exposure would be learned as skin tone. What lies far from skin (hair,
beard, glasses, shine) is left out of each photograph, and the modes are those of the rest
(``missing_pca``), of every face and its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from facekit.basis.missing_pca import missing_pca
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


class LearnedAlbedo(NamedTuple):
    """A mean and its modes.

    Attributes:
        mean: (V, 3) float32 linear RGB; modes: (K, V, 3) float32, a standard deviation each.
        known: (V,) bool, vertices that were learned; the rest follows its neighbours.
        explained: (K,) share of the variance that the first k modes hold.
        noise: deviation of linear RGB that the modes leave at a vertex.
        level: (3,) mean logarithm of the photographs' light by channel.
    """

    mean: np.ndarray
    modes: np.ndarray
    known: np.ndarray
    explained: np.ndarray
    noise: float
    level: np.ndarray


def learn_albedo(
    model: MorphableModel,
    photographs: Sequence[VertexColours],
    config: AlbedoConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> LearnedAlbedo:
    """Learn a mean albedo and its modes.

    Args:
        model: whose vertices; its albedo is where the first lights come from, and what eyes and
            mouth keep.
        photographs: see ``fit.vertex_colours``; some hundred different people.
        config: see ``AlbedoConfig``.
        progress: called with rounds done and in all.

    Raises:
        InputError: fewer photographs than twice the modes, a model without a ``face`` region or
            a mirror, or nothing that enough photographs show.
    """
    config = config or AlbedoConfig()
    if len(photographs) < 2 * config.modes:
        raise InputError(
            f"albedo: expected at least {2 * config.modes} photographs for {config.modes} modes, "
            f"got {len(photographs)}"
        )
    if "face" not in model.regions or model.mirror is None:
        raise InputError(f"model {model.name}: an albedo needs a 'face' region and a mirror")
    parts = _parts(model, model.mirror, config)
    total = config.rounds + 1
    mean = np.maximum(model.albedo_mean.astype(np.float64), DARKEST)
    aim = tone_of_ita(config.ita_deg)
    for number in range(config.rounds):
        logs, levels = _without_light(photographs, mean, parts)
        share = np.isfinite(logs[:, :, 0]).mean(axis=0)
        found = np.minimum(share, share[parts.mirror]) >= config.least_seen
        if not found.any():
            raise InputError("albedo: no vertex is seen in enough photographs")
        middle = np.zeros((len(found), 3))
        middle[found] = np.nanmedian(logs[:, found].astype(np.float32), axis=0)
        mean[parts.rows[found]] = np.exp(middle[found])
        mean *= aim / np.median(mean[parts.plain], axis=0)
        mean = np.maximum(0.5 * (mean + mean[model.mirror]), DARKEST)
        if progress is not None:
            progress(number + 1, total)
    tones = split_levels(levels, *_priors(config), seed=config.seed)
    rows = parts.rows[found]
    albedo = np.exp(logs[:, found].astype(np.float32) + tones[:, None].astype(np.float32))
    seen = np.isfinite(albedo)
    centre = np.nanmean(albedo, axis=0)
    offsets = np.where(seen, albedo - centre, 0)
    mirrored = np.searchsorted(rows, model.mirror[rows])
    both = np.concatenate([offsets, offsets[:, mirrored]]).reshape(2 * len(offsets), -1)
    shown = np.concatenate([seen, seen[:, mirrored]]).reshape(len(both), -1)
    pca = missing_pca(both, shown, config.modes, rounds=config.pca_rounds)
    modes = _even_or_odd(pca.modes.reshape(-1, len(rows), 3), mirrored)
    if progress is not None:
        progress(total, total)
    known = np.zeros(model.num_vertices, bool)
    known[rows] = True
    whole_mean, whole_modes = _extended(model, rows, 0.5 * (centre + centre[mirrored]), modes)
    variance = pca.deviations**2
    left = pca.noise**2 * both.shape[1]
    return LearnedAlbedo(
        whole_mean,
        whole_modes,
        known,
        np.cumsum(variance) / (variance.sum() + left),
        pca.noise,
        levels.mean(0),
    )


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


def _priors(config: AlbedoConfig) -> tuple[np.ndarray, np.ndarray]:
    """Covariances (3, 3) of the logarithms of skin tone and of light."""
    melanin = np.log(tone_of_ita(-20.0) / tone_of_ita(50.0))
    parts = [
        config.tone_std * melanin / abs(melanin[1]),
        config.blood_std * _BLOOD,
    ]
    tone = sum(np.outer(part, part) for part in parts)
    return np.asarray(tone), level_covariance(config.exposure_std, config.balance_std)


class _Parts(NamedTuple):
    rows: np.ndarray  # vertices that may be learned
    mirror: np.ndarray  # of rows: which row is the partner's
    plain: np.ndarray  # bool over all vertices: cheeks, forehead, nose, chin
    limit: np.ndarray  # of rows: distance from the mean that is no skin
    light: np.ndarray  # vertices the light is solved at
    hollows: np.ndarray  # of all vertices: factor of ambient occlusion


def _parts(model: MorphableModel, mirror: np.ndarray, config: AlbedoConfig) -> _Parts:
    none = np.zeros(model.num_vertices, bool)

    def region(name: str) -> np.ndarray:
        return model.regions.get(name, none)

    face = model.regions["face"]
    skin = face & model.regions.get("skin", ~none)
    for name in ("eyeballs", "eye_socket", "mouth_inside", "nostrils"):
        skin = skin & ~region(name)
    outline = np.flatnonzero(_border(model, face))
    if len(outline):
        from scipy.spatial import cKDTree

        away = cKDTree(model.mean[outline]).query(model.mean)[0]
        skin = skin & (away > config.border_mm)
    skin = skin & skin[mirror]
    varied = region("brows") | region("lips") | region("eyelids") | region("eyelid_rim")
    plain = skin & ~varied
    rows = np.flatnonzero(skin)
    candidates = np.flatnonzero(plain)
    return _Parts(
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


def _without_light(
    photographs: Sequence[VertexColours],
    mean: np.ndarray,
    parts: _Parts,
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of albedo (N, rows, 3) float16, NaN where unseen, and levels (N, 3).

    Each photograph's level, the light's mean logarithm over skin, is taken out with its light.
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


def _even_or_odd(modes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Return modes (K, N, 3) made exactly symmetric or antisymmetric, whichever is nearer."""
    other = modes[:, mirror]
    sign = np.sign((modes * other).sum(axis=(1, 2)))
    sign[sign == 0] = 1
    return 0.5 * (modes + sign[:, None, None] * other)


def _extended(
    model: MorphableModel, rows: np.ndarray, mean: np.ndarray, modes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Carry a face's albedo to the whole head.

    The rest of the skin takes the ratio to the painted albedo that is harmonic on the mesh with
    the face's values given; eyes and mouth keep the painted colour and do not vary.
    """
    painted = np.maximum(model.albedo_mean.astype(np.float64), DARKEST)
    count = model.num_vertices
    skin = model.regions.get("skin", np.ones(count, bool)).copy()
    skin[rows] = True
    ratio = np.log(np.maximum(mean, DARKEST) / painted[rows])
    relative = modes.transpose(1, 0, 2) / np.maximum(mean, DARKEST)[:, None]
    given = np.column_stack([ratio, relative.reshape(len(rows), -1)])
    filled = _harmonic(model.faces, skin, rows, given)
    whole = painted.copy()
    whole[skin] = painted[skin] * np.exp(filled[skin, :3])
    varied = filled[:, 3:].reshape(count, -1, 3) * whole[:, None]
    varied[~skin] = 0
    whole[rows] = mean
    return whole.astype(np.float32), varied.transpose(1, 0, 2).astype(np.float32)


def _harmonic(
    faces: np.ndarray, region: np.ndarray, rows: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return (V, D): ``values`` at ``rows``, harmonic over the rest of the region, else 0."""
    count = len(region)
    result = np.zeros((count, values.shape[1]))
    result[rows] = values
    fixed = np.zeros(count, bool)
    fixed[rows] = True
    free = np.flatnonzero(region & ~fixed)
    if not len(free):
        return result
    links = sp.csr_array(vertex_adjacency(faces, count)).astype(float)
    links = links[free]
    inside = links[:, np.flatnonzero(region)].sum(axis=1)
    # A little pull to zero keeps pieces that touch nothing known where they were.
    matrix = sp.diags_array(np.asarray(inside) + 1e-6) - links[:, free]
    result[free] = splu(sp.csc_array(matrix)).solve(links[:, rows] @ values)
    return result
