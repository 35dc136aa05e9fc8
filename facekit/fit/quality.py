"""One number that says whether a fit can be trusted.

It is the detection's probability times the probability that the fitted face lies where the true
one does, by a logistic regression of three things that every fit knows:

- how sure the landmark network was of its points (the logarithm of the odds of its mean
  confidence): it falls where a face is covered, small, or not there;
- how far the fitted head's landmarks are from the labelled ones (the logarithm of the landmark
  error in outer-eye distances): points that no head explains;
- how much weight the robust noise took from the landmarks (its logarithm): points of which some
  contradict the others.

Each lowers the quality when it grows worse, whatever the others say. The weights were found by
``facekit eval conditions --learn`` on heads outside the published benches; see there for how well
it tells bad fits from good ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.types import DetectedFace

# A fit of lower quality is more likely bad than good.
LOW_QUALITY = 0.5
# What a labeller that says no confidence is taken to have: that of good photographs.
_USUAL_CONFIDENCE = 0.92
_LEAST_ERROR, _LEAST_LOSS, _LEAST_DOUBT = 0.003, 0.02, 1e-3


class QualityWeights(NamedTuple):
    """Weights of ``quality_features`` on the log odds of a bad fit, none negative.

    Attributes:
        doubt, error, loss: of the three features.
        offset: log odds where all are 0.
    """

    doubt: float
    error: float
    loss: float
    offset: float


WEIGHTS = QualityWeights(doubt=2.53, error=0.43, loss=1.05, offset=6.98)


def quality_features(face: DetectedFace, landmark_error: float, weights: np.ndarray) -> np.ndarray:
    """Return (3,) what grows as a fit grows worse: doubt, landmark error, lost weight.

    Args:
        face: gives the landmarks' confidence (68,), or None.
        landmark_error: rms distance of fitted to labelled landmarks in outer-eye distances.
        weights: (68,) in (0, 1], what the robust noise left of each landmark.

    Raises:
        InputError: a landmark error that is negative or no number.
    """
    if not landmark_error >= 0:
        raise InputError(f"quality: expected a landmark error of at least 0, got {landmark_error}")
    left = float(np.mean(check_array(weights, "weights", shape=("N",))))
    sure = _USUAL_CONFIDENCE if face.confidence is None else float(np.mean(face.confidence))
    sure = float(np.clip(sure, _LEAST_DOUBT, 1 - _LEAST_DOUBT))
    return np.array(
        [
            np.log((1 - sure) / sure),
            np.log(landmark_error + _LEAST_ERROR),
            np.log(max(1 - left, 0.0) + _LEAST_LOSS),
        ]
    )


def fit_quality(face: DetectedFace, landmark_error: float, weights: np.ndarray) -> float:
    """Return the probability in [0, 1] that a fit is good; arguments as ``quality_features``."""
    return quality_of(quality_features(face, landmark_error, weights), face.score, WEIGHTS)


def quality_of(features: np.ndarray, score: float, weights: QualityWeights) -> float:
    """Return the quality of features (3,) and a detection of some probability under weights."""
    odds = float(np.asarray(features) @ np.array(weights[:3])) + weights.offset
    return float(np.clip(score, 0, 1) / (1 + np.exp(np.clip(odds, -50, 50))))


def learn_weights(features: np.ndarray, bad: np.ndarray, *, prior: float = 1.0) -> QualityWeights:
    """Learn the weights from fits that are known to be good or bad.

    Args:
        features: (N, 3) of ``quality_features``.
        bad: (N,) bool.
        prior: precision of the weights of the features in their deviations.

    Raises:
        InputError: not both kinds are there.

    The posterior mode by Newton's method; a feature whose weight would be negative is left out,
    so that the quality never grows as a fit grows worse.
    """
    table = check_array(features, "features", shape=("N", 3)).astype(np.float64)
    target = check_array(bad, "bad", shape=(len(table),)).astype(np.float64)
    if not 0 < target.sum() < len(target):
        raise InputError("quality: expected good and bad fits to learn from")
    mean, spread = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-9)
    scaled = (table - mean) / spread
    used = np.ones(3, bool)
    found = np.zeros(3)
    while True:
        found[:] = 0
        found[used], offset = _newton(scaled[:, used], target, prior)
        if not (found < 0).any():
            break
        used &= found >= 0
    weights = found / spread
    doubt, error, loss = (float(weight) for weight in weights)
    return QualityWeights(doubt, error, loss, float(offset - weights @ mean))


def _newton(features: np.ndarray, target: np.ndarray, prior: float) -> tuple[np.ndarray, float]:
    design = np.hstack([features, np.ones((len(features), 1))])
    precision = np.append(np.full(features.shape[1], prior), 0.0)
    found = np.zeros(design.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(design @ found, -50, 50)))
        hessian = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
        hessian[np.diag_indices_from(hessian)] += 1e-9
        step = np.linalg.solve(hessian, design.T @ (chance - target) + precision * found)
        found -= step
        if np.abs(step).max() < 1e-9:
            break
    return found[:-1], float(found[-1])
