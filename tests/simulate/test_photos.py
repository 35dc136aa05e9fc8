import json

import cv2
import numpy as np
import pytest
from simulated_heads import write_heads

from facekit.errors import InputError, OutputExistsError
from facekit.io.images import read_image
from facekit.io.obj import read_obj
from facekit.io.params import SHAPES, read_params
from facekit.simulate.photos import PhotosRequest, write_photos
from facekit.simulate.sampler import PortraitOptions
from facekit.simulate.samples import sample_portraits, write_sample_photos

OPTIONS = PortraitOptions(size=64, supersample=1, views=2)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads") / "heads.npz")


def test_the_folder_is_the_fixed_interface(tmp_path, heads):
    out = tmp_path / "out"
    seen = []
    paths = write_photos(
        out,
        PhotosRequest(heads=heads, seed=2, options=OPTIONS),
        count=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [p.relative_to(out).as_posix() for p in paths] == [
        "images/00000.png",
        "images/00001.png",
    ]
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert json.loads((out / "manifest.json").read_text())["command"] == "simulate photos"
    for stem in ("00000", "00001"):
        truth = read_params(out / "truth" / f"{stem}.npz")
        assert set(SHAPES) <= set(truth)
        count = len(truth["vertices"])
        assert truth["vertices"].shape == truth["neutral"].shape == (count, 3)
        assert truth["faces"].max() < count
        assert truth["depth_mm"].shape == truth["face_mask"].shape == (64, 64)
        assert truth["face_mask"].dtype == bool
        assert truth["scale_source"] == "stage"
        mesh = read_obj(out / "truth" / f"{stem}.obj")
        np.testing.assert_allclose(mesh.vertices, truth["vertices"], atol=1e-3)
        np.testing.assert_array_equal(mesh.faces, truth["faces"])
        # Landmarks in 3D project onto those in 2D through the stored camera.
        spots, _ = cv2.projectPoints(
            truth["landmarks_3d_mm"].astype(np.float64),
            cv2.Rodrigues(truth["rotation"])[0],
            truth["translation_mm"],
            truth["intrinsics"],
            truth["distortion"],
        )
        np.testing.assert_allclose(spots[:, 0], truth["landmarks_2d"], atol=5e-3)


def test_running_again_makes_only_what_is_missing(tmp_path, heads):
    out = tmp_path / "out"
    request = PhotosRequest(heads=heads, options=OPTIONS)
    first = write_photos(out, request, count=2)
    kept = first[0].stat().st_mtime_ns
    before = read_image(first[1])
    first[1].unlink()
    write_photos(out, request, count=3)
    assert first[0].stat().st_mtime_ns == kept
    np.testing.assert_array_equal(read_image(first[1]), before)
    assert (out / "images" / "00002.png").exists()
    with pytest.raises(OutputExistsError, match="seed"):
        write_photos(out, PhotosRequest(heads=heads, seed=9, options=OPTIONS), count=1)


def test_processes_write_the_same_photographs(tmp_path, heads):
    request = PhotosRequest(heads=heads, options=OPTIONS)
    one = write_photos(tmp_path / "one", request, count=4)
    two = write_photos(tmp_path / "two", request, count=4, jobs=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(read_image(a), read_image(b))


def test_bad_requests_are_rejected(tmp_path, heads):
    with pytest.raises(InputError, match="at least 1"):
        write_photos(tmp_path / "a", PhotosRequest(heads=heads), count=0)
    with pytest.raises(InputError, match="heads file"):
        write_photos(tmp_path / "b", PhotosRequest(heads=tmp_path / "no.npz"), count=1)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        write_photos(tmp_path / "file" / "out", PhotosRequest(heads=heads), count=1)


def test_the_samples_are_portraits_of_the_builtin_model(tmp_path):
    paths = write_sample_photos(tmp_path / "photos")
    assert [p.name for p in paths] == [
        "astronaut.png",
        "portrait1.png",
        "portrait2.png",
        "portrait3.png",
    ]
    assert all(read_image(p).shape == (512, 512, 3) for p in paths)
    truth = read_params(tmp_path / "photos" / "truth" / "portrait2.npz")
    assert truth["meta"]["model"] == "builtin"
    again = write_sample_photos(tmp_path / "photos")
    assert again == paths
    with pytest.raises(OutputExistsError, match="overwrite"):
        write_sample_photos(tmp_path / "photos", seed=1)
    portraits = sample_portraits(0)
    assert len(portraits) == 3
    assert all(p.visible[17:].sum() > 35 for p in portraits)
