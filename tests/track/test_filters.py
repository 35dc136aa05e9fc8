import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix, matrix_to_euler
from facekit.track.filters import OneEuro, OneEuroSettings, SpeedShare
from facekit.track.motion import HeadPose, MotionFilter, pose_at


def run(filter_, values, seconds=1 / 30):
    return np.array([filter_(np.atleast_1d(v), seconds)[0] for v in values])


def test_a_step_is_answered_like_a_first_order_filter():
    # With no gain the cutoff is fixed: 1 - (1 - a)^n with a = 1 / (1 + 1 / (2 pi f T)).
    filtered = run(OneEuro(OneEuroSettings(2.0, 0.0)), [0.0, *[1.0] * 30])
    share = 1 / (1 + 1 / (2 * np.pi * 2.0 / 30))
    np.testing.assert_allclose(filtered[1:], 1 - (1 - share) ** np.arange(1, 31), atol=1e-12)


def test_noise_about_a_still_value_shrinks_as_the_share_says():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20000)
    filtered = run(OneEuro(OneEuroSettings(1.0, 0.0)), values)
    share = 1 / (1 + 1 / (2 * np.pi / 30))
    assert filtered[200:].std() == pytest.approx(np.sqrt(share / (2 - share)), rel=0.05)


def test_speed_lessens_the_lag():
    # On a ramp a first-order filter is late by (1 - a) / a frames.
    ramp = np.arange(200) / 30.0
    slow = run(OneEuro(OneEuroSettings(1.0, 0.0)), ramp)
    fast = run(OneEuro(OneEuroSettings(1.0, 10.0)), ramp)
    share = 1 / (1 + 1 / (2 * np.pi / 30))
    assert 30 * (ramp[-1] - slow[-1]) == pytest.approx((1 - share) / share, rel=1e-3)
    share = 1 / (1 + 1 / (2 * np.pi * 11.0 / 30))
    assert 30 * (ramp[-1] - fast[-1]) == pytest.approx((1 - share) / share, rel=1e-3)
    assert 30 * (ramp[-1] - fast[-1]) < 1


def test_uneven_times_are_counted():
    whole = OneEuro(OneEuroSettings(1.0, 0.0))
    whole(np.array([0.0]), 0.0)
    # A value that stays is reached the nearer the more time has passed.
    assert whole(np.array([1.0]), 1.0)[0] > 0.8
    whole.reset()
    assert whole(np.array([5.0]), 0.1)[0] == 5.0


def test_entries_that_move_together_lag_alike():
    alone = SpeedShare(OneEuroSettings(1.0, 5.0))(np.array([10.0, 0.0]), 1 / 30)
    joint = SpeedShare(OneEuroSettings(1.0, 5.0), together=True)(np.array([10.0, 0.0]), 1 / 30)
    assert alone.shape == (2,)
    assert joint.shape == ()
    assert alone[0] == pytest.approx(float(joint))
    assert alone[1] < alone[0]


@pytest.mark.parametrize("bad", [(0.0, 1.0), (1.0, -1.0), (1.0, 1.0, 0.0)])
def test_settings_that_filter_nothing_are_refused(bad):
    with pytest.raises(InputError, match="1-euro"):
        OneEuro(OneEuroSettings(*bad))


def yaw_of(rotation):
    return np.degrees(matrix_to_euler(HEAD_TO_CAMERA @ rotation)[0])


def turn(yaw_deg, shift=0.0):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw_deg), 0.1, 0.05)
    return HeadPose(rotation, np.array([shift, 10.0, 700.0]))


def test_a_place_gives_its_pose_back():
    pose = turn(20.0, shift=30.0)
    again = pose_at(pose.rotation, pose.place())
    np.testing.assert_allclose(again.translation, pose.translation, atol=1e-9)


def test_a_fast_turn_lags_less_than_a_frame_and_keeps_its_height():
    times = np.arange(150) / 30
    yaws = 25 * np.sin(times * 60 / 25)
    motion = MotionFilter()
    calm = [
        yaw_of(motion(turn(y), np.zeros(3), 0.0 if k == 0 else 1 / 30)[0].rotation)
        for k, y in enumerate(yaws)
    ]
    lags = np.arange(-2, 2.01, 0.05)
    inner = np.arange(10, 140)
    match = [np.corrcoef(np.interp(inner + lag, np.arange(150), calm), yaws[inner])[0, 1]
             for lag in lags]  # fmt: skip
    assert 0 <= lags[int(np.argmax(match))] <= 1
    assert np.ptp(calm[20:]) > 0.95 * np.ptp(yaws[20:])


def test_a_still_head_comes_out_calmer():
    rng = np.random.default_rng(1)
    motion = MotionFilter()
    raw, calm = [], []
    for k in range(300):
        pose = turn(5 + rng.normal(0, 0.2), shift=rng.normal(0, 0.3))
        weights = rng.normal(0.3, 0.004, 2)
        found, weights_out = motion(pose, weights, 0.0 if k == 0 else 1 / 30)
        raw.append((yaw_of(pose.rotation), pose.translation[0], weights[0]))
        calm.append((yaw_of(found.rotation), found.translation[0], weights_out[0]))
    assert (np.std(calm[30:], axis=0) < [0.5, 0.5, 0.7] * np.std(raw[30:], axis=0)).all()
    np.testing.assert_allclose(np.mean(calm[30:], axis=0), np.mean(raw[30:], axis=0), atol=0.05)
