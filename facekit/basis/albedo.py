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
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from facekit.basis.missing_pca import missing_pca
from facekit.basis.skin_observations import (
    AlbedoConfig,
    level_priors,
    skin_parts,
    split_levels,
    without_light,
)
from facekit.errors import InputError
from facekit.fit.skin_light import DARKEST
from facekit.fit.vertex_colours import VertexColours
from facekit.geometry.mesh import vertex_adjacency
from facekit.morphable.model import MorphableModel
from facekit.simulate.skin import tone_of_ita


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
    parts = skin_parts(model, config)
    total = config.rounds + 1
    mean = np.maximum(model.albedo_mean.astype(np.float64), DARKEST)
    aim = tone_of_ita(config.ita_deg)
    for number in range(config.rounds):
        logs, levels = without_light(photographs, mean, parts)
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
    tones = split_levels(levels, *level_priors(config), seed=config.seed)
    rows = parts.rows[found]
    albedo = np.exp(logs[:, found].astype(np.float32) + tones[:, None].astype(np.float32))
    centre = np.nanmean(albedo, axis=0)
    mirrored = np.searchsorted(rows, parts.rows[parts.mirror[found]])
    both, shown = with_mirror_images(albedo - centre, mirrored)
    pca = missing_pca(both, shown, config.modes, rounds=config.pca_rounds)
    modes = even_or_odd(pca.modes.reshape(-1, len(rows), 3), mirrored)
    if progress is not None:
        progress(total, total)
    known = np.zeros(model.num_vertices, bool)
    known[rows] = True
    whole_mean, whole_modes = extended(model, rows, 0.5 * (centre + centre[mirrored]), modes)
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


def with_mirror_images(offsets: np.ndarray, mirrored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (2N, 3R) of every face and its mirror image, and which values are seen.

    Args:
        offsets: (N, R, 3), NaN where unseen.
        mirrored: (R,) each vertex' partner.
    """
    both = np.concatenate([offsets, offsets[:, mirrored]]).reshape(2 * len(offsets), -1)
    return np.nan_to_num(both), np.isfinite(both)


def even_or_odd(modes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Return modes (K, N, 3) made exactly symmetric or antisymmetric, whichever is nearer."""
    other = modes[:, mirror]
    sign = np.sign((modes * other).sum(axis=(1, 2)))
    sign[sign == 0] = 1
    return 0.5 * (modes + sign[:, None, None] * other)


def extended(
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
