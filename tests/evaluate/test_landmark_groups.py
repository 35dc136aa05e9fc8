import numpy as np
import pytest

from facekit.detect.pose import MEAN68
from facekit.errors import UsageError
from facekit.evaluate.landmark_groups import (
    FaceFacts,
    face_facts,
    face_groups,
    face_tone,
    turned_at_most,
)
from facekit.evaluate.landmarks import LandmarkTruth, evaluate_landmarks
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.io.images import write_image
from facekit.types import DetectedFace

VIEWS = ((0.0, 0.5), (-20.0, 1.0), (65.0, 2.0), (88.0, 0.2))


def views(tmp_path):
    """The mean head at known yaws and sizes, on plain pictures."""
    tables = []
    for yaw, scale in VIEWS:
        rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians([yaw, 0, 0]))
        flat = scale * (MEAN68 @ rotation.T)[:, :2]
        tables.append(flat - flat.mean(0) + 200)
    points = np.stack(tables)
    images = []
    for k in range(len(VIEWS)):
        images.append(tmp_path / f"{k}.png")
        write_image(images[-1], np.full((400, 400, 3), [190, 150, 130], np.uint8))
    boxes = np.concatenate([points.min(1), np.ptp(points, axis=1)], axis=1)
    eyes = np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
    return LandmarkTruth(tuple(images), points, tuple(range(68)), eyes, boxes=boxes)


def test_facts_of_known_views(tmp_path):
    truth = views(tmp_path)
    facts = face_facts(truth, np.full(4, np.nan))
    np.testing.assert_allclose(facts.yaw_deg, [v[0] for v in VIEWS], atol=0.1)
    np.testing.assert_allclose(facts.size_px, np.ptp(truth.points, axis=1).max(1))
    assert set(facts.of(0)) == {"yaw_deg", "size_px"}


def test_groups_hold_every_known_face_once():
    facts = FaceFacts(
        np.array([0, -14.9, 15, 74, -76, np.nan, 120]),
        np.array([31.9, 32, 63, 200, 256, 1e4, np.nan]),
        np.array([60, 50, 30, 20, 0, -40, np.nan]),
    )
    groups = {name: rows.tolist() for name, rows in face_groups(facts).items()}
    assert groups == {
        "yaw 0-15 deg": [0, 1],
        "yaw 15-30 deg": [2],
        "yaw 60-75 deg": [3],
        "yaw 75-90 deg": [4],
        "size under 32 px": [0],
        "size 32-64 px": [1, 2],
        "size 128-256 px": [3],
        "size over 256 px": [4, 5],
        "skin very light": [0],
        "skin light": [1],
        "skin intermediate": [2],
        "skin tan": [3],
        "skin brown": [4],
        "skin dark": [5],
    }


class Knows:
    name = fingerprint = "knows"

    def __init__(self, truth, offsets):
        self.truth, self.offsets = truth, offsets

    def detect(self, image, *, path=None):
        row = self.truth.images.index(path)
        points = self.truth.points[row] + [self.offsets[row], 0]
        return [DetectedFace(self.truth.boxes[row], 1.0, ibug68=points)]


def test_the_document_has_metrics_of_groups(tmp_path):
    truth = views(tmp_path)
    diagonal = truth.length("box")
    offsets = diagonal * [0.01, 0.02, 0.03, 0.2]
    document = evaluate_landmarks(truth, Knows(truth, offsets), normalise="box")
    groups = document["groups"]
    assert groups["yaw 15-30 deg"]["mean"] == pytest.approx(2)
    assert groups["yaw 75-90 deg"]["failure_percent"] == 100
    skins = [name for name in groups if name.startswith("skin")]
    assert len(skins) == 1
    assert groups[skins[0]]["mean"] == pytest.approx(6.5)
    assert document["items"][2]["yaw_deg"] == pytest.approx(65, abs=0.1)


def test_faces_turned_at_most(tmp_path):
    truth = views(tmp_path)
    some = turned_at_most(truth, 66)
    assert some.images == truth.images[:3]
    np.testing.assert_array_equal(some.points, truth.points[:3])
    np.testing.assert_array_equal(some.boxes, truth.boxes[:3])
    assert some.complete and len(some.eye_distance) == 3
    with pytest.raises(UsageError, match="turned further"):
        turned_at_most(truth.subset(np.array([3])), 75)
    few = LandmarkTruth(truth.images, truth.points[:, [36, 45]], (36, 45), truth.eye_distance)
    with pytest.raises(UsageError, match="this set has 2"):
        turned_at_most(few, 75)


def test_unknown_points_say_nothing(tmp_path):
    truth = views(tmp_path)
    few = LandmarkTruth(truth.images, truth.points[:, [36, 45]], (36, 45), truth.eye_distance)
    assert np.isnan(face_tone(few, 0, np.full((400, 400, 3), 99, np.uint8)))
    facts = face_facts(few, np.full(4, np.nan))
    assert facts.of(0) == {}
    assert face_groups(facts) == {}
    line = LandmarkTruth(
        truth.images[:1],
        np.tile(np.arange(68.0)[None, :, None], (1, 1, 2)),
        tuple(range(68)),
        np.ones(1),
    )
    assert np.isnan(face_facts(line, np.array([np.nan])).yaw_deg[0])
