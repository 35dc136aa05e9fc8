"""Point-to-plane ICP of a predicted surface to the points of a scan.

The estimators of face shape differ in how they align; this is the one rule that the configurable
estimator uses, with the choices that change a result as options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError, ItemError
from facekit.geometry.alignment import SimilarityTransform, compose
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.geometry.surface import Surface

_MIN_PAIRS = 12
# A scale that changed by more has left the face.
_MAX_GROWTH = 2.0
# Of the normal equations' trace; and radians a step.
_DAMPING = 1e-5
_MAX_TURN = 0.1


@dataclass(frozen=True)
class IcpOptions:
    """How pairs are chosen and when to stop.

    Attributes:
        with_scale: also estimate a scale (7 parameters instead of 6).
        iterations: at most.
        max_distance_mm: longer pairs are dropped.
        max_angle_deg: pairs whose normals are further apart are dropped.
        trim: share of the remaining pairs dropped, those with the largest residuals.
        tolerance_mm: stop when the rmse of the kept pairs changes by less.
        drop_border: drop pairs whose closest point lies on an open border.
    """

    with_scale: bool = True
    iterations: int = 100
    max_distance_mm: float = 10.0
    max_angle_deg: float = 60.0
    trim: float = 0.05
    tolerance_mm: float = 1e-5
    drop_border: bool = True

    def __post_init__(self) -> None:
        if self.iterations < 0 or not 0 <= self.trim < 1 or self.max_distance_mm <= 0:
            raise InputError(
                "icp: expected iterations >= 0, 0 <= trim < 1 and max_distance_mm > 0, got "
                f"{self.iterations}, {self.trim}, {self.max_distance_mm}"
            )


class IcpResult(NamedTuple):
    """Where the alignment stopped.

    Attributes:
        transform: from the prediction's frame to the scan's.
        rmse: of the kept pairs' residuals, mm.
        iterations: steps made.
        pairs: pairs kept in the last round.
        change: of the rmse in the last step, mm; infinite when there was none.
        converged: the tolerance was met.
    """

    transform: SimilarityTransform
    rmse: float
    iterations: int
    pairs: int
    change: float
    converged: bool


def align_surface(
    points: np.ndarray,
    normals: np.ndarray,
    surface: Surface,
    start: SimilarityTransform,
    *,
    options: IcpOptions | None = None,
) -> IcpResult:
    """Move a surface to the points of a scan.

    Each round pairs every scan point x with the closest point y of the moved surface, drops pairs
    as the options say, and takes one Gauss-Newton step of sum (n . (s R y + t - x))^2 over s, R
    and t, n the scan's normal at x. Surfaces that face inwards as a whole are turned first: what
    counts is the angle between the two surfaces.

    Args:
        points: (N, 3) of the scan, mm.
        normals: (N, 3) unit normals of the scan there; points with a zero normal are not used.
        surface: the prediction.
        start: from the prediction's frame to the scan's, e.g. of landmarks.
        options: choice of pairs and end.

    Raises:
        ItemError: too few pairs (another unit, wrong landmarks), or the scale ran away.

    Degenerate: motions that hardly any pair resists (turning a sphere) are damped, and a step
    turns by at most 0.1 rad; neither moves the point of rest.

    Source: Y. Chen, G. Medioni, Object modelling by registration of multiple range images, 1992.
    """
    chosen = options or IcpOptions()
    scan = check_array(points, "scan points", shape=("N", 3)).astype(np.float64)
    n = check_array(normals, "scan normals", shape=scan.shape).astype(np.float64)
    transform, previous, triangle = start, np.inf, None
    turned, iteration = 0.0, 0
    while True:
        pairs = surface.pairs(scan, transform, start=triangle)
        triangle = pairs.triangle
        facing = (n * pairs.normal).sum(axis=1)
        near = pairs.distance <= chosen.max_distance_mm
        if not turned:
            turned = -1.0 if facing[near].sum() < 0 else 1.0
        keep = near & (turned * facing >= np.cos(np.radians(chosen.max_angle_deg)))
        if chosen.drop_border:
            keep &= ~pairs.border
        residual = (n * (pairs.closest - scan)).sum(axis=1)
        rows = _trimmed(np.flatnonzero(keep), np.abs(residual), chosen.trim)
        if len(rows) < _MIN_PAIRS:
            raise ItemError(
                f"icp: only {len(rows)} of {len(scan)} scan points have the prediction within "
                f"{chosen.max_distance_mm:g} mm and {chosen.max_angle_deg:g} degrees; are the "
                "landmarks, the unit and the scan the right ones?"
            )
        rmse = float(np.sqrt(np.mean(residual[rows] ** 2)))
        change = abs(previous - rmse)
        converged = change < chosen.tolerance_mm
        if converged or iteration == chosen.iterations:
            return IcpResult(transform, rmse, iteration, len(rows), change, converged)
        previous = rmse
        step = _step(pairs.closest[rows], n[rows], residual[rows], chosen.with_scale)
        transform = compose(step, transform)
        growth = transform.scale / start.scale
        if not 1 / _MAX_GROWTH < growth < _MAX_GROWTH:
            raise ItemError(
                f"icp: the scale ran away to {growth:.2f} of its start; does the prediction "
                "cover the scan's face?"
            )
        iteration += 1


def _trimmed(rows: np.ndarray, size: np.ndarray, share: float) -> np.ndarray:
    """Drop the ``share`` of ``rows`` with the largest ``size``; ties go by index."""
    count = len(rows) - int(share * len(rows))
    return np.sort(rows[np.argsort(size[rows], kind="stable")[:count]])


def _step(
    moved: np.ndarray, normals: np.ndarray, residual: np.ndarray, with_scale: bool
) -> SimilarityTransform:
    centre = moved.mean(axis=0)
    arm = moved - centre
    # In units of the arms' own size, so that the cut for unresisted motions means one thing.
    size = float(np.sqrt((arm**2).sum(axis=1).mean()))
    columns = [np.cross(arm, normals) / size, normals]
    if with_scale:
        columns.append((arm * normals).sum(axis=1, keepdims=True) / size)
    jacobian = np.hstack(columns)
    system = jacobian.T @ jacobian
    system[np.diag_indices_from(system)] += _DAMPING * np.trace(system)
    change = np.linalg.solve(system, -jacobian.T @ residual)
    change *= min(1.0, _MAX_TURN / max(float(np.linalg.norm(change[:3])) / size, 1e-300))
    rotation = rotvec_to_matrix(change[:3] / size)
    scale = float(np.exp(change[6] / size)) if with_scale else 1.0
    return SimilarityTransform(scale, rotation, centre + change[3:6] - scale * rotation @ centre)
