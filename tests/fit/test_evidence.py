"""Labels made under a noise model are most probable under that model."""

from dataclasses import replace

import numpy as np
from toy import toy_model

from facekit.fit.evidence import log_evidence
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix

MODEL = toy_model()
# Labellers that scatter little, so that what a model cannot express is what is left.
BASIS = replace(build_landmark_basis(MODEL), covariance_mm2=np.tile(np.eye(2) * 1e-2, (68, 1, 1)))
TRUE = LandmarkFitConfig(discrepancy_mm=1.5, discrepancy_length_mm=30.0, label_noise_px=0.3)


def labelled(seed):
    """Points of a drawn head, bent by a smooth field that the model does not have."""
    rng = np.random.default_rng(seed)
    expression = np.clip(MODEL.expression_mean, *MODEL.expression_bounds.T)
    coefficients = np.concatenate([rng.normal(size=MODEL.num_identity), expression])
    points = BASIS.points(coefficients)[:68]
    apart = ((BASIS.mean[:68, None] - BASIS.mean[None, :68]) ** 2).sum(2)
    root = np.linalg.cholesky(np.exp(-0.5 * apart / 30.0**2) + 1e-9 * np.eye(68))
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians(rng.normal(0, [10, 5, 5])))
    camera = points @ rotation.T + [0, 0, 900.0]
    camera[:, :2] += 1.5 * root @ rng.normal(size=(68, 2))
    marks = 700 * camera[:, :2] / camera[:, 2:] + [319.5, 239.5]
    return marks + 0.3 * rng.normal(size=(68, 2)), 640, 480


def test_the_noise_that_made_the_labels_is_the_most_probable():
    labels = [labelled(seed) for seed in range(12)]

    def judge(**changes):
        config = replace(TRUE, **changes)
        return log_evidence(BASIS, MODEL, labels, config, outline=False).sum()

    best = judge()
    for changes in (
        {"discrepancy_mm": 0.3},
        {"discrepancy_mm": 6.0},
        {"discrepancy_length_mm": 5.0},
        {"label_noise_px": 3.0},
    ):
        assert judge(**changes) < best - 10, changes


def test_what_cannot_be_fitted_has_none():
    flat = np.zeros((68, 2)), 640, 480
    values = log_evidence(BASIS, MODEL, [flat, labelled(0)], TRUE, outline=False)
    assert np.isnan(values[0])
    assert np.isfinite(values[1])
