"""The landmark fit's minimum by plain Levenberg-Marquardt over all variables at once.

Slow, in array operations, with the noise, the outline and the outliers' weights renewed as
``fit.landmark_solver`` renews them. Not what facekit ships: it eliminates the identity.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve

NEAR_MM = 400.0


def slow_minimum(problem, *, tolerance=1e-13, steps=100, reweightings=60):
    """Return the state at the minimum."""
    states = [problem.initial_pose()]
    distance = states[0].translation[2]
    if problem.config.log_focal_std > 0 and distance > NEAR_MM:
        states.append(problem.initial_pose(float(np.log(NEAR_MM / distance))))
    found = []
    for state in states:
        state, _ = minimise(problem, state, "pose", tolerance, steps)
        found.append(minimise(problem, state, "all", tolerance, steps))
    state = min(found, key=lambda item: item[1])[0]
    for _ in range(reweightings):
        before = problem.weights
        problem.reweigh(state)
        state, _ = minimise(problem, state, "all", tolerance, steps)
        if np.abs(problem.weights - before).max() < 1e-9:
            break
    return state


def minimise(problem, state, free, tolerance, steps):
    """Return the state and its cost; the outline and the noise are held inside a step."""
    damping, stalled = 1e-3, False
    rows, noise = problem.rows(state), problem.noise(state)
    cost = problem.cost(state, rows, noise)
    for _ in range(steps):
        hessian, gradient = problem.linearise(state, rows, noise)
        mask = problem.free_variables(state, gradient, free)
        step = np.zeros(problem.num_free)
        reduced = hessian[np.ix_(mask, mask)]
        reduced[np.diag_indices_from(reduced)] *= 1 + damping
        step[mask] = -cho_solve(cho_factor(reduced), gradient[mask])
        candidate = problem.moved(state, step)
        new_cost = problem.cost(candidate, rows, noise)
        if new_cost > cost:
            damping *= 8
            if damping > 1e8:
                break
            continue
        small = cost - new_cost < tolerance * (1 + abs(cost))
        state, damping = candidate, max(damping / 8, 1e-9)
        new_rows, noise = problem.rows(state), problem.noise(state)
        moved = bool((new_rows != rows).any())
        rows = new_rows
        cost = problem.cost(state, rows, noise)
        if small and (stalled or not moved):
            break
        stalled = small
    return state, cost
