"""``facekit fit`` and ``landmarks`` as a user runs them, on good and on bad input."""

import dataclasses
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage import data

from facekit.cli.main import run

OUTPUTS = {
    "face.obj",
    "face.mtl",
    "texture.jpg",
    "neutral.obj",
    "face.glb",
    "overlay.png",
    "params.npz",
    "landmarks.json",
}


@pytest.fixture(scope="module")
def astronaut():
    return data.astronaut()


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def header_only_png(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def leftovers(folder):
    return [p for p in folder.rglob("*") if p.name.startswith(".")]


def test_a_photograph_becomes_a_face(tmp_path, capsys, astronaut):
    save(tmp_path / "photos" / "astronaut.png", astronaut)
    out = tmp_path / "out"
    assert run(["fit", str(tmp_path / "photos"), "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out / 'astronaut'}\n"
    assert captured.err.splitlines()[-1].startswith("1 face in ")
    assert captured.err.splitlines()[-1].endswith(f"-> {out / 'index.html'}")
    assert {p.name for p in (out / "astronaut").iterdir()} == OUTPUTS
    # Eileen Collins faces the camera, her head tilted a little to image left.
    face = json.loads((out / "astronaut" / "landmarks.json").read_text())["faces"][0]
    x, y, w, h = face["box"]
    assert x < 225 < x + w
    assert y < 120 < y + h
    assert abs(face["yaw_deg"]) < 25


def test_json_is_one_document(tmp_path, capsys, astronaut):
    path = save(tmp_path / "a.png", astronaut)
    assert run(["fit", str(path), "-o", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["faces"][0]["folder"] == "a"
    assert document["failures"] == []


def test_the_default_path_imports_no_torch(tmp_path, astronaut):
    import subprocess
    import sys

    path = save(tmp_path / "a.png", astronaut)
    code = (
        "import sys\nfrom facekit.cli.main import run\n"
        f"assert run(['fit', {str(path)!r}, '-o', {str(tmp_path / 'out')!r}]) == 0\n"
        f"assert run(['landmarks', {str(path)!r}, '-o', {str(tmp_path / 'lm')!r}]) == 0\n"
        "print('TORCH', 'torch' in sys.modules, 'open3d' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("TORCH False False")


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory, astronaut):
    folder = tmp_path_factory.mktemp("bad photos é")
    save(folder / "good one.png", astronaut)
    save(folder / "grey.png", astronaut[..., 1])
    deep = astronaut[..., 1].astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "sixteen.png")
    alpha = np.dstack([astronaut, np.full(astronaut.shape[:2], 255, np.uint8)])
    save(folder / "alpha.png", alpha)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "turned.jpg", np.ascontiguousarray(np.rot90(astronaut)), exif=exif, quality=95)
    save(folder / "same.jpg", astronaut, quality=95)
    save(folder / "same.png", astronaut)
    save(folder / "nobody.png", data.coffee())
    save(folder / "dot.png", astronaut[:1, :1])
    (folder / "text.jpg").write_text("hello")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "huge.png").write_bytes(header_only_png(25000, 10000))
    for suffix in ("png", "jpg"):
        whole = save(folder / f"cut.{suffix}", astronaut)
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return folder


BAD = {
    "nobody.png": "no face",
    "dot.png": "no face",
    "text.jpg": "not an image",
    "empty.jpg": "empty",
    "huge.png": "250 megapixels",
    "cut.png": "truncated",
    "cut.jpg": "truncated",
}


def test_bad_items_never_stop_the_good_ones(bad_folder, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--texture-size", "64", "--largest"]
    assert run(["fit", str(bad_folder), "-o", str(out), *options]) == 5
    captured = capsys.readouterr()
    failures = {
        f["input"].rsplit("/", 1)[-1]: f["error"]
        for f in json.loads((out / "failures.json").read_text())
    }
    assert set(failures) == set(BAD)
    for name, part in BAD.items():
        assert part in failures[name]
        assert f"{name}: " in captured.err
    done = {p.parent.relative_to(out).as_posix() for p in out.rglob("params.npz")}
    assert done == {"good one", "grey", "sixteen", "alpha", "turned", "same.jpg", "same.png"}
    assert all({p.name for p in (out / d).iterdir()} == OUTPUTS for d in done)
    assert leftovers(out) == []
    first = json.loads((out / "good one" / "landmarks.json").read_text())["faces"][0]
    for name in done - {"grey", "sixteen"}:
        again = json.loads((out / name / "landmarks.json").read_text())["faces"][0]
        np.testing.assert_allclose(again["ibug68"], first["ibug68"], atol=3.0)


def test_landmarks_of_the_same_folder(bad_folder, tmp_path):
    out = tmp_path / "lm"
    assert run(["landmarks", str(bad_folder), "-o", str(out)]) == 5
    unreadable = {"text.jpg", "empty.jpg", "huge.png", "cut.png", "cut.jpg"}
    failures = json.loads((out / "failures.json").read_text())
    assert {f["input"].rsplit("/", 1)[-1] for f in failures} == unreadable
    assert json.loads((out / "nobody.json").read_text())["faces"] == []
    assert len(json.loads((out / "good one.json").read_text())["faces"]) == 1
    document = json.loads((out / "turned.json").read_text())
    assert (document["width"], document["height"]) == (512, 512)


@pytest.mark.parametrize("command", ["fit", "landmarks"])
def test_nothing_could_be_started(command, tmp_path, capsys, astronaut):
    (tmp_path / "nothing").mkdir()
    photo = save(tmp_path / "a.png", astronaut)
    (tmp_path / "file").write_text("")
    for argv in (
        [command, str(tmp_path / "nothing"), "-o", str(tmp_path / "out")],
        [command, str(tmp_path / "missing"), "-o", str(tmp_path / "out")],
        [command, str(photo), "-o", str(tmp_path / "file" / "out")],
    ):
        assert run(argv) == 3
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_a_missing_source_of_landmarks_is_4(tmp_path, capsys, astronaut, monkeypatch):
    monkeypatch.delenv("FACEKIT_MEDIAPIPE_TASK", raising=False)
    monkeypatch.delenv("FACEKIT_YUNET", raising=False)
    photo = save(tmp_path / "a.png", astronaut)
    for source in ("mediapipe", "yunet", "fan"):
        argv = ["fit", str(photo), "-o", str(tmp_path / "out"), "--landmarks", source]
        assert run(argv) == 4
    assert not (tmp_path / "out").exists()


def test_other_options_in_the_same_folder_are_6(tmp_path, astronaut):
    photo = save(tmp_path / "a.png", astronaut)
    argv = ["fit", str(photo), "-o", str(tmp_path / "out"), "--texture-size", "64"]
    assert run(argv) == 0
    assert run(argv) == 0
    assert run([*argv, "--unit", "m"]) == 6
    assert run([*argv, "--unit", "m", "--overwrite"]) == 0


def test_two_jobs_give_what_one_gives(tmp_path, astronaut):
    for index in range(3):
        save(tmp_path / "photos" / f"{index}.png", np.roll(astronaut, 20 * index, axis=1))
    results = []
    for jobs in ("1", "2"):
        out = tmp_path / f"out{jobs}"
        argv = ["fit", str(tmp_path / "photos"), "-o", str(out), "--jobs", jobs]
        assert run([*argv, "--texture-size", "64"]) == 0
        results.append((out / "summary.csv").read_text())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "bad",
    [["--focal", "wide"], ["--focal", "-3"], ["--focal", "28mm", "--fov", "50"], ["--fov", "180"]],
)
def test_impossible_cameras_are_usage_errors(tmp_path, capsys, bad):
    assert run(["fit", str(tmp_path), "-o", str(tmp_path / "out"), *bad]) == 2
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_presets_are_settings_of_one_fit(tmp_path, astronaut):
    path = save(tmp_path / "a.png", astronaut)
    arguments = ["fit", str(path), "-o", str(tmp_path / "out"), "--json"]
    assert run([*arguments, "--preset", "best"]) == 0
    # The same by another name: there already.
    assert run([*arguments, "--photometric"]) == 0
    assert run([*arguments, "--preset", "fast"]) == 6


def test_the_published_fit_writes_the_same_files(tmp_path, capsys, astronaut, monkeypatch):
    from facekit.fit.first_order import fitter

    quick = dataclasses.replace(fitter.SCHEDULES["adam-3dmm"], rigid_steps=60, steps=15, size=64)
    monkeypatch.setitem(fitter.SCHEDULES, "adam-3dmm", quick)
    path = save(tmp_path / "a.png", astronaut)
    out = tmp_path / "out"
    assert run(["fit", str(path), "-o", str(out), "--preset", "adam-3dmm"]) == 0
    assert {p.name for p in (out / "a").iterdir()} == OUTPUTS
    assert capsys.readouterr().err.splitlines()[-1].startswith("1 face in ")


@pytest.mark.parametrize(
    "options",
    [
        ["--preset", "fast", "--renderer", "plain"],
        ["--preset", "adam-3dmm", "--photometric"],
        ["--preset", "slow"],
        ["--masks", "."],
        ["--segmentation", "x.onnx"],
        ["--photometric", "--segmentation", "x.onnx", "--face-labels", "skin"],
    ],
    ids=" ".join,
)
def test_settings_that_do_not_go_together_are_usage_errors(tmp_path, astronaut, options):
    path = save(tmp_path / "a.png", astronaut)
    assert run(["fit", str(path), "-o", str(tmp_path / "out"), *options]) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("renderer", ["pytorch3d", "nvdiffrast"])
def test_a_renderer_that_is_not_there_ends_with_its_command(
    tmp_path, capsys, astronaut, monkeypatch, renderer
):
    monkeypatch.setattr("facekit.render.differentiable.renderer._has", lambda package: False)
    path = save(tmp_path / "a.png", astronaut)
    arguments = ["--preset", "adam-3dmm", "--renderer", renderer]
    assert run(["fit", str(path), "-o", str(tmp_path / "out"), *arguments]) == 4
    assert "pip install" in capsys.readouterr().err


def test_masks_count_where_pixels_are_fitted(tmp_path, capsys, astronaut):
    path = save(tmp_path / "a.png", astronaut)
    arguments = ["fit", str(path), "-o", str(tmp_path / "out"), "--photometric"]

    def identity():
        with np.load(tmp_path / "out" / "a" / "params.npz") as params:
            return params["identity"]

    assert run(arguments) == 0
    whole = identity()
    # The left half of the face, from a mask beside the photograph: the item is done again.
    mask = np.zeros((512, 512), np.uint8)
    mask[:, :225] = 255
    save(tmp_path / "a.mask.png", mask)
    assert run(arguments) == 0
    assert "were there already" not in capsys.readouterr().err
    assert np.abs(identity() - whole).max() > 0.01
    # Nothing left to see is a failure of that item.
    save(tmp_path / "a.mask.png", np.zeros((512, 512), np.uint8))
    assert run(arguments) == 5
    folder = str(tmp_path / "nowhere")
    assert (
        run(["fit", str(path), "-o", str(tmp_path / "o"), "--photometric", "--masks", folder]) == 3
    )


def test_photographs_of_one_person_share_an_identity(tmp_path, capsys, astronaut):
    # The same face larger and smaller, beside a picture of nobody.
    save(tmp_path / "eileen" / "a.png", astronaut)
    save(tmp_path / "eileen" / "b.png", astronaut[:400, 50:450])
    save(tmp_path / "eileen" / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    out = tmp_path / "out"
    assert run(["fit", str(tmp_path / "eileen"), "-o", str(out), "--same-person"]) == 5
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(out / "a"), str(out / "b")]
    assert "grey.png: no face was found" in captured.err
    assert {p.name for p in (out / "a").iterdir()} == OUTPUTS
    assert {p.name for p in (out / "person").iterdir()} == {"neutral.obj", "face.glb", "params.npz"}
    files = [out / name / "params.npz" for name in ("a", "b", "person")]
    one, two, person = (np.load(file)["identity"] for file in files)
    np.testing.assert_array_equal(one, person)
    np.testing.assert_array_equal(two, person)
    assert [f["error"] for f in json.loads((out / "failures.json").read_text())] == [
        "no face was found"
    ]
    assert leftovers(out) == []


def test_a_set_takes_no_distance(tmp_path, capsys, astronaut):
    file = save(tmp_path / "a.png", astronaut)
    out = str(tmp_path / "out")
    assert run(["fit", str(file), "-o", out, "--same-person", "--distance", "900"]) == 2
    assert "--same-person" in capsys.readouterr().err
