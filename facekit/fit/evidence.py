"""How probable labelled faces are under a noise model: for choosing what the fit assumes.

The evidence integrates the coefficients and the pose out (Laplace's approximation), so that a
noise model is neither rewarded for calling everything noise nor for explaining noise by identity.
It needs labelled photographs but no 3D truth.
Source: D. MacKay, Bayesian interpolation, 1992, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facekit.errors import ItemError
from facekit.fit.landmark import LandmarkFit, LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.scale import focal_prior
from facekit.morphable.model import MorphableModel


def log_evidence(
    basis: LandmarkBasis,
    model: MorphableModel,
    labels: Iterable[tuple[np.ndarray, int, int]],
    config: LandmarkFitConfig,
    *,
    outline: bool,
) -> np.ndarray:
    """Return the log evidence of each labelled face, in nats, up to one common constant.

    Args:
        basis: ``build_landmark_basis(model)``.
        model: the morphable model.
        labels: (68, 2) landmarks with their image's width and height.
        config: the noise model to judge.
        outline: what the labels' jaws are; see ``fit_landmarks``.

    Degenerate: a face that cannot be fitted gets NaN.
    """
    values = []
    for points, width, height in labels:
        focal = focal_prior(points, width, height).focal_px
        intrinsics = np.array(
            [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]]
        )
        try:
            fit = fit_landmarks(
                basis, model, points, intrinsics=intrinsics, config=config, outline=outline
            )
        except ItemError:
            values.append(np.nan)
            continue
        values.append(_laplace(fit, model, config))
    return np.array(values)


def _laplace(fit: LandmarkFit, model: MorphableModel, config: LandmarkFitConfig) -> float:
    _, log_posterior = np.linalg.slogdet(fit.covariance)
    prior = fit.identity.size * np.log(config.identity_scale)
    prior += float(np.log(model.expression_std).sum())
    return float(-0.5 * fit.cost - fit.posterior.log_noise - prior + 0.5 * log_posterior)
