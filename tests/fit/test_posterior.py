"""Deviations of the surface: the alignment's directions do not count, and stated shares hold."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.fit.landmark import LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.posterior import (
    Discrepancy,
    SurfacePosterior,
    aligned_displacements,
    similarity_slopes,
)
from facekit.geometry.mesh import vertex_areas, vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix, rotvec_to_matrix

# Expressions that stay inside their bounds, so that everything is normal.
MODEL = replace(toy_model(), expression_mean=np.full(4, 0.5), expression_std=np.full(4, 0.1))
BASIS = build_landmark_basis(MODEL)
K, C = BASIS.num_identity, BASIS.modes.shape[2]
FACE = MODEL.regions["face"]
NOTHING = Discrepancy(general_mm=1e-6, regions_mm=(), head_dof=np.inf)
PLACE = np.array([5.0, -20.0, 900.0])
K3 = np.array([[1500.0, 0, 499.5], [0, 1500.0, 499.5], [0, 0, 1]])


def surface():
    vertices = MODEL.mean.astype(np.float64)
    normals = vertex_normals(vertices, MODEL.faces).astype(np.float64)
    return vertices, normals, vertex_areas(vertices, MODEL.faces) * FACE


def fitted(rng, noise_px=0.8):
    """A head drawn from the prior, and its fit to landmarks with the noise that is assumed."""
    identity = rng.normal(size=K)
    low, high = MODEL.expression_bounds.T
    expression = np.clip(MODEL.expression_mean + 0.1 * rng.normal(size=C - K), low, high)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*rng.normal(0, 0.15, 3))
    points = BASIS.points(np.concatenate([identity, expression]))
    rows = BASIS.visible_rows(points, rotation, PLACE)
    seen = points[rows] @ rotation.T + PLACE
    observed = 1500 * seen[:, :2] / seen[:, 2:] + 499.5 + noise_px * rng.normal(size=(68, 2))
    basis = replace(BASIS, covariance_mm2=np.zeros((68, 2, 2)))
    config = LandmarkFitConfig(
        discrepancy_mm=1e-3, label_noise_px=noise_px, turn_growth=0.0, robust_dof=1e6
    )
    return identity, fit_landmarks(basis, MODEL, observed, intrinsics=K3, config=config)


def test_a_similarity_is_no_displacement():
    vertices, normals, weights = surface()
    slopes = similarity_slopes(vertices, normals)
    np.testing.assert_allclose(aligned_displacements(slopes, slopes, weights), 0, atol=1e-8)
    small = 1e-4
    turn = rotvec_to_matrix(small * np.array([1.0, -2.0, 0.5]))
    moved = (1 + 3 * small) * vertices @ turn.T + small * np.array([30.0, -10, 20])
    along = ((moved - vertices) * normals).sum(axis=1)
    assert np.abs(along).max() > 0.01
    left = aligned_displacements(along[:, None], slopes, weights)
    assert np.abs(left).max() < 1e-5


def test_only_the_face_decides_the_alignment():
    vertices, normals, weights = surface()
    slopes = similarity_slopes(vertices, normals)
    rng = np.random.default_rng(0)
    along = rng.normal(size=(len(vertices), 2))
    left = aligned_displacements(along, slopes, weights)
    # What is left has no part along the similarities, over the face.
    assert np.abs(slopes.T @ (weights[:, None] * left)).max() < 1e-6 * np.abs(weights).sum()
    other = along.copy()
    other[~FACE] += 5.0
    np.testing.assert_allclose(
        aligned_displacements(other, slopes, weights)[~FACE], left[~FACE] + 5.0, atol=1e-9
    )


def test_a_size_that_nobody_knows_is_no_deviation():
    # A mode that is growth alone, however unsure, leaves nothing after alignment.
    growth = 0.05 * MODEL.mean[None]
    model = replace(MODEL, identity_modes=growth.astype(np.float32))
    posterior = SurfacePosterior(model, NOTHING)
    _, fit = fitted(np.random.default_rng(1))
    rows = np.r_[0, K : len(fit.covariance)]
    fit = replace(
        fit.with_covariance(fit.covariance[np.ix_(rows, rows)]), identity=fit.identity[:1]
    )
    growth_mm = np.sqrt(fit.covariance[0, 0]) * np.abs((growth[0] * surface()[1]).sum(1)).max()
    assert posterior.neutral_std(fit).max() < 0.02 * growth_mm


def test_heads_of_the_prior_are_covered():
    posterior = SurfacePosterior(MODEL, NOTHING)
    vertices, normals, weights = surface()
    slopes = similarity_slopes(vertices, normals)
    rng = np.random.default_rng(7)
    ratios, strange = [], []
    for _ in range(60):
        identity, fit = fitted(rng)
        error = ((MODEL.shape(fit.identity) - MODEL.shape(identity)) * normals).sum(axis=1)
        left = aligned_displacements(error[:, None].astype(float), slopes, weights)[:, 0]
        ratios.append(np.abs(left / posterior.neutral_std(fit))[FACE])
        strange.append(posterior.strangeness(fit))
    ratios = np.array(ratios)
    within = (ratios <= 1).mean(axis=1)
    # Vertices of a head err together: heads are the sample.
    assert abs(within.mean() - 0.683) < 3 * within.std() / np.sqrt(len(within))
    within = (ratios <= 2).mean(axis=1)
    assert abs(within.mean() - 0.954) < 3 * within.std() / np.sqrt(len(within)) + 0.01
    # Heads that the prior knows are as far from its mean as it expects.
    assert np.mean(strange) == pytest.approx(1.0, abs=0.2)


def test_what_the_model_cannot_express_comes_on_top():
    _, fit = fitted(np.random.default_rng(3))
    plain = SurfacePosterior(MODEL, NOTHING)
    more = SurfacePosterior(MODEL, replace(NOTHING, general_mm=1.5))
    np.testing.assert_allclose(
        more.neutral_std(fit) ** 2, plain.neutral_std(fit) ** 2 + 1.5**2, rtol=1e-4
    )


def test_the_face_has_its_expressions_uncertainty_too():
    _, fit = fitted(np.random.default_rng(3))
    vertices, normals, weights = surface()
    modes = np.concatenate([MODEL.identity_modes, MODEL.expression_modes])
    along = np.einsum("kvd,vd->vk", modes, normals)
    left = aligned_displacements(along, similarity_slopes(vertices, normals), weights)
    posterior = SurfacePosterior(MODEL, NOTHING)
    for found, count in ((posterior.neutral_std(fit), K), (posterior.face_std(fit), C)):
        known = fit.covariance[:count, :count]
        expected = np.einsum("vk,kl,vl->v", left[:, :count], known, left[:, :count])
        np.testing.assert_allclose(found**2, expected, rtol=1e-3, atol=1e-6)


def test_regions_have_their_own_and_the_first_counts():
    regions = {"face": FACE, "all": np.ones(len(FACE), bool)}
    model = replace(MODEL, regions=regions)
    found = Discrepancy(1.0, (("face", 2.0), ("all", 3.0), ("absent", 9.0)), smoothing=0)
    variance = found.variance(model)
    np.testing.assert_allclose(variance[FACE], 4.0)
    np.testing.assert_allclose(variance[~FACE], 9.0)
    smooth = replace(found, smoothing=5).variance(model)
    assert smooth.min() >= 4 - 1e-9
    assert smooth.max() <= 9 + 1e-9
    assert ((smooth > 4.01) & (smooth < 8.99)).any()


def test_a_strange_head_is_known_less():
    one = Discrepancy(head_dof=1.0)
    assert one.head_scale(1.0) == pytest.approx(1.0)
    assert one.head_scale(3.0) == pytest.approx(np.sqrt(2))
    assert one.head_scale(0.0) == pytest.approx(np.sqrt(0.5))
    assert Discrepancy(head_dof=np.inf).head_scale(50.0) == 1.0
    _, fit = fitted(np.random.default_rng(4))
    posterior = SurfacePosterior(MODEL, replace(NOTHING, head_dof=1.0))
    far = replace(fit, identity=3 * fit.identity)
    assert posterior.strangeness(far) > 2 * posterior.strangeness(fit)
    assert (posterior.neutral_std(far) > posterior.neutral_std(fit)).all()
