"""The landmark fit's solver.

With the noise held, the residuals of 68 points are linear enough in the identity to integrate it
out: under its prior the points scatter by a covariance that only the pose changes, so that what is
left to iterate is the pose, the bounded expression and the focal length, 60 variables and not 140.
Every round

1. renews the jaw's rows, the noise and the outliers' weights,
2. factors the residuals' covariance S = C + J P J^T (136 x 136; J the slopes by the identity, P its
   prior) and takes the other variables' slopes and the residuals through it,
3. takes damped Gauss-Newton steps from this one linearisation, each with true residuals,
4. gives the identity its most probable value under each step.

A round whose first step moves no landmark any more ends the search: there S is that of the minimum.
The pose is started from scaled orthography.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import dtrsv
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs

from facekit.errors import ItemError
from facekit.fit.landmark_belief import Belief, Near
from facekit.fit.landmark_kernels import (
    NUM,
    columns,
    damped,
    farthest,
    labeller,
    marginal,
    reweigh,
    view,
)
from facekit.fit.landmark_problem import LandmarkFitConfig
from facekit.fit.landmark_start import start_pose
from facekit.fit.landmark_state import DIVERGED, Linearised, Photo, State
from facekit.geometry.rotations import rotvec_to_matrix

# Shape within which the outliers' weights are worth a look, mm.
_NEAR_ENOUGH = 0.5
# Steps from one linearisation; after one that moves landmarks by less (mm) no other is needed.
_STEPS, _STRAIGHT = 3, 1.0
# Rounds after which the outline is held: two rows may be each other's better choice for ever.
_LAST_OUTLINE = 8
# Distance at which a second search for a free focal length begins.
_NEARBY_MM = 400.0
_MOST_DAMPING = 1e8


class _Look(NamedTuple):
    """Points under a state; see ``landmark_kernels.view``. ``push`` is the identity's share."""

    push: np.ndarray
    points: np.ndarray
    seen: np.ndarray
    image: np.ndarray
    slope: np.ndarray
    head: np.ndarray


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
        self._scatter = np.empty((2, 2, NUM))
        self._zooming = np.zeros((2, NUM))
        self._variables = len(belief.mean) + 6 + self._zooms

    def solve(self) -> tuple[State, Linearised]:
        """Return the face and the linear problem of its minimum.

        A free focal length is begun from the prior's distance. Where the outline moves, two
        distances may each hold their own: then nearby is tried as well, unless the first search
        excludes it.

        Raises:
            ItemError: the points are degenerate or the search diverges.
        """
        state = self._begin(0.0)
        distance = state.translation[2]
        held = self._search(state, tolerance=_NEAR_ENOUGH)
        if self._photo.outline and self._zooms and distance > _NEARBY_MM:
            nearer = math.log(_NEARBY_MM / state.translation[2])
            if _possible(held.hessian, nearer):
                state = self._better(state, self._begin(math.log(_NEARBY_MM / distance)))
        held = self._search(state, tolerance=self._config.tolerance_mm, weigh=True)
        return state, held

    def look(self, state: State) -> _Look:
        """Return the landmarks under a state."""
        change = (state.inner, state.expression, state.rotation, state.translation)
        return self._look(state.near, *change, state.log_focal)

    def _begin(self, log_focal: float) -> State:
        """Return a start with the focal length changed by a factor (its log)."""
        belief, photo = self._belief, self._photo
        expression = np.clip(belief.mean, belief.low, belief.high)
        inner = np.zeros(len(belief.start))
        focal, centre = np.exp(log_focal) * photo.camera[:2], photo.camera[2:]
        points = (belief.front.mean + expression @ belief.front.expression).reshape(3, NUM).T
        observed = photo.observed.T
        pose = start_pose(points, observed, photo.trust, focal, centre)
        return State(
            *pose, inner, expression, log_focal, np.arange(NUM), belief.front, np.ones(NUM)
        )

    def _better(self, state: State, other: State) -> State:
        """Return the better of a searched state and another one that is yet to be."""
        try:
            self._search(other, tolerance=_NEAR_ENOUGH)
        except ItemError:
            # A start that leads nowhere is no worse than not having tried it.
            return state
        better = state if state.cost <= other.cost else other
        return replace(better, rounds=state.rounds + other.rounds)

    def _search(self, state: State, *, tolerance: float, weigh: bool = False) -> Linearised:
        """Move a state to the minimum of the posterior, in place; return the last round's problem.

        Args:
            state: where to begin.
            tolerance: a round that moves no landmark by more (mm) is the last.
            weigh: whether outliers lose weight.
        """
        damping = 1e-6
        for number in range(self._config.max_rounds):
            state.rounds += 1
            if self._photo.outline and number < _LAST_OUTLINE:
                self._follow(state)
            look = self.look(state)
            px_per_mm = self._noise(state)
            if weigh:
                extra = (px_per_mm * self._config.discrepancy_mm) ** 2
                dof = self._config.robust_dof
                reweigh(look.image, self._photo.observed, self._scatter, extra, dof, state.weights)
            held = self._linearise(state, look, px_per_mm)
            damping, first = self._step(state, look, held, px_per_mm, damping, tolerance)
            if first < tolerance:
                break
        if not state.translation[2] > 0:
            raise ItemError("landmark fit: the head came to lie behind the camera")
        return held

    def _noise(self, state: State) -> float:
        """Renew the labeller's covariances; return the pixels per millimetre."""
        size: float = labeller(
            self._photo.covariance,
            state.rotation,
            state.translation,
            self._photo.camera,
            math.exp(state.log_focal),
            self._growth,
            self._config.label_noise_px,
            self._scatter,
        )
        return size

    def _follow(self, state: State) -> None:
        """Take the jaw's rows on the outline."""
        basis = self._belief.basis
        points = basis.points(self._belief.coefficients(state.inner, state.expression))
        rows = basis.visible_rows(points, state.rotation, state.translation)
        if (rows != state.rows).any():
            state.rows, state.near = rows, self._belief.near(rows)

    def _look(
        self,
        near: Near,
        inner: np.ndarray,
        expression: np.ndarray,
        rotation: np.ndarray,
        translation: np.ndarray,
        log_focal: float,
    ) -> _Look:
        push = near.identity @ inner
        points = near.mean + push + expression @ near.expression
        seen, image = np.empty((3, NUM)), np.empty((2, NUM))
        slope, head = np.empty((2, 3, NUM)), np.empty((2, 3, NUM))
        zoom = math.exp(log_focal)
        view(points, rotation, translation, self._photo.camera, zoom, seen, image, slope, head)
        return _Look(push, points, seen, image, slope, head)

    def _linearise(self, state: State, look: _Look, px_per_mm: float) -> Linearised:
        photo, zooms, n = self._photo, self._zooms, self._variables
        if zooms:
            # A step of the inverse distance q moves the log of the distance by -dq / q.
            far = max(state.translation[2], 1.0) * self._config.perspective_noise
            nearer = 1 - state.translation[2] / np.maximum(look.seen[2], 1.0)
            np.multiply(far * nearer, look.image - photo.camera[2:, None], out=self._zooming)
        spread = np.empty((2 * NUM, 2 * NUM))
        marginal(
            look.head,
            state.near.known,
            photo.discrepancy,
            px_per_mm**2,
            self._scatter,
            photo.trust,
            state.weights,
            self._zooming,
            spread,
        )
        # The upper triangle of rows is the lower one of columns, as LAPACK keeps them.
        factor, failed = dpotrf(spread.T, lower=1, overwrite_a=1, clean=0)
        if failed:
            raise ItemError(DIVERGED)
        residual = look.image - photo.observed - _through(look.head, look.push)
        slopes = np.empty((n + 1, 2 * NUM))
        columns(
            state.near.expression,
            look.seen,
            look.image,
            look.slope,
            look.head,
            state.translation,
            photo.camera,
            zooms,
            residual,
            slopes,
        )
        white, _ = dtrtrs(factor, slopes.T, lower=1, overwrite_b=1)
        hessian = white[:, :n].T @ white[:, :n]
        E = len(state.expression)
        hessian[:E, :E] += self._belief.precision
        hessian[n - 1, n - 1] += self._believed
        return Linearised(factor, white[:, :n], white[:, n], hessian, look.head)

    def _step(
        self,
        state: State,
        look: _Look,
        held: Linearised,
        px_per_mm: float,
        damping: float,
        tolerance: float,
    ) -> tuple[float, float]:
        """Take steps from one linearisation; return the damping and how far (mm) the first went."""
        belief, photo = self._belief, self._photo
        E, residual, first = len(state.expression), held.residual, 0.0
        pull = belief.precision @ (state.expression - belief.mean)
        state.cost = self._cost(residual, pull, state.expression, state.log_focal)
        for number in range(_STEPS):
            gradient = residual @ held.white
            gradient[:E] += pull
            if self._zooms:
                gradient[-1] += self._believed * state.log_focal
            stuck = (state.expression <= belief.low) & (gradient[:E] > 0)
            stuck |= (state.expression >= belief.high) & (gradient[:E] < 0)
            while True:
                step = _damped(held.hessian, gradient, stuck, damping)
                expression = np.clip(state.expression + step[:E], belief.low, belief.high)
                step[:E] = expression - state.expression
                # No step changes the distance more than sevenfold.
                change = min(max(float(step[-1]), -2.0), 2.0) if self._zooms else 0.0
                rotation = rotvec_to_matrix(step[E : E + 3]) @ state.rotation
                translation = (state.translation + step[E + 3 : E + 6]) * math.exp(change)
                # The identity's most probable value, by the residuals that the step leaves.
                force = dtrsv(held.factor, residual + held.white @ step, lower=1, trans=1)
                inner = -_back(held.head, force) @ state.near.identity
                log_focal = state.log_focal + change
                other = self._look(state.near, inner, expression, rotation, translation, log_focal)
                left = other.image - photo.observed - _through(held.head, other.push)
                left = dtrsv(held.factor, left.ravel(), lower=1)
                new_pull = belief.precision @ (expression - belief.mean)
                cost = self._cost(left, new_pull, expression, log_focal)
                if not np.isfinite(cost):
                    raise ItemError(DIVERGED)
                moved = farthest(look.points, look.image, other.points, other.image, px_per_mm)
                accepted = cost <= state.cost or moved < tolerance
                if accepted or number > 0 or damping > _MOST_DAMPING:
                    break
                damping *= 8
            if not accepted:
                break
            damping = max(damping / 8, 1e-9)
            state.rotation, state.translation, state.inner = rotation, translation, inner
            state.expression, state.log_focal, state.cost = expression, log_focal, cost
            look, residual, pull = other, left, new_pull
            if number == 0:
                first = moved
            # A small step leaves residuals as they were foreseen: only the noise is worth renewing.
            if moved < _STRAIGHT:
                break
        return damping, first

    def _cost(
        self, residual: np.ndarray, pull: np.ndarray, expression: np.ndarray, log_focal: float
    ) -> float:
        """Return twice the negative log posterior, the identity integrated out."""
        prior = pull @ (expression - self._belief.mean)
        return float(residual @ residual + prior + self._believed * log_focal**2)


def _damped(
    hessian: np.ndarray, gradient: np.ndarray, stuck: np.ndarray, damping: float
) -> np.ndarray:
    """Return the damped step (n,), 0 for expressions that are stuck at their bound."""
    reduced, force = np.empty_like(hessian), np.empty_like(gradient)
    damped(hessian, gradient, stuck, damping, reduced, force)
    lower, failed = dpotrf(reduced.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise ItemError(DIVERGED)
    step: np.ndarray = dpotrs(lower, force, lower=1)[0]
    return step


def _possible(hessian: np.ndarray, log_ratio: float) -> bool:
    """Say whether the last variable may well be off by ``log_ratio``: within two deviations."""
    return log_ratio**2 < 4 * float(np.linalg.inv(hessian)[-1, -1])


def _through(head: np.ndarray, push: np.ndarray) -> np.ndarray:
    """Return how displacements (204,) move the points in the picture, (2, 68)."""
    return np.einsum("adi,di->ai", head, push.reshape(3, NUM))


def _back(head: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Return the transpose of ``_through`` applied to (136,): (204,)."""
    return np.einsum("adi,ai->di", head, force.reshape(2, NUM)).ravel()
