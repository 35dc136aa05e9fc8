"""Powell's dogleg for small nonlinear least-squares problems, with the NoW benchmark's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import cg

from facekit.errors import ItemError


class NormalEquations(NamedTuple):
    """A least-squares problem about one point.

    Attributes:
        cost: sum of squared residuals.
        gradient: (P,) -J^T r, the steepest-descent direction of half the cost.
        hessian: (P, P) J^T J.
    """

    cost: float
    gradient: np.ndarray
    hessian: np.ndarray


class DoglegResult(NamedTuple):
    """Where the dogleg stopped.

    Attributes:
        parameters: (P,) of the last accepted step.
        costs: sum of squares at the start and after each accepted step.
        evaluations: how often the problem was evaluated.
        is_last_evaluation: whether the last evaluation was at ``parameters``.
    """

    parameters: np.ndarray
    costs: tuple[float, ...]
    evaluations: int
    is_last_evaluation: bool

    @property
    def steps(self) -> int:
        """Accepted steps."""
        return len(self.costs) - 1


def minimise_dogleg(
    evaluate: Callable[[np.ndarray], NormalEquations],
    start: np.ndarray,
    *,
    radius: float,
    max_iterations: int = 200,
    relative_decrease: float = 1e-4,
) -> DoglegResult:
    """Minimise a sum of squares from ``start`` by Powell's dogleg in a trust region.

    The radius compares unscaled parameters. A step with a gain ratio (actual over predicted
    decrease) above 0.9 widens the radius to 2.5 times the step, below 0.05 quarters it; a step
    is taken when the cost falls at all. The Gauss-Newton step is solved by conjugate gradients to
    a relative residual of 1e-5.

    Stops after the accepted step (it is kept) that lowers the cost by ``relative_decrease`` or
    less of itself, when no gradient component exceeds 1e-15, when a step is shorter than 1e-15
    of the parameters, or after ``max_iterations`` steps.

    Raises:
        ItemError: the cost at the start is not finite.

    Source: M. J. D. Powell, A hybrid method for nonlinear equations, 1970, as in K. Madsen et
    al., Methods for non-linear least squares problems, 2004, algorithm 3.21; the constants are
    those of the NoW benchmark's optimiser.
    """
    parameters = np.array(start, dtype=np.float64)
    current = evaluate(parameters)
    if not np.isfinite(current.cost):
        raise ItemError(f"refinement: the cost at the start is {current.cost}, nothing to refine")
    costs = [current.cost]
    evaluations = 1
    at_parameters = True
    for _ in range(max_iterations):
        if np.abs(current.gradient).max() < 1e-15:
            break
        cauchy = _cauchy_step(current)
        newton: np.ndarray | None = None
        accepted = stop = False
        while not (accepted or stop):
            if np.linalg.norm(cauchy) < radius and newton is None:
                newton = cg(current.hessian, current.gradient, rtol=1e-5, maxiter=2000)[0]
            step = _dogleg_step(cauchy, newton, radius)
            length = float(np.linalg.norm(step))
            if length <= 1e-15 * np.linalg.norm(parameters):
                stop = True
                break
            trial = evaluate(parameters + step)
            evaluations += 1
            decrease = current.cost - trial.cost
            predicted = float(2 * step @ current.gradient - step @ current.hessian @ step)
            gain = decrease / predicted if decrease > 0 else -1.0
            accepted = at_parameters = bool(decrease > 0)
            if accepted:
                stop = decrease <= relative_decrease * current.cost
                parameters = parameters + step
                current = trial
                costs.append(current.cost)
            if gain > 0.9:
                radius = max(radius, 2.5 * length)
            elif gain < 0.05:
                radius /= 4
        if stop:
            break
    return DoglegResult(parameters, tuple(costs), evaluations, at_parameters)


def _cauchy_step(problem: NormalEquations) -> np.ndarray:
    gradient = problem.gradient
    return (gradient @ gradient) / (gradient @ problem.hessian @ gradient) * gradient


def _dogleg_step(cauchy: np.ndarray, newton: np.ndarray | None, radius: float) -> np.ndarray:
    length = float(np.linalg.norm(cauchy))
    if newton is None or length >= radius:
        return radius / length * cauchy
    if np.linalg.norm(newton) <= radius:
        return newton
    # Where the leg from the Cauchy to the Gauss-Newton point leaves the region:
    # |cauchy + b (newton - cauchy)| = radius, 0 <= b <= 1.
    leg = newton - cauchy
    a = float(leg @ leg)
    half_b = float(cauchy @ leg)
    c = length**2 - radius**2
    root = float(np.sqrt(half_b**2 - a * c))
    # Of the two equal forms of the root, the one without cancellation.
    b = -c / (half_b + root) if half_b > 0 else (root - half_b) / a
    return cauchy + b * leg
