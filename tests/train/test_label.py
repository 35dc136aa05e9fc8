import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from labelled import write_collection, write_model

from facekit.errors import InputError, OutputExistsError, UsageError
from facekit.geometry.cameras import project
from facekit.io.discover import find_images
from facekit.io.images import read_image, write_image
from facekit.learn.shards import parse_share
from facekit.morphable.registry import load_model
from facekit.train.label import label_photos, split_photos
from facekit.train.label_format import uncrop_params
from facekit.train.label_photo import LabelOptions
from facekit.train.labels import LabelledShards
from facekit.train.split import split_of_name
from facekit.types import Camera


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    model = write_model(tmp_path_factory.mktemp("model"))
    return LabelOptions(model=str(model), landmarks="files", per_shard=2)


@pytest.fixture(scope="module")
def collection(tmp_path_factory, options):
    return write_collection(tmp_path_factory.mktemp("photos"), options.model, count=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, options, collection):
    folder = tmp_path_factory.mktemp("whole") / "labels"
    result = label_photos([collection[0]], folder, options)
    assert (len(result.rows), result.made, result.failures) == (5, 5, [])
    return folder


def tree(folder):
    names = [*sorted(p.name for p in folder.glob("*.tar")), "index.csv", "failures.json"]
    return {name: (folder / name).read_bytes() for name in names}


def test_labels_describe_their_crops(whole, collection, options):
    truth = collection[1]
    model = load_model(options.model)
    faces = LabelledShards(whole)
    assert len(faces) == 5
    for index in range(5):
        label = faces.label(index)
        stem = label.facts["file"].removesuffix(".png")
        known = truth[stem]
        params = label.params
        camera = Camera(
            params["intrinsics"], params["rotation"], params["translation_mm"], 256, 256
        )
        vertices = model.shape(params["identity"], params["expression"])
        seen = project(camera, model.landmark_points("ibug68", vertices))[:, :2]
        expected = label.crop.apply(known["landmarks_2d"].astype(float))
        np.testing.assert_allclose(params["landmarks_2d"], expected, atol=1e-2)
        # Landmarks in exact places: a fit lies within a pixel or two of the 256.
        assert np.median(np.linalg.norm(seen - expected, axis=1)) < 2.5
        # Back in the photograph's camera the head lies where it was.
        back = uncrop_params(params, label.crop, width=96, height=96)
        np.testing.assert_allclose(back["landmarks_2d"], known["landmarks_2d"], atol=1e-2)
        turned = back["rotation"] @ known["rotation"].T
        assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) < 12
        assert label.deviations["identity"].min() > 0
        assert label.deviations["identity"].max() < 1.2
        assert label.deviations["translation"].shape == (3,)
        assert 0 < label.facts["weight"] <= 1
        assert label.facts["crop"]["id"] == "five-v1"
        middle = params["landmarks_2d"][27:36].mean(0).round().astype(int)
        assert label.mask[middle[1], middle[0]]
        assert 0.1 < label.mask.mean() < 0.9
        sha = label.facts["source_sha256"]
        assert len(sha) == 64


def test_shared_and_resumed_runs_make_what_one_run_makes(tmp_path, whole, collection, options):
    photos, _ = collection
    for text in ("1/2", "0/2"):
        label_photos([photos], tmp_path / "a", options, share=parse_share(text))
    assert tree(tmp_path / "a") == tree(whole)

    def kill(done, _total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_photos([photos], tmp_path / "b", options, progress=kill)
    assert (tmp_path / "b" / "shard-00000.tar").exists()
    result = label_photos([photos], tmp_path / "b", options)
    assert result.made == 3
    assert tree(tmp_path / "b") == tree(whole)
    assert label_photos([photos], tmp_path / "b", options).made == 0
    with pytest.raises(OutputExistsError, match="per_shard"):
        label_photos([photos], tmp_path / "b", replace(options, per_shard=4))


def test_a_changed_photograph_is_labelled_again(tmp_path, collection, options):
    photos = tmp_path / "photos"
    shutil.copytree(collection[0], photos)
    label_photos([photos], tmp_path / "out", options)
    shutil.copy(photos / "00002.png", photos / "00000.png")
    shutil.copy(photos / "00002.npz", photos / "00000.npz")
    result = label_photos([photos], tmp_path / "out", options)
    assert result.made == 2
    assert LabelledShards(tmp_path / "out").label(0).facts["file"] == "00000.png"
    # With fewer photographs, shards that nothing belongs to go.
    for path in list(photos.rglob("0000[1-4]*")):
        path.unlink()
    assert len(label_photos([photos], tmp_path / "out", options).rows) == 1
    assert not (tmp_path / "out" / "shard-00002.tar").exists()


def test_bad_photographs_are_named_and_nothing_else_is_lost(tmp_path, collection, options):
    photos = tmp_path / "photos"
    shutil.copytree(collection[0], photos)
    (photos / "broken.png").write_bytes(b"no picture")
    np.savez(photos / "broken.npz", landmarks_2d=np.zeros((68, 2)))
    (photos / "00002.npz").unlink()
    result = label_photos([photos], tmp_path / "out", options)
    assert len(result.rows) == 4
    messages = {f["input"].split("/")[-1]: f["error"] for f in result.failures}
    assert set(messages) == {"broken.png", "00002.png"}
    assert json.loads((tmp_path / "out" / "failures.json").read_text()) == result.failures
    with pytest.raises(InputError, match="no such file"):
        label_photos([tmp_path / "none"], tmp_path / "out2", options)
    with pytest.raises(UsageError, match="files or folders"):
        label_photos([photos], tmp_path / "out2", replace(options, persons="all"))


def test_deep3d_files_read_back(tmp_path, collection, options):
    photos, truth = collection
    root = tmp_path / "d3"
    label_photos([photos], tmp_path / "out", options, deep3d=root)
    names = (root / "datalist" / "images.txt").read_text().split()
    assert len(names) == 5
    for kind in ("landmarks", "masks"):
        paths = (root / "datalist" / f"{kind}.txt").read_text().split()
        assert all((root / path).is_file() for path in paths)
    stem = "00001"
    image = read_image(root / "sub" / f"{stem}.png")
    np.testing.assert_array_equal(image, read_image(photos / "sub" / f"{stem}.png"))
    points = np.loadtxt(root / "sub" / "landmarks" / f"{stem}.txt")
    points[:, 1] = image.shape[0] - 1 - points[:, 1]
    np.testing.assert_allclose(points, truth[stem]["landmarks_2d"], atol=1e-3)
    five = np.loadtxt(root / "sub" / "detections" / f"{stem}.txt")
    assert five.shape == (5, 2)
    mask = read_image(root / "sub" / "mask" / f"{stem}.png")[..., 0] > 127
    known = truth[stem]["face_mask"]
    assert mask[known].mean() > 0.9
    # The folder is a Deep3D collection itself: its five points are read, its masks are not.
    found = find_images([root])
    assert len(found) == 10
    again = label_photos([root], tmp_path / "again", options)
    assert {f["input"].split("/")[-2] for f in again.failures} <= {"sub", "d3"}
    assert len(again.rows) + len(again.failures) == 5


def test_people_of_embeddings_and_folders_share_a_split(tmp_path):
    for folder, count in (("set", 6), ("plain", 4)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"{number}.jpg").write_bytes(b"")
    rng = np.random.default_rng(0)
    identity = rng.standard_normal((7, 128)).astype(np.float32)
    identity[5] = identity[0]
    names = [f"{i}.jpg" for i in range(7)]
    np.savez(tmp_path / "labels_set.npz", files=np.array(names), identity128=identity)
    items = find_images([tmp_path])
    split = dict(zip([i.key for i in items], split_photos(items), strict=True))
    assert split["set/5"] == split["set/0"] == split_of_name("set/0.jpg")
    assert split["plain/3"] == split_of_name("plain/3")
    # Whichever are asked for, and from whichever folder.
    some = find_images([tmp_path / "set" / "5.jpg"])
    assert split_photos(some) == [split["set/5"]]
    together = dict(
        zip([i.key for i in items], split_photos(items, persons="folders"), strict=True)
    )
    assert len({together[f"plain/{i}"] for i in range(4)}) == 1


def test_masks_beside_photographs_count(tmp_path, collection, options):
    photos = tmp_path / "photos"
    shutil.copytree(collection[0], photos)
    mask = np.zeros((96, 96), np.uint8)
    mask[:, 48:] = 255
    write_image(photos / "00000.mask.png", mask)
    label_photos([photos], tmp_path / "out", options)
    faces = LabelledShards(tmp_path / "out")
    assert len(faces) == 5
    label = next(x for x in map(faces.label, range(5)) if x.facts["file"] == "00000.png")
    y, x = np.nonzero(label.mask)
    back = label.crop.inverse().apply(np.stack([x, y], 1).astype(float))
    assert len(back) > 500
    assert back[:, 0].min() > 46.5
    assert len(label.facts["mask_sha256"]) == 64
    # Another mask is another label.
    write_image(photos / "00000.mask.png", 255 - mask)
    assert label_photos([photos], tmp_path / "out", options).made == 2
    with pytest.raises(InputError, match="folder of masks"):
        label_photos([photos], tmp_path / "out2", replace(options, masks=str(tmp_path / "none")))
