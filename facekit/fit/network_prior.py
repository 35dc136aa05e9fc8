"""What a parameter network says of a face, as a belief that the fit starts from."""

from __future__ import annotations

import numpy as np

from facekit.detect.parameters import CropReading
from facekit.fit.prior import FacePrior
from facekit.morphable.model import MorphableModel

# Added to every deviation, so that no coefficient is known beyond what a network can tell.
_LEAST_STD = 0.05
# Variance of a network's errors on faces unlike those of its training, over that on its own kind;
# of 1, 2, 4 and 8 the best on 24 development heads of another topology.
_STRANGE = 2.0


def network_prior(
    model: MorphableModel, reading: CropReading, *, spread: np.ndarray | None = None
) -> FacePrior:
    """Return the identity that a network saw as a Gaussian, with the model's own expressions.

    A network trained on people who differ more than people do expects such people. Its Gaussian
    is what it saw times what it expected, N(0, spread^2); the result is what it saw times the
    model's own prior, N(0, 1), so that what a picture hardly shows comes back towards the mean.
    The network's expression is left out: the landmarks say it better.

    Args:
        model: gives the expressions' prior.
        reading: of the face.
        spread: (K,) deviation of the identities that the network was trained on; None takes the
            model's own, 1.
    """
    K, E = model.num_identity, model.num_expression
    saw = np.asarray(reading.parts["identity"], np.float64)
    covariance = _STRANGE * reading.covariance[:K, :K] + _LEAST_STD**2 * np.eye(K)
    told = np.linalg.inv(0.5 * (covariance + covariance.T))
    expected = np.ones(K) if spread is None else np.maximum(np.asarray(spread, np.float64), 1.0)
    precision = np.zeros((K + E, K + E))
    precision[:K, :K] = told + np.diag(1 - expected**-2)
    precision[K:, K:] = np.diag(model.expression_std.astype(np.float64) ** -2.0)
    identity = np.linalg.solve(precision[:K, :K], told @ saw)
    mean = np.concatenate([identity, model.expression_mean.astype(np.float64)])
    return FacePrior(mean, precision)
