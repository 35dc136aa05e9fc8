import numpy as np
import pytest

from facekit.errors import InputError
from facekit.metrics.landmarks import landmark_score


def example():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 200, size=(6, 9, 2))
    return truth, rng.uniform(50, 100, size=6)


def test_known_shift():
    truth, length = example()
    shift = np.array([3.0, 4.0])
    score = landmark_score(truth + shift, truth, length)
    np.testing.assert_allclose(score.per_image, 5 / length)
    np.testing.assert_allclose(score.per_point, (5 / length).mean())
    assert score.mean == pytest.approx((5 / length).mean())
    assert score.misses == 0


def test_scale_invariance_and_point_order():
    truth, length = example()
    predicted = truth + np.random.default_rng(1).normal(size=truth.shape)
    plain = landmark_score(predicted, truth, length)
    scaled = landmark_score(7 * predicted, 7 * truth, 7 * length)
    np.testing.assert_allclose(scaled.per_image, plain.per_image)
    order = np.random.default_rng(2).permutation(9)
    shuffled = landmark_score(predicted[:, order], truth[:, order], length)
    np.testing.assert_allclose(shuffled.per_point, plain.per_point[order])
    assert shuffled.mean == pytest.approx(plain.mean)


def test_area_equals_the_integral_of_the_curve():
    truth, length = example()
    predicted = truth + np.random.default_rng(3).normal(scale=3, size=truth.shape)
    score = landmark_score(predicted, truth, length)
    steps = (np.arange(200_000) + 0.5) / 200_000 * 0.1
    curve = (np.sort(score.per_image)[None, :] <= steps[:, None]).mean(axis=1)
    assert score.auc == pytest.approx(curve.mean(), abs=1e-4)


def test_misses_are_failures_but_not_in_the_mean():
    truth, length = example()
    predicted = truth + 1.0
    predicted[0] += 50
    predicted[3] = np.nan
    score = landmark_score(predicted, truth, length)
    assert score.misses == 1
    assert np.isnan(score.per_image[3])
    assert score.mean == pytest.approx(np.delete(score.per_image, 3).mean())
    assert score.failure_rate == pytest.approx(2 / 6)
    all_missed = landmark_score(np.full_like(truth, np.nan), truth, length)
    assert np.isnan(all_missed.mean)
    assert np.isnan(all_missed.per_point).all()
    assert (all_missed.failure_rate, all_missed.auc, all_missed.misses) == (1.0, 0.0, 6)


def test_no_images():
    score = landmark_score(np.zeros((0, 9, 2)), np.zeros((0, 9, 2)), np.zeros(0))
    assert np.isnan([score.mean, score.failure_rate, score.auc]).all()


def test_rejections():
    truth, length = example()
    with pytest.raises(InputError, match="positive lengths"):
        landmark_score(truth, truth, length * 0)
    with pytest.raises(InputError, match="shape"):
        landmark_score(truth[:, :3], truth, length)
    with pytest.raises(InputError, match="threshold"):
        landmark_score(truth, truth, length, threshold=0)
    partial = truth.copy()
    partial[2, 4, 1] = np.nan
    with pytest.raises(InputError, match="image 2"):
        landmark_score(partial, truth, length)
