import importlib
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from facekit.cli.main import run
from facekit.errors import InputError, MissingDependencyError
from facekit.evaluate import image_likeness, perceptual
from facekit.evaluate.image_likeness import ImageOptions, evaluate_images
from facekit.io.images import write_image
from facekit.io.meshes import write_mesh
from facekit.morphable import load_model
from facekit.render.images import turned_camera
from facekit.types import Mesh


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b/c"):
        photo = rng.integers(20, 200, (48, 40, 3)).astype(np.uint8)
        mask = np.zeros((48, 40), np.uint8)
        mask[8:40, 8:36] = 255
        for folder, picture in (("photos", photo), ("near", photo + np.uint8(5)),
                                ("far", photo + np.uint8(20)), ("masks", mask)):  # fmt: skip
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture)
    return tmp_path


def test_values_and_what_is_missing(folders):
    (folders / "near/a.png").unlink()
    write_image(folders / "near/z.png", np.zeros((48, 40, 3), np.uint8))
    result = evaluate_images(folders / "near", folders / "photos")
    by_name = {item.name: item for item in result.items}
    assert by_name["b/c"].value == pytest.approx(20 * np.log10(51))
    assert "no render" in by_name["a"].error
    assert by_name["z"].unmatched
    assert result.document["measures"]["ssim"]["count"] == 1
    write_image(folders / "near/a.png", np.zeros((9, 40, 3), np.uint8))
    wrong = evaluate_images(folders / "near", folders / "photos")
    assert "the render has 40 x 9 pixels" in wrong.items[0].error


def test_masks_and_alpha_say_where(folders):
    photo = np.asarray(Image.open(folders / "photos/a.png"))
    spoilt = photo.copy()
    spoilt[:8] = 255 - spoilt[:8]
    write_image(folders / "near/a.png", spoilt)
    options = ImageOptions(masks=folders / "masks")
    masked = evaluate_images(folders / "near", folders / "photos", options)
    assert masked.items[0].value == 100
    assert masked.items[0].details["pixels"] == 32 * 28
    alpha = np.full((48, 40, 1), 255, np.uint8)
    alpha[:8] = 0
    Image.fromarray(np.concatenate([spoilt, alpha], axis=-1)).save(folders / "near/a.png")
    covered = evaluate_images(folders / "near", folders / "photos")
    assert covered.items[0].details["psnr"] == 100
    assert covered.items[0].details["pixels"] == 40 * 40
    (folders / "masks/a.png").unlink()
    unmasked = evaluate_images(folders / "near", folders / "photos", options)
    assert "no mask" in unmasked.items[0].error
    write_image(folders / "masks/a.png", np.zeros((9, 9), np.uint8))
    small = evaluate_images(folders / "near", folders / "photos", options)
    assert "the mask has 9 x 9" in small.items[0].error


def test_a_fit_is_rendered_by_its_own_camera(tmp_path):
    model = load_model("builtin")
    camera = turned_camera(model.mean, width=160, height=160)
    fit = tmp_path / "fits/a"
    mesh = Mesh(model.mean.astype(np.float64), model.faces, model.uvs, model.face_uvs)
    write_mesh(fit / "face.obj", mesh)
    texture = np.full((64, 64, 3), (180, 120, 90), np.uint8)
    write_image(fit / "texture.jpg", texture, quality=100)
    np.savez(
        fit / "params.npz",
        intrinsics=camera.intrinsics,
        rotation=camera.rotation,
        translation_mm=camera.translation,
        image_size=np.array([160, 160]),
        meta=np.array(json.dumps({"schema": "facekit.params/1"})),
    )
    photo = np.full((160, 160, 3), (180, 120, 90), np.uint8)
    write_image(tmp_path / "photos/a.png", photo)
    result = evaluate_images(tmp_path / "fits", tmp_path / "photos")
    assert result.items[0].details["psnr"] > 45
    assert 2000 < result.items[0].details["pixels"] < 160 * 160
    (fit / "texture.jpg").unlink()
    assert "texture.jpg" in evaluate_images(tmp_path / "fits", tmp_path / "photos").items[0].error


def test_command_compares_the_right_way_round(folders, capsys):
    names = [str(folders / "far"), str(folders / "near")]
    arguments = ["eval", "images", *names, "--data", str(folders / "photos")]
    assert run([*arguments, "--json", "-o", str(folders / "r")]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    near = document["comparisons"]["near"]
    assert near["mean_difference"] == pytest.approx(20 * np.log10(4))
    assert near["better_on_percent"] == 100
    assert "near against far: +12.041 dB" in captured.err
    assert (folders / "r/curve_items.png").is_file()
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["far", "psnr"]
    assert lines[2].split()[:2] == ["far", "ssim"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--metric", "fid"], 3),
        (["--metric", "nonsense"], 2),
        (["--masks", "none"], 3),
        (["--metric", "lpips"], 4),
        (["--metric", "psnr", "--metric", "fid"], 4),
    ],
)
def test_what_cannot_start(folders, capsys, monkeypatch, more, code):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    arguments = ["eval", "images", str(folders / "near"), "--data", str(folders / "photos")]
    assert run([*arguments, *more]) == code
    assert capsys.readouterr().err


def fake_torch(tmp_path):
    hub = types.SimpleNamespace(get_dir=lambda: str(tmp_path))
    return types.SimpleNamespace(hub=hub)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    there = {"torch": fake_torch(tmp_path)}

    def load(name):
        if name in there:
            return there[name]
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", load)
    packages = ["torchmetrics", "torchvision", "torch_fidelity"]
    for number, name in enumerate(packages):
        with pytest.raises(MissingDependencyError) as caught:
            perceptual.require("fid", allow_download=False)
        # All that is missing and nothing that is there, the weights too.
        said = str(caught.value)
        rest = " ".join(packages[number:]).replace("_", "-")
        assert f"pip install {rest}" in said
        assert all(f"{package} (" not in said for package in packages[:number])
        assert f"{tmp_path}/checkpoints/weights-inception-2015-12-05-6726825d.pth" in said
        there[name] = object()
    with pytest.raises(MissingDependencyError, match=r"fid needs the weights.*--allow-download"):
        perceptual.require("fid", allow_download=False)
    perceptual.require("fid", allow_download=True)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/alexnet-owt-7be5be79.pth").write_bytes(b"x")
    perceptual.require("lpips", allow_download=False)
    del there["torch"]
    with pytest.raises(MissingDependencyError, match="imported here: torch "):
        perceptual.require("lpips", allow_download=False)


class StandInLpips:
    """Takes what torchmetrics' metric takes, and nothing else; its network is the difference."""

    def __init__(self, net_type="alex", reduction="mean", normalize=False, **other):
        assert (net_type, reduction, normalize, other) == ("alex", "mean", True, {})
        self.training = True

    def eval(self):
        self.training = False
        return self

    def __call__(self, first, second):
        assert not self.training
        for batch in (first, second):
            assert batch.dtype.is_floating_point
            assert batch.ndim == 4 and batch.shape[1] == 3
            assert batch.min() >= 0 and batch.max() <= 1
        if min(first.shape[2:]) < 31:
            raise RuntimeError("Output size is too small")
        return (first - second).abs().mean()


class StandInFid:
    """Frechet distance of the pictures' mean colours, in torchmetrics' interface."""

    def __init__(self, feature=2048, reset_real_features=True, normalize=False, **other):
        assert (feature, normalize, other) == (2048, False, {})
        self.rows = {True: [], False: []}

    def update(self, imgs, real):
        assert str(imgs.dtype) == "torch.uint8"
        assert imgs.ndim == 4 and imgs.shape[1] == 3
        self.rows[real] += imgs.double().mean(dim=(2, 3)).tolist()

    def compute(self):
        torch = importlib.import_module("torch")
        made, real = (np.array(self.rows[key]) for key in (False, True))
        return torch.tensor(frechet(made, real))


def frechet(made, real):
    covariances = [np.cov(rows, rowvar=False) for rows in (made, real)]
    values = np.linalg.eigvals(covariances[0] @ covariances[1])
    mixed = np.sqrt(np.maximum(values.real, 0)).sum()
    gap = ((made.mean(0) - real.mean(0)) ** 2).sum()
    return gap + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * mixed


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Packages and weights as a user's machine has them, with networks that can be checked."""
    pytest.importorskip("torch")
    checkpoints = tmp_path / "hub/hub/checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("alexnet-owt-7be5be79.pth", "weights-inception-2015-12-05-6726825d.pth"):
        (checkpoints / name).write_bytes(b"weights")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    modules = {
        "torchvision": {},
        "torch_fidelity": {},
        "torchmetrics": {},
        "torchmetrics.image": {},
        "torchmetrics.image.lpip": {"LearnedPerceptualImagePatchSimilarity": StandInLpips},
        "torchmetrics.image.fid": {"FrechetInceptionDistance": StandInFid},
    }
    for name, contents in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(image_likeness, "_network", [])
    return checkpoints


def test_lpips_and_fid_run_through_the_librarys_interface(folders, stand_ins, capsys):
    arguments = ["eval", "images", str(folders / "near"), "--data", str(folders / "photos")]
    metrics = ["--metric", "lpips", "--metric", "fid", "--metric", "psnr", "--json"]
    assert run([*arguments, *metrics]) == 0
    document = json.loads(capsys.readouterr().out)
    for item in document["items"]:
        assert item["lpips"] == pytest.approx(5 / 255, rel=1e-5)
        assert item["value"] == item["lpips"]
    means = {}
    for folder in ("near", "photos"):
        pictures = [np.asarray(Image.open(folders / folder / n)) for n in ("a.png", "b/c.png")]
        means[folder] = np.array([p.reshape(-1, 3).mean(axis=0) for p in pictures])
    expected = frechet(means["near"], means["photos"])
    assert expected == pytest.approx(75, rel=1e-3)
    assert document["metrics"]["fid"] == pytest.approx(expected, rel=1e-6)
    assert document["measures"]["psnr"]["mean"] == pytest.approx(20 * np.log10(51))


def test_a_picture_too_small_for_the_network_fails_alone(folders, stand_ins, capsys):
    for folder in ("near", "photos"):
        write_image(folders / folder / "small.png", np.zeros((20, 20, 3), np.uint8))
    arguments = ["eval", "images", str(folders / "near"), "--data", str(folders / "photos")]
    assert run([*arguments, "--metric", "lpips"]) == 5
    captured = capsys.readouterr()
    assert "small: LPIPS failed on 20 x 20 pixels (Output size is too small)" in captured.err
    assert "2 predictions, 1 missing" in captured.err


def test_weights_that_are_not_there_are_exit_4(folders, stand_ins, capsys):
    (stand_ins / "weights-inception-2015-12-05-6726825d.pth").unlink()
    arguments = ["eval", "images", str(folders / "near"), "--data", str(folders / "photos")]
    assert run([*arguments, "--metric", "psnr", "--metric", "fid"]) == 4
    said = capsys.readouterr().err
    assert f"{stand_ins}/weights-inception-2015-12-05-6726825d.pth" in said
    assert "pip install" not in said


def test_networks_see_the_photograph_outside_the_mask(folders, monkeypatch):
    monkeypatch.setattr(perceptual, "require", lambda *_, **__: None)
    monkeypatch.setattr(perceptual, "fid", lambda pairs: float(len(pairs)))
    monkeypatch.setattr(image_likeness, "_network", [])
    mean = lambda a, b: float(np.abs(a.astype(int) - b).mean())  # noqa: E731
    monkeypatch.setattr(perceptual, "lpips_metric", lambda: mean)
    options = ImageOptions(("lpips", "fid"), folders / "masks")
    result = evaluate_images(folders / "near", folders / "photos", options)
    assert result.items[0].value == pytest.approx(5 * 32 * 28 / (48 * 40))
    assert result.document["metrics"]["fid"] == 2
    with pytest.raises(InputError, match="first one of an image"):
        ImageOptions(("fid",))
