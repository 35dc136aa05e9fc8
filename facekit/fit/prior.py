"""What is believed of a face before its landmarks and pixels are looked at: a Gaussian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.morphable.model import MorphableModel


class Information(NamedTuple):
    """What is known of (K,) values beyond a prior: a precision (K, K), and that times a mean."""

    matrix: np.ndarray
    vector: np.ndarray


class FacePrior(NamedTuple):
    """A Gaussian over a model's coefficients, identity first.

    Attributes:
        mean: (K + E,).
        precision: (K + E, K + E), symmetric, positive definite.
    """

    mean: np.ndarray
    precision: np.ndarray


def model_prior(model: MorphableModel, *, identity_scale: float = 1.0) -> FacePrior:
    """Return a model's own prior.

    Args:
        model: gives the mean and deviation of its expression weights.
        identity_scale: deviation of the identity coefficients.
    """
    mean = np.concatenate([np.zeros(model.num_identity), model.expression_mean])
    deviation = np.concatenate(
        [np.full(model.num_identity, identity_scale), model.expression_std.astype(np.float64)]
    )
    return FacePrior(mean, np.diag(deviation**-2.0))


def check_prior(prior: FacePrior, model: MorphableModel) -> FacePrior:
    """Return a prior in float64.

    Raises:
        InputError: its shapes are not the model's, or something is not finite.
    """
    count = model.num_identity + model.num_expression
    mean = check_array(prior.mean, "prior mean", shape=(count,))
    precision = check_array(prior.precision, "prior precision", shape=(count, count))
    return FacePrior(mean.astype(np.float64), precision.astype(np.float64))
