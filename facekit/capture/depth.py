"""A view's depth map: swept at a quarter of its size, then refined from size to size.

Above the smallest size pixels fall into two colours like a chessboard's: at half size the second
colour takes over the planes that the first one found, and at full size only one is matched and
the other filled in from it. Source: S. Galliani, K. Lasinger, K. Schindler, Massively parallel
multiview stereopsis by surface normal diffusion, 2015 (red-black spreading).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from facekit.capture.patches import Matching, make_matching, propagate, refine
from facekit.capture.sweep import aggregate, choose, sweep_costs
from facekit.capture.thinning import fill_between, two_colours
from facekit.capture.views import View, halve, level_intrinsics, pair_rows
from facekit.errors import InputError

_CROSS = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.int64)
_FAR = np.array([[2, 1], [-1, 2], [-2, -1], [1, -2]], np.int64)


@dataclass(frozen=True)
class DepthOptions:
    """How depth maps are made.

    Attributes:
        levels: how often the pictures are halved for the sweep.
        radii: half sides of the windows, from full size to the smallest.
        steps: Gauss-Newton steps at each size.
        slope: prior deviation of a patch's slope in one refinement.
        best: how many of the better neighbours decide.
        least_score: lowest correlation of a depth that is kept.
        curved: let the windows bend with the surface at full size.
        settled: planes with this correlation at half size are not compared with their
            neighbours' at full size.
        planes_at_most: limit on the planes of the sweep.
    """

    levels: int = 2
    radii: tuple[int, ...] = (4, 3, 2)
    steps: tuple[int, ...] = (2, 3, 3)
    slope: float = 0.3
    best: int = 2
    least_score: float = 0.3
    planes_at_most: int = 256
    curved: bool = True
    settled: float = 0.8


class DepthMap(NamedTuple):
    """A view's surface, pixel by pixel.

    Attributes:
        planes: (H, W, 3) float32: inverse depth w in 1 / mm and its change per pixel to the
            right and down; w is 0 where nothing was found.
        score: (H, W) float32, correlation with the better neighbours.
        deviation: (H, W) float32, standard deviation of w.
    """

    planes: np.ndarray
    score: np.ndarray
    deviation: np.ndarray


def estimate_depth(
    view: View,
    neighbours: Sequence[View],
    near: float,
    far: float,
    options: DepthOptions | None = None,
) -> DepthMap:
    """Find the depth of a view's wanted pixels.

    Args:
        view: the view.
        neighbours: at least one other view that sees the same surface.
        near, far: limits of the depth z, mm.
        options: how.

    Raises:
        InputError: no neighbours, or limits that enclose nothing.
    """
    options = options or DepthOptions()
    if not neighbours:
        raise InputError(f"{view.name}: expected at least one neighbour to match with")
    if not 0 < near < far:
        raise InputError(f"{view.name}: expected 0 < near < far, got {near} and {far}")
    sizes, others = _sizes(view, neighbours, options)
    planes = _coarse(sizes[-1], others, 1 / far, 1 / near, options)
    found = DepthMap(planes, *np.zeros((2, *planes.shape[:2]), np.float32))
    for level in range(options.levels, -1, -1):
        matching, steps = sizes[level], options.steps[level]
        if level < options.levels:
            found = _enlarge(found, matching.image.shape)
        even, odd = two_colours(matching.image.shape)
        if level == options.levels:
            # Few pixels, and all that follows hangs on them: every one of them twice.
            for shifts in (_CROSS, _FAR):
                found = _round(matching, found, shifts, steps, options)
        elif level:
            # The second colour takes over what was found for the first one.
            for colour in (even, odd):
                found = _round(_only(matching, colour), found, _CROSS, steps, options)
        else:
            found = _finest(_only(matching, even), found, options)
            between = fill_between(*found, wanted=matching.wanted & odd, focal=matching.focal)
            found = DepthMap(*between)
    planes, score, deviation = found
    w = planes[..., 0]
    bad = (score < options.least_score) | (w < 0.98 / far) | (w > 1.02 / near)
    planes[bad] = 0
    return DepthMap(planes, np.where(bad, 0, score), np.where(bad, 0, deviation))


def _only(matching: Matching, pixels: np.ndarray) -> Matching:
    return matching._replace(wanted=matching.wanted & pixels)


def _round(
    matching: Matching, found: DepthMap, shifts: np.ndarray, steps: int, options: DepthOptions
) -> DepthMap:
    """Spread and refine the planes of the wanted pixels; the others stay."""
    wanted = matching.wanted
    planes, _ = propagate(matching, found.planes, shifts)
    new = refine(matching, planes, steps=steps, slope=options.slope)
    return DepthMap(
        np.where(wanted[..., None], new[0], found.planes),
        np.where(wanted, new[1], found.score),
        np.where(wanted, new[2], found.deviation),
    )


def _finest(matching: Matching, found: DepthMap, options: DepthOptions) -> DepthMap:
    """Refine the wanted pixels at full size; only doubtful ones look at their neighbours."""
    doubtful = matching.wanted & (found.score < options.settled)
    spread, _ = propagate(_only(matching, doubtful), found.planes, _CROSS)
    planes = np.where(doubtful[..., None], spread, found.planes)
    bend = curvature(planes, matching.focal) if options.curved else None
    return DepthMap(
        *refine(matching, planes, steps=options.steps[0], slope=options.slope, bend=bend)
    )


def _sizes(
    view: View, neighbours: Sequence[View], options: DepthOptions
) -> tuple[list[Matching], list[np.ndarray]]:
    """Return what to match at every size, and the neighbours' pictures at the smallest."""
    image, wanted = view.grey, view.wanted
    others = [other.grey for other in neighbours]
    cameras = [other.camera for other in neighbours]
    sizes = []
    for level in range(options.levels + 1):
        if level:
            image, others = halve(image), [halve(other) for other in others]
            wanted = halve(wanted.astype(np.uint8) * 255) > 0
        sizes.append(
            make_matching(
                image,
                others,
                pair_rows(view.camera, cameras, level=level),
                focal=float(level_intrinsics(view.camera, level)[0, 0]),
                wanted=wanted,
                radius=options.radii[level],
                best=min(options.best, len(others)),
            )
        )
    return sizes, others


def _stack(images: list[np.ndarray]) -> np.ndarray:
    """Return images of any sizes in one array; NaN beyond a smaller one makes matches fail."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    stack = np.full((len(images), height, width), np.nan, np.float32)
    for row, image in zip(stack, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return stack


def _coarse(
    matching: Matching, others: list[np.ndarray], low: float, high: float, options: DepthOptions
) -> np.ndarray:
    reach = _reach(matching, 0.5 * (low + high))
    count = int(np.clip(np.ceil((high - low) * reach) + 1, 3, options.planes_at_most))
    levels = np.linspace(low, high, count)
    costs = sweep_costs(
        matching.image,
        _stack(others),
        matching.pairs,
        levels,
        radius=options.radii[options.levels],
        best=matching.best,
    )
    plane, _ = choose(aggregate(costs), costs)
    w = (low + plane * (levels[1] - levels[0])).astype(np.float32)
    smooth = cv2.GaussianBlur(cv2.medianBlur(w, 5), (0, 0), 1.5)
    gradient_y, gradient_x = np.gradient(smooth)
    return np.ascontiguousarray(np.stack([w, gradient_x, gradient_y], axis=-1), np.float32)


def _reach(matching: Matching, w: float) -> float:
    """Return how many pixels a unit of inverse depth moves the match, at most, mid-picture."""
    height, width = matching.image.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    lengths = []
    for row in matching.pairs:
        A, b = row[:9].reshape(3, 3), row[9:]
        p = A @ middle + w * b
        lengths.append(np.hypot(*(b[:2] - b[2] * p[:2] / p[2])) / abs(p[2]))
    return float(max(lengths))


def _enlarge(found: DepthMap, shape: tuple[int, ...]) -> DepthMap:
    """Continue the planes of the half-size picture to the pixels of the next size."""
    planes = found.planes
    rows = np.minimum(np.arange(shape[0]) // 2, planes.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]) // 2, planes.shape[1] - 1)
    dy = ((np.arange(shape[0]) + 0.5) / 2 - 0.5 - rows).astype(np.float32)
    dx = ((np.arange(shape[1]) + 0.5) / 2 - 0.5 - columns).astype(np.float32)
    grid = np.ix_(rows, columns)
    near = planes[grid]
    large = 0.5 * near
    there = near[..., 0] + near[..., 1] * dx[None, :] + near[..., 2] * dy[:, None]
    large[..., 0] = np.where(near[..., 0] > 0, np.maximum(there, 0), 0)
    return DepthMap(large, found.score[grid], found.deviation[grid])


def curvature(
    planes: np.ndarray, focal: float, *, sigma: float = 3.0, limit: float = 0.1
) -> np.ndarray:
    """Return the second derivatives cxx, cxy, cyy (H, W, 3) float32 of a smoothed inverse depth.

    They come from the slopes, smoothed by a Gaussian. 0 within reach of a pixel without a plane,
    and where the surface is broken rather than bent.

    Args:
        planes: (H, W, 3) float32.
        focal: focal length, pixels.
        sigma: of the Gaussian, pixels.
        limit: largest curvature, in 1 over the width of a pixel on the surface, that counts as
            bent.
    """
    w = planes[..., 0]
    there = cv2.erode((w > 0).astype(np.uint8), np.ones((2 * round(2 * sigma) + 1,) * 2, np.uint8))
    smooth = cv2.GaussianBlur(w, (0, 0), sigma)
    wy, wx = np.gradient(smooth)
    wyy, wyx = np.gradient(wy)
    wxy, wxx = np.gradient(wx)
    bend = np.stack([wxx, 0.5 * (wxy + wyx), wyy], axis=-1)
    broken = np.abs(bend).max(axis=-1) > limit / focal * w
    bend[(there == 0) | broken] = 0
    return np.ascontiguousarray(bend, np.float32)
