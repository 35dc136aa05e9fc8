"""Sums over pixels that do not depend on the number of threads.

A kernel adds up the pixels of one run (``Held.runs``) into that run's own array; the runs of an
image are then added in their order. Which thread did which run does not matter.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from facekit.render.differentiable.held import Held
from facekit.render.differentiable.signatures import DOUBLE, LONG, LONG1, OPTIONS, both, read, write
from facekit.threads import run_ranges

_MIN_VERTICES = 4_000


def runs_of_images(held: Held) -> np.ndarray:
    """(B + 1,) int64: the runs of image b are ``bounds[b]:bounds[b + 1]``."""
    return np.searchsorted(held.runs[:, 0], np.arange(held.shape[0] + 1)).astype(np.int64)


def add_runs(parts: np.ndarray, held: Held, scale: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return scale_b times the sum of the parts of each image's runs.

    Args:
        parts: (T, V, C) float64, one for each run.
        held: whose runs they are.
        scale: (B,).
        dtype: of the result, float32 or float64.

    Returns:
        (B, V, C); zero for an image that sees no face.
    """
    batch, (count, channels) = held.shape[0], parts.shape[1:]
    out = np.empty((batch, count, channels), dtype)
    bounds = runs_of_images(held)
    factor = np.ascontiguousarray(scale, np.float64)
    run_ranges(
        lambda a, b: _add_runs(parts, bounds, factor, out, a, b),
        batch * count,
        min_chunk=_MIN_VERTICES,
    )
    return out


def add_small(parts: np.ndarray, held: Held) -> np.ndarray:
    """Return the sums (B, ...) of small parts (T, ...) in the order of the runs."""
    out = np.zeros((held.shape[0], *parts.shape[1:]), parts.dtype)
    np.add.at(out, held.runs[:, 0], parts)
    return out


@numba.njit(
    both(lambda t: (read(DOUBLE, 3), LONG1, read(DOUBLE, 1), write(t, 3), LONG, LONG)), **OPTIONS
)
def _add_runs(parts, bounds, scale, out, start, stop):
    count, channels = out.shape[1], out.shape[2]
    for image in range(start // count, -(-stop // count)):
        low, high = max(start - image * count, 0), min(stop - image * count, count)
        for v in range(low, high):
            for c in range(channels):
                total = 0.0
                for t in range(bounds[image], bounds[image + 1]):
                    total += parts[t, v, c]
                out[image, v, c] = scale[image] * total
