"""The landmark fit's compiled solver.

With the noise held, the residuals of 68 points are linear enough in the identity to integrate it
out: under its prior the points scatter by a covariance that only the pose changes, so that what is
left to iterate is the pose, the bounded expression and the focal length, 60 variables and not 140.
Every round

1. renews the jaw's rows, the noise and the outliers' weights,
2. factors the residuals' covariance S = C + J P J^T (136 x 136; J the slopes by the identity, P its
   prior) together with the other variables' slopes and the residuals in one blocked elimination,
3. takes damped Gauss-Newton steps from this one linearisation, each with true residuals,
4. gives the identity its most probable value under each step.

A round whose first step moves no landmark any more ends the search: there S is that of the minimum.
The pose is started from scaled orthography and a few steps with independent points.
"""

from __future__ import annotations

import numba
import numpy as np

from facekit.fit.landmark_kernels import (
    BLOCK,
    NUM,
    backward,
    damped_step,
    eliminate,
    forward,
    labeller,
    marginal,
    place,
    project,
    pull,
    reweigh,
    slopes,
    turn,
    visible,
)
from facekit.fit.landmark_linear import gather, linearise
from facekit.fit.landmark_start import BEHIND, DIVERGED, SOLVED, refine_pose, start_pose

# Positions in ``settings``.
GROWTH, NOISE_PX, DOF, FOCAL_STD, ZOOM_NOISE, TOLERANCE, ROUNDS, DISCREPANCY = range(8)

# Shape within which the outliers' weights are worth a look, mm.
_NEAR_ENOUGH = 0.5
# Steps from one linearisation; after one that moves landmarks by less (mm) no other is needed.
_STEPS, _STRAIGHT = 3, 1.0
# Rounds after which the outline is held: two rows may be each other's better choice for ever.
_LAST_OUTLINE = 8
# Distance at which a second search for a free focal length begins.
_NEARBY_MM = 400.0
_MOST_DAMPING = 1e8


@numba.njit(nogil=True, cache=True)
def follow(shape, near, rotation, translation, identity, expression, rows):
    """Take the rows on the outline under a pose and a face, in place."""
    count = shape[0].shape[1]
    push, points = np.empty(3 * count), np.empty(3 * count)
    place((shape[0], shape[2], shape[3], near[3]), identity, expression, push, points)
    if visible(points.reshape(3, count), shape[1], shape[4], rotation, translation, rows):
        gather(shape[:4], rows, near)


@numba.njit(nogil=True, cache=True)
def search(shape, near, noise, prior, photo, settings, outline, weigh, tolerance, state, held):
    """Move a state to the minimum of the posterior; return (status, rounds, merit).

    Args:
        shape: mean (3, P), normals (3, P), identity modes (3 P, K) in deviations of their prior,
            expression modes (3 P, E), strips (17, S).
        near: the same of the landmarks' rows, see ``gather``; changed where the outline moves.
        noise: the labeller's (68, 2, 2) mm^2, discrepancy (68, 68) mm^2.
        prior: of the expression: mean (E,), precision (E, E), bounds (E,), (E,).
        photo: observed (2, 68), trust (68,), camera (4,).
        settings: see the positions above.
        outline: whether the jaw's rows follow the outline.
        weigh: whether outliers lose weight.
        tolerance: a round that moves no landmark by more (mm) is the last.
        state: rotation (3, 3), translation (3,), identity (K,), expression (E,), log focal (1,),
            rows (68,), weights (68,); all changed in place.
        held: work (136, 136 + n + 1), G (136, n), H (n, n), head slopes (2, 3, 68): the last
            round's, for the posterior.
    """
    rotation, translation, identity, expression, log_focal, rows, weights = state
    mean, precision, low, high = prior
    observed, trust, camera = photo
    work, white, hessian, head = held
    E, n = len(expression), white.shape[1]
    free_focal = 1 if settings[FOCAL_STD] > 0 else 0
    believed = 1 / settings[FOCAL_STD] ** 2 if free_focal else 0.0
    seen, image = np.empty((3, NUM)), np.empty((2, NUM))
    seen2, image2 = np.empty((3, NUM)), np.empty((2, NUM))
    slope, scatter = np.empty((2, 3, NUM)), np.empty((2, 2, NUM))
    zooming = np.zeros((2, NUM))
    gradient, step, free = np.empty(n), np.empty(n), np.empty(n, np.bool_)
    turned, moved = np.empty((3, 3)), np.empty(3)
    guess, person, prior_pull = np.empty(E), np.empty(len(identity)), np.empty(E)
    residual, left = np.empty(2 * NUM), np.empty(2 * NUM)
    along, push, points = np.empty(3 * NUM), np.empty(3 * NUM), np.empty(3 * NUM)
    push2, points2 = np.empty(3 * NUM), np.empty(3 * NUM)
    damping, merit, rounds = 1e-6, 0.0, 0
    while rounds < settings[ROUNDS]:
        rounds += 1
        zoom = np.exp(log_focal[0])
        if outline and rounds <= _LAST_OUTLINE:
            follow(shape, near, rotation, translation, identity, expression, rows)
        place(near, identity, expression, push, points)
        project(points, rotation, translation, camera, zoom, seen, image)
        px_per_mm = labeller(
            noise[0],
            rotation,
            translation,
            camera,
            zoom,
            settings[GROWTH],
            settings[NOISE_PX],
            scatter,
        )
        if weigh:
            extra = (px_per_mm * settings[DISCREPANCY]) ** 2
            reweigh(image, observed, scatter, extra, settings[DOF], weights)
        slopes(seen, camera, zoom, slope)
        for a in range(2):
            for i in range(NUM):
                for d in range(3):
                    head[a, d, i] = (
                        slope[a, 0, i] * rotation[0, d]
                        + slope[a, 1, i] * rotation[1, d]
                        + slope[a, 2, i] * rotation[2, d]
                    )
                if free_focal:
                    # A step of the inverse distance q moves the log of the distance by -dq / q.
                    far = max(translation[2], 1.0) * settings[ZOOM_NOISE]
                    far *= 1 - translation[2] / max(seen[2, i], 1.0)
                    zooming[a, i] = far * (image[a, i] - camera[2 + a])
        marginal(head, near[3], noise[1], px_per_mm**2, scatter, trust, weights, zooming, work)
        linearise(
            near, seen, image, slope, head, (rotation, translation), photo, free_focal, push, work
        )
        if not eliminate(work, 2 * NUM, BLOCK):
            return DIVERGED, rounds, merit
        for i in range(2 * NUM):
            for k in range(n):
                white[i, k] = work[i, 2 * NUM + k]
            left[i] = work[i, 2 * NUM + n]
        np.dot(white.T, white, hessian)
        for e in range(E):
            for f in range(E):
                hessian[e, f] += precision[e, f]
        hessian[n - 1, n - 1] += believed
        merit = np.dot(left, left) + pull(precision, expression, mean, prior_pull)
        merit += believed * log_focal[0] ** 2
        first = 0.0
        for number in range(_STEPS):
            np.dot(white.T, left, gradient)
            if free_focal:
                gradient[n - 1] += believed * log_focal[0]
            for e in range(n):
                free[e] = True
                if e < E:
                    gradient[e] += prior_pull[e]
                    at_low = expression[e] <= low[e] and gradient[e] > 0
                    at_high = expression[e] >= high[e] and gradient[e] < 0
                    free[e] = not (at_low or at_high)
            accepted = False
            while damping <= _MOST_DAMPING:
                if not damped_step(hessian, gradient, free, damping, step):
                    return DIVERGED, rounds, merit
                for e in range(E):
                    guess[e] = min(max(expression[e] + step[e], low[e]), high[e])
                    step[e] = guess[e] - expression[e]
                change = 0.0
                if free_focal:
                    # No step changes the distance more than sevenfold.
                    change = min(max(step[n - 1], -2.0), 2.0)
                for d in range(3):
                    for k in range(3):
                        turned[d, k] = rotation[d, k]
                turn(turned, step[E : E + 3])
                for d in range(3):
                    moved[d] = (translation[d] + step[E + 3 + d]) * np.exp(change)
                # The identity's most probable value, by the residuals that the step leaves.
                np.dot(white, step, residual)
                for i in range(2 * NUM):
                    residual[i] += left[i]
                backward(work, residual)
                for d in range(3):
                    for i in range(NUM):
                        along[d * NUM + i] = -(
                            head[0, d, i] * residual[i] + head[1, d, i] * residual[NUM + i]
                        )
                np.dot(near[1].T, along, person)
                place(near, person, guess, push2, points2)
                zoom2 = np.exp(log_focal[0] + change)
                project(points2, turned, moved, camera, zoom2, seen2, image2)
                farthest = 0.0
                for i in range(NUM):
                    square, shift = 0.0, 0.0
                    for d in range(3):
                        square += (points2[d * NUM + i] - points[d * NUM + i]) ** 2
                    for a in range(2):
                        shift += (image2[a, i] - image[a, i]) ** 2
                        error = image2[a, i] - observed[a, i]
                        for d in range(3):
                            error -= head[a, d, i] * push2[d * NUM + i]
                        residual[a * NUM + i] = error
                    farthest = max(farthest, square, shift / px_per_mm**2)
                farthest = np.sqrt(farthest)
                forward(work, residual)
                value = np.dot(residual, residual) + pull(precision, guess, mean, prior_pull)
                value += believed * (log_focal[0] + change) ** 2
                if not np.isfinite(value):
                    return DIVERGED, rounds, merit
                if value <= merit or farthest < tolerance:
                    accepted = True
                    break
                if number > 0:
                    break
                damping *= 8
            if not accepted:
                break
            damping = max(damping / 8, 1e-9)
            rotation[:], translation[:] = turned, moved
            identity[:], expression[:] = person, guess
            log_focal[0] += change
            merit = value
            points, points2 = points2, points
            left, residual = residual, left
            image, image2 = image2, image
            if number == 0:
                first = farthest
            # A small step leaves residuals as they were foreseen: only the noise is worth renewing.
            if farthest < _STRAIGHT:
                break
        if first < tolerance:
            break
    if not translation[2] > 0:
        return BEHIND, rounds, merit
    return SOLVED, rounds, merit


@numba.njit(nogil=True, cache=True)
def begin(shape, near, noise, prior, photo, settings, outline, focal_change, state):
    """Write a start with the focal length changed by a factor (its log); return a status."""
    rotation, translation, identity, expression, log_focal, rows, weights = state
    mean, _, low, high = prior
    observed, trust, camera = photo
    zoom = np.exp(focal_change)
    log_focal[0] = focal_change
    identity[:] = 0
    weights[:] = 1
    for e in range(len(expression)):
        expression[e] = min(max(mean[e], low[e]), high[e])
    for i in range(NUM):
        if rows[i] != i:
            rows[:] = np.arange(NUM)
            gather(shape[:4], rows, near)
            break
    push, points = np.empty(3 * NUM), np.empty(3 * NUM)
    place(near, identity, expression, push, points)
    status = start_pose(points, observed, trust, camera, zoom, rotation, translation)
    if status != SOLVED:
        return status
    if outline:
        follow(shape, near, rotation, translation, identity, expression, rows)
        place(near, identity, expression, push, points)
    scatter = np.empty((2, 2, NUM))
    px_per_mm = labeller(
        noise[0],
        rotation,
        translation,
        camera,
        zoom,
        settings[GROWTH],
        settings[NOISE_PX],
        scatter,
    )
    extra = (px_per_mm * settings[DISCREPANCY]) ** 2
    refine_pose(points, observed, camera, zoom, scatter, extra, trust, rotation, translation)
    return SOLVED


@numba.njit(nogil=True, cache=True)
def possible(hessian, log_ratio):
    """Say whether the last variable may well be off by ``log_ratio``: within two deviations."""
    n = len(hessian)
    unit, step = np.zeros(n), np.empty(n)
    unit[n - 1] = -1.0
    if not damped_step(hessian, unit, np.ones(n, np.bool_), 0.0, step):
        return True
    return log_ratio**2 < 4 * step[n - 1]


@numba.njit(nogil=True, cache=True)
def copy_state(source, target):
    """Copy a state."""
    target[0][:] = source[0]
    target[1][:] = source[1]
    target[2][:] = source[2]
    target[3][:] = source[3]
    target[4][:] = source[4]
    target[5][:] = source[5]
    target[6][:] = source[6]


@numba.njit(nogil=True, cache=True)
def solve(shape, near, noise, prior, photo, settings, outline, state, other, held):
    """Fit 68 points; return (status, rounds, merit). Arguments as ``search`` has them.

    A free focal length is begun from the prior's distance. Where the outline moves, two distances
    may each hold their own: then nearby is tried as well, unless the first fit excludes it.

    Args:
        other: another state's arrays.
    """
    status = begin(shape, near, noise, prior, photo, settings, outline, 0.0, state)
    if status != SOLVED:
        return status, 0, 0.0
    distance = state[1][2]
    weigh, tolerance, rounds, merit = False, _NEAR_ENOUGH, 0, 0.0
    starts = 1
    turn_number = 0
    while True:
        status, more, value = search(
            shape, near, noise, prior, photo, settings, outline, weigh, tolerance, state, held
        )
        rounds += more
        if weigh:
            return status, rounds, value
        if turn_number == 0:
            merit = value
            far = distance > _NEARBY_MM and settings[FOCAL_STD] > 0
            again = outline and far and status == SOLVED
            if again and possible(held[2], np.log(_NEARBY_MM / state[1][2])):
                starts = 2
                copy_state(state, other)
                change = np.log(_NEARBY_MM / distance)
                begin(shape, near, noise, prior, photo, settings, outline, change, state)
        elif status != SOLVED or merit <= value:
            copy_state(other, state)
            gather(shape[:4], state[5], near)
            status = SOLVED
        turn_number += 1
        if turn_number == starts:
            if status != SOLVED:
                return status, rounds, merit
            weigh, tolerance = True, settings[TOLERANCE]
