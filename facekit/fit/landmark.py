"""Fit pose, identity and expression to 68 landmarks: a second-order solver.

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

import numpy as np
from scipy.linalg import LinAlgError

from facekit.checks import check_array
from facekit.errors import ItemError
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.landmark_belief import model_belief, prior_belief
from facekit.fit.landmark_posterior import LaterPosterior
from facekit.fit.landmark_problem import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkProblem,
)
from facekit.fit.landmark_solver import LandmarkSolver
from facekit.fit.landmark_state import Photo
from facekit.fit.prior import FacePrior, check_prior
from facekit.morphable.model import MorphableModel

__all__ = ["FaceState", "LandmarkFit", "LandmarkFitConfig", "LandmarkProblem", "fit_landmarks"]


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
    (fx, _, cx), (_, fy, cy), _ = np.asarray(intrinsics, np.float64).tolist()
    camera = np.array([fx, fy, cx, cy])
    discrepancy = _discrepancy(basis, config.discrepancy_mm, config.discrepancy_length_mm)
    photo = Photo(
        np.ascontiguousarray(observed.T), trust, camera, outline, _labeller(basis), discrepancy
    )
    try:
        if prior is None:
            belief = model_belief(basis, model, config.identity_scale)
        else:
            belief = prior_belief(basis, model, check_prior(prior, model))
        solver = LandmarkSolver(belief, photo, config)
        state = solver.solve()
    except LinAlgError as error:
        raise ItemError("landmark fit: broke down; are the landmarks those of one face?") from error
    at, coefficients = state.at, belief.coefficients(state.at.coefficients)
    K = basis.num_identity
    return LandmarkFit(
        coefficients[:K],
        coefficients[K:],
        at.rotation,
        at.translation,
        float(camera[:2].mean() * np.exp(at.zoom[0])),
        LaterPosterior(belief, lambda: solver.linearised(state)),
        (at.image - photo.observed).T,
        state.weights,
        state.rows,
        state.cost,
        state.rounds,
    )


@lru_cache(maxsize=8)
def _discrepancy(basis: LandmarkBasis, deviation_mm: float, length_mm: float) -> np.ndarray:
    offsets = basis.mean[:68, None] - basis.mean[None, :68]
    return deviation_mm**2 * np.exp(-0.5 * (offsets**2).sum(2) / max(length_mm, 1e-6) ** 2)


@lru_cache(maxsize=8)
def _labeller(basis: LandmarkBasis) -> np.ndarray:
    return np.ascontiguousarray(basis.covariance_mm2.transpose(1, 2, 0))
