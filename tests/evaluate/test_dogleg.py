import numpy as np
import pytest
from scipy.optimize import least_squares

from facekit.errors import ItemError
from facekit.evaluate.dogleg import NormalEquations, minimise_dogleg


def problem(residual, jacobian):
    seen = []

    def evaluate(p):
        seen.append(p.copy())
        r, J = residual(p), jacobian(p)
        return NormalEquations(float(r @ r), -J.T @ r, J.T @ J)

    return evaluate, seen


def rosenbrock():
    return problem(
        lambda p: np.array([10 * (p[1] - p[0] ** 2), 1 - p[0]]),
        lambda p: np.array([[-20 * p[0], 10], [-1, 0.0]]),
    )


def test_rosenbrock_reaches_the_minimum_and_never_climbs():
    evaluate, seen = rosenbrock()
    result = minimise_dogleg(evaluate, np.array([-1.2, 1.0]), radius=0.5, relative_decrease=1e-12)
    np.testing.assert_allclose(result.parameters, 1, atol=1e-4)
    assert (np.diff(result.costs) < 0).all()
    assert result.evaluations == len(seen)
    assert result.steps == len(result.costs) - 1 < 40


def test_linear_problem_is_solved_by_one_newton_step_inside_the_region():
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(30, 4)), rng.normal(size=30)
    evaluate, _ = problem(lambda p: A @ p - b, lambda p: A)
    result = minimise_dogleg(evaluate, np.zeros(4), radius=100.0)
    np.testing.assert_allclose(result.parameters, np.linalg.lstsq(A, b)[0], atol=1e-4)
    assert result.steps <= 2


def test_steps_stay_inside_the_radius():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(30, 4)) * [1, 10, 100, 0.1]
    evaluate, seen = problem(lambda p: A @ (p - 50), lambda p: A)
    minimise_dogleg(evaluate, np.zeros(4), radius=0.1, max_iterations=5)
    lengths = np.linalg.norm(np.diff(seen, axis=0), axis=1)
    assert lengths[0] == pytest.approx(0.1)
    # A perfectly predicted step widens the region by 2.5 and no more.
    np.testing.assert_allclose(lengths[1:] / lengths[:-1], 2.5, rtol=1e-6)


def test_dogleg_path_crosses_the_radius_between_cauchy_and_newton():
    A = np.diag([1.0, 10.0])
    evaluate, seen = problem(lambda p: A @ (p - 3), lambda p: A)
    minimise_dogleg(evaluate, np.zeros(2), radius=3.5, max_iterations=1)
    step = seen[1]
    assert np.linalg.norm(step) == pytest.approx(3.5)
    gradient = A @ A @ np.array([3.0, 3])
    cauchy = (gradient @ gradient) / np.sum((A @ gradient) ** 2) * gradient
    newton = np.array([3.0, 3])
    along = (step - cauchy) / (newton - cauchy)
    assert along[0] == pytest.approx(along[1], abs=1e-4)
    assert 0 < along[0] < 1


def test_a_rejected_step_shrinks_the_region_and_keeps_the_point():
    evaluate, seen = problem(lambda p: np.array([np.sin(5 * p[0]) + 2]),
                             lambda p: np.array([[5 * np.cos(5 * p[0])]]))  # fmt: skip
    result = minimise_dogleg(evaluate, np.array([0.0]), radius=0.9)
    assert result.evaluations > result.steps + 1
    assert (np.diff(result.costs) < 0).all()
    assert result.costs[-1] == pytest.approx(1, abs=1e-3)
    value = evaluate(result.parameters).cost
    assert value == result.costs[-1]
    assert len(seen) == result.evaluations + 1


def test_stops_after_a_small_decrease_and_keeps_that_step():
    evaluate, _ = rosenbrock()
    start = np.array([-1.2, 1.0])
    result = minimise_dogleg(evaluate, start, radius=0.5, relative_decrease=0.2)
    relative = -np.diff(result.costs) / np.array(result.costs[:-1])
    assert relative[-1] <= 0.2
    assert (relative[:-1] > 0.2).all()


def test_at_the_minimum_nothing_moves():
    evaluate, _ = rosenbrock()
    result = minimise_dogleg(evaluate, np.ones(2), radius=0.5)
    assert result.steps == 0
    assert result.is_last_evaluation
    assert result.parameters.tolist() == [1, 1]


def test_agrees_with_scipy_on_an_exponential_fit():
    x = np.linspace(0, 2, 40)
    y = 1.7 * np.exp(-0.8 * x) + 0.01 * np.random.default_rng(2).normal(size=40)
    evaluate, _ = problem(
        lambda p: p[0] * np.exp(p[1] * x) - y,
        lambda p: np.stack([np.exp(p[1] * x), p[0] * x * np.exp(p[1] * x)], axis=1),
    )
    result = minimise_dogleg(evaluate, np.array([1.0, 0]), radius=0.1, relative_decrease=1e-12)
    best = least_squares(lambda p: p[0] * np.exp(p[1] * x) - y, [1, 0])
    np.testing.assert_allclose(result.parameters, best.x, atol=1e-5)


def test_a_start_without_a_finite_cost_is_refused():
    def evaluate(p):
        return NormalEquations(float("nan"), np.zeros(2), np.eye(2))

    with pytest.raises(ItemError, match="nothing to refine"):
        minimise_dogleg(evaluate, np.zeros(2), radius=1)
