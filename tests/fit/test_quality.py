"""The quality falls with everything that makes a fit worse."""

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.fit.quality import (
    LOW_QUALITY,
    WEIGHTS,
    QualityWeights,
    fit_quality,
    learn_weights,
    quality_features,
    quality_of,
)
from facekit.metrics.statistics import roc_area
from facekit.types import DetectedFace

GOOD = np.full(68, 0.99)


def face(confidence=0.95, score=1.0):
    sure = None if confidence is None else np.full(68, confidence)
    return DetectedFace(np.array([0, 0, 10, 10.0]), score, confidence=sure)


def test_every_feature_lowers_it():
    assert min(WEIGHTS[:3]) >= 0
    best = fit_quality(face(), 0.01, GOOD)
    assert best > 0.9
    for worse in (
        [fit_quality(face(c), 0.01, GOOD) for c in (0.95, 0.8, 0.6, 0.3, 0.01)],
        [fit_quality(face(), e, GOOD) for e in (0.01, 0.03, 0.1, 0.5)],
        [fit_quality(face(), 0.01, np.full(68, w)) for w in (0.99, 0.9, 0.7, 0.3)],
        [fit_quality(face(score=s), 0.01, GOOD) for s in (1.0, 0.8, 0.5, 0.0)],
    ):
        assert (np.diff(worse) < 0).all()
        assert min(worse) >= 0
    assert fit_quality(face(0.05), 0.2, np.full(68, 0.6)) < LOW_QUALITY


def test_a_labeller_without_confidence_is_taken_for_a_usual_one():
    unsure = fit_quality(face(None), 0.01, GOOD)
    assert fit_quality(face(0.5), 0.01, GOOD) < unsure < fit_quality(face(0.99), 0.01, GOOD)


def test_extremes_are_finite():
    for confidence in (0.0, 1.0):
        for error in (0.0, 1e6):
            for weight in (1e-12, 1.0):
                values = quality_features(face(confidence), error, np.full(68, weight))
                assert np.isfinite(values).all()
                assert 0 <= quality_of(values, 1.0, WEIGHTS) <= 1


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="landmark error"):
        quality_features(face(), float("nan"), GOOD)
    with pytest.raises(InputError, match="landmark error"):
        quality_features(face(), -1.0, GOOD)
    with pytest.raises(InputError, match="good and bad"):
        learn_weights(np.zeros((3, 3)), np.zeros(3, bool))


def test_weights_are_learned_and_never_reward_what_is_worse():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3))
    true = QualityWeights(2.0, 1.0, 0.0, -0.5)
    odds = features @ np.array(true[:3]) + true.offset
    # The third speaks against the others: it gets no weight.
    odds -= 0.7 * features[:, 2]
    bad = rng.random(4000) < 1 / (1 + np.exp(-odds))
    found = learn_weights(features, bad)
    assert found.loss == 0
    assert found.doubt == pytest.approx(2.0, abs=0.3)
    assert found.error == pytest.approx(1.0, abs=0.2)
    quality = [quality_of(f, 1.0, found) for f in features]
    assert roc_area(-np.array(quality), bad) > 0.85
    # A probability: of fits of quality q, a share q is good.
    near = np.abs(np.array(quality) - 0.8) < 0.05
    assert (~bad[near]).mean() == pytest.approx(0.8, abs=0.07)
