"""Fit pose, identity and expression to 68 landmarks: a second-order solver, compiled.

The cost is the negative log posterior

    r^T C^-1 r + |a / s|^2 + sum_e ((w_e - m_e) / d_e)^2

with r the reprojection errors of all landmarks in pixels, a the identity coefficients (standard
deviations) and w the expression weights inside their bounds. The covariance C is what the
labeller scatters, point by point, plus what the model cannot express: a Gaussian process over the
face, since real faces depart from a model in patches and not point by point. Without the second
part the landmarks look more certain than they are, their errors are explained by identity, and
the fit is worse than the mean face. Points far outside their deviation are occluded or misplaced:
their labeller's variance grows by the weights of a Student-t distribution (K. Lange, R. Little, J.
Taylor, Robust statistical modeling using the t distribution, 1989). ``fit.landmark_solver`` says
how the minimum is found.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular

from facekit.checks import check_array
from facekit.errors import ItemError
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.landmark_linear import posterior
from facekit.fit.landmark_problem import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkProblem,
)
from facekit.fit.landmark_solver import solve
from facekit.fit.landmark_start import BEHIND, DIVERGED, FLAT, SOLVED, UNTRUSTED
from facekit.fit.prior import FacePrior, check_prior
from facekit.morphable.model import MorphableModel

__all__ = ["FaceState", "LandmarkFit", "LandmarkFitConfig", "LandmarkProblem", "fit_landmarks"]

_FAILED = {
    FLAT: "the landmarks lie on a point or a line",
    UNTRUSTED: "every landmark has confidence 0",
    DIVERGED: "diverged; are the landmarks those of one face?",
    BEHIND: "the head came to lie behind the camera",
}


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
    intrinsics = np.asarray(intrinsics, np.float64)
    try:
        if prior is None:
            known = _model_belief(basis, model, config.identity_scale)
        else:
            known = _belief(basis, model, check_prior(prior, model))
        return _fit(basis, known, observed, trust, intrinsics, config, outline)
    except LinAlgError as error:
        raise ItemError("landmark fit: broke down; are the landmarks those of one face?") from error


def _fit(
    basis: LandmarkBasis,
    known: _Belief,
    observed: np.ndarray,
    trust: np.ndarray,
    intrinsics: np.ndarray,
    config: LandmarkFitConfig,
    outline: bool,
) -> LandmarkFit:
    camera = intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
    near = known.near
    if outline:
        near = tuple(part.copy() for part in near)
    K, E = basis.num_identity, len(known.expression[0])
    n = E + 6 + (config.log_focal_std > 0)
    state, other = _empty_state(K, E), _empty_state(K, E)
    work = np.empty((136, 136 + n + 1))
    held = (work, np.empty((136, n)), np.empty((n, n)), np.empty((2, 3, 68)))
    settings = np.array(
        [
            config.outline_turn_growth if outline else config.turn_growth,
            config.label_noise_px,
            config.robust_dof,
            config.log_focal_std,
            config.perspective_noise,
            config.tolerance_mm,
            config.max_rounds,
            config.discrepancy_mm,
        ]
    )
    noise = (basis.covariance_mm2, _discrepancy(basis, config))
    photo = (np.ascontiguousarray(observed.T), trust, camera)
    covariance = np.empty((K + n, K + n))
    status, rounds, cost = solve(
        known.shape, near, noise, known.expression, photo, settings, outline, state, other, held
    )
    if status != SOLVED:
        raise ItemError(f"landmark fit: {_FAILED[status]}")
    log_noise = posterior(near, held, covariance)
    rotation, translation, inner, expression, log_focal, rows, weights = state
    zoom = float(np.exp(log_focal[0]))
    seen = (near[0].reshape(-1) + near[1] @ inner + near[2] @ expression).reshape(3, 68)
    seen = rotation @ seen + translation[:, None]
    spots = zoom * camera[:2] * (seen[:2] / np.maximum(seen[2], 1.0)).T + camera[2:]
    return LandmarkFit(
        known.identity(inner, expression),
        expression,
        rotation,
        translation,
        float(camera[:2].mean()) * zoom,
        known.spread(covariance),
        spots - observed,
        weights,
        rows,
        cost,
        log_noise,
        rounds,
    )


def _empty_state(K: int, E: int) -> tuple[np.ndarray, ...]:
    return (
        np.empty((3, 3)),
        np.empty(3),
        np.empty(K),
        np.empty(E),
        np.empty(1),
        np.arange(68),
        np.empty(68),
    )


class _Belief(NamedTuple):
    """A prior as the solver takes it: the identity is a(w) + L z, with z normal.

    Attributes:
        shape, near: the basis with its identity modes in deviations of z; see ``landmark_solver``.
        expression: mean, precision and bounds.
        mean: (K,) of the identity at the expression's mean.
        follows: (K, E) how the identity's mean moves with the expression, None where not at all.
        factor: (K, K) L, or a number where L is that times the unit matrix.
    """

    shape: tuple[np.ndarray, ...]
    near: tuple[np.ndarray, ...]
    expression: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    mean: np.ndarray
    follows: np.ndarray | None
    factor: np.ndarray | float

    def identity(self, inner: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Return the identity coefficients (K,) of z."""
        moved = self.mean + (
            self.factor @ inner if isinstance(self.factor, np.ndarray) else self.factor * inner
        )
        if self.follows is not None:
            moved = moved + self.follows @ (expression - self.expression[0])
        return moved

    def spread(self, covariance: np.ndarray) -> np.ndarray:
        """Return a covariance with the identity in place of z."""
        K = len(self.mean)
        if not isinstance(self.factor, np.ndarray):
            if self.factor != 1:
                covariance[:K] *= self.factor
                covariance[:, :K] *= self.factor
            return covariance
        turn = np.eye(len(covariance))
        turn[:K, :K] = self.factor
        if self.follows is not None:
            turn[:K, K : K + self.follows.shape[1]] = self.follows
        found = turn @ covariance @ turn.T
        return 0.5 * (found + found.T)


def _bounds(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    low, high = model.expression_bounds.T.astype(np.float64)
    return np.ascontiguousarray(low), np.ascontiguousarray(high)


@lru_cache(maxsize=8)
def _model_belief(basis: LandmarkBasis, model: MorphableModel, scale: float) -> _Belief:
    mean, normals, identity, expression, strips = basis.compiled.shape
    near_identity = scale * basis.compiled.identity
    prior = model.expression_mean.astype(np.float64)
    precision = np.diag(model.expression_std.astype(np.float64) ** -2.0)
    return _Belief(
        (mean, normals, scale * identity, expression, strips),
        _near(basis.compiled.mean, near_identity, basis.compiled.expression),
        (prior, precision, *_bounds(model)),
        np.zeros(basis.num_identity),
        None,
        scale,
    )


def _belief(basis: LandmarkBasis, model: MorphableModel, prior: FacePrior) -> _Belief:
    """Write a Gaussian as one of the expression and one of the identity about what follows."""
    K = basis.num_identity
    own, across = prior.precision[:K, :K], prior.precision[:K, K:]
    lower = cho_factor(own, lower=True)
    factor = solve_triangular(np.tril(lower[0]), np.eye(K), lower=True, trans="T")
    mean, normals, identity, expression, strips = basis.compiled.shape
    front_mean, front, front_expression = basis.compiled[1:]
    start = prior.mean[:K]
    precision, follows = prior.precision[K:, K:], None
    if across.any():
        follows = -cho_solve(lower, across)
        precision = precision + across.T @ follows
        start = start - follows @ prior.mean[K:]
        expression = expression + identity @ follows
        front_expression = front_expression + front @ follows
    if start.any():
        mean = mean + (identity @ start).reshape(mean.shape)
        front_mean = front_mean + (front @ start).reshape(front_mean.shape)
    return _Belief(
        (mean, normals, identity @ factor, expression, strips),
        _near(front_mean, front @ factor, front_expression),
        (prior.mean[K:], np.ascontiguousarray(precision), *_bounds(model)),
        prior.mean[:K],
        follows,
        factor,
    )


def _near(mean: np.ndarray, identity: np.ndarray, expression: np.ndarray) -> tuple[np.ndarray, ...]:
    known = (identity @ identity.T).reshape(3, 68, 3, 68)
    return (mean, np.ascontiguousarray(identity), np.ascontiguousarray(expression), known)


@lru_cache(maxsize=8)
def _alike(basis: LandmarkBasis, length_mm: float) -> np.ndarray:
    offsets = basis.mean[:68, None] - basis.mean[None, :68]
    return np.exp(-0.5 * (offsets**2).sum(2) / max(length_mm, 1e-6) ** 2)


def _discrepancy(basis: LandmarkBasis, config: LandmarkFitConfig) -> np.ndarray:
    return config.discrepancy_mm**2 * _alike(basis, config.discrepancy_length_mm)
