import json

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.detect.pose import MEAN68
from facekit.errors import InputError, UsageError
from facekit.evaluate.boxes import (
    ScoredDetector,
    compare_boxes,
    evaluate_boxes,
    open_scored,
)
from facekit.evaluate.landmark_truth import read_portraits
from facekit.evaluate.scenes import Scene, collages, faceless_sets
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.io.images import write_image
from facekit.types import DetectedFace


def five_points(box, yaw=0.0, roll=0.0):
    """Five points of the mean head as seen, scaled into a box's middle."""
    x, y, w, h = box
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians([yaw, 0, roll]))
    flat = (ibug68_to_five(MEAN68) @ rotation.T)[:, :2]
    return (flat - flat.mean(0)) * 0.005 * w + [x + w / 2, y + h / 2]


def scene(name, *faces, ignore=(), visible=1.0):
    """Faces are (x, y, side) or (x, y, side, yaw, roll)."""
    boxes = np.array([[f[0], f[1], f[2], f[2]] for f in faces], float).reshape(-1, 4)
    five = np.array([five_points(b, *f[3:]) for b, f in zip(boxes, faces, strict=True)])
    hidden = np.array([k in ignore for k in range(len(faces))], bool)
    image = np.full((8, 8, 3), int(name), np.uint8)
    shown = np.full(len(faces), visible)
    return Scene(name, image, boxes, five.reshape(-1, 5, 2), hidden, shown)


class Says:
    """Answers (x, y, side, score) by the grey value of the image."""

    name = fingerprint = "says"

    def __init__(self, answers, shift=0.0):
        self.answers, self.shift = answers, shift

    def detect(self, image, *, path=None):
        out = []
        for x, y, side, score in self.answers.get(int(image[0, 0, 0]), []):
            box = np.array([x, y, side, side], float)
            out.append(DetectedFace(box, score, five=five_points(box) + [self.shift, 0]))
        return out


SCENES = [
    scene("0", (0, 0, 20), (100, 0, 40, 40.0, 0.0)),
    scene("1", (0, 0, 60, 0.0, 20.0), (200, 0, 30), ignore=[1]),
    scene("2"),
]
ANSWERS = {
    0: [(1, 0, 20, 0.9), (100, 1, 40, 0.3), (300, 300, 20, 0.4)],
    1: [(0, 0, 60, 0.8), (5, 5, 60, 0.7), (204, 0, 30, 0.9)],
    2: [(0, 0, 9, 0.6)],
}


def test_covered_faces_are_counted_apart():
    scenes = [SCENES[0], scene("1", (0, 0, 60), visible=0.6)]
    groups = evaluate_boxes(scenes, ScoredDetector(Says(ANSWERS), 0.5))["groups"]
    assert groups["visible 55-75 %"] == {"recall_percent": 100.0, "count": 1, "missing": 0}
    assert groups["visible 90 and more %"] == {"recall_percent": 50.0, "count": 2, "missing": 1}
    assert groups["size 48-96 px"]["count"] == 1
    assert "uncovered, size 48-96 px" not in groups
    assert groups["uncovered, size 24-48 px"] == {
        "recall_percent": 0.0,
        "count": 1,
        "missing": 1,
    }


def test_counts_by_hand():
    document = evaluate_boxes(SCENES, ScoredDetector(Says(ANSWERS, 2.0), 0.5))
    metrics = document["metrics"]
    # The 40-px face has a detection, but below the threshold; the ignored face counts for nothing.
    assert (metrics["count"], metrics["missing"], metrics["images"]) == (3, 1, 3)
    assert metrics["recall_percent"] == pytest.approx(200 / 3)
    assert metrics["false_positives"] == 2
    assert metrics["false_per_image"] == pytest.approx(2 / 3)
    # Ranked: hit, hit, false, false, false (0.4), hit (0.3); precision at the last is 3 of 6.
    assert metrics["average_precision"] == pytest.approx(2 / 3 + 1 / 3 * 0.5)
    assert document["items"][0] == {"image": "0", "faces": 2, "found": 1, "false": 0}
    assert document["items"][1] == {"image": "1", "faces": 1, "found": 1, "false": 1}
    assert document["groups"]["size 0-24 px"]["recall_percent"] == 100
    assert document["groups"]["size 24-48 px"]["recall_percent"] == 0
    assert document["groups"]["size 48-96 px"] == {
        "recall_percent": 100,
        "count": 1,
        "missing": 0,
    }
    assert document["groups"]["yaw 30-45 deg"]["missing"] == 1
    assert document["groups"]["roll 15-30 deg"]["recall_percent"] == 100
    json.dumps(document, allow_nan=False)


def test_five_points_of_faces_found():
    answers = {0: [(0, 0, 20, 0.9)]}
    document = evaluate_boxes(SCENES[:1], ScoredDetector(Says(answers, 2.0), 0.5))
    assert document["metrics"]["five_error_percent"] == pytest.approx(10)


def test_images_without_faces(tmp_path):
    write_image(tmp_path / "a" / "x.png", np.full((9, 9, 3), 2, np.uint8))
    (tmp_path / "a" / "broken.jpg").write_bytes(b"none")
    sets = faceless_sets([str(tmp_path / "a")], count=1)
    document = evaluate_boxes([], ScoredDetector(Says(ANSWERS), 0.5), no_faces=sets)
    assert document["metrics"]["recall_percent"] is None
    assert document["metrics"]["average_precision"] is None
    one = document["no_faces"][str(tmp_path / "a")]
    assert (one["images"], one["false_positives"], one["unreadable"]) == (2, 1, 1)
    assert one["false_per_100_images"] == 50
    assert one["highest_score"] == 0.6
    assert [item["image"] for item in one["items"]] == ["broken.jpg", "x.png"]
    json.dumps(document, allow_nan=False)
    with pytest.raises(InputError, match="found no image"):
        faceless_sets([str(tmp_path / "none")], count=1)
    with pytest.raises(InputError, match="got none"):
        evaluate_boxes([], ScoredDetector(Says({}), 0.5))


def test_skimage_and_drawn_sets(tmp_path):
    portraits = read_portraits([write_portraits(tmp_path, count=20)], split="all")
    sets = faceless_sets(["skimage", "drawn"], count=12, size=64, portraits=portraits)
    assert list(sets) == ["skimage seen in training", "skimage unseen", "drawn"]
    assert {s.name for s in sets["skimage unseen"]} >= {"coffee", "moon"}
    names = [s.name for one in sets.values() for s in one]
    assert len(set(names)) == len(names)
    again = faceless_sets(["drawn"], count=3, size=64, portraits=portraits)["drawn"]
    for a, b in zip(sets["drawn"], again, strict=False):
        assert np.array_equal(a.image, b.image)
        assert not len(a.boxes)


def test_several_detectors_share_the_images():
    seen = []
    document = compare_boxes(
        SCENES,
        {"a": ScoredDetector(Says(ANSWERS), 0.5), "b": ScoredDetector(Says({}), 0.5)},
        protocol={"seed": 3},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert document["detectors"]["a"]["metrics"]["missing"] == 1
    assert document["detectors"]["b"]["metrics"]["recall_percent"] == 0
    assert document["protocol"]["seed"] == 3
    assert seen == [(k, 6) for k in range(1, 7)]
    with pytest.raises(UsageError, match="expected a detector"):
        compare_boxes(SCENES, {})


def test_collages_are_seeded_and_label_what_they_show(tmp_path):
    portraits = read_portraits([write_portraits(tmp_path, count=20)], split="all")
    four = list(collages(portraits, count=4, size=128, seed=5))
    two = list(collages(portraits, count=2, size=128, seed=5))
    for a, b in zip(four, two, strict=False):
        assert np.array_equal(a.image, b.image) and np.array_equal(a.boxes, b.boxes)
    assert not np.array_equal(four[0].image, four[1].image)
    assert four[0].image.shape == (128, 128, 3)
    assert sum(len(s.boxes) for s in four) > 0
    for s in four:
        for box, five in zip(s.boxes, s.five, strict=True):
            assert ((five >= box[:2] - 1) & (five <= box[:2] + box[2:] + 1)).all()


def test_unlikely_detections_change_nothing_above_the_threshold():
    from skimage import data

    from facekit.detect.builtin import BuiltinDetector
    from facekit.io.images import resize

    image = resize(data.astronaut(), 0.5)
    scored = open_scored("builtin")
    likely = [f for f in scored.detector.detect(image) if f.score >= scored.threshold]
    expected = BuiltinDetector().detect(image)
    assert len(likely) == len(expected) >= 1
    for a, b in zip(likely, expected, strict=True):
        assert a.score == b.score and np.array_equal(a.box, b.box)


def test_files_look_at_no_picture():
    with pytest.raises(UsageError, match="files looks at no picture"):
        open_scored("files")
