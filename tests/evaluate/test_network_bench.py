"""Networks that know the truth, half of it or nothing, beside each other."""

import numpy as np
import pytest
from simulated_heads import write_model_heads

from facekit.cli.main import run
from facekit.detect.parameters import CropReading
from facekit.errors import InputError, UsageError
from facekit.evaluate import network_bench
from facekit.evaluate.landmark_truth import LandmarkTruth
from facekit.evaluate.network_bench import (
    NetworkDetector,
    evaluate_network_landmarks,
    evaluate_network_shapes,
    five_points,
    open_networks,
)
from facekit.evaluate.truth import TruthOptions, head_portraits
from facekit.geometry.crop import five_crop
from facekit.geometry.crop_pose import encode_pose
from facekit.io.images import write_image
from facekit.morphable import load_model
from facekit.types import DetectedFace

COUNT, SIZE = 10, 128


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


@pytest.fixture(scope="module")
def heads_file(tmp_path_factory):
    return write_model_heads(tmp_path_factory.mktemp("heads") / "heads.npz", COUNT)


@pytest.fixture(scope="module")
def portraits(heads_file):
    draw = head_portraits(heads_file, TruthOptions(size=SIZE))
    return [draw(head, 20.0) for head in range(COUNT)]


class Oracle:
    """A network that tells a share of the true identity, and the true expression and pose."""

    size = 96
    fingerprint = "oracle"
    identity_spread = None

    def __init__(self, model, portraits, share, coefficients):
        self.model, self.share = model, share
        self.known = {
            p.image.tobytes(): (p, c) for p, c in zip(portraits, coefficients, strict=True)
        }

    def read(self, image, five):
        portrait, (identity, expression) = self.known[image.tobytes()]
        crop = five_crop(five, size=self.size)
        camera = portrait.camera
        pose = encode_pose(
            camera.rotation, camera.translation, camera.intrinsics, crop, size=self.size
        )
        parts = {
            "identity": self.share * identity,
            "expression": expression,
            "rotation": pose.rotation,
            "translation": pose.translation,
        }
        return CropReading(
            parts, parts["identity"], np.zeros((len(identity), len(identity))), 1.0, crop
        )


class Finder:
    """Finds every picture's face at its true landmarks."""

    name = fingerprint = "finder"

    def __init__(self, portraits):
        self.known = {p.image.tobytes(): p for p in portraits}

    def detect(self, image, *, path=None):
        portrait = self.known[image.tobytes()]
        return [DetectedFace(portrait.box, 0.9, ibug68=portrait.landmarks_2d.astype(float))]


@pytest.fixture(scope="module")
def coefficients(model):
    """The draws of ``write_model_heads``."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(COUNT):
        identity = 1.3 * rng.normal(size=model.num_identity).clip(-2, 2)
        weights = np.zeros(model.num_expression)
        weights[rng.integers(0, model.num_expression, 2)] = 0.3
        drawn.append((identity, weights))
    return drawn


def networks(model, portraits, coefficients):
    shares = {"knows": 1.0, "half": 0.5, "nothing": 0.0}
    return {n: Oracle(model, portraits, s, coefficients) for n, s in shares.items()}


def test_shapes_are_ranked_by_what_the_networks_know(
    model, heads_file, portraits, coefficients, monkeypatch
):
    monkeypatch.setattr(network_bench, "open_detector", lambda *a, **k: Finder(portraits))
    options = TruthOptions(count=0, yaws_deg=(20.0,), size=SIZE)
    readers = networks(model, portraits, coefficients)
    document = evaluate_network_shapes(heads_file, readers, options).document
    methods = document["methods"]
    assert methods["knows"]["median"] < 0.02
    assert methods["knows"]["median"] < methods["half"]["median"] < methods["nothing"]["median"]
    assert methods["nothing"]["median"] == pytest.approx(methods["mean_face"]["median"])
    half = document["compared"]["half"]
    assert half["than"] == "knows" and half["verdict"] == "worse" and half["items"] == COUNT
    knows, other = (
        np.mean([i["median"] for i in document["items"] if i["method"] == name])
        for name in ("knows", "half")
    )
    assert half["ratio"] == pytest.approx(other / knows)
    groups = document["groups"]["half"]
    strengths = [groups[f"expression {name}"]["count"] for name in ("slight", "middling", "strong")]
    assert sum(strengths) == COUNT and min(strengths) >= 3
    assert groups["yaw 20"]["mean"] == pytest.approx(other)


def test_landmarks_of_the_true_face_are_the_true_landmarks(
    model, portraits, coefficients, monkeypatch, tmp_path
):
    finder = Finder(portraits)
    readers = networks(model, portraits, coefficients)
    detector = NetworkDetector("knows", readers["knows"], model, finder)
    eyes = []
    for portrait in portraits[:4]:
        truth = portrait.landmarks_2d
        eyes.append(np.linalg.norm(truth[36] - truth[45]))
        found = detector.detect(portrait.image)[0].ibug68
        # The jaw of the truth lies elsewhere on the surface than the labeller's, to which the
        # model's points belong.
        away = np.linalg.norm(found - truth, axis=1)[36:48] / eyes[-1]
        assert away.mean() < 0.08
    images = []
    for number, portrait in enumerate(portraits):
        images.append(tmp_path / f"{number}.png")
        write_image(images[-1], portrait.image)
    # What one network marks is the truth, so that its own error is nothing.
    marked = [detector.detect(p.image)[0].ibug68 for p in portraits]
    monkeypatch.setattr(network_bench, "open_detector", lambda *a, **k: finder)
    known = LandmarkTruth(
        images=tuple(images),
        points=np.stack(marked),
        ibug68=tuple(range(68)),
        eye_distance=np.array([np.linalg.norm(m[36] - m[45]) for m in marked]),
        boxes=np.stack([p.box for p in portraits]).astype(float),
    )
    document = evaluate_network_landmarks(known, readers, model)
    rows = document["detectors"]
    assert list(rows) == ["knows", "half", "nothing", "finder"]
    assert rows["knows"]["metrics"]["mean"] < 1e-6
    assert 0.3 < rows["half"]["metrics"]["mean"] < rows["nothing"]["metrics"]["mean"]
    assert document["comparisons"]["half"]["low"] > 0


def test_names_and_points_that_are_missing(model):
    with pytest.raises(UsageError, match="at least one"):
        open_networks([], model)
    with pytest.raises(UsageError, match="none ships"):
        open_networks(["none"], model)
    with pytest.raises(InputError, match="box alone"):
        five_points(DetectedFace(np.array([0.0, 0, 10, 10]), 0.9))


def test_the_command_says_what_it_needs(tmp_path, capsys):
    assert run(["eval", "networks", "none"]) == 2
    assert "--heads, --portraits" in capsys.readouterr().err
    absent = str(tmp_path / "absent.onnx")
    assert run(["eval", "networks", absent, "--heads", str(tmp_path / "heads.npz")]) == 3
    assert "absent.onnx" in capsys.readouterr().err
