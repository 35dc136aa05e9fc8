import dataclasses
import json

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.errors import InputError, ItemError, UsageError
from facekit.evaluate.landmarks import (
    SavedLandmarks,
    compare_landmarks,
    evaluate_landmarks,
    read_landmark_truth,
    shows_face,
)
from facekit.io.images import write_image
from facekit.io.landmark_files import write_landmarks
from facekit.types import DetectedFace

EXACT = {36: 18, 39: 22, 42: 23, 45: 27, 48: 87, 54: 93}


def face(points, offset=0.0):
    low, high = points.min(axis=0), points.max(axis=0)
    return DetectedFace(np.array([*low, *(high - low)]), 0.9, ibug68=points + offset)


def write_pts(path, points):
    rows = "\n".join(f"{x} {y}" for x, y in np.asarray(points) + 1)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


def points68(seed):
    return np.random.default_rng(seed).uniform(20, 180, (68, 2))


class Known:
    """Returns prepared faces by file name."""

    name = "known"
    fingerprint = "known"

    def __init__(self, faces):
        self.faces = faces

    def detect(self, image, *, path=None):
        assert image.shape == (200, 200, 3)
        result = self.faces[path.name]
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture
def frl(tmp_path):
    """Three images in the layout of the Face Research Lab London set."""
    names = ["a.png", "b.png", "c.png"]
    table = np.random.default_rng(0).uniform(20, 180, (3, 189, 2)).astype(np.float32)
    table[:, 18], table[:, 27] = [50, 80], [150, 80]
    np.savez(tmp_path / "landmarks.npz", points=table, names=np.array(names))
    (tmp_path / "frl189_to_ibug68.json").write_text(
        json.dumps({"exact": {str(k): v for k, v in EXACT.items()}, "approximate": {"17": 71}})
    )
    for name in names:
        write_image(tmp_path / "images" / name, np.zeros((200, 200, 3), np.uint8))
    truth = {}
    for name, row in zip(names, table, strict=True):
        points = points68(1)
        for ibug, own in EXACT.items():
            points[ibug] = row[own]
        truth[name] = points
    return tmp_path, truth


def test_frl_scores_the_exact_twins_only(frl):
    folder, truth = frl
    read = read_landmark_truth(folder)
    assert read.ibug68 == tuple(sorted(EXACT))
    assert read.points.shape == (3, 6, 2)
    np.testing.assert_allclose(read.eye_distance, 100)
    document = evaluate_landmarks(
        read, Known({name: [face(p, [3.0, 4.0])] for name, p in truth.items()})
    )
    metrics = document["metrics"]
    assert metrics["mean"] == pytest.approx(5.0)
    assert metrics["median"] == pytest.approx(5.0)
    assert (metrics["count"], metrics["missing"], metrics["failure_percent"]) == (3, 0, 0)
    assert metrics["auc"] == pytest.approx(0.5)
    assert document["per_point"]["48"] == pytest.approx(5.0)
    json.dumps(document, allow_nan=False)


def test_misses_and_unreadable_images_are_counted(frl):
    folder, truth = frl
    (folder / "images" / "c.png").write_bytes(b"no image")
    read = read_landmark_truth(folder)
    seen = []
    document = evaluate_landmarks(
        read,
        Known({"a.png": [face(truth["a.png"], [1.0, 0])], "b.png": []}),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert document["metrics"]["missing"] == 2
    assert document["metrics"]["mean"] == pytest.approx(1.0)
    assert document["metrics"]["failure_percent"] == pytest.approx(200 / 3)
    assert [i["missing"] for i in document["items"]] == [False, True, True]
    assert document["items"][1]["error"] == "no face was found"
    assert "c.png" in document["items"][2]["error"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    boxes = Known(
        {name: [DetectedFace(np.array([0, 0, 9, 9.0]), 1.0)] for name in ("a.png", "b.png")}
    )
    document = evaluate_landmarks(read, boxes)
    assert document["metrics"]["mean"] is None
    assert "no 68 landmarks" in document["items"][0]["error"]
    json.dumps(document, allow_nan=False)


def test_a_detector_that_fails_on_an_image_is_a_miss(frl):
    folder, truth = frl
    prepared = {name: [face(p)] for name, p in truth.items()}
    prepared["b.png"] = ItemError("too dark")
    prepared["c.png"] = InputError("no such thing")
    document = evaluate_landmarks(read_landmark_truth(folder), Known(prepared))
    assert document["items"][1]["error"] == "too dark"
    assert document["items"][2]["error"] == "no such thing"
    assert document["metrics"]["count"] == 1


def test_the_face_nearest_to_the_truth_is_scored(frl):
    folder, truth = frl
    faces = {
        name: [face(points + 500), face(points, [1.0, 0]), face(points - 400)]
        for name, points in truth.items()
    }
    document = evaluate_landmarks(read_landmark_truth(folder), Known(faces))
    assert document["metrics"]["mean"] == pytest.approx(1.0)


def test_sidecars_of_both_kinds(tmp_path):
    blank = np.zeros((200, 200, 3), np.uint8)
    truth = {}
    for seed, name in enumerate(("a.png", "sub/b.png", "c.png", "d.png")):
        write_image(tmp_path / name, blank)
        truth[name] = points68(seed)
    write_pts(tmp_path / "a.pts", truth["a.png"])
    write_landmarks(
        tmp_path / "sub" / "b.json",
        [face(truth["sub/b.png"])],
        image="b.png",
        width=200,
        height=200,
    )
    write_landmarks(tmp_path / "c.json", [], image="c.png", width=200, height=200)
    read = read_landmark_truth(tmp_path)
    assert [p.name for p in read.images] == ["a.png", "b.png"]
    np.testing.assert_allclose(read.points[0], truth["a.png"], atol=1e-5)
    np.testing.assert_allclose(read.points[1], truth["sub/b.png"], atol=1e-3)
    assert read.ibug68 == tuple(range(68))
    assert read.beside_images
    expected = np.linalg.norm(truth["a.png"][36] - truth["a.png"][45])
    assert read.eye_distance[0] == pytest.approx(expected, abs=1e-4)


def test_truth_beside_images_is_not_scored_against_itself(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((200, 200, 3), np.uint8))
    write_pts(tmp_path / "a.pts", points68(0))
    detector = Known({"a.png": [face(points68(0))]})
    read = read_landmark_truth(tmp_path)
    assert evaluate_landmarks(read, detector)["metrics"]["count"] == 1
    for name in ("files", "auto"):
        detector.name = name
        with pytest.raises(InputError, match="beside the images"):
            evaluate_landmarks(read, detector)


def test_simulated_folder(tmp_path):
    (tmp_path / "truth").mkdir()
    for seed, name in enumerate(("a", "b")):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((200, 200, 3), np.uint8))
        np.savez(tmp_path / "truth" / f"{name}.npz", landmarks_2d=points68(seed), now7=np.eye(3))
    read = read_landmark_truth(tmp_path)
    assert [p.name for p in read.images] == ["a.png", "b.png"]
    np.testing.assert_allclose(read.points[1], points68(1))
    assert not read.beside_images


def test_saved_predictions(frl, tmp_path):
    folder, truth = frl
    saved = tmp_path / "saved"
    for name in ("a.png", "b.png"):
        write_landmarks(
            saved / f"{name[0]}.json", [face(truth[name])], image=name, width=200, height=200
        )
    document = evaluate_landmarks(read_landmark_truth(folder), SavedLandmarks(saved))
    assert document["metrics"]["mean"] == pytest.approx(0, abs=1e-3)
    assert document["metrics"]["missing"] == 1
    with pytest.raises(InputError, match="folder of landmark files"):
        SavedLandmarks(tmp_path / "none")
    with pytest.raises(ItemError, match="path"):
        SavedLandmarks(saved).detect(np.zeros((1, 1, 3), np.uint8))


def test_folder_rejections(frl, tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_landmark_truth(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="found neither"):
        read_landmark_truth(empty)
    write_image(empty / "a.png", np.zeros((9, 9, 3), np.uint8))
    write_pts(empty / "a.pts", np.zeros((5, 2)))
    with pytest.raises(InputError, match="found neither"):
        read_landmark_truth(empty)
    write_pts(empty / "a.pts", np.zeros((6, 2)))
    with pytest.raises(InputError, match="5, 68 or 478"):
        read_landmark_truth(empty)
    write_pts(empty / "a.pts", np.zeros((68, 2)))
    with pytest.raises(InputError, match="eye corners"):
        read_landmark_truth(empty)
    folder = frl[0]
    (folder / "frl189_to_ibug68.json").write_text('{"exact": {"36": 18}}')
    with pytest.raises(InputError, match="36 and 45"):
        read_landmark_truth(folder)
    (folder / "frl189_to_ibug68.json").unlink()
    with pytest.raises(InputError, match="frl189_to_ibug68"):
        read_landmark_truth(folder)


def test_validation_faces(data_folder):
    read = read_landmark_truth(data_folder / "validation_faces")
    assert read.points.shape == (40, 9, 2)
    assert all(path.is_file() for path in read.images)
    assert (read.eye_distance > 50).all()


class Offset:
    """Knows where every portrait's face is, and errs by an offset; may lack the 68 points."""

    def __init__(self, name, truth, offset=0.0, *, five_only=False, blind=(), extra=0):
        self.name = self.fingerprint = name
        self.rows = {path: k for k, path in enumerate(truth.images)}
        self.truth, self.offset, self.five_only = truth, offset, five_only
        self.blind, self.extra = set(blind), extra

    def detect(self, image, *, path=None):
        row = self.rows[path]
        if row in self.blind:
            return []
        points = self.truth.points[row] + [self.offset, 0]
        box = self.truth.boxes[row]
        false = [DetectedFace(np.array([-200 - 50 * k, 0, 9, 9.0]), 0.7) for k in range(self.extra)]
        if self.five_only:
            return [DetectedFace(box, 0.9, five=ibug68_to_five(points)), *false]
        return [DetectedFace(box, 0.9, ibug68=points), *false]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """Twenty drawn portraits of all splits."""
    folder = write_portraits(tmp_path_factory.mktemp("portraits"), count=20)
    return read_landmark_truth(folder, split="all")


def test_portraits_by_split(tmp_path):
    folder = write_portraits(tmp_path / "portraits", count=40)
    rows = {}
    for split in (None, "held_out", "validation", "train", "all"):
        rows[split] = read_landmark_truth(folder, split=split)
    assert rows[None].images == rows["held_out"].images
    assert len(rows["all"].images) == 40
    parts = [set(rows[s].images) for s in ("held_out", "validation", "train")]
    assert all(parts) and sum(map(len, parts)) == len(set.union(*parts)) == 40
    truth = rows["all"]
    assert truth.complete and truth.boxes.shape == (40, 4) and not truth.beside_images
    with np.load(folder / "labels_first.npz") as labels:
        row = truth.names.index(f"first/{labels['files'][3]}")
        dense = labels["landmarks478"][3, :, :2]
    assert truth.images[row] == folder / "first" / "003.png"
    np.testing.assert_allclose(truth.points[row, [36, 45]], dense[[33, 263]], atol=1e-4)
    np.testing.assert_allclose(truth.boxes[row, :2], dense.min(0), atol=1e-4)


def test_untrusted_labels_are_left_out_and_better_ones_taken(tmp_path):
    folder = write_portraits(tmp_path / "portraits", count=20)
    better = tmp_path / "better"
    better.mkdir()
    for group in ("first", "second"):
        with np.load(folder / f"labels_{group}.npz") as labels:
            table = dict(labels)
        table["landmarks478"] = table["landmarks478"] + 1
        table["landmark_score"][:2] = 0.5
        np.savez(better / f"labels_{group}.npz", **table)
    plain = read_landmark_truth(folder, split="all")
    moved = read_landmark_truth(folder, labels=better, split="all")
    assert (len(plain.images), len(moved.images)) == (20, 16)
    row = plain.names.index(moved.names[0])
    np.testing.assert_allclose(moved.points[0], plain.points[row] + 1, atol=1e-3)
    (better / "labels_second.npz").unlink()
    assert len(read_landmark_truth(folder, labels=better, split="all").images) == 8


def test_portrait_rejections(tmp_path, frl):
    folder = write_portraits(tmp_path / "portraits", count=20)
    with pytest.raises(UsageError, match="held_out, validation, train, all"):
        read_landmark_truth(folder, split="test")
    with pytest.raises(UsageError, match="is for portraits"):
        read_landmark_truth(frl[0], split="all")
    with pytest.raises(InputError, match="labels_<set>"):
        read_landmark_truth(frl[0], labels=tmp_path)
    with np.load(folder / "labels_first.npz") as labels:
        table = dict(labels) | {"landmark_score": np.zeros(10, np.float32)}
    np.savez(folder / "labels_first.npz", **table)
    (folder / "labels_second.npz").unlink()
    with pytest.raises(InputError, match="no trusted portrait"):
        read_landmark_truth(folder, split="all")


def test_boxes_are_counted(truth):
    boxes = evaluate_landmarks(truth, Offset("a", truth, blind=[0], extra=2))["boxes"]
    assert boxes == {
        "faces": 20,
        "recall_percent": 95,
        "false_positives": 38,
        "false_per_image": 1.9,
        "images_with_false": [truth.name(row) for row in range(1, 20)],
    }


def test_which_box_shows_the_face(truth):
    x, y, w, h = truth.boxes[0]
    other = np.array([x + 3 * w, y, w, h])

    def shown(*boxes):
        return shows_face(np.array(boxes).reshape(-1, 4), truth, 0)

    assert shown() is None
    assert shown(other) is None
    assert shown(other, [x, y, w, h]) == 1
    # A box with much of the neck overlaps by less than a half, but is the nearest.
    assert shown(other, [x - w / 4, y, 1.5 * w, 1.9 * h]) == 1
    assert shown([x - w, y - h, 3 * w, 3 * h]) is None
    assert shown([x + 0.4 * w, y + 0.4 * h, 0.2 * w, 0.2 * h]) is None


def test_normalisation_by_the_box(truth, frl):
    detector = Offset("a", truth, 3.0)
    eyes, box = (
        evaluate_landmarks(truth, detector, normalise=kind)["items"] for kind in ("eyes", "box")
    )
    diagonal = np.linalg.norm(truth.points.max(1) - truth.points.min(1), axis=1)
    for row in range(20):
        assert eyes[row]["mean"] == pytest.approx(300 / truth.eye_distance[row])
        assert box[row]["mean"] == pytest.approx(300 / diagonal[row])
    with pytest.raises(UsageError, match="68 true points, this set has 6"):
        evaluate_landmarks(read_landmark_truth(frl[0]), detector, normalise="box")
    with pytest.raises(UsageError, match="eyes or box"):
        truth.length("nose")


def test_saved_predictions_of_folders(truth, tmp_path):
    for row, name in enumerate(truth.names):
        file = tmp_path / "saved" / name.replace(".png", ".json")
        write_landmarks(file, [face(truth.points[row])], image=name, width=150, height=190)
    document = evaluate_landmarks(truth, SavedLandmarks(tmp_path / "saved"))
    assert document["metrics"]["missing"] == 0
    assert document["metrics"]["mean"] == pytest.approx(0, abs=0.05)


def test_several_detectors_side_by_side(truth):
    first = Offset("first", truth, 2.0)
    second = Offset("second", truth, 1.0, blind=[4])
    none = Offset("none", truth, blind=range(20))
    document = compare_landmarks(truth, [first, second, none])
    assert list(document["detectors"]) == ["first", "second", "none"]
    assert document["detectors"]["first"] == evaluate_landmarks(truth, first)
    assert document["detectors"]["second"] == evaluate_landmarks(truth, second)
    difference = document["comparisons"]["second"]
    expected = -100 / np.delete(truth.eye_distance, 4)
    assert difference["mean_difference"] == pytest.approx(expected.mean())
    assert difference["low"] < expected.mean() < difference["high"] < 0
    assert (difference["against"], difference["images"]) == ("first", 19)
    assert document["comparisons"]["none"]["mean_difference"] is None
    json.dumps(document, allow_nan=False)
    for wrong in ([], [first, first]):
        with pytest.raises(UsageError, match="different detectors"):
            compare_landmarks(truth, wrong)


def test_only_points_that_all_have_are_compared(truth):
    dense = Offset("dense", truth, 2.0)
    five = Offset("five", truth, 2.0, five_only=True)
    alone = evaluate_landmarks(truth, five)
    names = ["right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner"]
    assert (alone["protocol"]["set"], alone["protocol"]["points"]) == ("five", names)
    assert list(alone["per_point"]) == names
    assert alone["metrics"]["mean"] == pytest.approx((200 / truth.eye_distance).mean())
    document = compare_landmarks(truth, [dense, five])
    assert document["protocol"]["points"] == names
    assert document["detectors"]["dense"]["per_point"] == pytest.approx(alone["per_point"])
    assert compare_landmarks(truth, [dense])["protocol"]["set"] == "ibug68"


def test_five_points_of_a_partial_truth(frl):
    read = read_landmark_truth(frl[0])
    points = {name: ibug68_to_five(p) for name, p in frl[1].items()}
    faces = {n: [DetectedFace(np.array([9, 9, 9, 9.0]), 1.0, five=p)] for n, p in points.items()}
    document = evaluate_landmarks(read, Known(faces))
    assert "nose_tip" not in document["protocol"]["points"]
    assert len(document["protocol"]["points"]) == 4
    assert document["metrics"]["mean"] == pytest.approx(0, abs=1e-6)
    bare = dataclasses.replace(read, points=read.points[:, :1], ibug68=(8,))
    with pytest.raises(InputError, match="five points only"):
        evaluate_landmarks(bare, Known(faces))
