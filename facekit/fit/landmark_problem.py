"""The landmark fit's variables, cost and derivatives; ``fit.landmark`` says what it minimises.

The focal length, where it is free, moves the head with it: a step d of its logarithm takes the
translation times e^d, so that the head keeps its size in the image. Focal length and distance as
variables of their own would be all but the same one, and the solver would creep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.landmark_kernels import LEFT_OUT
from facekit.fit.landmark_start import start_pose
from facekit.fit.prior import FacePrior, model_prior
from facekit.geometry.rotations import HEAD_TO_CAMERA, matrix_to_euler, rotvec_to_matrix
from facekit.morphable.model import MorphableModel
from facekit.types import DetectedFace


@dataclass(frozen=True)
class LandmarkFitConfig:
    """Settings of the landmark fit.

    The discrepancy's defaults were chosen by ``fit.evidence`` on labelled portraits, without any
    3D truth. Its length matters (12 mm is 10 nats a face worse than 35), its deviation hardly.

    Attributes:
        discrepancy_mm: deviation, per landmark and axis, of real faces from what the model can
            express.
        discrepancy_length_mm: distance over which that deviation stays alike; 0 makes it
            independent from point to point.
        label_noise_px: pixel noise of the labeller, added to the model's stored covariance.
        turn_growth: how a labeller's deviations grow from near-frontal views, where they were
            measured, to turned ones: the variance takes the factor 1 + (growth sin yaw)^2.
            Chosen on renders of heads of known shape, none of them in the published bench.
        outline_turn_growth: the same of a labeller whose jaw points are on the face's outline:
            as the head turns they are other points, which the model's strips follow roughly.
        identity_scale: prior deviation of the identity coefficients.
        robust_dof: degrees of freedom of the Student-t noise.
        log_focal_std: prior deviation of the logarithm of the focal length; 0 keeps it fixed.
        perspective_noise: with a free focal length, deviation of the inverse distance (1/mm) by
            which a labeller's points show another perspective than the face: a network leans to
            the views that it was trained on. Chosen, with the prior's distance, on renders of 28
            heads, none of them in the published bench.
        max_rounds: linearisations of each of the solver's searches; steps that go without one of
            their own count a quarter.
        tolerance_mm: the search ends with a step that moves no landmark by more and leaves about a
            tenth of it.
    """

    discrepancy_mm: float = 1.0
    discrepancy_length_mm: float = 35.0
    label_noise_px: float = 0.7
    turn_growth: float = 0.5
    outline_turn_growth: float = 4.5
    identity_scale: float = 1.0
    robust_dof: float = 8.0
    log_focal_std: float = 0.0
    perspective_noise: float = 5e-4
    max_rounds: int = 25
    tolerance_mm: float = 5e-3


class Posterior(Protocol):
    """How sure a landmark fit is.

    Attributes:
        covariance: (K + E + 6 [+ 1], ...) of identity, expression, rotation vector, translation,
            and the log focal length d when it was free, which takes the translation t + u to
            (t + u) e^d.
        log_noise: half the log determinant of the landmarks' covariance.
    """

    @property
    def covariance(self) -> np.ndarray:
        """See above."""

    @property
    def log_noise(self) -> float:
        """See above."""


class KnownPosterior(NamedTuple):
    """A ``Posterior`` that is there."""

    covariance: np.ndarray
    log_noise: float


@dataclass(frozen=True, eq=False)
class LandmarkFit:
    """Result of a landmark fit.

    Attributes:
        identity: (K,) standard deviations.
        expression: (E,) weights.
        rotation: (3, 3) head to camera; translation: (3,) mm.
        focal: pixels.
        posterior: Laplace's, which may be computed when it is asked for.
        residuals_px: (68, 2) projected minus observed.
        weights: (68,) in (0, 1], what robustness left of each landmark.
        rows: (68,) rows of the basis that the landmarks took.
        cost: the final cost.
        iterations: steps, but for further ones from a linearisation of their own.
    """

    identity: np.ndarray
    expression: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    focal: float
    posterior: Posterior
    residuals_px: np.ndarray
    weights: np.ndarray
    rows: np.ndarray
    cost: float
    iterations: int

    @property
    def covariance(self) -> np.ndarray:
        """The posterior's.

        Raises:
            ItemError: there is none.
        """
        return self.posterior.covariance

    def with_covariance(self, covariance: np.ndarray) -> LandmarkFit:
        """Return the fit with another covariance."""
        return replace(self, posterior=KnownPosterior(covariance, self.posterior.log_noise))


# Change of the outliers' weights below which they are settled.
_SMALL_CHANGE = 0.02


class FaceState(NamedTuple):
    """Coefficients (K + E,), head-to-camera rotation and translation, log focal length change."""

    coefficients: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    log_focal: float


class LandmarkProblem:
    """Residuals, their derivatives and the priors of one face.

    Args:
        basis: of the model.
        model: gives the expression prior and bounds.
        observed: (68, 2) pixels; trust: (68,) in [0, 1].
        intrinsics: (3, 3); with a free focal length its own is the prior's centre.
        config: settings.
        prior: what is believed of the coefficients; None takes the model's own.
        outline: whether jaw points lie on the face's outline; else they are the basis' own rows.
    """

    def __init__(
        self,
        basis: LandmarkBasis,
        model: MorphableModel,
        observed: np.ndarray,
        trust: np.ndarray,
        intrinsics: np.ndarray,
        config: LandmarkFitConfig,
        prior: FacePrior | None = None,
        *,
        outline: bool = True,
    ) -> None:
        self.outline = outline
        self.basis, self.observed, self.trust, self.config = basis, observed, trust, config
        self.focal = np.array([intrinsics[0, 0], intrinsics[1, 1]])
        self.centre = intrinsics[:2, 2]
        K, E = basis.num_identity, basis.modes.shape[2] - basis.num_identity
        self.num_coefficients = K + E
        self.weights = np.ones(68)
        offsets = basis.mean[:68, None] - basis.mean[None, :68]
        length = max(config.discrepancy_length_mm, 1e-6)
        alike = np.exp(-0.5 * (offsets**2).sum(2) / length**2)
        self.discrepancy = config.discrepancy_mm**2 * np.kron(alike, np.eye(2))
        self.num_free = K + E + 6 + (config.log_focal_std > 0)
        self.prior = prior or model_prior(model, identity_scale=config.identity_scale)
        infinite = np.full(K, np.inf)
        self.lower = np.concatenate([-infinite, model.expression_bounds[:, 0]])
        self.upper = np.concatenate([infinite, model.expression_bounds[:, 1]])

    @classmethod
    def of_face(
        cls,
        basis: LandmarkBasis,
        model: MorphableModel,
        face: DetectedFace,
        intrinsics: np.ndarray,
        config: LandmarkFitConfig,
        prior: FacePrior | None = None,
    ) -> LandmarkProblem:
        """Return the problem of a detection with ``ibug68``, as its labeller marks faces."""
        trust = np.ones(68) if face.confidence is None else np.clip(face.confidence, 0, 1)
        return cls(
            basis,
            model,
            np.asarray(face.ibug68, np.float64),
            trust.astype(np.float64),
            intrinsics,
            config,
            prior,
            outline=face.jaw_on_outline,
        )

    def initial_pose(self, log_focal: float = 0.0) -> FaceState:
        """Pose of the mean face by scaled orthography from least squares (68 points).

        Args:
            log_focal: logarithm of the focal length to begin with over the prior's.
        """
        coefficients = np.clip(self.prior.mean, self.lower, self.upper)
        rotation, translation = start_pose(
            self.basis.points(coefficients)[:68],
            self.observed,
            self.trust,
            self.focal * np.exp(log_focal),
            self.centre,
        )
        return FaceState(coefficients, rotation, translation, log_focal)

    def rows(self, state: FaceState) -> np.ndarray:
        """Rows of the landmarks for a state (the jaw's outline)."""
        if not self.outline:
            return np.arange(68)
        points = self.basis.points(state.coefficients)
        return self.basis.visible_rows(points, state.rotation, state.translation)

    def _labeller(self, state: FaceState) -> tuple[np.ndarray, float]:
        """Labeller's covariance of each landmark (68, 2, 2) in px^2, and pixels per mm."""
        depth = max(float(state.translation[2]), 1.0)
        px_per_mm = float(self.focal.mean() * np.exp(state.log_focal)) / depth
        _, _, roll = matrix_to_euler(HEAD_TO_CAMERA @ state.rotation)
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        covariance = px_per_mm**2 * (turn @ self.basis.covariance_mm2 @ turn.T)
        sin_yaw = float((HEAD_TO_CAMERA @ state.rotation)[2, 0])
        config = self.config
        growth = config.outline_turn_growth if self.outline else config.turn_growth
        covariance *= 1 + (growth * sin_yaw) ** 2
        return covariance + self.config.label_noise_px**2 * np.eye(2), px_per_mm

    def noise(self, state: FaceState) -> np.ndarray:
        """Lower Cholesky factor (136, 136) of the landmarks' covariance in px^2."""
        labeller, px_per_mm = self._labeller(state)
        trust = np.maximum(self.trust * self.weights, 1 / LEFT_OUT)
        covariance = px_per_mm**2 * self.discrepancy
        index = 2 * np.arange(68)
        for i in range(2):
            for j in range(2):
                covariance[index + i, index + j] += labeller[:, i, j] / trust
        if self.config.log_focal_std > 0:
            # A step of the inverse distance q moves the logarithm of the distance by -dq / q.
            depth = max(float(state.translation[2]), 1.0)
            rows = self.rows(state)
            zoom = depth * self.config.perspective_noise * self._zoom(state, rows).ravel()
            covariance += np.outer(zoom, zoom)
        return np.linalg.cholesky(covariance)

    def reweigh(self, state: FaceState) -> bool:
        """Give outliers less weight for the next round; say whether anything changed."""
        labeller, px_per_mm = self._labeller(state)
        covariance = labeller + (px_per_mm * self.config.discrepancy_mm) ** 2 * np.eye(2)
        residual = self.project(state, self.rows(state))[1] - self.observed
        squared = np.einsum("ni,nij,nj->n", residual, np.linalg.inv(covariance), residual)
        weights = (self.config.robust_dof + 2) / (self.config.robust_dof + squared)
        # Only what is worse than expected loses weight: agreement is no extra certainty.
        weights = np.minimum(weights, 1.0)
        changed = bool(np.abs(weights - self.weights).max() > _SMALL_CHANGE)
        self.weights = weights
        return changed

    def project(self, state: FaceState, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows' positions in the camera frame (68, 3) and in the image (68, 2)."""
        points = self.basis.mean[rows] + self.basis.modes[rows] @ state.coefficients
        camera = points @ state.rotation.T + state.translation
        depth = np.maximum(camera[:, 2], 1.0)
        scale = self.focal * np.exp(state.log_focal)
        return camera, scale * camera[:, :2] / depth[:, None] + self.centre

    def cost(self, state: FaceState, rows: np.ndarray, noise: np.ndarray) -> float:
        """The negative log posterior (without constants) of a state."""
        _, projected = self.project(state, rows)
        residual = whiten(noise, (projected - self.observed).ravel())
        offset = state.coefficients - self.prior.mean
        total = float(residual @ residual + offset @ self.prior.precision @ offset)
        if self.config.log_focal_std > 0:
            total += (state.log_focal / self.config.log_focal_std) ** 2
        return total

    def linearise(
        self, state: FaceState, rows: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton matrix and gradient (both halved) of the cost at a state."""
        camera, projected = self.project(state, rows)
        depth = np.maximum(camera[:, 2], 1.0)
        scale = self.focal * np.exp(state.log_focal)
        D = _projection_slope(camera, depth, scale)
        J = np.empty((68, 2, self.num_free + 1))
        C = self.num_coefficients
        J[:, :, :C] = (D @ state.rotation) @ self.basis.modes[rows]
        turned = camera - state.translation
        # d(exp(w) R p)/dw = -[R p]x, so a row d of D becomes (R p) x d
        J[:, :, C : C + 3] = np.cross(turned[:, None], D)
        J[:, :, C + 3 : C + 6] = D
        if self.num_free > C + 6:
            J[:, :, C + 6] = projected - self.centre + D @ state.translation
        J[:, :, -1] = projected - self.observed
        white = whiten(noise, J.reshape(136, -1))
        hessian = white[:, :-1].T @ white[:, :-1]
        gradient = white[:, :-1].T @ white[:, -1]
        hessian[:C, :C] += self.prior.precision
        gradient[:C] += self.prior.precision @ (state.coefficients - self.prior.mean)
        if self.num_free > C + 6:
            hessian[-1, -1] += self.config.log_focal_std**-2.0
            gradient[-1] += self.config.log_focal_std**-2.0 * state.log_focal
        return hessian, gradient

    def _zoom(self, state: FaceState, rows: np.ndarray) -> np.ndarray:
        """How the points (68, 2) move when the head recedes and the focal length grows with it.

        The head keeps its place in the image, wherever that is: what is nearer than its origin
        moves towards the picture's middle, what is farther away from it.
        """
        camera, projected = self.project(state, rows)
        depth = np.maximum(camera[:, 2], 1.0)
        return (projected - self.centre) * (1 - state.translation[2] / depth)[:, None]

    def free_variables(self, state: FaceState, gradient: np.ndarray, free: str) -> np.ndarray:
        """Variables a step may move: not those pushed against their bound."""
        C = self.num_coefficients
        mask = np.ones(self.num_free, bool)
        if free == "pose":
            mask[:C] = False
            mask[C + 6 :] = False
            return mask
        at_lower = (state.coefficients <= self.lower) & (gradient[:C] > 0)
        at_upper = (state.coefficients >= self.upper) & (gradient[:C] < 0)
        mask[:C] = ~(at_lower | at_upper)
        return mask

    def moved(self, state: FaceState, step: np.ndarray) -> FaceState:
        """The state after a step, expression weights kept in their bounds."""
        C = self.num_coefficients
        coefficients = np.clip(state.coefficients + step[:C], self.lower, self.upper)
        rotation = rotvec_to_matrix(step[C : C + 3]) @ state.rotation
        # No step changes the distance more than sevenfold: far outside, nothing is left to see.
        zoom = float(np.clip(step[C + 6], -2, 2)) if self.num_free > C + 6 else 0.0
        translation = (state.translation + step[C + 3 : C + 6]) * np.exp(zoom)
        return FaceState(coefficients, rotation, translation, state.log_focal + zoom)

    def result(self, state: FaceState, cost: float, iterations: int) -> LandmarkFit:
        """The fit at a state, with its Laplace posterior."""
        rows, noise = self.rows(state), self.noise(state)
        hessian, _ = self.linearise(state, rows, noise)
        covariance = np.linalg.inv(hessian)
        residuals = self.project(state, rows)[1] - self.observed
        u, _, vt = np.linalg.svd(state.rotation)  # removes the drift of many small products
        K = self.basis.num_identity
        return LandmarkFit(
            state.coefficients[:K],
            state.coefficients[K:],
            u @ vt,
            state.translation,
            float(self.focal.mean() * np.exp(state.log_focal)),
            KnownPosterior(0.5 * (covariance + covariance.T), float(np.log(np.diag(noise)).sum())),
            residuals,
            self.weights,
            rows,
            cost,
            iterations,
        )


def _projection_slope(camera: np.ndarray, depth: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Derivative (68, 2, 3) of the projected points by their positions in the camera frame."""
    D = np.zeros((len(camera), 2, 3))
    D[:, 0, 0] = scale[0] / depth
    D[:, 1, 1] = scale[1] / depth
    D[:, :, 2] = -scale * camera[:, :2] / depth[:, None] ** 2
    return D


def whiten(noise: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values (136, ...) in deviations of the landmarks' noise."""
    return solve_triangular(noise, values, lower=True, check_finite=False)
