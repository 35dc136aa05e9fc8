"""Small surface patches matched between views: slanted windows, spread and refined.

Each pixel of a view carries a patch as inverse depth at the pixel, its two slopes and, when
known, three curvatures: ``w(x + dx, y + dy) = w + wx dx + wy dy + (cxx dx^2 + 2 cxy dx dy +
cyy dy^2) / 2``. A plane in space has exactly this form with no curvature, whatever its slant, so
a square window follows the surface into the other views.

Refinement is least-squares matching: Gauss-Newton on w, wx, wy jointly over all neighbours that
see the patch, with a gain and an offset of each neighbour eliminated, and a prior that holds the
slopes where there is little texture. It reaches a few hundredths of a pixel.

Source: A. W. Gruen, Adaptive least squares correlation, 1985; M. Bleyer, C. Rhemann, C. Rother,
PatchMatch Stereo, 2011 (slanted windows, propagation).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.capture.patch_kernels import propagate_rows, refine_rows
from facekit.threads import run_ranges

_MIN_ROWS = 4


class Matching(NamedTuple):
    """What a view is compared with, at one resolution; made by ``make_matching``.

    Attributes:
        image: (H, W) float32 grey levels.
        packed: (N, H' W') uint32: each neighbour's pixels and the ones to their right, in 1/256
            grey level, so that a bilinear sample needs two words.
        shape: (N, 2) int64 rows and columns of each neighbour.
        pairs: (N, 12) float64; see ``sweep_costs``.
        focal: of the view, pixels.
        wanted: (H, W) bool, the pixels that get a depth.
        offsets: (2, M) float32, x and y of the window's M pixels.
        best: over how many of the best neighbours a score is averaged.
    """

    image: np.ndarray
    packed: np.ndarray
    shape: np.ndarray
    pairs: np.ndarray
    focal: float
    wanted: np.ndarray
    offsets: np.ndarray
    best: int


def make_matching(
    image: np.ndarray,
    neighbours: list[np.ndarray],
    pairs: np.ndarray,
    *,
    focal: float,
    wanted: np.ndarray,
    radius: int,
    best: int,
) -> Matching:
    """Prepare a view and its neighbours for matching with windows of 2 radius + 1 pixels a side.

    Args:
        image: (H, W) float32, 0 to 255; neighbours: N of any sizes.
        pairs, focal, wanted, best: see ``Matching``.
        radius: half side of the window, pixels.
    """
    shape = np.array([other.shape for other in neighbours], np.int64)
    packed = np.zeros((len(neighbours), int(shape.prod(1).max())), np.uint32)
    for row, other in zip(packed, neighbours, strict=True):
        fixed = np.clip(other * 256, 0, 65535).astype(np.uint32)
        words = fixed.copy()
        words[:, :-1] |= fixed[:, 1:] << np.uint32(16)
        row[: other.size] = words.ravel()
    side = np.arange(-radius, radius + 1, dtype=np.float32)
    dy, dx = np.meshgrid(side, side, indexing="ij")
    offsets = np.stack([dx.ravel(), dy.ravel()])
    inner = np.zeros(image.shape, bool)
    inner[radius : image.shape[0] - radius, radius : image.shape[1] - radius] = True
    return Matching(
        np.ascontiguousarray(image, np.float32),
        packed,
        shape,
        np.ascontiguousarray(pairs, np.float64),
        float(focal),
        wanted & inner,
        offsets,
        best,
    )


def propagate(
    matching: Matching, planes: np.ndarray, shifts: np.ndarray, *, least_move: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Give every pixel the best of its own plane and those of the pixels at some shifts.

    Args:
        matching: what to compare with.
        planes: (H, W, 3) float32 w, wx, wy; w is 0 where there is none.
        shifts: (S, 2) int64 offsets (x, y) of the pixels whose planes are tried.
        least_move: planes that move the match by less than this many pixels from the pixel's own
            are not tried.

    Returns:
        ``(planes, score)`` with the score (H, W) float32: the mean correlation with the better
        neighbours, in [-1, 1]; -1 where there is none.
    """
    new = np.zeros_like(planes)
    score = np.full(planes.shape[:2], -1, np.float32)
    m = matching

    def rows(start: int, stop: int) -> None:
        propagate_rows(
            m.image,
            m.packed,
            m.shape,
            m.pairs,
            m.wanted,
            m.offsets,
            m.best,
            planes,
            shifts,
            least_move,
            new,
            score,
            start,
            stop,
        )

    run_ranges(rows, planes.shape[0], min_chunk=_MIN_ROWS)
    return new, score


def refine(
    matching: Matching,
    planes: np.ndarray,
    *,
    steps: int,
    slope: float,
    bend: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move every plane to where it matches best.

    Args:
        matching: what to compare with.
        planes: (H, W, 3) float32; w is 0 where there is none.
        steps: Gauss-Newton steps.
        slope: prior deviation of the surface's slope (tangent) from the given one.
        bend: (H, W, 3) float32 curvatures cxx, cxy, cyy of w, which stay as they are; None for
            planes.

    Returns:
        ``(planes, score, deviation)``: the score as in ``propagate``, and the standard deviation
        (H, W) float32 of w that the windows' texture and residuals leave.
    """
    new = np.zeros_like(planes)
    score = np.full(planes.shape[:2], -1, np.float32)
    deviation = np.zeros(planes.shape[:2], np.float32)
    curved = np.zeros_like(planes) if bend is None else bend
    m = matching

    def rows(start: int, stop: int) -> None:
        refine_rows(
            m.image,
            m.packed,
            m.shape,
            m.pairs,
            m.wanted,
            m.offsets,
            m.best,
            planes,
            curved,
            steps,
            slope / m.focal,
            new,
            score,
            deviation,
            start,
            stop,
        )

    run_ranges(rows, planes.shape[0], min_chunk=_MIN_ROWS)
    return new, score, deviation
