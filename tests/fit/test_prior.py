import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.fit.landmark import LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.prior import FacePrior, model_prior
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA
from facekit.types import Camera


@pytest.fixture(scope="module")
def model():
    return toy_model()


@pytest.fixture(scope="module")
def seen(model):
    """Landmarks (68, 2) of a drawn face, its coefficients and the intrinsics."""
    rng = np.random.default_rng(3)
    truth = rng.standard_normal(model.num_identity)
    intrinsics = np.array([[900.0, 0, 255.5], [0, 900.0, 255.5], [0, 0, 1]])
    camera = Camera(intrinsics, HEAD_TO_CAMERA, np.array([0.0, 0, 800]), 512, 512)
    points = model.landmark_points("ibug68", model.shape(truth))
    return project(camera, points)[:, :2], truth, intrinsics


def fitted(model, seen, prior):
    return fit_landmarks(
        build_landmark_basis(model), model, seen[0], intrinsics=seen[2], prior=prior
    )


def test_the_models_own_prior_is_the_default(model, seen):
    config = LandmarkFitConfig()
    own = model_prior(model, identity_scale=config.identity_scale)
    one, two = fitted(model, seen, None), fitted(model, seen, own)
    np.testing.assert_array_equal(one.identity, two.identity)
    assert one.cost == two.cost


def test_a_sure_prior_wins_over_landmarks(model, seen):
    K = model.num_identity
    own = model_prior(model)
    wish = np.full(K, 0.7)
    mean, precision = own.mean.copy(), own.precision.copy()
    mean[:K] = wish
    precision[:K, :K] = 1e10 * np.eye(K)
    fit = fitted(model, seen, FacePrior(mean, precision))
    np.testing.assert_allclose(fit.identity, wish, atol=1e-3)
    np.testing.assert_allclose(fit.covariance[:K, :K], 0, atol=1e-8)


def test_a_true_prior_brings_the_fit_nearer(model, seen):
    K = model.num_identity
    own = model_prior(model)
    mean, precision = own.mean.copy(), own.precision.copy()
    mean[:K] = 0.8 * seen[1]
    precision[:K, :K] *= 9
    plain, told = fitted(model, seen, None), fitted(model, seen, FacePrior(mean, precision))
    error = [np.linalg.norm(f.identity - seen[1]) for f in (plain, told)]
    assert error[1] < error[0]


def test_rejections(model, seen):
    own = model_prior(model)
    with pytest.raises(InputError, match="prior mean"):
        fitted(model, seen, own._replace(mean=own.mean[:-1]))
    with pytest.raises(InputError, match="prior precision"):
        fitted(model, seen, own._replace(precision=np.full_like(own.precision, np.nan)))
