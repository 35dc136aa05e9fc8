"""A few Gauss-Newton steps of pose and expression to 68 points, from the frame before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from facekit.errors import ItemError
from facekit.fit.landmark import FaceState, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.prior import FacePrior, Information
from facekit.morphable.model import MorphableModel

_DAMPING = 1e-3
# Steps after which outline and noise are looked at again.
_RENEW = 2


class FrameSolver:
    """Fits one person's pose and expression to landmarks, the identity held.

    The cost is that of ``fit.landmark``; the weights of outliers are those that the frame before
    left, since they hardly change in between. Jaw points slide along the outline although facekit's
    network places them on the surface: held there on a head that is not known yet, turns come out
    11 % too small, sliding 5 % (four films of rendered heads; 1.4 and 1.0 degrees off on average).

    Args:
        basis: of the model.
        model: gives the expressions' prior and bounds.
        intrinsics: (3, 3) of the video.
    """

    def __init__(self, basis: LandmarkBasis, model: MorphableModel, intrinsics: np.ndarray) -> None:
        self._basis, self._model, self._intrinsics = basis, model, intrinsics
        self._config = LandmarkFitConfig()
        deviation = model.expression_std.astype(np.float64)
        self._prior = FacePrior(model.expression_mean.astype(np.float64), np.diag(deviation**-2.0))
        self._weights = np.ones(68)
        self._problem = self._hold(np.zeros(model.num_identity))

    def set_identity(self, identity: np.ndarray) -> None:
        """Hold this identity (K,) from now on."""
        self._problem = self._hold(np.asarray(identity, np.float64))

    def _hold(self, identity: np.ndarray) -> LandmarkProblem:
        K = self._basis.num_identity
        self._identity = identity
        held = replace(
            self._basis,
            mean=self._basis.mean + self._basis.modes[:, :, :K] @ identity,
            modes=np.ascontiguousarray(self._basis.modes[:, :, K:]),
            num_identity=0,
        )
        return LandmarkProblem(
            held,
            self._model,
            np.zeros((68, 2)),
            np.ones(68),
            self._intrinsics,
            self._config,
            self._prior,
        )

    def forget(self) -> None:
        """Trust every point again, as of a face just found."""
        self._weights = np.ones(68)

    def points(self, state: FaceState) -> np.ndarray:
        """Return where the held identity's landmarks are seen, (68, 2) pixels."""
        problem = self._problem
        return problem.project(state, problem.rows(state))[1]

    def solve(
        self,
        points: np.ndarray,
        confidence: np.ndarray,
        state: FaceState | None,
        *,
        steps: int,
        prior: FacePrior | None = None,
    ) -> FaceState:
        """Return pose and expression after a number of steps.

        Args:
            points: (68, 2) pixels; confidence: (68,) in [0, 1].
            state: to begin from; None finds a pose first.
            steps: at most.
            prior: of the expression (E,), None the model's.

        Raises:
            ItemError: the points show no face, or the steps lead nowhere.
        """
        problem = self._problem
        problem.observed = np.asarray(points, np.float64)
        problem.trust = np.clip(confidence, 0, 1).astype(np.float64)
        problem.prior = self._prior if prior is None else prior
        problem.weights = self._weights
        if state is None:
            state = problem.initial_pose()
            for _ in range(4):
                state = _step(problem, state, problem.rows(state), problem.noise(state), "pose")
        # From frame to frame the outline and the noise hardly change: they are taken once.
        rows, noise = problem.rows(state), problem.noise(state)
        for number in range(steps):
            if number and number % _RENEW == 0:
                rows, noise = problem.rows(state), problem.noise(state)
            state = _step(problem, state, rows, noise, "all")
        problem.reweigh(state)
        self._weights = problem.weights
        if not np.isfinite(state.coefficients).all() or state.translation[2] <= 0:
            raise ItemError("track: the landmarks of a frame fit no head")
        return state

    def information(
        self, points: np.ndarray, confidence: np.ndarray, state: FaceState
    ) -> Information:
        """Return what a frame's landmarks tell of the identity, pose and expression unknown.

        The cost is made linear about ``state``; what bounds hold is held.
        """
        K = self._basis.num_identity
        prior = FacePrior(
            np.concatenate([self._identity, self._prior.mean]),
            np.diag(np.concatenate([np.zeros(K), np.diag(self._prior.precision)])),
        )
        problem = LandmarkProblem(
            self._basis,
            self._model,
            np.asarray(points, np.float64),
            np.clip(confidence, 0, 1).astype(np.float64),
            self._intrinsics,
            self._config,
            prior,
        )
        problem.weights = self._weights
        whole = state._replace(coefficients=np.concatenate([self._identity, state.coefficients]))
        rows, noise = problem.rows(whole), problem.noise(whole)
        hessian, gradient = problem.linearise(whole, rows, noise)
        free = np.flatnonzero(problem.free_variables(whole, gradient, "all"))
        rest = free[free >= K]
        across = np.linalg.solve(
            hessian[np.ix_(rest, rest)],
            np.column_stack([hessian[rest][:, :K], gradient[rest]]),
        )
        through = hessian[:K][:, rest]
        matrix = hessian[:K, :K] - through @ across[:, :K]
        slope = gradient[:K] - through @ across[:, K]
        matrix = 0.5 * (matrix + matrix.T)
        return Information(matrix, matrix @ self._identity - slope)


def _step(
    problem: LandmarkProblem, state: FaceState, rows: np.ndarray, noise: np.ndarray, free: str
) -> FaceState:
    hessian, gradient = problem.linearise(state, rows, noise)
    mask = problem.free_variables(state, gradient, free)
    reduced = hessian[np.ix_(mask, mask)]
    reduced[np.diag_indices_from(reduced)] *= 1 + _DAMPING
    step = np.zeros(problem.num_free)
    step[mask] = -cho_solve(cho_factor(reduced, check_finite=False), gradient[mask])
    return problem.moved(state, step)
