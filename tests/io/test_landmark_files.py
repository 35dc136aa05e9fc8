import json
from dataclasses import replace

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.landmark_files import read_landmarks, write_landmarks
from facekit.types import DetectedFace

FACE = DetectedFace(
    box=np.array([10.0, 20, 30, 40]),
    score=0.875,
    five=np.arange(10.0).reshape(5, 2),
    ibug68=np.arange(136.0).reshape(68, 2) / 7,
    iris=np.ones((2, 2)),
    confidence=np.full(68, 0.5),
    visible=np.arange(68) % 2 == 0,
    yaw_deg=12.5,
)


def test_round_trip(tmp_path):
    path = write_landmarks(tmp_path / "x.json", [FACE], image="x.jpg", width=640, height=480)
    (face,) = read_landmarks(path)
    np.testing.assert_allclose(face.ibug68, FACE.ibug68, atol=1e-3)
    np.testing.assert_array_equal(face.visible, FACE.visible)
    assert face.yaw_deg == 12.5
    assert np.isnan(face.pitch_deg)
    document = json.loads(path.read_text())
    assert (document["image"], document["width"], document["height"]) == ("x.jpg", 640, 480)
    assert document["faces"][0]["pitch_deg"] is None


def test_what_the_jaw_is_goes_with_the_points(tmp_path):
    faces = [FACE, replace(FACE, jaw_on_outline=False)]
    path = write_landmarks(tmp_path / "x.json", faces, image="x.jpg", width=640, height=480)
    assert [face.jaw_on_outline for face in read_landmarks(path)] == [True, False]
    document = json.loads(path.read_text())
    del document["faces"][1]["jaw_on_outline"]
    path.write_text(json.dumps(document))
    assert read_landmarks(path)[1].jaw_on_outline
    assert [face.rescaled(2.0).jaw_on_outline for face in faces] == [True, False]


def test_an_image_without_faces_has_an_empty_list(tmp_path):
    path = write_landmarks(tmp_path / "x.json", [], image="x.jpg", width=1, height=1)
    assert json.loads(path.read_text())["faces"] == []
    assert read_landmarks(path) == []


def test_rescaling_follows_pixel_centres():
    half = FACE.rescaled(0.5)
    np.testing.assert_allclose(half.ibug68, 0.5 * (FACE.ibug68 + 0.5) - 0.5)
    np.testing.assert_allclose(half.box, [4.75, 9.75, 15, 20])
    np.testing.assert_allclose(half.rescaled(2).five, FACE.five, atol=1e-12)


@pytest.mark.parametrize("text", ["{}", "[]", '{"faces": [{"score": 1}]}', "no"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError):
        read_landmarks(tmp_path / "x.json")
