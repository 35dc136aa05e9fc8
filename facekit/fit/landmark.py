"""Fit pose, identity and expression to 68 landmarks by Levenberg-Marquardt.

The cost is the negative log posterior

    r^T C^-1 r + |a / s|^2 + sum_e ((w_e - m_e) / d_e)^2

with r the reprojection errors of all landmarks in pixels, a the identity coefficients (standard
deviations) and w the expression weights inside their bounds. The covariance C is what the
labeller scatters, point by point, plus what the model cannot express: a Gaussian process over the
face, since real faces depart from a model in patches and not point by point. Without the second
part the landmarks look more certain than they are, their errors are explained by identity, and
the fit is worse than the mean face. Points far outside their deviation are occluded or misplaced:
their labeller's variance grows by the weights of a Student-t distribution (K. Lange, R. Little, J.
Taylor, Robust statistical modeling using the t distribution, 1989).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from facekit.checks import check_array
from facekit.errors import ItemError
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.landmark_problem import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkProblem,
)
from facekit.fit.prior import FacePrior, check_prior
from facekit.morphable.model import MorphableModel

__all__ = ["FaceState", "LandmarkFit", "LandmarkFitConfig", "LandmarkProblem", "fit_landmarks"]

# Rounds after the first in which outliers lose weight.
_REWEIGHTINGS = 4
# Distance at which a second search for a free focal length begins, besides the prior's: the
# outline that is held inside a step holds the distance too.
_NEAR_MM = 400.0


def fit_landmarks(
    basis: LandmarkBasis,
    model: MorphableModel,
    points: np.ndarray,
    *,
    intrinsics: np.ndarray,
    confidence: np.ndarray | None = None,
    config: LandmarkFitConfig | None = None,
    prior: FacePrior | None = None,
    outline: bool = True,
) -> LandmarkFit:
    """Fit a model to 68 image points.

    Args:
        basis: ``build_landmark_basis(model)``, made once.
        model: gives the expression prior and bounds.
        points: (68, 2) iBUG order, pixels, (0, 0) the centre of the top-left pixel.
        intrinsics: (3, 3) pinhole camera; with ``log_focal_std`` its focal length is the prior's
            centre.
        confidence: (68,) in [0, 1]; a point's variance is divided by it. 0 leaves a point out.
        config: settings.
        prior: what is believed of the coefficients; None takes the model's own.
        outline: whether the jaw's points lie on the face's outline in the image, as 2D labels do;
            else they are fixed points of the surface (``DetectedFace.jaw_on_outline``).

    Raises:
        InputError: wrong shapes or non-finite values.
        ItemError: the points are degenerate (all equal or on a line) or the solver diverges.
    """
    config = config or LandmarkFitConfig()
    observed = check_array(points, "landmarks", shape=(68, 2)).astype(np.float64)
    trust = np.ones(68) if confidence is None else np.clip(confidence, 0, 1).astype(np.float64)
    problem = LandmarkProblem(
        basis,
        model,
        observed,
        trust,
        np.asarray(intrinsics, np.float64),
        config,
        None if prior is None else check_prior(prior, model),
        outline=outline,
    )
    try:
        return _solve(problem)
    except LinAlgError as error:
        raise ItemError("landmark fit: broke down; are the landmarks those of one face?") from error


def _solve(problem: LandmarkProblem) -> LandmarkFit:
    state, total = problem.initial_pose(), 0
    if problem.config.log_focal_std > 0:
        state, total = _choose_start(problem, state)
    # From far away every landmark looks like an outlier, so weights come last.
    for free in ("pose", "all", *["all"] * _REWEIGHTINGS):
        state, cost, iterations = _minimise(problem, state, free)
        total += iterations
        if free == "all" and not problem.reweigh(state):
            break
    return problem.result(state, cost, total)


def _choose_start(problem: LandmarkProblem, far: FaceState) -> tuple[FaceState, int]:
    """The better of two fits, from the prior's distance and from nearby, and the steps tried."""
    starts = [far]
    if far.translation[2] > _NEAR_MM:
        starts.append(problem.initial_pose(float(np.log(_NEAR_MM / far.translation[2]))))
    found = []
    for state in starts:
        state, _, first = _minimise(problem, state, "pose")
        state, cost, second = _minimise(problem, state, "all")
        found.append((cost, state, first + second))
    best = min(found, key=lambda item: item[0])
    return best[1], sum(item[2] for item in found)


def _minimise(
    problem: LandmarkProblem, state: FaceState, free: str
) -> tuple[FaceState, float, int]:
    """Levenberg-Marquardt with bounds by an active set; the outline is held inside a step."""
    config = problem.config
    damping = 1e-3
    rows, noise = problem.rows(state), problem.noise(state)
    cost = problem.cost(state, rows, noise)
    stalled = False
    iterations = 0
    while iterations < config.max_iterations:
        iterations += 1
        hessian, gradient = problem.linearise(state, rows, noise)
        mask = problem.free_variables(state, gradient, free)
        step = np.zeros(problem.num_free)
        reduced = hessian[np.ix_(mask, mask)]
        reduced[np.diag_indices_from(reduced)] *= 1 + damping
        step[mask] = -cho_solve(cho_factor(reduced, check_finite=False), gradient[mask])
        candidate = problem.moved(state, step)
        new_cost = problem.cost(candidate, rows, noise)
        if not np.isfinite(new_cost):
            raise ItemError("landmark fit: diverged; are the landmarks those of one face?")
        if new_cost > cost:
            damping *= 8
            if damping > 1e8:
                break
            continue
        small = cost - new_cost < config.tolerance * (1 + abs(cost))
        state, damping = candidate, max(damping / 8, 1e-9)
        new_rows, noise = problem.rows(state), problem.noise(state)
        moved = bool((new_rows != rows).any())
        rows = new_rows
        cost = problem.cost(state, rows, noise)
        # A step that moves the outline changes the cost itself; once is given another look.
        if small and (stalled or not moved):
            break
        stalled = small
    if state.translation[2] <= 0:
        raise ItemError("landmark fit: the head came to lie behind the camera")
    return state, cost, iterations
