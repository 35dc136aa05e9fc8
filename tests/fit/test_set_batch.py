"""Folders of one person each, on the toy model with a detector that knows the truth."""

import json

import numpy as np
import pytest
from PIL import Image
from toy import toy_model

from facekit.errors import InputError, OutputExistsError, UsageError
from facekit.export.face import FILES, PERSON_FILES
from facekit.fit import batch
from facekit.fit.batch import FitOptions, fit_photos
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.set_batch import fit_people
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.io.meshes import read_mesh
from facekit.io.params import read_params
from facekit.types import DetectedFace

SIDE = 200
MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
PEOPLE = np.random.default_rng(2).normal(size=(2, 8)) * 1.5
OPTIONS = FitOptions(texture_size=64, focal_px=600.0)


class ToyDetector:
    """Reads who is seen, and how turned, from the top-left pixel: (person + 1, yaw + 90, 0)."""

    fingerprint = "toy"

    def detect(self, image, *, path=None):
        person, yaw, _ = (int(value) for value in image[0, 0])
        if not person:
            return []
        rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw - 90), 0.0, 0.0)
        expression = np.zeros(MODEL.num_expression)
        points = BASIS.points(np.concatenate([PEOPLE[person - 1], expression]))[:68]
        camera = points @ rotation.T + [0, 0, 800.0]
        marks = camera[:, :2] / camera[:, 2:] * 600 + (SIDE - 1) / 2
        low, high = marks.min(0), marks.max(0)
        box = np.concatenate([low, high - low])
        return [DetectedFace(box, 0.9, ibug68=marks, jaw_on_outline=False)]


@pytest.fixture(autouse=True)
def toy_parts(monkeypatch):
    monkeypatch.setattr(batch, "load_model", lambda name: toy_model())
    monkeypatch.setattr(batch, "open_detector", lambda name, **settings: ToyDetector())


def picture(path, person=1, yaw=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((SIDE, SIDE, 3), 120, np.uint8)
    image[0, 0] = (person, yaw + 90, 0)
    Image.fromarray(image).save(path)
    return path


def two_people(root):
    for number, yaw in enumerate((0, -30, 30)):
        picture(root / "anna" / f"a{number}.png", 1, yaw)
    for number, yaw in enumerate((10, -20)):
        picture(root / "ben" / f"b{number}.png", 2, yaw)
    return root


def test_each_folder_is_one_person(tmp_path):
    out = tmp_path / "out"
    result = fit_people([two_people(tmp_path / "photos")], out, OPTIONS)
    assert len(result.faces) == result.made == 5
    assert result.failures == []
    assert json.loads((out / "failures.json").read_text()) == []
    for folder in ("anna/a0", "anna/a2", "ben/b1"):
        assert {p.name for p in (out / folder).iterdir()} == set(FILES)
    identities = {}
    for name, photos in (("anna", ("a0", "a1", "a2")), ("ben", ("b0", "b1"))):
        person = out / name / "person"
        assert {p.name for p in person.iterdir()} == set(PERSON_FILES)
        params = read_params(person / "params.npz")
        identities[name] = params["identity"]
        assert not params["expression"].any()
        neutral = read_mesh(person / "neutral.obj").vertices
        for photo in photos:
            own = read_params(out / name / photo / "params.npz")
            np.testing.assert_allclose(own["identity"], params["identity"], atol=1e-6)
            mesh = read_mesh(out / name / photo / "neutral.obj")
            np.testing.assert_allclose(mesh.vertices, neutral, atol=1e-2)
    for name, truth in zip(identities, PEOPLE, strict=True):
        others = [np.linalg.norm(identities[name] - person) for person in PEOPLE]
        assert np.linalg.norm(identities[name] - truth) == min(others)


def test_files_named_directly_are_one_person(tmp_path):
    files = [picture(tmp_path / f"{n}.png", 1, yaw) for n, yaw in enumerate((0, 25))]
    fit_people(files, tmp_path / "out", OPTIONS)
    assert (tmp_path / "out" / "person" / "neutral.obj").exists()
    assert (tmp_path / "out" / "1" / "face.obj").exists()


def test_one_photograph_is_the_plain_fit(tmp_path):
    file = picture(tmp_path / "x.png", 1, 20)
    fit_people([file], tmp_path / "set", OPTIONS)
    fit_photos([file], tmp_path / "plain", OPTIONS)
    for name in ("face.obj", "neutral.obj", "landmarks.json"):
        one, other = (tmp_path / run / "x" / name for run in ("set", "plain"))
        assert one.read_bytes() == other.read_bytes()


def test_a_photograph_without_a_face_and_a_stranger_are_named(tmp_path):
    for number, yaw in enumerate((0, -30, 30, 15)):
        picture(tmp_path / "p" / f"{number}.png", 1, yaw)
    picture(tmp_path / "p" / "nobody.png", 0)
    result = fit_people([tmp_path / "p"], tmp_path / "out", OPTIONS)
    assert [failure["input"].rsplit("/")[-1] for failure in result.failures] == ["nobody.png"]
    assert len(result.faces) == 4
    assert not (tmp_path / "out" / "nobody").exists()


def test_nobody_at_all_is_a_failure_of_the_person(tmp_path):
    picture(tmp_path / "p" / "nobody.png", 0)
    result = fit_people([tmp_path / "p"], tmp_path / "out", OPTIONS)
    assert result.faces == []
    assert {failure["error"] for failure in result.failures} == {
        "no face was found",
        "no photograph shows a face",
    }


def test_running_again_does_what_is_missing(tmp_path):
    root = two_people(tmp_path / "photos")
    fit_people([root], tmp_path / "out", OPTIONS)
    assert fit_people([root], tmp_path / "out", OPTIONS).made == 0
    picture(root / "ben" / "b2.png", 2, 25)
    again = fit_people([root], tmp_path / "out", OPTIONS)
    assert again.made == 3
    assert len(again.faces) == 6
    with pytest.raises(OutputExistsError, match="same_person"):
        fit_photos([root], tmp_path / "out", OPTIONS)


def test_what_cannot_be_is_refused(tmp_path):
    file = picture(tmp_path / "person.png")
    with pytest.raises(InputError, match="rename this file"):
        fit_people([file], tmp_path / "out", OPTIONS)
    with pytest.raises(UsageError, match="distance"):
        fit_people([file], tmp_path / "out", FitOptions(distance_mm=900.0))
    with pytest.raises(UsageError, match="preset"):
        fit_people([file], tmp_path / "out", FitOptions(first_order="adam-3dmm"))
