"""The compiled solver finds the minimum that a plain one over all variables finds."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from landmark_twin import slow_minimum
from toy import ellipsoid, frontal_landmarks, on_surface, toy_model

from facekit.errors import ItemError
from facekit.fit.landmark import LandmarkFitConfig, LandmarkProblem, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.landmark_belief import model_belief
from facekit.fit.landmark_problem import KnownPosterior
from facekit.fit.prior import FacePrior, model_prior
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.morphable import load_model


def with_strips(model):
    vertices, faces = ellipsoid()
    strips = {}
    for index, (x, y) in enumerate(frontal_landmarks()[:17]):
        line = np.stack([np.linspace(x, 0.1 * x, 12), np.full(12, y)], axis=1)
        strips[f"jaw_strip_{index:02d}"] = on_surface(vertices, faces, line)
    return replace(model, landmarks={**model.landmarks, **strips})


MODEL = with_strips(toy_model())
BASIS = build_landmark_basis(MODEL)


def case(model, basis, seed, *, outline, free):
    """Points of a drawn head from anywhere, some of them outliers, and how they are labelled."""
    rng = np.random.default_rng(seed)
    K = basis.num_identity
    deviation = model.expression_std
    expression = np.clip(rng.normal(model.expression_mean, deviation), *model.expression_bounds.T)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians(rng.normal(0, [25, 8, 8])))
    distance = float(rng.choice([350, 600, 1000, 2000]))
    shift = np.array([*rng.normal(0, 20, 2), distance + 60])
    points = basis.points(np.concatenate([rng.normal(size=K), expression]))
    rows = basis.visible_rows(points, rotation, shift) if outline else np.arange(68)
    camera = points[rows] @ rotation.T + shift
    focal = 1.3 * distance
    marks = focal * camera[:, :2] / camera[:, 2:] + 255.5 + rng.normal(0, 1.5, (68, 2))
    if seed % 3 == 0:
        marks[rng.integers(0, 68, 4)] += rng.normal(0, 25, (4, 2))
    guess = focal * (1.3 if free else 1.0)
    intrinsics = np.array([[guess, 0, 255.5], [0, guess, 255.5], [0, 0, 1]])
    config = LandmarkFitConfig(log_focal_std=1.0 if free else 0.0)
    return marks, rng.uniform(0.3, 1, 68), intrinsics, config


def compare(model, basis, seed, *, outline, free, prior=None):
    """The largest distance (mm) of the fit's from the plain minimum's points, and both fits."""
    marks, trust, intrinsics, config = case(model, basis, seed, outline=outline, free=free)
    settings = {"config": config, "prior": prior, "outline": outline}
    fit = fit_landmarks(basis, model, marks, intrinsics=intrinsics, confidence=trust, **settings)
    problem = LandmarkProblem(
        basis, model, marks, trust, intrinsics, config, prior, outline=outline
    )
    state = slow_minimum(problem)
    found = basis.points(np.concatenate([fit.identity, fit.expression]))[:68]
    plain = problem.result(state, problem.cost(state, problem.rows(state), problem.noise(state)), 0)
    return np.abs(found - basis.points(state.coefficients)[:68]).max(), fit, plain


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("outline", [False, True])
def test_the_minimum_is_that_of_a_plain_solver(outline, free):
    for seed in range(6):
        apart, fit, plain = compare(MODEL, BASIS, seed, outline=outline, free=free)
        assert apart < 1e-3
        np.testing.assert_allclose(fit.rotation, plain.rotation, atol=1e-5)
        np.testing.assert_allclose(fit.residuals_px, plain.residuals_px, atol=2e-3)
        np.testing.assert_allclose(fit.weights, plain.weights, atol=1e-3)
        np.testing.assert_array_equal(fit.rows, plain.rows)
        assert fit.focal == pytest.approx(plain.focal, rel=1e-4)
        assert fit.cost == pytest.approx(plain.cost, rel=1e-3)
        assert fit.posterior.log_noise == pytest.approx(plain.posterior.log_noise, abs=0.05)
        scale = np.sqrt(np.diag(plain.covariance))
        np.testing.assert_allclose(
            fit.covariance / np.outer(scale, scale),
            plain.covariance / np.outer(scale, scale),
            atol=2e-3,
        )


def test_the_built_in_model_too():
    model = load_model("builtin")
    basis = build_landmark_basis(model)
    for seed in (1, 3):
        assert compare(model, basis, seed, outline=False, free=True)[0] < 1e-3
    assert compare(model, basis, 2, outline=True, free=False)[0] < 1e-3


@pytest.mark.parametrize("coupled", [False, True])
def test_any_gaussian_may_be_the_prior(coupled):
    rng = np.random.default_rng(8)
    own = model_prior(MODEL)
    n, K = len(own.mean), MODEL.num_identity
    root = rng.normal(size=(n, n)) * 0.4
    root[:K, K:] *= coupled
    root[K:, :K] *= coupled
    mean = own.mean + np.concatenate([rng.normal(size=K), np.zeros(n - K)])
    prior = FacePrior(mean, own.precision + root @ root.T)
    apart, fit, plain = compare(MODEL, BASIS, 4, outline=True, free=False, prior=prior)
    assert apart < 1e-3
    np.testing.assert_allclose(fit.identity, plain.identity, atol=1e-3)
    scale = np.sqrt(np.diag(plain.covariance))
    np.testing.assert_allclose(
        fit.covariance / np.outer(scale, scale),
        plain.covariance / np.outer(scale, scale),
        atol=2e-3,
    )


def test_the_priors_deviation_scales_the_identity():
    marks, trust, intrinsics, config = case(MODEL, BASIS, 5, outline=False, free=False)
    prior = model_prior(MODEL, identity_scale=0.5)
    one, other = (
        fit_landmarks(
            BASIS, MODEL, marks, intrinsics=intrinsics, confidence=trust, outline=False, **how
        )
        for how in (
            {"config": replace(config, identity_scale=0.5)},
            {"config": config, "prior": prior},
        )
    )
    np.testing.assert_allclose(one.identity, other.identity, atol=1e-9)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-9)


def test_the_basis_is_not_changed_by_fits():
    belief = model_belief(BASIS, MODEL, 1.0)
    before = [part.copy() for part in belief.front]
    compare(MODEL, BASIS, 3, outline=True, free=True)
    assert model_belief(BASIS, MODEL, 1.0) is belief
    for part, copy in zip(belief.front, before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_a_prior_that_is_none_is_refused():
    marks, _, intrinsics, config = case(MODEL, BASIS, 1, outline=False, free=False)
    own = model_prior(MODEL)
    broken = FacePrior(own.mean, -own.precision)
    with pytest.raises(ItemError, match="broke down"):
        fit_landmarks(BASIS, MODEL, marks, intrinsics=intrinsics, config=config, prior=broken)


def test_the_posterior_is_computed_when_it_is_asked_for():
    marks, trust, intrinsics, config = case(MODEL, BASIS, 2, outline=True, free=True)
    fit = fit_landmarks(BASIS, MODEL, marks, intrinsics=intrinsics, confidence=trust, config=config)
    moved = replace(fit, translation=fit.translation + 1)
    copied = pickle.loads(pickle.dumps(fit))
    assert fit.covariance is fit.covariance
    for other in (moved, copied):
        np.testing.assert_array_equal(other.covariance, fit.covariance)
        assert other.posterior.log_noise == fit.posterior.log_noise
    np.testing.assert_array_equal(fit.covariance, fit.covariance.T)
    assert np.linalg.eigvalsh(fit.covariance).min() > 0
    narrow = replace(fit, posterior=KnownPosterior(np.eye(3), 1.0))
    assert narrow.covariance.shape == (3, 3)
    assert narrow.posterior.log_noise == 1.0


def test_turned_heads_and_outliers_end_at_the_minimum_too():
    """The light rounds leave no more behind than the full ones of a search run to its end."""
    exact = LandmarkFitConfig(tolerance_mm=1e-6, max_rounds=100)
    for seed in range(30, 42):
        marks, trust, intrinsics, config = case(MODEL, BASIS, seed, outline=False, free=True)
        found = []
        for settings in (config, replace(exact, log_focal_std=config.log_focal_std)):
            how = {"confidence": trust, "config": settings, "outline": False}
            fit = fit_landmarks(BASIS, MODEL, marks, intrinsics=intrinsics, **how)
            found.append(BASIS.points(np.concatenate([fit.identity, fit.expression]))[:68])
        assert np.abs(found[0] - found[1]).max() < 1e-3
