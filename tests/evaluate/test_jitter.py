import dataclasses

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.errors import InputError, ItemError, UsageError
from facekit.evaluate.jitter import JitterOptions, measure_jitter
from facekit.evaluate.landmarks import read_landmark_truth
from facekit.types import DetectedFace


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return read_landmark_truth(write_portraits(tmp_path_factory.mktemp("p"), count=20), split="all")


class Moves:
    """Answers with fixed points moved by the offsets in turn; None finds nothing."""

    name = fingerprint = "moves"

    def __init__(self, offsets, *, five_only=False):
        self.offsets, self.five_only = offsets, five_only
        self.images = []

    def detect(self, image, *, path=None):
        assert path is None
        self.images.append(image)
        offset = self.offsets[(len(self.images) - 1) % len(self.offsets)]
        if offset is None:
            raise ItemError("nothing here")
        points = np.random.default_rng(0).uniform(0, 100, (68, 2)) + offset
        box = np.array([0, 0, 100, 100.0])
        if self.five_only:
            return [DetectedFace(box, 1.0, five=ibug68_to_five(points))]
        return [DetectedFace(box, 1.0, ibug68=points)]


def test_known_movements(truth):
    options = JitterOptions(images=3, copies=2)
    still, moves = Moves([[0, 0]]), Moves([[0.3, 0.4], [-0.3, -0.4]])
    a, b = measure_jitter(truth, [still, moves], options)
    assert a["rms_px"] == pytest.approx(0, abs=1e-9)
    assert b["rms_px"] == b["worst_px"] == pytest.approx(np.sqrt(2) * 0.5)
    assert (b["faces"], b["lost"], b["copies"], b["set"]) == (3, 0, 2, "ibug68")
    worse = Moves([[0, 0], [0, 0], [1, 0], [-1, 0], [0, 0], [0, 0]])
    (one,) = measure_jitter(truth, [worse], options)
    assert one["worst_px"] == pytest.approx(np.sqrt(2))
    assert one["rms_px"] == pytest.approx(np.sqrt(2 / 3))


def test_the_pictures_are_scaled_and_noisy(truth):
    detector = Moves([[0, 0]])
    options = JitterOptions(images=2, copies=30, face_px=64, noise=3, seed=4)
    measure_jitter(truth, [detector], options)
    for row, part in ((0, detector.images[:30]), (19, detector.images[30:])):
        side = truth.boxes[row, 2:].max()
        height, width = part[0].shape[:2]
        assert (width, height) == (round(150 * 64 / side), round(190 * 64 / side))
        table = np.stack(part).astype(float)
        inner = (table.mean(0) > 20) & (table.mean(0) < 235)
        spread = table.std(0, ddof=1)[inner].mean()
        assert spread == pytest.approx(3, rel=0.03)
    again = Moves([[0, 0]])
    measure_jitter(truth, [again], options)
    assert all(np.array_equal(a, b) for a, b in zip(detector.images, again.images, strict=True))


def test_lost_faces_are_left_out(truth):
    options = JitterOptions(images=2, copies=2)
    (one,) = measure_jitter(truth, [Moves([[0, 0], [1, 0], [0, 0], None])], options)
    assert (one["faces"], one["lost"]) == (1, 1)
    assert one["rms_px"] == pytest.approx(np.sqrt(0.5))
    (none,) = measure_jitter(truth, [Moves([None])], options)
    assert (none["rms_px"], none["worst_px"], none["lost"]) == (None, None, 2)


def test_points_that_all_have(truth):
    options = JitterOptions(images=1, copies=2)
    dense, five = measure_jitter(truth, [Moves([[0, 0]]), Moves([[0, 0]], five_only=True)], options)
    assert dense["set"] == five["set"] == "five"


def test_truth_without_boxes_and_broken_pictures(truth, tmp_path):
    bare = dataclasses.replace(truth, boxes=None)
    detector = Moves([[0, 0]])
    measure_jitter(bare, [detector], JitterOptions(images=1, copies=2))
    side = 1.93 * truth.eye_distance[0]
    assert detector.images[0].shape[0] == round(190 * 128 / side)
    broken = dataclasses.replace(truth, images=(tmp_path / "none.png",) * 20)
    with pytest.raises(InputError, match="no picture"):
        measure_jitter(broken, [detector])
    for wrong in ({"images": 0}, {"copies": 1}, {"face_px": 2}, {"noise": -1}):
        with pytest.raises(UsageError, match="jitter: expected"):
            measure_jitter(truth, [detector], JitterOptions(**wrong))
