"""Batches on the toy model with a detector that knows the truth: what is written, and when."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from toy import frontal_landmarks, toy_model

from facekit.detect.landmark_sets import FLIP68
from facekit.errors import InputError, OutputExistsError, UsageError
from facekit.export.face import FILES
from facekit.fit import batch
from facekit.fit.batch import FitOptions, fit_photos
from facekit.io.meshes import read_mesh
from facekit.io.params import read_params
from facekit.texture.batch import full_texturing
from facekit.types import DetectedFace

SIDE = 200


class ToyDetector:
    """Reads what it should find from the picture's top-left pixel: (faces, fails, 0)."""

    fingerprint = "toy"

    def detect(self, image, *, path=None):
        scale = image.shape[0] / SIDE
        # A reduced copy has averaged the pixel away.
        count, flat, _ = image[0, 0] if scale == 1 else (1, 0, 0)
        faces = []
        for index in range(count):
            size = (0.6 - 0.1 * index) * scale
            points = frontal_landmarks() * [size, -size] + np.array([100, 100]) * scale
            if flat == 1 + index:
                points = np.zeros((68, 2))
            low, high = points.min(0), points.max(0)
            faces.append(DetectedFace(np.concatenate([low, high - low]), 0.9, ibug68=points))
        return faces


@pytest.fixture(autouse=True)
def toy_parts(monkeypatch):
    monkeypatch.setattr(batch, "load_model", lambda name: toy_model())
    monkeypatch.setattr(batch, "open_detector", lambda name, **settings: ToyDetector())


def picture(path, faces=1, flat=0, side=SIDE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((side, side, 3), 120, np.uint8)
    image[0, 0] = (faces, flat, 0)
    Image.fromarray(image).save(path, **options)
    return path


OPTIONS = FitOptions(texture_size=64)


def test_every_named_file_is_written(tmp_path):
    picture(tmp_path / "photos" / "a b" / "é.png")
    result = fit_photos([tmp_path / "photos"], tmp_path / "out", OPTIONS)
    folder = tmp_path / "out" / "a b" / "é"
    assert {p.name for p in folder.iterdir()} == set(FILES)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "a b",
        "summary.csv",
        "failures.json",
        "manifest.json",
        "index.html",
    }
    assert json.loads((tmp_path / "out" / "failures.json").read_text()) == []
    text = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["input"], row["folder"]) for row in rows] == [("é.png", "a b/é")]
    assert result.made == 1


def test_meshes_and_params_agree(tmp_path):
    picture(tmp_path / "x.png")
    fit_photos([tmp_path / "x.png"], tmp_path / "out", OPTIONS)
    params = read_params(tmp_path / "out" / "x" / "params.npz")
    model = toy_model()
    neutral = read_mesh(tmp_path / "out" / "x" / "neutral.obj")
    face = read_mesh(tmp_path / "out" / "x" / "face.obj")
    np.testing.assert_allclose(neutral.vertices, model.shape(params["identity"]), atol=1e-3)
    np.testing.assert_allclose(
        face.vertices, model.shape(params["identity"], params["expression"]), atol=1e-3
    )
    camera = params["landmarks_3d_mm"] @ params["rotation"].T + params["translation_mm"]
    projected = camera @ params["intrinsics"].T
    projected = projected[:, :2] / projected[:, 2:]
    assert np.linalg.norm(projected - params["landmarks_2d"], axis=1).mean() < 3
    seven = [36, 39, 42, 45, 33, 48, 54]
    np.testing.assert_allclose(
        params["now7"],
        model.landmark_points("ibug68", model.shape(params["identity"]))[seven],
        atol=1e-3,
    )


def test_results_are_in_the_pixels_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "WORKING_SIDE", 100)
    picture(tmp_path / "x.png")
    # A free focal length would answer to the half pixels lost by scaling down.
    options = FitOptions(texture_size=64, focal_px=900.0)
    fit_photos([tmp_path / "x.png"], tmp_path / "small", options)
    monkeypatch.setattr(batch, "WORKING_SIDE", 2048)
    fit_photos([tmp_path / "x.png"], tmp_path / "full", options)
    small = read_params(tmp_path / "small" / "x" / "params.npz")
    full = read_params(tmp_path / "full" / "x" / "params.npz")
    assert small["image_size"].tolist() == [SIDE, SIDE]
    np.testing.assert_allclose(small["landmarks_2d"], full["landmarks_2d"], atol=1.1)
    np.testing.assert_allclose(small["intrinsics"], full["intrinsics"], rtol=0.01, atol=1)
    np.testing.assert_allclose(small["translation_mm"][2], full["translation_mm"][2], rtol=0.02)


def test_further_faces_and_largest(tmp_path):
    picture(tmp_path / "x.png", faces=3)
    result = fit_photos([tmp_path / "x.png"], tmp_path / "all", OPTIONS)
    assert [face["folder"] for face in result.faces] == ["x", "x.face2", "x.face3"]
    only = FitOptions(texture_size=64, largest=True)
    result = fit_photos([tmp_path / "x.png"], tmp_path / "one", only)
    assert [face["folder"] for face in result.faces] == ["x"]


def test_bad_items_are_named_and_the_others_done(tmp_path):
    photos = tmp_path / "photos"
    picture(photos / "good.png")
    picture(photos / "nobody.png", faces=0)
    picture(photos / "half.png", faces=2, flat=1)
    (photos / "text.jpg").write_text("no picture")
    (photos / "empty.jpg").write_bytes(b"")
    result = fit_photos([photos], tmp_path / "out", OPTIONS)
    errors = {f["input"].rsplit("/", 1)[-1]: f["error"] for f in result.failures}
    assert set(errors) == {"nobody.png", "half.png", "text.jpg", "empty.jpg"}
    assert "no face" in errors["nobody.png"]
    assert "face 1" in errors["half.png"]
    assert {face["folder"] for face in result.faces} == {"good", "half.face2"}
    assert json.loads((tmp_path / "out" / "failures.json").read_text()) == result.failures
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_a_second_run_does_nothing_and_a_new_photo_is_added(tmp_path):
    photos = tmp_path / "photos"
    picture(photos / "a.png")
    fit_photos([photos], tmp_path / "out", OPTIONS)
    before = (tmp_path / "out" / "a" / "params.npz").stat().st_mtime_ns
    assert fit_photos([photos], tmp_path / "out", OPTIONS).made == 0
    picture(photos / "b.png")
    result = fit_photos([photos], tmp_path / "out", OPTIONS)
    assert (result.made, len(result.faces)) == (1, 2)
    assert (tmp_path / "out" / "a" / "params.npz").stat().st_mtime_ns == before


def test_a_changed_photo_or_a_lost_file_is_done_again(tmp_path):
    path = picture(tmp_path / "a.png")
    fit_photos([path], tmp_path / "out", OPTIONS)
    (tmp_path / "out" / "a" / "face.glb").unlink()
    assert fit_photos([path], tmp_path / "out", OPTIONS).made == 1
    picture(path, faces=2)
    assert fit_photos([path], tmp_path / "out", OPTIONS).made == 2


def test_an_interrupted_run_goes_on(tmp_path):
    photos = tmp_path / "photos"
    for name in "abc":
        picture(photos / f"{name}.png")

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_photos([photos], tmp_path / "out", OPTIONS, progress=interrupt)
    result = fit_photos([photos], tmp_path / "out", OPTIONS)
    assert (result.made, len(result.faces)) == (1, 3)
    whole = fit_photos([photos], tmp_path / "whole", OPTIONS)
    assert whole.faces == result.faces


def test_other_options_are_refused(tmp_path):
    path = picture(tmp_path / "a.png")
    fit_photos([path], tmp_path / "out", OPTIONS)
    other = FitOptions(texture_size=64, unit="m")
    with pytest.raises(OutputExistsError, match="unit: mm there, m now"):
        fit_photos([path], tmp_path / "out", other)
    result = fit_photos([path], tmp_path / "out", other, overwrite=True)
    assert result.made == 1
    vertices = read_mesh(tmp_path / "out" / "a" / "neutral.obj").vertices
    assert np.abs(vertices).max() < 0.5


def test_posterior_samples_are_seeded(tmp_path):
    path = picture(tmp_path / "a.png")
    draws = []
    for folder, seed in (("x", 0), ("y", 0), ("z", 1)):
        options = FitOptions(texture_size=64, posterior_samples=200, seed=seed)
        fit_photos([path], tmp_path / folder, options)
        draws.append(np.load(tmp_path / folder / "a" / "posterior.npz")["identity"])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    params = read_params(tmp_path / "x" / "a" / "params.npz")
    covariance = params["covariance_factor"] @ params["covariance_factor"].T
    np.testing.assert_allclose(np.cov(draws[0].T), covariance, atol=0.25)


def test_nothing_to_start(tmp_path):
    (tmp_path / "file").write_text("")
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="no such file"):
        fit_photos([tmp_path / "none"], tmp_path / "out", OPTIONS)
    with pytest.raises(InputError, match="cannot be made"):
        fit_photos([tmp_path / "a.png"], tmp_path / "file" / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_what_is_known_of_the_camera_is_used_and_said(tmp_path):
    path = picture(tmp_path / "a.png")
    diagonal = np.hypot(SIDE, SIDE)
    film = 50 / np.hypot(36, 24) * diagonal
    angle = SIDE / 2 / np.tan(np.radians(20))
    cases = {
        "px": ({"focal_px": 500.0}, 500.0, "focal"),
        "film": ({"focal_35mm": 50.0}, film, "focal"),
        "fov": ({"fov_deg": 40.0}, angle, "focal"),
        "stage": ({"focal_px": 500.0, "distance_mm": 800.0}, 500.0, "stage"),
        "none": ({}, None, "prior"),
    }
    for name, (values, focal, source) in cases.items():
        options = FitOptions(texture_size=64, **values)
        row = fit_photos([path], tmp_path / name, options).faces[0]
        params = read_params(tmp_path / name / "a" / "params.npz")
        assert params["scale_source"] == row["scale_source"] == source
        assert row["distance_low_mm"] <= row["distance_mm"] <= row["distance_high_mm"]
        if focal is not None:
            assert params["intrinsics"][0, 0] == pytest.approx(focal, rel=1e-6)
            assert row["focal_source"] == params["meta"]["focal_source"] == "given"
    stage = read_params(tmp_path / "stage" / "a" / "params.npz")
    plain = read_params(tmp_path / "px" / "a" / "params.npz")
    told, untold = stage["meta"]["distance_mm"], plain["meta"]["distance_mm"]
    assert abs(told - 800) < abs(untold - 800)
    assert stage["scale_std"] < plain["scale_std"]


def test_a_distance_that_no_head_has_is_an_error(tmp_path):
    options = FitOptions(texture_size=64, focal_px=500.0, distance_mm=200.0)
    result = fit_photos([picture(tmp_path / "a.png")], tmp_path / "out", options)
    assert not result.faces
    assert "no head is this large at 200 mm" in result.failures[0]["error"]


def test_exif_of_a_crop_is_noted(tmp_path):
    exif = Image.Exif()
    block = exif.get_ifd(0x8769)
    block[0xA405], block[0xA002], block[0xA003] = 26, 4000, 3000
    row = fit_photos(
        [picture(tmp_path / "a.png", exif=exif.tobytes())], tmp_path / "out", OPTIONS
    ).faces[0]
    assert row["focal_source"] == "estimated"
    assert "cropped" in row["focal_note"]
    exif.get_ifd(0x8769)[0xA003] = 4000
    row = fit_photos(
        [picture(tmp_path / "b.png", exif=exif.tobytes())], tmp_path / "out2", OPTIONS
    ).faces[0]
    assert (row["focal_source"], row["scale_source"], row["focal_note"]) == ("exif", "focal", "")


def test_a_mirrored_photograph_gives_the_person(tmp_path, monkeypatch):
    class Turned(ToyDetector):
        def detect(self, image, *, path=None):
            faces = super().detect(image, path=path)
            # Turned and a little lopsided, so that left and right differ.
            return [
                dataclasses.replace(f, ibug68=f.ibug68 + 0.06 * (f.ibug68[:, 1:] - 100) * [1, 0])
                for f in faces
            ]

    monkeypatch.setattr(batch, "open_detector", lambda name, **settings: Turned())
    path = picture(tmp_path / "a.png")
    fit_photos([path], tmp_path / "plain", OPTIONS)
    fit_photos([path], tmp_path / "mirror", FitOptions(texture_size=64, mirrored=True))
    plain = read_params(tmp_path / "plain" / "a" / "params.npz")
    mirror = read_params(tmp_path / "mirror" / "a" / "params.npz")
    assert mirror["meta"]["mirrored"]
    assert not plain["meta"]["mirrored"]
    expected = plain["landmarks_2d"][FLIP68] * [-1, 1] + [SIDE - 1, 0]
    np.testing.assert_allclose(mirror["landmarks_2d"], expected, atol=1e-3)
    # A symmetric model fits a mirrored face as the mirror image of the face.
    flip = np.diag([-1.0, 1, 1])
    np.testing.assert_allclose(mirror["rotation"], flip @ plain["rotation"] @ flip, atol=0.05)


@pytest.mark.parametrize(
    "bad",
    [
        {"focal_px": 500.0, "fov_deg": 40.0},
        {"focal_px": -1.0},
        {"fov_deg": 180.0},
        {"distance_mm": -5.0},
    ],
)
def test_impossible_cameras_are_refused(bad):
    with pytest.raises(UsageError, match="expected"):
        FitOptions(**bad)


def test_whole_textures_are_written_and_used(tmp_path):
    path = picture(tmp_path / "a.png")
    options = FitOptions(texture="full", texture_size=64)
    fit_photos([path], tmp_path / "out", options, texturing=full_texturing())
    folder = tmp_path / "out" / "a"
    assert {p.name for p in folder.iterdir()} == {
        *(name for name in FILES if name != "texture.jpg"),
        "texture.png",
        "albedo.png",
    }
    assert "texture.png" in (folder / "face.mtl").read_text()
    assert b"image/png" in (folder / "face.glb").read_bytes()
    assert (folder / "texture.png").read_bytes() in (folder / "face.glb").read_bytes()
    assert "albedo.png" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    again = fit_photos([path], tmp_path / "out", options, texturing=full_texturing())
    assert again.made == 0


def test_full_textures_need_their_maker(tmp_path):
    path = picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match="texturer"):
        fit_photos([path], tmp_path / "out", FitOptions(texture="full"))
    with pytest.raises(UsageError, match="texturer"):
        fit_photos([path], tmp_path / "out", FitOptions(), texturing=full_texturing())
