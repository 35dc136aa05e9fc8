import sys
import types
import zipfile

import numpy as np
import pytest
from skimage import data

from facekit.detect import open_detector
from facekit.detect.mediapipe import MediaPipeDetector, NoBoxes
from facekit.detect.yunet import YuNetDetector
from facekit.errors import InputError, MissingDependencyError

TASK, YUNET = "FACEKIT_MEDIAPIPE_TASK", "FACEKIT_YUNET"


@pytest.mark.parametrize(("name", "variable"), [("mediapipe", TASK), ("yunet", YUNET)])
def test_a_missing_file_names_the_command(monkeypatch, tmp_path, name, variable):
    for value in ("", str(tmp_path / "none")):
        monkeypatch.setenv(variable, value)
        with pytest.raises(MissingDependencyError, match=f"export {variable}="):
            open_detector(name)


def test_files_that_are_no_networks(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("text")
    with pytest.raises(InputError, match="cannot load it as YuNet"):
        YuNetDetector(path)
    with pytest.raises(InputError, match=r"face_landmarker\.task"):
        MediaPipeDetector(path, boxes=NoBoxes())
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other", "x")
    with pytest.raises(InputError, match=r"face_landmarker\.task"):
        MediaPipeDetector(path, boxes=NoBoxes())
    for cls in (YuNetDetector, MediaPipeDetector):
        with pytest.raises(MissingDependencyError):
            cls(tmp_path / "none")


def test_mediapipe_without_its_package(monkeypatch, tmp_path):
    path = tmp_path / "a.task"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("face_landmarks_detector.tflite", "x")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'facekit\[mediapipe\]'"):
        MediaPipeDetector(path, boxes=NoBoxes())


def test_fan_needs_the_package_and_leave_to_download(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"facekit\[fan\]"):
        open_detector("fan", allow_download=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(MissingDependencyError, match="--allow-download"):
        open_detector("fan")


def test_fan_results_become_faces(monkeypatch):
    from facekit.detect.pose import MEAN68
    from facekit.geometry.rotations import HEAD_TO_CAMERA

    points = (MEAN68 @ HEAD_TO_CAMERA.T)[:, :2] + 200
    answers = [([points, 2 * points], [np.ones(68), np.full(68, 0.5)])]

    class FaceAlignment:
        def __init__(self, kind, **options):
            assert options["device"] == "cpu"

        def get_landmarks_from_image(self, image, **options):
            boxes = [np.array([10, 20, 60, 90, 0.9]), np.array([0, 0, 200, 200, 0.8])]
            return (answers[0][0], answers[0][1], boxes) if image.any() else (None, None, [])

    module = types.ModuleType("face_alignment")
    module.FaceAlignment = FaceAlignment
    module.LandmarksType = types.SimpleNamespace(TWO_D=1)
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    detector = open_detector("fan", allow_download=True)
    large, small = detector.detect(np.ones((300, 300, 3), np.uint8))
    assert large.box.tolist() == [0, 0, 200, 200] and large.score == pytest.approx(0.8)
    assert np.allclose(small.ibug68, points) and (small.confidence == 1).all()
    assert detector.detect(np.zeros((9, 9, 3), np.uint8)) == []


@pytest.fixture
def teachers(data_folder, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason="the mediapipe extra is not installed")
    folder = data_folder / "teachers"
    monkeypatch.setenv(TASK, str(folder / "face_landmarker_v2_with_blendshapes.task"))
    monkeypatch.setenv(YUNET, str(folder / "yunet_n_dynamic.onnx"))
    return folder


def test_all_landmarkers_agree_on_the_astronaut(teachers):
    image = data.astronaut()
    found = {n: open_detector(n).detect(image) for n in ("builtin", "mediapipe", "yunet")}
    assert all(len(faces) == 1 for faces in found.values())
    ours, theirs = found["builtin"][0], found["mediapipe"][0]
    eyes = np.linalg.norm(ours.ibug68[36] - ours.ibug68[45])
    assert np.linalg.norm(ours.ibug68 - theirs.ibug68, axis=1).mean() < 0.06 * eyes
    assert np.linalg.norm(ours.five - found["yunet"][0].five, axis=1).mean() < 0.08 * eyes


def test_adapters_have_no_left_right_bias(teachers):
    image = data.astronaut()
    mirrored = np.ascontiguousarray(image[:, ::-1])
    for name, least in (("mediapipe", 0.6), ("yunet", 1.2)):
        detector = open_detector(name)
        (a,), (b,) = detector.detect(image), detector.detect(mirrored)
        back = b.five[[1, 0, 2, 4, 3]] * [-1, 1] + [image.shape[1] - 1, 0]
        # Half of the mean difference is the bias; half a pixel of the crop would be 0.4 px.
        assert abs((a.five - back)[:, 0].mean()) / 2 < least


def test_fingerprints_depend_on_the_files(teachers):
    assert open_detector("yunet").fingerprint in open_detector("mediapipe").fingerprint
    assert open_detector("yunet").detect(np.zeros((40, 40, 3), np.uint8)) == []
