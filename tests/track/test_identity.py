import numpy as np
import pytest

from facekit.errors import InputError
from facekit.fit.network_prior import CORRELATION
from facekit.fit.prior import Information
from facekit.track.identity import (
    VIEW_FRAMES,
    IdentityFilter,
    distance,
)


def likelihood(value, precision):
    return Information(np.diag(precision), np.asarray(precision) * value)


def test_one_frame_is_a_kalman_update():
    fused = IdentityFilter(2)
    fused.add(likelihood(np.array([1.0, -2.0]), np.array([3.0, 1.0])), yaw_deg=0, pitch_deg=0)
    np.testing.assert_allclose(fused.covariance, np.diag([1 / 4, 1 / 2]))
    np.testing.assert_allclose(fused.mean, [3 / 4, -1.0])


def test_frames_of_one_view_count_less_than_other_views():
    same, other = IdentityFilter(1), IdentityFilter(1)
    for k in range(4):
        one = likelihood(np.array([1.0]), np.array([1.0]))
        same.add(one, yaw_deg=0, pitch_deg=0)
        other.add(one, yaw_deg=20.0 * k, pitch_deg=0)
    # Four equally correlated values have the variance of n / (1 + (n - 1) r) independent ones.
    assert same.covariance[0, 0] == pytest.approx(1 / (1 + 4 / (1 + 3 * CORRELATION)))
    assert other.covariance[0, 0] == pytest.approx(1 / 5)


def test_the_mean_of_a_view_is_that_of_its_frames():
    fused = IdentityFilter(1)
    for value in (0.0, 2.0):
        fused.add(likelihood(np.array([value]), np.array([1e6])), yaw_deg=0, pitch_deg=0)
    assert fused.mean[0] == pytest.approx(1.0, abs=1e-4)


def test_a_view_is_full_after_some_frames():
    fused = IdentityFilter(1)
    for _ in range(VIEW_FRAMES):
        assert fused.wants(0, 0)
        fused.add(likelihood(np.zeros(1), np.ones(1)), yaw_deg=0, pitch_deg=0)
    assert not fused.wants(3.0, -3.0)
    assert fused.wants(30.0, 0)
    assert fused.frames == VIEW_FRAMES


def test_noisy_views_come_near_the_truth_as_their_spread_says():
    rng = np.random.default_rng(0)
    errors, spreads = [], []
    for _ in range(200):
        truth = rng.normal(size=4)
        fused = IdentityFilter(4)
        for k in range(6):
            seen = truth + rng.normal(scale=0.7, size=4)
            fused.add(likelihood(seen, np.full(4, 0.7**-2)), yaw_deg=20.0 * k, pitch_deg=0)
        errors.append(fused.mean - truth)
        spreads.append(np.diag(fused.covariance))
    assert np.mean(np.square(errors)) == pytest.approx(np.mean(spreads), rel=0.15)


def test_distance_counts_deviations():
    assert distance(np.zeros(5), np.eye(5), np.full(5, 2.0), np.eye(5)) == pytest.approx(2**0.5)


def test_a_wrong_shape_is_named():
    with pytest.raises(InputError, match="information"):
        IdentityFilter(3).add(likelihood(np.zeros(2), np.ones(2)), yaw_deg=0, pitch_deg=0)
