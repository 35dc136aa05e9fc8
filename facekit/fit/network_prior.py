"""What a parameter network says of a face, as a belief that the fit starts from."""

from __future__ import annotations

import numpy as np

from facekit.detect.parameters import CropReading
from facekit.fit.prior import FacePrior
from facekit.morphable.model import MorphableModel

# Added to every deviation, so that no coefficient is known beyond what a network can tell.
_LEAST_STD = 0.05


def network_prior(model: MorphableModel, reading: CropReading) -> FacePrior:
    """Return the identity that a network saw as a Gaussian, with the model's own expressions.

    The network's expression is left out: the landmarks say it better.

    Args:
        model: gives the expressions' prior.
        reading: of the face.
    """
    K, E = model.num_identity, model.num_expression
    mean = np.concatenate([reading.parts["identity"], model.expression_mean.astype(np.float64)])
    covariance = reading.covariance[:K, :K] + _LEAST_STD**2 * np.eye(K)
    precision = np.zeros((K + E, K + E))
    precision[:K, :K] = np.linalg.inv(0.5 * (covariance + covariance.T))
    precision[K:, K:] = np.diag(model.expression_std.astype(np.float64) ** -2.0)
    return FacePrior(mean, precision)
