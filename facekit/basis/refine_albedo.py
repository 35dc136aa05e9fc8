"""A model's skin colour learned on from fitted photographs.

The light of each photograph is solved with the model's own mean albedo and divided out, as where
an albedo is learned anew (``albedo``). Mean and modes then move towards what is left, by
expectation-maximisation in which the model itself counts for so many photographs, and the result
is judged by photographs that were kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from facekit.basis.albedo import even_or_odd, extended, with_mirror_images
from facekit.basis.missing_pca import missing_pca
from facekit.basis.refine import HELD_OUT, LEAST_PHOTOGRAPHS, Refinement
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
from facekit.morphable.model import MorphableModel

# Deviations of linear RGB among which the likeliest noise is looked for.
_NOISES = np.geomspace(0.002, 0.5, 80)


@dataclass(frozen=True)
class AlbedoRefineOptions:
    """How an albedo is learned on.

    Attributes:
        strength: how many photographs the model's own mean and modes count for.
        rounds: of expectation-maximisation.
        modes: of the result; None keeps the number, and learns one where there was none.
        skin: what counts as skin, and the priors of tone and light.
    """

    strength: float = 30.0
    rounds: int = 25
    modes: int | None = None
    skin: AlbedoConfig = field(default_factory=AlbedoConfig)


def refine_albedo(
    model: MorphableModel,
    photographs: Sequence[VertexColours],
    *,
    options: AlbedoRefineOptions | None = None,
) -> Refinement:
    """Learn a model's mean albedo and its modes on from photographs, one for each person.

    Old and new mean and modes are judged by the held-out photographs' skin, in nats for each value
    seen, each with the noise that makes the other photographs likeliest.

    Args:
        model: whose vertices, mean albedo and modes.
        photographs: see ``fit.vertex_colours``; every fifth is held out.
        options: see ``AlbedoRefineOptions``.

    Raises:
        InputError: fewer than 20 photographs, not more of them than modes, a model without a
            ``face`` region or a mirror, or nothing that enough photographs show.
    """
    chosen = options or AlbedoRefineOptions()
    if len(photographs) < LEAST_PHOTOGRAPHS:
        raise InputError(
            f"refine: expected at least {LEAST_PHOTOGRAPHS} photographs, got {len(photographs)}"
        )
    skin = chosen.skin
    parts = skin_parts(model, skin)
    old = np.maximum(model.albedo_mean.astype(np.float64), DARKEST)
    logs, levels = without_light(photographs, old, parts)
    share = np.isfinite(logs[:, :, 0]).mean(axis=0)
    found = np.minimum(share, share[parts.mirror]) >= skin.least_seen
    if not found.any():
        raise InputError("refine: no vertex's skin is seen in enough photographs")
    rows = parts.rows[found]
    mirrored = np.searchsorted(rows, parts.rows[parts.mirror[found]])
    tones = split_levels(levels, *level_priors(skin), seed=skin.seed)
    shown = np.exp(logs[:, found].astype(np.float32) + tones[:, None].astype(np.float32))
    offsets = shown - old[rows].astype(np.float32)
    held = np.arange(len(photographs)) % HELD_OUT == HELD_OUT - 1
    values, seen = with_mirror_images(offsets[~held], mirrored)
    # Each face and its mirror image are two rows, and so is what the model counts for.
    strength = 2 * chosen.strength
    shift = values.sum(axis=0) / (seen.sum(axis=0) + strength)
    known = model.albedo_modes[:, rows].reshape(model.num_albedo, 3 * len(rows))
    count = chosen.modes or max(model.num_albedo, 1)
    pca = missing_pca(
        values - shift,
        seen,
        count,
        rounds=chosen.rounds,
        known=known[:count],
        strength=strength,
    )
    judged, visible = with_mirror_images(offsets[held], mirrored)
    before = _held_out(known, (values, seen), (judged, visible))
    after = _held_out(pca.modes, (values - shift, seen), (judged - shift, visible))
    modes = even_or_odd(pca.modes.reshape(-1, len(rows), 3), mirrored)
    centre = np.maximum(old[rows] + shift.reshape(-1, 3), DARKEST)
    mean, whole = extended(model, rows, centre, modes)
    note = f"{model.provenance}; albedo learned on from {int((~held).sum())} photographs"
    new = replace(model, albedo_mean=mean, albedo_modes=whole, provenance=note)
    return Refinement(new, int((~held).sum()), int(held.sum()), before, after)


class _Moments(NamedTuple):
    """All that rows say of their likelihood under modes W (K, D), whatever the noise.

    Attributes:
        grams: (N, K, K) W W^T over what a row shows; products: (N, K) W x; squares: (N,) x^T x.
        counts: (N,) values that a row shows.
    """

    grams: np.ndarray
    products: np.ndarray
    squares: np.ndarray
    counts: np.ndarray


def _moments(rows: np.ndarray, seen: np.ndarray, modes: np.ndarray) -> _Moments:
    found = []
    for row, shown in zip(rows, seen, strict=True):
        loads, value = modes[:, shown].astype(np.float64), row[shown].astype(np.float64)
        found.append((loads @ loads.T, loads @ value, value @ value, len(value)))
    return _Moments(*(np.array(column) for column in zip(*found, strict=True)))


def _unlikelihood(told: _Moments, noise: float) -> float:
    """Return nats for each value seen of rows ~ N(0, W W^T + noise^2 I) over what they show.

    Determinant and inverse by K x K matrices (Woodbury).
    """
    inner = told.grams / noise**2 + np.eye(told.grams.shape[1])
    pulled = told.products / noise**2
    within = np.einsum("nk,nk->n", pulled, np.linalg.solve(inner, pulled[..., None])[..., 0])
    size = np.linalg.slogdet(inner)[1] + 2 * told.counts * np.log(noise)
    total = 0.5 * (size + told.squares / noise**2 - within).sum()
    return float(total / max(int(told.counts.sum()), 1) + 0.5 * np.log(2 * np.pi))


def _held_out(
    modes: np.ndarray,
    kept: tuple[np.ndarray, np.ndarray],
    judged: tuple[np.ndarray, np.ndarray],
) -> float:
    """Return the unlikelihood of judged rows, with the noise that is likeliest for the kept ones.

    Both are pairs of rows and what of them is seen.
    """
    own = _moments(*kept, modes)
    noise = min(_NOISES, key=lambda value: _unlikelihood(own, float(value)))
    return _unlikelihood(_moments(*judged, modes), float(noise))
