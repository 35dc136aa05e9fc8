"""What a parameter network says of a person, and the belief that a fit starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facekit.detect.parameters import CropReading
from facekit.fit.landmark_problem import LandmarkFit
from facekit.fit.prior import FacePrior, Information
from facekit.morphable.model import MorphableModel

# Correlation of a network's or a labeller's errors on two pictures of one person.
CORRELATION = 0.5
# Added to every deviation, so that no coefficient is known beyond what a network can tell.
_LEAST_STD = 0.05
# How much of what landmarks and pixels say of a person the network has not said already: it looked
# at the same picture. Of 0.02, 0.1, 0.3 and 1 the best on 24 development heads of another topology.
_NEWS = 0.3
# How much of the belief's variance they leave: chosen so that on the same heads 68 % of the errors
# lie within one deviation.
_LEFT = 0.65


def network_information(reading: CropReading, *, spread: np.ndarray | None = None) -> Information:
    """Return what a network saw of the identity beyond what it expected, never less than nothing.

    A network trained on people who differ more than people do expects such people: its Gaussian is
    what it saw times N(0, spread^2). Where it is wider than that, it saw nothing.

    Args:
        reading: of the face.
        spread: (K,) deviation of the identities that the network was trained on; None takes the
            model's own, 1.
    """
    saw = np.asarray(reading.identity, np.float64)
    K = len(saw)
    expected = np.ones(K) if spread is None else np.maximum(np.asarray(spread, np.float64), 1.0)
    covariance = reading.covariance[:K, :K] + _LEAST_STD**2 * np.eye(K)
    # In deviations of what it expected, what it expected is the unit matrix.
    covariance = 0.5 * (covariance + covariance.T) / np.outer(expected, expected)
    values, axes = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-6)
    added = np.maximum(1 / values - 1, 0.0)
    axes = axes / expected[:, None]
    along = np.where(added > 0, (axes.T @ saw) / values, 0.0)
    return Information((axes * added) @ axes.T, axes @ along)


def network_prior(
    model: MorphableModel, reading: CropReading, *, spread: np.ndarray | None = None
) -> FacePrior:
    """Return the identity that a network saw as a Gaussian, with the model's own expressions.

    It is ``network_information`` times the model's own prior, N(0, 1), so that what a picture
    hardly shows comes back towards the mean. The network's expression is left out: the landmarks
    say it better.

    Args:
        model: gives the expressions' prior.
        reading, spread: see ``network_information``.
    """
    K, E = model.num_identity, model.num_expression
    told = network_information(reading, spread=spread)
    precision = np.zeros((K + E, K + E))
    precision[:K, :K] = told.matrix + np.eye(K)
    precision[K:, K:] = np.diag(model.expression_std.astype(np.float64) ** -2.0)
    identity = np.linalg.solve(precision[:K, :K], told.vector)
    mean = np.concatenate([identity, model.expression_mean.astype(np.float64)])
    return FacePrior(mean, precision)


def seen_identity(
    model: MorphableModel, reading: CropReading, *, spread: np.ndarray | None = None
) -> np.ndarray:
    """Return the person (K,) that a network saw: the mean of ``network_prior``.

    The network's own answer is the mean among the people it was trained on, who differ more than
    people do; taken for the person, it exaggerates.

    Args:
        model, reading, spread: see ``network_prior``.
    """
    return network_prior(model, reading, spread=spread).mean[: model.num_identity]


def fused(beliefs: Sequence[FacePrior], num_identity: int) -> FacePrior:
    """Return what a network's looks at N pictures of one person say of the identity together.

    Its errors on them are alike: they count as N / (1 + (N - 1) r) of one look, the variance of a
    mean of N values of correlation r.

    Args:
        beliefs: of ``network_prior``, one or more.
        num_identity: K.
    """
    K, count = num_identity, len(beliefs)
    share = 1 / (1 + (count - 1) * CORRELATION)
    own = [belief.precision[:K, :K] for belief in beliefs]
    pull = [p @ belief.mean[:K] for p, belief in zip(own, beliefs, strict=True)]
    mean, precision = beliefs[0].mean.copy(), beliefs[0].precision.copy()
    precision[:K, :K] = share * (np.sum(own, axis=0) - count * np.eye(K)) + np.eye(K)
    mean[:K] = np.linalg.solve(precision[:K, :K], share * np.sum(pull, axis=0))
    return FacePrior(mean, precision)


def hold(belief: FacePrior, num_identity: int, *, pictures: int = 1) -> FacePrior:
    """Return a network's belief as the fit of the same pictures takes it: identity held tighter.

    Landmarks and pixels err together with the network, so what they say of the person counts in
    part; of pose and expression it counts whole. Those of N pictures of one person err alike, too:
    each counts an Nth of that.
    """
    precision = belief.precision.copy()
    precision[:num_identity, :num_identity] *= pictures / _NEWS
    return FacePrior(belief.mean, precision)


def let_go(fit: LandmarkFit, belief: FacePrior, num_identity: int) -> LandmarkFit:
    """Return a fit under ``hold`` with the identity's spread as measured, not as held.

    The fit says how pose and expression follow the identity, and how far they scatter about that;
    this is kept, and the identity's own covariance becomes a part of the belief's (R. Jeffrey, The
    Logic of Decision, 1965: conditional probabilities stay, the marginal is replaced).
    """
    K = num_identity
    own, across = fit.covariance[:K, :K], fit.covariance[K:, :K]
    wide = _LEFT * np.linalg.inv(belief.precision[:K, :K])
    follows = np.linalg.solve(own, across.T).T
    covariance = fit.covariance.copy()
    covariance[:K, :K] = 0.5 * (wide + wide.T)
    covariance[K:, :K] = follows @ wide
    covariance[:K, K:] = covariance[K:, :K].T
    covariance[K:, K:] += follows @ (wide - own) @ follows.T
    return fit.with_covariance(covariance)
