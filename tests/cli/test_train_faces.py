"""``facekit train deep3d``, ``imageset`` and ``basis`` on rendered labels, and what they refuse."""

import json
import shutil

import numpy as np
import pytest
import torch

from facekit.cli.main import run
from facekit.detect.session import open_file
from facekit.io.images import read_image, write_image
from facekit.learn.checkpoint import load_checkpoint
from facekit.morphable import load_model

SMALL = (
    "size=64", "backbone=resnet18", "batch_size=4", "validation_count=4",
    "loop.steps=2", "loop.threads=1", "loop.evaluate_every=2", "loop.save_every=1",
    "loop.report_every=1", "loop.precision=fp32",
)  # fmt: skip


def settings(*more):
    return [part for text in (*SMALL, *more) for part in ("--set", text)]


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "shards"
    arguments = ["--count", "40", "--size", "64", "--face", "0.5,0.6", "--supersample", "1"]
    more = ["--views", "2", "--per-shard", "20", "--seed", "4"]
    assert (
        run(["simulate", "photos", "--format", "shards", "-o", str(folder), *arguments, *more]) == 0
    )
    return folder


@pytest.fixture(scope="module")
def deep3d(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deep3d") / "run"
    assert run(["train", "deep3d", "--data", str(labels), "-o", str(folder), *settings()]) == 0
    return folder


def test_the_run_folder_and_the_network(deep3d):
    for name in ("best.pth", "last.pth", "config.toml", "metrics.jsonl", "result.json"):
        assert (deep3d / name).is_file()
    assert read_image(deep3d / "previews" / "step-00000002.jpg").shape == (192, 1536, 3)
    assert any((deep3d / "tb").iterdir())
    model = load_model("builtin")
    contents = load_checkpoint(deep3d / "best.pth", kind="deep3d")
    assert contents["crop"] == "deep3d-v1" and contents["model_sha256"] == model.sha256
    network = open_file(deep3d / "deep3d.onnx", threads=1)
    found = network(image=np.zeros((2, 64, 64, 3), np.uint8))["coefficients"]
    layout = json.loads(network.metadata["facekit.layout"])
    assert found.shape == (2, layout["parts"]["trans"][1])
    assert layout["parts"]["id"] == [0, model.num_identity]
    assert network.metadata["facekit.focal"] == str(1015 * 64 / 224)


def test_an_interrupted_run_goes_on_exactly(labels, deep3d, tmp_path):
    arguments = ["train", "deep3d", "--data", str(labels), "-o", str(tmp_path / "run")]
    from facekit.learn import loop

    saved = loop._Training._save
    with pytest.MonkeyPatch.context() as patch:

        def stop(self, path, step):
            saved(self, path, step)
            if path.name == "last.pth" and step == 1:
                raise KeyboardInterrupt

        patch.setattr(loop._Training, "_save", stop)
        assert run([*arguments, *settings()]) == 130
    assert run([*arguments, *settings()]) == 6
    assert run([*arguments, *settings(), "--resume"]) == 0
    whole, parts = (
        torch.load(folder / "last.pth", weights_only=True) for folder in (deep3d, tmp_path / "run")
    )
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    assert run([*arguments, *settings("prior=1e-3"), "--resume"]) == 3


def test_an_image_set(labels, deep3d, tmp_path, capsys):
    arguments = ["train", "imageset", "--data", str(labels), "-o", str(tmp_path / "run")]
    more = [*settings("views=2", "hidden=8"), "--json"]
    assert run([*arguments, *more]) == 2
    assert "--init" in capsys.readouterr().err
    start = ["--init", str(deep3d / "best.pth")]
    assert run([*arguments, *more, *start]) == 0
    best = json.loads(capsys.readouterr().out)["best"]
    assert best["plain_shape_mm"] > 0 and best["single_shape_mm"] >= best["plain_shape_mm"] - 1e-6
    network = open_file(tmp_path / "run" / "imageset.onnx", threads=1)
    found = network(image=np.zeros((3, 64, 64, 3), np.uint8))
    assert (found["confidence"] > 0).all()
    assert found["confidence"].shape == (3, load_model("builtin").num_identity)
    assert run([*arguments, *settings("views=2", "hidden=8"), "--resume"]) == 0


def test_a_learned_basis(labels, deep3d, tmp_path, capsys):
    arguments = ["train", "basis", "--data", str(labels), "-o", str(tmp_path / "mine")]
    more = settings("fields=20", "new_modes=1")
    assert run([*arguments, *more, "--init", str(deep3d / "best.pth"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    learned, before = load_model(found["model"]), load_model("builtin")
    assert learned.num_identity == before.num_identity + 1 and learned.name == "mine"
    assert "trained by facekit" in learned.provenance and learned.licence == before.licence
    network = open_file(tmp_path / "mine" / "deep3d.onnx", threads=1)
    assert network.metadata["facekit.model_sha256"] == learned.sha256
    assert (tmp_path / "mine" / "previews" / "step-00000002.jpg").is_file()


@pytest.fixture(scope="module")
def deep3d_files(labels, tmp_path_factory):
    """Deep3D's layout, of the labels' own crops."""
    from facekit.train.labels import LabelledShards

    folder = tmp_path_factory.mktemp("layout")
    (folder / "landmarks").mkdir()
    (folder / "mask").mkdir()
    faces = LabelledShards(labels)
    for i in range(24):
        label = faces.label(i)
        write_image(folder / f"f{i}.png", label.image)
        marks = label.params["landmarks_2d"]
        rows = np.column_stack([marks[:, 0], label.image.shape[0] - 1 - marks[:, 1]])
        np.savetxt(folder / "landmarks" / f"f{i}.txt", rows)
        if i % 2:
            write_image(folder / "mask" / f"f{i}.png", label.mask.astype(np.uint8) * 255)
    return folder


def test_deep3ds_layout(deep3d_files, tmp_path, capsys):
    arguments = ["train", "deep3d", "--data", str(deep3d_files), "-o", str(tmp_path / "run")]
    assert run([*arguments, *settings(), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["best"]
    # Nothing is known of these faces' shapes.
    assert "shape_mm" not in best and 0 < best["landmarks"] < 60


def test_points_come_from_the_same_pixels_in_both_layouts(labels, deep3d_files):
    from facekit.train.deep3d_data import Deep3DFolder, load_weak
    from facekit.train.labels import LabelledShards

    label = LabelledShards(labels).label(3)
    # The split goes by name.
    for split in ("train", "validation", "held_out"):
        folder = Deep3DFolder(deep3d_files, split=split)
        for i in range(len(folder)):
            face = folder.weak_face(i)
            if np.array_equal(face.image, label.image):
                np.testing.assert_allclose(face.landmarks, label.params["landmarks_2d"], atol=1e-6)
                np.testing.assert_array_equal(face.mask > 0, label.mask)
                assert face.skin
                break
        else:
            continue
        break
    else:
        raise AssertionError("the face is in no split")
    both = load_weak([labels, deep3d_files], split="train", model_sha256="")
    assert both.persons()[0].startswith("0/4/") and both.persons()[-1] == ""


@pytest.mark.parametrize("damage", ["image", "points", "nothing", "mask"])
def test_bad_deep3d_folders_are_named(deep3d_files, tmp_path, capsys, damage):
    folder = tmp_path / "data"
    shutil.copytree(deep3d_files, folder)
    named = "landmarks"
    if damage == "image":
        for path in folder.glob("*.png"):
            path.unlink()
        named = "its image is missing"
    elif damage == "points":
        for path in folder.glob("landmarks/*.txt"):
            path.write_text("1 2\nthree\n")
        named = "expected 68 rows"
    elif damage == "mask":
        for path in folder.glob("mask/*.png"):
            write_image(path, np.zeros((5, 5, 3), np.uint8))
        named = "expected the image's size"
    else:
        shutil.rmtree(folder / "landmarks")
    out = ["-o", str(tmp_path / "run")]
    code = run(["train", "deep3d", "--data", str(folder), *out, *settings()])
    assert code == 3
    assert named in capsys.readouterr().err


def test_a_damaged_shard_is_named_and_nothing_is_lost(labels, tmp_path, capsys):
    folder = tmp_path / "labels"
    shutil.copytree(labels, folder)
    out = ["-o", str(tmp_path / "run")]
    arguments = ["train", "deep3d", "--data", str(folder), *out]
    assert run([*arguments, *settings()]) == 0
    kept = (tmp_path / "run" / "last.pth").read_bytes()
    for path in folder.glob("shard-*.tar"):
        content = bytearray(path.read_bytes())
        content[len(content) // 10 : -2000 : 97] = b"x" * len(
            content[len(content) // 10 : -2000 : 97]
        )
        path.write_bytes(content)
    again = tmp_path / "again"
    assert run(["train", "deep3d", "--data", str(folder), "-o", str(again), *settings()]) == 3
    assert "damaged" in capsys.readouterr().err
    assert (tmp_path / "run" / "last.pth").read_bytes() == kept
    next(iter(folder.glob("shard-*.tar"))).unlink()
    assert run(["train", "deep3d", "--data", str(folder), "-o", str(again), *settings()]) == 3
    assert "shard is missing" in capsys.readouterr().err


def test_a_sample_without_its_image_is_named(labels, tmp_path, capsys):
    from facekit.learn.shards import Sample, ShardFolder, ShardReader
    from facekit.train.label_format import COLUMNS

    reader = ShardReader(labels)
    shards = ShardFolder(tmp_path / "labels", COLUMNS)
    samples = []
    for i, row in enumerate(reader.rows):
        files = {k: v for k, v in reader.read(i).items() if k != "jpg"}
        samples.append(Sample(row["id"], files, {name: row[name] for name in COLUMNS}))
    shards.write(0, "x", samples)
    shards.join()
    shutil.copy(labels / "dataset.json", tmp_path / "labels")
    out = ["-o", str(tmp_path / "run")]
    assert run(["train", "deep3d", "--data", str(tmp_path / "labels"), *out, *settings()]) == 3
    assert "has no image" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_and_leaves_the_last_checkpoint(labels, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", "deep3d", "--data", str(labels), "-o", str(out)]
    from facekit.train.deep3d import Deep3DTask

    real = Deep3DTask.loss
    with pytest.MonkeyPatch.context() as patch:

        def broken(self, model, batch):
            found = real(self, model, batch)
            bad = float("nan") if (out / "last.pth").exists() else 1.0
            return {**found, "loss": bad * found["loss"]}

        patch.setattr(Deep3DTask, "loss", broken)
        assert run([*arguments, *settings()]) == 5
    assert "diverged" in capsys.readouterr().err
    assert load_checkpoint(out / "last.pth")["step"] == 1
    assert run([*arguments, *settings(), "--resume"]) == 0


def test_foreign_and_newer_checkpoints_are_named(labels, deep3d, tmp_path, capsys):
    out = ["--data", str(labels), "-o", str(tmp_path / "run")]
    newer = torch.load(deep3d / "best.pth", weights_only=True)
    torch.save({**newer, "version": 99}, tmp_path / "newer.pth")
    more = settings("views=2")
    assert run(["train", "imageset", *out, *more, "--init", str(tmp_path / "newer.pth")]) == 3
    assert "version 99" in capsys.readouterr().err
    torch.save({**newer, "model_sha256": "0"}, tmp_path / "other.pth")
    assert run(["train", "imageset", *out, *more, "--init", str(tmp_path / "other.pth")]) == 3
    assert "another model" in capsys.readouterr().err
    missing = ["--init", str(tmp_path / "none.pth")]
    assert run(["train", "deep3d", *out, *settings(), *missing]) == 3
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "classifier.pth")
    start = ["--init", str(tmp_path / "classifier.pth")]
    assert run(["train", "deep3d", *out, *settings(), *start]) == 3
    assert "does not fit" in capsys.readouterr().err
    assert run(["train", "deep3d", *out, *settings("embedding=none.onnx")]) == 3
    assert run(["train", "deep3d", *out, *settings("backbone=resnet34")]) == 3
    assert run(["train", "params", *out, "--set", "loop.device=gpu"]) == 3
