"""Poisson blending: bring one picture's colours to another's along their border, and no seam.

A picture pasted beside known texels keeps its gradients when the difference to them is continued
harmonically over it: the membrane. Source: P. Perez, M. Gangnet, A. Blake, Poisson image editing,
2003, equation 9. It is solved from coarse to fine (cascadic multigrid): low frequencies settle on
small grids, where texels are few.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numba
import numpy as np
from numba import types
from scipy import ndimage

from facekit.checks import check_array

# Grids are halved down to this side, where many sweeps cost nothing.
_COARSEST = 8
_SWEEPS, _COARSE_SWEEPS = 24, 400
# Over-relaxation of the Gauss-Seidel sweeps.
_OMEGA = 1.7


class _Level(NamedTuple):
    values: np.ndarray
    known: np.ndarray
    domain: np.ndarray


def blend(
    source: np.ndarray,
    target: np.ndarray,
    *,
    known: np.ndarray,
    domain: np.ndarray,
    smooth: float = 0.0,
    reach: float = float("inf"),
    limit: float = float("inf"),
) -> np.ndarray:
    """Return ``target`` where it is known and ``source``, shifted to meet it, elsewhere.

    Inside ``domain`` and outside ``known`` the result has the source's gradients and the target's
    values along the border (least squares of the gradients). Parts of the domain that touch no
    known texel keep the source's colours.

    With ``smooth`` the border's detail (pores, hairs) is not carried along: the difference is
    blurred before it is continued, and what it loses is mended by fading the known side out over
    two blurs' width before its border.

    Args:
        source: (H, W, C) float; target: (H, W, C) float, used where it is known.
        known: (H, W) bool; domain: (H, W) bool, what is completed. Known texels outside the
            domain do not count.
        smooth: deviation of that blur, texels.
        reach: texels over which the shift falls to 1 / e of the border's.
        limit: largest shift that is carried along.

    Raises:
        InputError: shapes that do not fit together.
    """
    source = check_array(source, "source", shape=("H", "W", "C"), dtype="float")
    height, width = source.shape[:2]
    target = check_array(target, "target", shape=source.shape, dtype="float")
    known = check_array(known, "known", shape=(height, width), dtype="bool")
    domain = check_array(domain, "domain", shape=(height, width), dtype="bool")
    fixed = known & domain
    difference = np.where(fixed[..., None], target - source, 0).astype(np.float32)
    if smooth > 0:
        weight = _blurred(fixed.astype(np.float32), smooth)
        difference = _blurred(difference, smooth)
        difference /= np.maximum(weight, 1e-3)[..., None]
        difference *= fixed[..., None]
    difference = np.clip(difference, -limit, limit)
    offset = membrane(difference, known=fixed, domain=domain, reach=reach)
    share = fade(fixed, domain, smooth)
    shifted = source + offset
    mixed = shifted + share[..., None] * (np.where(fixed[..., None], target, 0) - shifted)
    return np.where((share > 0)[..., None], mixed, shifted).astype(np.float32)


def fade(known: np.ndarray, domain: np.ndarray, smooth: float) -> np.ndarray:
    """Return the share (H, W) in [0, 1] that known texels keep in ``blend``.

    1 inside, 0 where nothing is known; with ``smooth`` it falls over two blurs' width before the
    border towards the domain's unknown part. The domain's own end is no border.
    """
    share = known.astype(np.float32)
    if smooth > 0:
        inner = cv2.distanceTransform((known | ~domain).astype(np.uint8), cv2.DIST_L2, 5)
        ramp = np.minimum(inner, np.float32(2 * smooth)) / np.float32(2 * smooth)
        share *= ramp * ramp * (3 - 2 * ramp)
    return share


def membrane(
    values: np.ndarray,
    *,
    known: np.ndarray,
    domain: np.ndarray,
    reach: float = float("inf"),
) -> np.ndarray:
    """Continue values from known texels over a domain with as little change as possible.

    Minimises the sum of squared differences between the domain's neighbouring texels (of four)
    with known texels held; at the domain's own border nothing is asked. 0 outside the domain and
    on parts that touch no known texel.

    Args:
        values: (H, W, C) float; known, domain: (H, W) bool.
        reach: texels over which values fall to 1 / e away from the known ones: the squares of
            the values over ``reach`` squared are added to what is minimised.
    """
    domain = domain | known
    labels, count = ndimage.label(domain)
    anchored = np.zeros(count + 1, bool)
    anchored[np.unique(labels[known])] = True
    anchored[0] = False
    domain = anchored[labels]
    level = _Level(np.ascontiguousarray(values, np.float32), known & domain, domain)
    pyramid = [level]
    while min(level.known.shape) > _COARSEST:
        level = _halved(level)
        pyramid.append(level)
    solution = np.zeros_like(pyramid[-1].values)
    for depth, level in reversed(list(enumerate(pyramid))):
        if depth < len(pyramid) - 1:
            solution = _doubled(solution, pyramid[depth + 1].domain, level.known.shape)
        solution = np.where(level.known[..., None], level.values, solution)
        solution = np.ascontiguousarray(solution * level.domain[..., None], np.float32)
        sweeps = _COARSE_SWEEPS if depth == len(pyramid) - 1 else _SWEEPS
        # Coarse texels are 2^depth wide.
        screen = np.float32((2.0**depth / reach) ** 2)
        _relax(solution, level.known, level.domain, sweeps, np.float32(_OMEGA), screen)
    return solution


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    side = 2 * int(np.ceil(2 * sigma)) + 1
    blurred = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred.reshape(values.shape))


def _halved(level: _Level) -> _Level:
    """The level of half the size: known texels' mean."""
    height, width = level.known.shape
    pad = ((0, height % 2), (0, width % 2))
    known = np.pad(level.known, pad)
    domain = np.pad(level.domain, pad)
    values = np.pad(level.values * level.known[..., None], (*pad, (0, 0)))
    shape = (known.shape[0] // 2, 2, known.shape[1] // 2, 2)
    count = known.reshape(shape).sum(axis=(1, 3))
    total = values.reshape(*shape, -1).sum(axis=(1, 3))
    mean = total / np.maximum(count, 1)[..., None].astype(np.float32)
    part = np.asarray(domain.reshape(shape).any(axis=(1, 3)))
    return _Level(mean.astype(np.float32), np.asarray(count > 0), part)


def _doubled(values: np.ndarray, domain: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear values of a half-sized grid, of its domain's texels alone."""
    weight = np.repeat(np.repeat(domain.astype(np.float32), 2, axis=0), 2, axis=1)
    full = np.repeat(np.repeat(values * domain[..., None], 2, axis=0), 2, axis=1)
    kernel = np.array([0.25, 0.5, 0.25], np.float32)
    border = cv2.BORDER_REPLICATE
    # cv2 drops a last axis of one channel.
    smooth = cv2.sepFilter2D(full, -1, kernel, kernel, borderType=border)
    full = np.asarray(smooth, np.float32).reshape(full.shape)
    weight = np.asarray(cv2.sepFilter2D(weight, -1, kernel, kernel, borderType=border))
    full /= np.maximum(weight, 1e-6)[..., None]
    return np.ascontiguousarray(full[: shape[0], : shape[1]], np.float32)


@numba.njit(
    types.void(
        types.float32[:, :, ::1],
        types.Array(types.boolean, 2, "C", readonly=True),
        types.Array(types.boolean, 2, "C", readonly=True),
        types.int64,
        types.float32,
        types.float32,
    ),
    nogil=True,
    cache=True,
)
def _relax(values, known, domain, sweeps, omega, screen):
    height, width, channels = values.shape
    for sweep in range(2 * sweeps):
        parity = sweep & 1
        for y in range(height):
            for x in range((y + parity) & 1, width, 2):
                if known[y, x] or not domain[y, x]:
                    continue
                up = y > 0 and domain[y - 1, x]
                down = y + 1 < height and domain[y + 1, x]
                left = x > 0 and domain[y, x - 1]
                right = x + 1 < width and domain[y, x + 1]
                count = int(up) + int(down) + int(left) + int(right)
                if count == 0:
                    continue
                share = np.float32(1.0) / (np.float32(count) + screen)
                for c in range(channels):
                    total = np.float32(0.0)
                    if up:
                        total += values[y - 1, x, c]
                    if down:
                        total += values[y + 1, x, c]
                    if left:
                        total += values[y, x - 1, c]
                    if right:
                        total += values[y, x + 1, c]
                    values[y, x, c] += omega * (total * share - values[y, x, c])
