"""The landmark fit's solver.

With the noise held, the residuals of 68 points are linear enough in the identity to integrate it
out: under its prior the points scatter by a covariance that only the pose changes, so that what is
left to iterate is the pose, the bounded expression and the focal length, 60 variables and not 140.
A full round

1. renews the jaw's rows, the noise and the outliers' weights,
2. factors the residuals' covariance S = C + J P J^T (136 x 136; J the slopes by the identity, P its
   prior) and takes the other variables' slopes and the residuals through it,
3. takes damped Gauss-Newton steps from this one linearisation, each with true residuals,
4. gives the identity its most probable value under each step.

Once steps are small, light rounds take its place: they renew everything but the factored matrices.
Beside the variables v they carry the force y = C^-1 r on the residuals r, since with y the gradient
is exact and no matrix needs be factored to know it:

    r - C y = 0,   J_v^T y + (prior's slope) = 0,   z = -J^T y.

What is left of these equations is taken through the last factors (a simplified Newton step; C. T.
Kelley, Solving Nonlinear Equations with Newton's Method, 2003), which are of single precision,
as they only decide how fast the search ends and not where. When a light round gains too little, a
full one follows. The pose is started from scaled orthography.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

from facekit.errors import ItemError
from facekit.fit.landmark_belief import Belief
from facekit.fit.landmark_kernels import NUM, farthest, noise, outline, renew, slopes, view
from facekit.fit.landmark_problem import LandmarkFitConfig
from facekit.fit.landmark_start import start_pose
from facekit.fit.landmark_state import DIVERGED, Linearised, Photo, Place, State
from facekit.fit.landmark_step import balance, damped, go, hold

# Shape within which the outliers' weights are worth a look, mm.
_NEAR_ENOUGH = 0.5
# Factors are good for steps up to this one (mm), as long as each goes less far than this part of
# the one before.
_LIGHT_REACH, _LIGHT_GAIN, _LIGHT_DAMPING = 3.0, 0.4, 1e-4
# Steps from one linearisation while they go farther.
_STEPS = 3
# Where steps are this small (mm), factors from nearby must help if they are exact.
_NEARBY = 1.0
# How much may be left to go in the end, as a part of the tolerance.
_LEFT = 0.1
# Rounds after which the outline is held: two rows may be each other's better choice for ever.
_LAST_OUTLINE = 12
# Distance at which a second search for a free focal length begins.
_NEARBY_MM = 400.0
_MOST_DAMPING = 1e8
# Damping that leaves factors as they are.
_AS_BEFORE = -1.0


class LandmarkSolver:
    """Fits one face to one photograph's points.

    Args:
        belief: prior of the coefficients.
        photo: what is fitted.
        config: settings.
    """

    def __init__(self, belief: Belief, photo: Photo, config: LandmarkFitConfig) -> None:
        self._belief, self._photo, self._config = belief, photo, config
        self._zooms = int(config.log_focal_std > 0)
        self._believed = config.log_focal_std**-2.0 if self._zooms else 0.0
        self._growth = config.outline_turn_growth if photo.outline else config.turn_growth
        self._scatter = np.empty((3, NUM))
        self._zooming = np.zeros((2, NUM))
        self._held: Any = None  # the last linear problem
        self._precise = False

    def solve(self) -> State:
        """Return the face.

        A free focal length is begun from the prior's distance. Where the outline moves, two
        distances may each hold their own: then nearby is tried as well, unless the first search
        excludes it.

        Raises:
            ItemError: the points are degenerate or the search diverges.
        """
        state = self._begin(0.0)
        distance = float(state.at.translation[2])
        self._search(state)
        if self._photo.outline and self._zooms and distance > _NEARBY_MM:
            nearer = math.log(_NEARBY_MM / state.at.translation[2])
            if _possible(self._held.hessian, nearer):
                state = self._better(state, math.log(_NEARBY_MM / distance))
        self._search(state, weigh=True)
        return state

    def linearised(self, state: State) -> Linearised:
        """Return the linear problem at a state, in double precision."""
        self._precise = True
        return self._linearise(state, self._renew(state, weigh=False))

    def _begin(self, log_focal: float) -> State:
        """Return a start with the focal length changed by a factor (its log)."""
        belief, photo = self._belief, self._photo
        expression = np.clip(belief.mean, belief.low, belief.high)
        inner = np.zeros(len(belief.start))
        near = belief.front
        points = near.mean + near.modes[:, len(inner) :] @ expression
        focal, centre = np.exp(log_focal) * photo.camera[:2], photo.camera[2:]
        rotation, translation = start_pose(
            points.reshape(3, NUM).T, photo.observed.T, photo.trust, focal, centre
        )
        at = Place.empty(len(inner) + len(expression))
        at.coefficients[:] = np.concatenate([inner, expression])
        at.rotation[:], at.translation[:], at.zoom[:] = rotation, translation, log_focal
        at.force[:] = 0
        state = State(at, Place.empty(len(at.coefficients)), np.arange(NUM), near, np.ones(NUM))
        self._look(state)
        return state

    def _better(self, state: State, log_focal: float) -> State:
        """Return the better of a searched state and one from another focal length (its log)."""
        held, other = self._held, self._begin(log_focal)
        try:
            self._search(other)
        except ItemError:
            # A start that leads nowhere is no worse than not having tried it.
            other.cost = np.inf
        rounds = state.rounds + other.rounds
        if state.cost <= other.cost:
            self._held = held
        else:
            state = other
        state.rounds = rounds
        return state

    def _search(self, state: State, *, weigh: bool = False) -> None:
        """Move a state to the minimum of the posterior, in place.

        Args:
            state: where to begin; with ``weigh`` near the place where a search ended before.
            weigh: whether outliers lose weight, and the minimum is found to the end.
        """
        tolerance = self._config.tolerance_mm if weigh else _NEAR_ENOUGH
        damping, before, light = 1e-6, np.inf, weigh
        # Light rounds cost a quarter of full ones.
        credit = 4 * self._config.max_rounds
        number = 0
        while credit > 0:
            credit -= 1 if light else 4
            number += 1
            state.rounds += 1
            if self._photo.outline and number < _LAST_OUTLINE:
                self._follow(state)
            px_per_mm = self._renew(state, weigh=weigh)
            if light:
                moved = last = self._step(state, px_per_mm, _AS_BEFORE)
                if moved < _LIGHT_REACH:
                    state.accept()
            else:
                damping, moved, last = self._descend(state, px_per_mm, damping, tolerance)
            gain = moved / before
            if moved < tolerance and (not weigh or moved * gain < _LEFT * tolerance * (1 - gain)):
                break
            helps = not light or gain < _LIGHT_GAIN
            # Factors from near here that do not help are those that are not exact enough.
            self._precise |= not helps and moved < _NEARBY and before < _NEARBY
            light = helps and last < _LIGHT_REACH and damping < _LIGHT_DAMPING
            before = last if light else np.inf
        if not state.at.translation[2] > 0:
            raise ItemError("landmark fit: the head came to lie behind the camera")

    def _renew(self, state: State, *, weigh: bool) -> float:
        """Renew the noise and the outliers' weights; return the pixels per millimetre."""
        photo, config, at = self._photo, self._config, state.at
        size: float = renew(
            photo.covariance,
            self._growth,
            config.label_noise_px,
            config.discrepancy_mm,
            config.robust_dof if weigh else 0.0,
            config.perspective_noise if self._zooms else 0.0,
            photo.observed,
            photo.camera,
            at.rotation,
            at.translation,
            at.zoom,
            at.seen,
            at.image,
            photo.trust,
            state.weights,
            self._scatter,
            self._zooming,
        )
        return size

    def _follow(self, state: State) -> None:
        """Take the jaw's rows on the outline."""
        basis, at = self._belief.basis, state.at
        coefficients = self._belief.coefficients(at.coefficients)
        came = state.rows.copy()
        shape = (basis.padded_strips, basis.mean, basis.modes, basis.normals, coefficients)
        if outline(*shape, at.rotation, at.translation, state.rows):
            state.near = self._belief.near(state.rows, state.near, came)
            self._look(state)

    def _look(self, state: State) -> None:
        """Renew what is seen of the landmarks."""
        at, near = state.at, state.near
        np.add(near.mean, near.modes @ at.coefficients, out=at.points)
        pose = (at.rotation, at.translation, self._photo.camera, at.zoom)
        view(at.points, *pose, at.seen, at.image, at.slope, at.head)

    def _linearise(self, state: State, px_per_mm: float) -> Linearised:
        photo, at, belief = self._photo, state.at, self._belief
        covariance = np.zeros((2 * NUM, 2 * NUM))
        noise(photo.discrepancy, px_per_mm**2, self._scatter, self._zooming, covariance)
        K, E = len(belief.start), len(belief.mean)
        identity = np.empty((2 * NUM, K))
        rest = np.empty((2 * NUM, E + 6 + self._zooms))
        seen = (at.seen, at.image, at.slope, at.head, at.translation, photo.camera)
        slopes(state.near.modes, *seen, self._zooms, identity, rest)
        factor, white, hessian = self._factor(covariance, identity, rest)
        hessian[:E, :E] += belief.precision
        hessian[-1, -1] += self._believed
        root = np.full_like(hessian, np.nan)
        return Linearised(factor, identity, white, hessian, root, np.zeros(E, bool))

    def _factor(
        self, covariance: np.ndarray, identity: np.ndarray, rest: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Return U, U^T U = S; U^-T times the rest; and the upper triangle of that squared."""
        kind: Any
        if self._precise:
            kind, syrk, trsm, potrf = np.float64, blas.dsyrk, blas.dtrsm, lapack.dpotrf
        else:
            kind, syrk, trsm, potrf = np.float32, blas.ssyrk, blas.strsm, lapack.spotrf
        # The upper triangle of rows is the lower one of columns, as LAPACK keeps them.
        spread = covariance.astype(kind).T
        slope, white = identity.astype(kind).T, rest.astype(kind).T
        spread = syrk(1.0, slope, beta=1.0, c=spread, trans=1, lower=1, overwrite_c=1)
        factor, failed = potrf(spread, lower=1, overwrite_a=1, clean=0)
        if failed and self._precise:
            raise ItemError(DIVERGED)
        if failed:
            self._precise = True
            return self._factor(covariance, identity, rest)
        white = trsm(1.0, factor, white, side=1, lower=1, trans_a=1, overwrite_b=1)
        hessian = syrk(1.0, white, lower=1)
        return tuple(part.T.astype(np.float64) for part in (factor, white, hessian))

    def _step(self, state: State, px_per_mm: float, damping: float) -> float:
        """Write the state's next place by what is held; return how far (mm) that is."""
        photo, belief, at, there = self._photo, self._belief, state.at, state.next
        short, back, turn = np.empty(2 * NUM), np.empty(3 * NUM), np.empty(7)
        size = px_per_mm**2
        own = (photo.observed, photo.camera, photo.discrepancy, self._scatter, self._zooming, size)
        seen = (at.seen, at.image, at.slope, at.head)
        likelihood = balance(*own, at.translation, at.force, *seen, short, back, turn)
        held, near, K = self._held, state.near, len(belief.start)
        bounds = (belief.low, belief.high)
        pulled = back.dot(near.modes)
        offset = at.coefficients[K:] - belief.mean
        pull = belief.precision.dot(offset)
        inner = at.coefficients[:K]
        # The residuals that the identity leaves when it is what the forces make it.
        short -= held.identity.dot(inner + pulled[:K])
        rest = blas.dtrsv(held.factor.T, short, lower=1, overwrite_x=1)
        step = rest.dot(held.white)
        parts = (pulled, pull, turn, at.coefficients, at.zoom, *bounds, self._believed)
        if hold(step, *parts, held.stuck) or damping >= 0:
            damped(held.hessian, held.stuck, max(damping, 0.0), held.root)
            _, failed = lapack.dpotrf(held.root.T, lower=1, overwrite_a=1, clean=0)
            if failed:
                return np.inf
        step, _ = lapack.dpotrs(held.root.T, step, lower=1, overwrite_b=1)
        expected = inner.dot(inner) + pull.dot(offset) + self._believed * at.zoom[0] ** 2
        state.cost = float(likelihood + expected)
        go(step, *bounds, *at[:4], *there[:4])
        rest += held.white.dot(step)
        more = blas.dtrsv(held.factor.T, rest, lower=1, trans=1, overwrite_x=1)
        np.add(at.force, more.reshape(2, NUM), out=there.force)
        np.subtract(-pulled[:K], more.dot(held.identity), out=there.coefficients[:K])
        np.add(near.mean, near.modes.dot(there.coefficients), out=there.points)
        pose = (there.rotation, there.translation, photo.camera, there.zoom)
        view(there.points, *pose, there.seen, there.image, there.slope, there.head)
        return float(farthest(at.points, at.image, there.points, there.image, size))

    def _descend(
        self, state: State, px_per_mm: float, damping: float, tolerance: float
    ) -> tuple[float, float, float]:
        """Move a state by a linearisation of its own.

        Returns:
            The damping, and how far (mm) the first and the last step went.
        """
        self._held = self._linearise(state, px_per_mm)
        cost, first, last = self._energy(state.at), 0.0, 0.0
        for number in range(_STEPS):
            accepted = True
            while True:
                moved = self._step(state, px_per_mm, damping)
                if number > 0 and moved < _LIGHT_REACH:
                    other = cost
                    break
                other = self._energy(state.next) if moved < np.inf else np.nan
                if not np.isfinite(other):
                    raise ItemError(DIVERGED)
                accepted = other <= cost or moved < tolerance
                if accepted or number > 0 or damping > _MOST_DAMPING:
                    break
                damping *= 8
            if not accepted:
                break
            state.accept()
            damping, cost, last = max(damping / 8, 1e-9), other, moved
            first = first or moved
            if moved < _LIGHT_REACH:
                break
        state.cost = cost
        return damping, first, last

    def _energy(self, place: Place) -> float:
        """Return the cost of a place under what is held, the identity integrated out."""
        belief, held, K = self._belief, self._held, len(self._belief.start)
        left = (place.image - self._photo.observed).ravel()
        left -= held.identity @ place.coefficients[:K]
        left = blas.dtrsv(held.factor.T, left, lower=1, overwrite_x=1)
        offset = place.coefficients[K:] - belief.mean
        zoomed = self._believed * place.zoom[0] ** 2
        return float(left @ left + offset @ (belief.precision @ offset) + zoomed)


def _possible(hessian: np.ndarray, log_ratio: float) -> bool:
    """Say whether the last variable may well be off by ``log_ratio``: within two deviations."""
    root, _ = lapack.dpotrf(hessian.T, lower=1)
    # The last corner of the inverse is the last one of the factor, inverted and squared.
    return bool(log_ratio**2 * root[-1, -1] ** 2 < 4)
