"""What a network saw, as a belief: exact Bayes where its own expectations are known."""

import numpy as np
import pytest
from toy import toy_model

from facekit.detect.parameters import CropReading
from facekit.fit import network_prior as module
from facekit.fit.landmark_problem import KnownPosterior, LandmarkFit
from facekit.fit.network_prior import (
    fused,
    hold,
    let_go,
    network_information,
    network_prior,
    seen_identity,
)
from facekit.fit.prior import FacePrior
from facekit.geometry.alignment import SimilarityTransform

WHOLE = SimilarityTransform(1.0, np.eye(2), np.zeros(2))


@pytest.fixture(scope="module")
def model():
    return toy_model()


def reading_of(model, mean, covariance):
    size = model.num_identity + model.num_expression
    whole = np.eye(size)
    whole[: model.num_identity, : model.num_identity] = covariance
    return CropReading({}, mean, whole, 1.0, WHOLE)


def test_other_expectations_are_taken_out_again(model, monkeypatch):
    """A network that expects N(0, s^2) says the posterior under it; people are N(0, 1)."""
    monkeypatch.setattr(module, "_LEAST_STD", 0.0)
    rng = np.random.default_rng(0)
    K = model.num_identity
    spread = rng.uniform(1.2, 2.0, K)
    seen = rng.standard_normal((K, K))
    evidence = seen @ seen.T / K
    told = evidence @ rng.standard_normal(K)
    network = np.linalg.inv(evidence + np.diag(spread**-2))
    belief = network_prior(model, reading_of(model, network @ told, network), spread=spread)
    np.testing.assert_allclose(belief.precision[:K, :K], evidence + np.eye(K), atol=1e-8)
    expected = np.linalg.solve(evidence + np.eye(K), told)
    np.testing.assert_allclose(belief.mean[:K], expected, atol=1e-8)


def test_errors_count_as_stated_and_expressions_stay_the_model_s(model):
    K = model.num_identity
    saw = np.linspace(-1, 1, K)
    belief = network_prior(model, reading_of(model, saw, 0.3 * np.eye(K)))
    variance = 0.3 + 0.05**2
    np.testing.assert_allclose(np.diag(belief.precision)[:K], 1 / variance)
    np.testing.assert_allclose(belief.mean[:K], saw)
    np.testing.assert_allclose(belief.mean[K:], model.expression_mean)
    np.testing.assert_allclose(np.diag(belief.precision)[K:], model.expression_std**-2.0, rtol=1e-6)


def test_what_is_hardly_seen_comes_back_to_the_mean(model):
    K = model.num_identity
    covariance = np.diag(np.where(np.arange(K) == 0, 1e-4, 1.9))
    belief = network_prior(model, reading_of(model, np.ones(K), covariance), spread=np.full(K, 1.5))
    assert belief.mean[0] > 0.99
    assert (belief.mean[1:K] < 0.5).all()
    seen = seen_identity(model, reading_of(model, np.ones(K), covariance), spread=np.full(K, 1.5))
    np.testing.assert_array_equal(seen, belief.mean[:K])


def test_a_network_that_saw_less_than_it_expected_saw_nothing(model, monkeypatch):
    K = model.num_identity
    covariance = np.diag(np.where(np.arange(K) == 0, 0.5, 3.0))
    told = network_information(reading_of(model, np.ones(K), covariance), spread=np.full(K, 1.5))
    assert told.matrix[0, 0] == pytest.approx(1 / 0.5025 - 1 / 1.5**2)
    assert told.vector[0] == pytest.approx(1 / 0.5025)
    assert np.abs(told.matrix[1:]).max() < 1e-12
    assert np.abs(told.vector[1:]).max() < 1e-12


def test_a_held_identity_is_let_go_with_what_follows_it(model):
    """Conditionals of a joint Gaussian stay; its identity's marginal is the belief's."""
    K, n = model.num_identity, model.num_identity + model.num_expression
    rng = np.random.default_rng(5)
    root = rng.standard_normal((n + 6, 2 * n))
    joint = root @ root.T / n
    belief = FacePrior(np.zeros(n), np.diag(rng.uniform(0.5, 2, n)))
    fit = LandmarkFit(*(None,) * 5, KnownPosterior(joint, 0.0), *(None,) * 5)
    found = let_go(fit, belief, K).covariance
    left = 0.65 * np.linalg.inv(belief.precision[:K, :K])
    np.testing.assert_allclose(found[:K, :K], left, atol=1e-9)
    for covariance in (joint, found):
        slope = np.linalg.solve(covariance[:K, :K], covariance[:K, K:])
        left = covariance[K:, K:] - covariance[K:, :K] @ slope
        precision = np.linalg.inv(joint)[K:, K:]
        np.testing.assert_allclose(np.linalg.inv(left), precision, rtol=1e-6, atol=1e-6)
    assert np.linalg.eigvalsh(found).min() > 0


def test_only_the_identity_is_held(model):
    K = model.num_identity
    belief = network_prior(model, reading_of(model, np.ones(K), 0.3 * np.eye(K)))
    held = hold(belief, K)
    np.testing.assert_array_equal(held.mean, belief.mean)
    np.testing.assert_allclose(held.precision[:K, :K], belief.precision[:K, :K] / 0.3)
    np.testing.assert_array_equal(held.precision[K:, K:], belief.precision[K:, K:])
    four = hold(belief, K, pictures=4)
    np.testing.assert_allclose(four.precision[:K, :K], 4 * held.precision[:K, :K])


def test_looks_at_one_person_count_as_correlated_measurements(model):
    K = model.num_identity
    looks = [
        network_prior(model, reading_of(model, np.full(K, value), 0.2 * np.eye(K)))
        for value in (0.4, 0.8, 1.2)
    ]
    one, three = (fused(looks[:n], K) for n in (1, 3))
    np.testing.assert_allclose(one.precision, looks[0].precision, atol=1e-9)
    np.testing.assert_allclose(one.mean, looks[0].mean, atol=1e-9)
    evidence = looks[0].precision[0, 0] - 1
    # The variance of a mean of three values of correlation 1/2 is 2/3 of one's.
    assert three.precision[0, 0] == pytest.approx(1.5 * evidence + 1)
    # All told the same of the middle one's, so it is what they agree on, more surely.
    told = looks[1].mean[0] * (evidence + 1)
    assert three.mean[0] == pytest.approx(1.5 * told / (1.5 * evidence + 1))
    np.testing.assert_allclose(three.mean[K:], looks[0].mean[K:])
