"""Tracking by a parameter network: one that knows the truth of rendered frames."""

from types import SimpleNamespace

import numpy as np
import pytest
from moving_people import TURN, frame_of

from facekit.detect.parameters import CropReading
from facekit.errors import InputError
from facekit.evaluate.motion import jitter_px, promptness
from facekit.geometry.crop_pose import encode_pose
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.morphable.layout import model_layout
from facekit.simulate.subject import random_coefficients
from facekit.track.follower import Tools
from facekit.track.tracker import Tracker, TrackOptions


class Oracle:
    """A parameter network that answers with the truth of the frame it is told is shown."""

    size = 128
    identity_spread = None
    fingerprint = "oracle"

    def __init__(self, model, portraits, *, noise=0.0, unrest=0.0, absent=()):
        self.layout, self.unrest = model_layout(model), unrest
        self.portraits, self.absent, self.noise = portraits, set(absent), noise
        self.rng = np.random.default_rng(0)
        self.identity, self.expression = random_coefficients(
            model, np.random.default_rng([TURN.seed, 11]), expression_strength=0.3
        )
        self.now = 0
        self.looks = 0

    def look(self, picture, crop):
        assert picture.shape == (self.size, self.size, 3)
        self.looks += 1
        camera = self.portraits[self.now].camera
        pose = encode_pose(
            camera.rotation, camera.translation, camera.intrinsics, crop, size=self.size
        )
        # Bayes' answer to a noisy look at a person of N(0, 1).
        variance = max(self.noise, 0.01) ** 2
        known = 1 / (1 + variance)
        seen = self.identity + self.noise * self.rng.normal(size=len(self.identity))
        parts = {
            "identity": known * seen,
            "expression": self.expression,
            "rotation": pose.rotation + self.unrest * self.rng.normal(size=6),
            "translation": pose.translation + self.unrest * self.rng.normal(size=3),
        }
        covariance = known * variance * np.eye(self.layout.length)
        return CropReading(
            parts, parts["identity"], covariance, 0.05 if self.now in self.absent else 0.99, crop
        )


def follow(model, portraits, reader, **options):
    focal = TURN.view(0).focal_px
    settings = TrackOptions(focal_px=focal, **options)
    tracker = Tracker(model, TURN.width, TURN.height, settings, reader=reader)
    seen = []
    for number, portrait in enumerate(portraits):
        reader.now = number
        seen.append(tracker.step(frame_of(number, portrait.image, TURN.rate)))
    return tracker, seen


def test_what_the_network_says_comes_out(model, turning):
    reader = Oracle(model, turning)
    _, seen = follow(model, turning, reader, smooth=False)
    for portrait, (face,) in zip(turning, seen, strict=True):
        np.testing.assert_allclose(face.pose.rotation, portrait.camera.rotation, atol=1e-6)
        np.testing.assert_allclose(face.pose.translation, portrait.camera.translation, atol=1e-2)
        np.testing.assert_allclose(face.expression, reader.expression, atol=1e-6)
    # The fused identity is the one that every frame shows, and its landmarks lie on the true.
    np.testing.assert_allclose(seen[-1][0].identity, reader.identity, atol=0.01)
    apart = np.linalg.norm(seen[-1][0].points[17:] - turning[-1].landmarks_2d[17:], axis=1)
    assert np.median(apart) < 1.0
    assert reader.looks == len(turning)


def test_noisy_identities_are_fused(model, turning):
    reader = Oracle(model, turning, noise=0.5)
    tracker, seen = follow(model, turning, reader, smooth=False)
    first = np.abs(seen[0][0].identity - reader.identity).mean()
    last = np.abs(seen[-1][0].identity - reader.identity).mean()
    assert last < 0.6 * first
    spread = np.sqrt(np.diag(tracker.people[0].identity.covariance))
    assert spread.mean() < 0.5


def test_low_presence_loses_the_face_and_it_is_found_again(model, turning):
    reader = Oracle(model, turning, absent=range(10, 15))
    tracker, seen = follow(model, turning, reader)
    assert [len(faces) for faces in seen[8:16]] == [1, 1, 0, 0, 0, 0, 0, 1]
    assert len(tracker.people) == 1


def test_a_turn_comes_out_whole_and_on_time(model, turning):
    reader = Oracle(model, turning, unrest=0.002)
    _, seen = follow(model, turning, reader)
    yaw = np.array([camera_rotation_to_euler_deg(f[0].pose.rotation)[0] for f in seen])
    truth = np.array([p.pose_deg[0] for p in turning])
    lag, amplitude, correlation = promptness(yaw[4:], truth[4:])
    assert lag <= 1.0
    assert 95 <= amplitude <= 105
    assert correlation > 0.99


def test_what_the_network_wavers_by_is_made_calm(model, turning):
    still = turning[:1] * 45
    points = []
    for smooth in (True, False):
        _, seen = follow(model, still, Oracle(model, still, unrest=0.002), smooth=smooth)
        points.append(np.array([faces[0].points for faces in seen[15:]]))
    calm, raw = (jitter_px(p) for p in points)
    assert calm < 0.45 * raw
    # Calm is not elsewhere: both stand about the same places.
    assert np.abs(points[0].mean(0) - points[1].mean(0)).max() < 0.5


def test_landmarks_refine_what_the_network_says(model, turning):
    reader = Oracle(model, turning[:6])
    _, seen = follow(model, turning[:6], reader, refine=2, smooth=False)
    marks = np.array([f[0].points for f in seen])
    true = np.array([p.landmarks_2d for p in turning[:6]])
    eyes = np.linalg.norm(true[0, 36] - true[0, 45])
    assert np.linalg.norm(marks - true, axis=-1).mean() < 0.035 * eyes


def test_a_tracker_needs_something_to_look_with(model):
    with pytest.raises(InputError, match="landmarks are needed"):
        Tools(model, SimpleNamespace(), np.eye(3), SimpleNamespace(), None, 0)
