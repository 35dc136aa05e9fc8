"""The whole calibration on the built-in model with labellers of known habits."""

import numpy as np
import pytest

from facekit.basis.calibrate import (
    calibrate_model,
    detector_labels,
    measure_bias,
    outer_faces,
    plain_renderer,
)
from facekit.basis.landmarks import LabelledHead
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.morphable.builtin import load_builtin
from facekit.types import DetectedFace


@pytest.fixture(scope="module")
def model():
    return load_builtin()


class Labeller:
    """Puts its points where the model's map says, plus a habit, on heads drawn with a seed."""

    def __init__(self, model, seed, shift=(0.0, 0.0)):
        self.model, self.shift, self.index = model, np.array(shift), 0
        self.render = plain_renderer(model, seed=seed)

    def __call__(self, image):
        seen, vertices, camera = self.render(self.index)
        np.testing.assert_array_equal(image, seen)
        self.index += 1
        points = self.model.landmark_points("mediapipe478", vertices.astype(np.float64))
        return project(camera, points)[:, :2] + self.shift


@pytest.fixture(scope="module")
def rendered(model):
    """Pictures of 12 heads with the labels that the model's own maps give."""
    render = plain_renderer(model, seed=7, size=96)
    heads = []
    for i in range(12):
        image, vertices, camera = render(i)
        points = model.landmark_points("mediapipe478", vertices.astype(np.float64))
        heads.append((image, LabelledHead(vertices, camera, project(camera, points)[:, :2])))
    return heads


def test_renders_are_seeded_and_show_a_head(model, rendered):
    image, head = rendered[3]
    again, vertices, camera = plain_renderer(model, seed=7, size=96)(3)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(head.vertices, vertices)
    assert camera.width == 96 and image.shape == (96, 96, 3)
    assert image.std() > 10


def test_a_labeller_that_follows_the_maps_has_no_bias(model, rendered):
    bias = measure_bias(model, [head for _, head in rendered])
    # The 68 follow from the dense points only roughly, since both were fitted apart.
    assert np.median(np.linalg.norm(bias, axis=1)) < 0.5


def test_calibration_finds_the_maps_again(model):
    result = calibrate_model(model, Labeller(model, 7), count=8, seed=7, rounds=1)
    assert result.ibug68.num_heads == 8
    assert np.median(result.dense.bias_mm) < 0.2
    for name in ("mediapipe478", "ibug68", "now7", "five"):
        before = model.landmark_points(name, model.mean)
        after = result.model.landmark_points(name, model.mean)
        assert np.median(np.linalg.norm(after - before, axis=1)) < 0.6, name
    assert len(result.model.landmarks["jaw_strip_16"].faces) == 12
    # Labels without noise have nearly no spread.
    spread = np.sqrt(np.trace(result.dense.marks.covariance_mm2, axis1=1, axis2=2))
    assert np.median(spread) < 0.5


def test_a_blind_labeller_is_refused(model):
    with pytest.raises(InputError, match="0 of 4"):
        calibrate_model(model, lambda image: None, count=4, rounds=1)


def test_outer_faces_are_the_face_without_its_inside(model):
    allowed = outer_faces(model)
    inside = model.regions["mouth_inside"][model.faces].all(axis=1)
    neck = model.regions["neck"][model.faces].all(axis=1)
    assert not (allowed & (inside | neck)).any()
    assert allowed.sum() > 5000


class FakeDetector:
    name = fingerprint = "fake"

    def __init__(self, faces):
        self.faces = faces

    def detect(self, image, *, path=None):
        return self.faces


def test_a_detector_becomes_a_labeller():
    image = np.zeros((4, 4, 3), np.uint8)
    dense = np.random.default_rng(0).random((478, 2))
    face = DetectedFace(np.array([0, 0, 4, 4.0]), 0.9, dense478=dense)
    np.testing.assert_array_equal(detector_labels(FakeDetector([face]))(image), dense)
    assert detector_labels(FakeDetector([]))(image) is None
    bare = DetectedFace(np.array([0, 0, 4, 4.0]), 0.9)
    with pytest.raises(InputError, match="478"):
        detector_labels(FakeDetector([bare]))(image)
