"""Faces followed through rendered frames whose truth is known."""

from fractions import Fraction

import numpy as np
import pytest
from moving_people import SIZE, TURN, canvas, frame_of

from facekit.errors import UsageError
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.track.tracker import Tracker, TrackOptions

RAW = {"network": "none", "smooth": False, "fov_deg": 40.0}


def follow(model, images, size=SIZE, rate=Fraction(30), **options):
    tracker = Tracker(model, *size, TrackOptions(**options))
    return tracker, [tracker.step(frame_of(k, image, rate)) for k, image in enumerate(images)]


def test_a_turn_is_followed(model, turning):
    images = [p.image for p in turning]
    size = TURN.width, TURN.height
    tracker, seen = follow(model, images, size, TURN.rate, **{**RAW, "smooth": True})
    assert [len(faces) for faces in seen] == [1] * len(images)
    assert {faces[0].person for faces in seen} == {1}
    truth = np.array([p.pose_deg[0] for p in turning])
    yaw = np.array([camera_rotation_to_euler_deg(f[0].pose.rotation)[0] for f in seen])
    # What one labeller and an unknown identity leave: a few degrees, most of them constant.
    assert np.abs(yaw - truth).mean() < 4
    lags = np.arange(-2, 2.01, 0.1)
    inner = np.arange(5, len(truth) - 5)
    match = [
        np.corrcoef(np.interp(inner + lag, np.arange(len(yaw)), yaw), truth[inner])[0, 1]
        for lag in lags
    ]
    assert lags[int(np.argmax(match))] <= 1.0
    assert max(match) > 0.99
    assert np.ptp(yaw[3:]) > 0.95 * np.ptp(truth[3:])
    # The landmarks of the fitted face lie on the true ones, in outer-eye distances.
    marks = np.array([f[0].points for f in seen])
    true = np.array([p.landmarks_2d for p in turning])
    eyes = np.linalg.norm(true[0, 36] - true[0, 45])
    assert np.linalg.norm(marks - true, axis=-1)[3:].mean() < 0.04 * eyes
    # More than one view has told of the identity.
    assert tracker.people[0].identity.frames > 10
    assert np.trace(tracker.people[0].identity.covariance) < model.num_identity


def test_a_still_face_moves_no_more_than_its_noise(model, turning):
    rng = np.random.default_rng(3)
    still = turning[0].image.astype(float)
    images = [
        np.clip(np.round(still + rng.normal(0, 2, still.shape)), 0, 255).astype(np.uint8)
        for _ in range(40)
    ]
    size = TURN.width, TURN.height
    _, seen = follow(model, images, size, network="none", fov_deg=40.0)
    points = np.array([faces[0].points for faces in seen[12:]])
    assert np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()) < 0.2


def test_two_people_who_cross_keep_their_ids(model, cut_outs):
    first, second = cut_outs
    images, spots = [], []
    for k in range(46):
        image = canvas(k)
        x = 60 + 8 * k, 430 - 8 * k
        second.put(image, x[1])
        first.put(image, x[0])  # the nearer one
        images.append(image)
        spots.append([x[0] + first.five[30, 0], x[1] + second.five[30, 0]])
    tracker, seen = follow(model, images, **RAW)
    assert len(tracker.people) == 2
    start = {f.person: f.points[30, 0] for f in seen[0]}
    left = min(start, key=start.get)
    for k in (5, 12, 40, 45):
        where = {f.person: f.points[30, 0] for f in seen[k]}
        assert set(where) == {1, 2}, f"frame {k}"
        assert where[left] == pytest.approx(spots[k][0], abs=12), f"frame {k}"
        assert where[3 - left] == pytest.approx(spots[k][1], abs=12), f"frame {k}"


def test_a_face_that_was_away_is_known_again(model, cut_outs):
    first, second = cut_outs
    images = []
    for k in range(40):
        image = canvas(k)
        if not 10 <= k < 22:
            first.put(image, 80 if k < 10 else 120)
        second.put(image, 380)
        images.append(image)
    tracker, seen = follow(model, images, **RAW)
    left = {f.points[30, 0] < 320: f.person for f in seen[0]}
    assert {f.person for f in seen[15]} == {left[False]}
    assert {f.points[30, 0] < 320: f.person for f in seen[-1]} == left
    assert len(tracker.people) == 2


def test_nobody_gives_nothing_and_costs_few_searches(model):
    tracker, seen = follow(model, [canvas(k) for k in range(7)], **RAW)
    assert seen == [[]] * 7
    assert tracker.people == []


def test_the_largest_face_alone(model, cut_outs):
    image = canvas()
    cut_outs[0].put(image, 60)
    cut_outs[1].put(image, 380)
    _, seen = follow(model, [image] * 3, **RAW, faces=1)
    assert [len(faces) for faces in seen] == [1, 1, 1]


@pytest.mark.parametrize(
    "bad", [{"every": 0}, {"faces": -1}, {"refine": -2}, {"fov_deg": 180.0}, {"focal_px": -1.0}]
)
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(UsageError, match="track"):
        TrackOptions(**bad)
