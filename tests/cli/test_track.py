"""``facekit track`` and ``samples --what video`` as a user runs them."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest
from moving_people import SIZE, CutOut, canvas

from facekit.cli.main import run
from facekit.detect.landmark_sets import ibug68_to_five
from facekit.detect.parameters import SCHEMA, encode_matrix
from facekit.geometry.cameras import intrinsics_from_fov
from facekit.geometry.crop import CROP_ID, five_crop
from facekit.geometry.crop_pose import encode_pose
from facekit.geometry.rotations import HEAD_TO_CAMERA
from facekit.io.images import write_image
from facekit.io.video import VideoFile, VideoWriter
from facekit.morphable import load_model
from facekit.morphable.arkit import ARKIT_NAMES
from facekit.morphable.layout import basis_sha256, model_layout
from facekit.track.record import read_track

NTSC = Fraction(30000, 1001)
OUTPUTS = {"track.npz", "curves.csv", "track.glb", "overlay.mp4", "failures.json", "manifest.json"}


@pytest.fixture(scope="module")
def person():
    return CutOut(load_model("builtin"), 1)


def curves(out):
    with (out / "curves.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path, person, count, *, away=(), times=None, even=True):
    with VideoWriter(path, *SIZE, NTSC, even=even) as writer:
        for k in range(count):
            image = canvas(k)
            if k not in away:
                person.put(image, 200 + 3 * k)
            writer.write(image, k / NTSC if times is None else times[k])
    return path


def test_a_video_becomes_a_track(tmp_path, capsys, person):
    video = write(tmp_path / "clip.mp4", person, 8)
    out = tmp_path / "out"
    assert run(["track", str(video), "-o", str(out), "--network", "none"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [
        str(out / name) for name in ("track.npz", "curves.csv", "track.glb", "overlay.mp4")
    ]
    lines = captured.err.splitlines()
    assert lines[-1].startswith("1 person in 8 frames in ")
    assert lines[-2].startswith("ms a frame: decode ")
    assert {path.name for path in out.iterdir()} == OUTPUTS
    track = read_track(out / "track.npz")
    np.testing.assert_allclose(track["times_s"], np.arange(8) * 1001 / 30000, rtol=1e-12)
    assert track["meta"]["rate"] == "30000/1001"
    assert track["frame"].tolist() == list(range(8))
    assert set(track["person"]) == {1}
    # The face moves 3 pixels a frame to the right.
    steps = np.diff(track["landmarks_2d"][:, 30, 0])
    assert steps.mean() == pytest.approx(3, abs=0.6)
    rows = curves(out)
    assert len(rows) == 8
    assert set(ARKIT_NAMES) < set(rows[0])
    assert float(rows[3]["time_s"]) == pytest.approx(3 * 1001 / 30000, abs=1e-6)
    overlay = VideoFile(out / "overlay.mp4")
    assert overlay.info.rate == NTSC
    assert [f.time for f in overlay.frames()] == [k / NTSC for k in range(8)]
    # Running again does nothing; other options need another folder.
    assert run(["track", str(video), "-o", str(out), "--network", "none"]) == 0
    assert "(there already)" in capsys.readouterr().err
    assert run(["track", str(video), "-o", str(out), "--network", "none", "--raw"]) == 6


def test_an_absence_is_named_and_the_face_picked_up_again(tmp_path, capsys, person):
    video = write(tmp_path / "clip.mp4", person, 30, away=range(8, 20))
    out = tmp_path / "out"
    arguments = ["track", str(video), "-o", str(out), "--no-overlay", "--json"]
    assert run([*arguments, "--network", "none"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["people"] == [1]
    (gap,) = document["absences"]
    assert gap["first"] == 8
    assert 19 <= gap["last"] <= 22
    assert gap["returned"] is True
    assert "person 1: not seen from 0.27 to" in captured.err
    rows = curves(out)
    assert len(rows) == 30
    assert rows[12]["presence"] == "0"
    assert rows[12]["jawOpen"] == ""
    assert float(rows[25]["presence"]) > 0.5


def test_uneven_times_reach_every_file(tmp_path, person):
    times = [Fraction(t, 1000) for t in (0, 33, 66, 300, 333, 900)]
    video = write(tmp_path / "clip.mp4", person, 6, times=times, even=False)
    out = tmp_path / "out"
    assert run(["track", str(video), "-o", str(out), "--network", "none"]) == 0
    expected = [float(t) for t in times]
    np.testing.assert_allclose(read_track(out / "track.npz")["times_s"], expected, atol=1e-9)
    overlay = [f.time for f in VideoFile(out / "overlay.mp4").frames()]
    np.testing.assert_allclose([float(t) for t in overlay], expected, atol=1e-9)


def test_a_folder_of_images_is_a_video(tmp_path, person):
    for k in (0, 1, 10, 2):
        image = canvas(k)
        person.put(image, 200 + 3 * k)
        write_image(tmp_path / "frames" / f"f{k}.jpg", image)
    (tmp_path / "frames" / "f3.jpg").write_bytes(b"broken")
    out = tmp_path / "out"
    arguments = ["track", str(tmp_path / "frames"), "-o", str(out), "--no-overlay"]
    assert run([*arguments, "--rate", "24000/1001", "--network", "none"]) == 5
    track = read_track(out / "track.npz")
    assert track["meta"]["rate"] == "24000/1001"
    assert len(track["times_s"]) == 4
    np.testing.assert_allclose(track["times_s"][3], 4 * 1001 / 24000)
    assert "f3.jpg" in json.loads((out / "failures.json").read_text())[0]["error"]


def test_a_video_without_a_face_is_named(tmp_path, capsys, person):
    video = write(tmp_path / "clip.mp4", person, 4, away=range(4))
    out = tmp_path / "out"
    assert run(["track", str(video), "-o", str(out), "--network", "none"]) == 5
    assert "no face in 4 frames" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == OUTPUTS


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A parameter network that sees one face, upright in the middle of any crop."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    model, size = load_model("builtin"), 32
    layout = model_layout(model)
    camera = intrinsics_from_fov(640, 360, 62.0)
    place = np.array([0.0, 0.0, 700.0])
    head = model.landmark_points("ibug68", model.shape())
    seen = (head @ HEAD_TO_CAMERA.T + place) @ camera.T
    crop = five_crop(ibug68_to_five(seen[:, :2] / seen[:, 2:]), size=size)
    pose = encode_pose(HEAD_TO_CAMERA, place, camera, crop, size=size)
    parts = {
        "identity": np.zeros(model.num_identity),
        "expression": np.zeros(model.num_expression),
        "albedo": np.zeros(model.num_albedo),
        "rotation": pose.rotation,
        "translation": pose.translation,
        "light": np.zeros((9, 3)),
    }
    values = {
        "coefficients": layout.pack(parts)[None],
        "log_sigma": np.full((1, layout.length), -2, np.float32),
        "presence": np.full((1, 1), 0.97, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["none"]),
        *(helper.make_node("Add", ["none", f"{name}.0"], [name]) for name in values),
    ]
    constants = [numpy_helper.from_array(value, f"{name}.0") for name, value in values.items()]
    constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    graph = helper.make_graph(
        nodes,
        "still",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, size, size, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in values.items()],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    metadata = {
        "schema": SCHEMA,
        "crop": CROP_ID,
        "size": str(size),
        "model": model.name,
        "basis_sha256": basis_sha256(model),
        "layout": json.dumps(layout.document()),
        "correlation": encode_matrix(np.eye(layout.length)),
    }
    for key, value in metadata.items():
        entry = made.metadata_props.add()
        entry.key, entry.value = f"facekit.{key}", value
    path = tmp_path_factory.mktemp("network") / "params.onnx"
    onnx.save(made, path)
    return path


def test_a_network_from_a_file_follows_the_face(tmp_path, person, network):
    times = [Fraction(k * k + 3 * k, 300) for k in range(8)]
    video = tmp_path / "clip.mp4"
    with VideoWriter(video, *SIZE, NTSC, even=False) as writer:
        for k in range(8):
            image = canvas(k)
            person.put(image, 200)
            writer.write(image, times[k])
    out = tmp_path / "out"
    assert run(["track", str(video), "-o", str(out), "--network", str(network)]) == 0
    track = read_track(out / "track.npz")
    np.testing.assert_allclose(track["times_s"], [float(t) for t in times], atol=2e-5)
    assert track["frame"].tolist() == list(range(8))
    np.testing.assert_allclose(track["presence"], 0.97, atol=1e-3)
    # What it says of every crop is what comes out: a face that looks straight ahead and rests.
    assert np.abs(np.diff(track["landmarks_2d"], axis=0)).max() < 0.5
    assert np.abs(track["expression"]).max() < 1e-6
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert "parameters" in json.dumps(manifest)


def test_a_video_without_a_face_is_named_by_a_network_too(tmp_path, capsys, person, network):
    video = write(tmp_path / "clip.mp4", person, 4, away=range(4))
    out = tmp_path / "out"
    assert run(["track", str(video), "-o", str(out), "--network", str(network)]) == 5
    assert "no face in 4 frames" in capsys.readouterr().err


def test_what_cannot_be_started_is_named(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"not a video at all")
    out = str(tmp_path / "out")
    assert run(["track", str(tmp_path / "a.mp4"), "-o", out]) == 3
    assert "is no video" in capsys.readouterr().err
    assert run(["track", str(tmp_path / "missing.mp4"), "-o", out]) == 3
    assert run(["track", str(tmp_path), "-o", out, "--rate", "0"]) == 2
    assert run(["track", str(tmp_path / "a.mp4"), "-o", out, "--network", "none.onnx"]) == 3


def test_the_sample_clip_has_its_truth(tmp_path, capsys, monkeypatch):
    from facekit.simulate import samples
    from facekit.simulate.clip import ClipOptions

    short = ClipOptions(frames=3, width=160, height=120, expressive=True)
    monkeypatch.setattr(samples, "ClipOptions", lambda **_: short)
    folder = tmp_path / "clips"
    assert run(["samples", str(folder), "--what", "video"]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "clip.mp4")]
    truth = np.load(folder / "truth" / "clip.npz")
    assert truth["landmarks_2d"].shape == (3, 68, 2)
    assert truth["pose_deg"][2, 0] > truth["pose_deg"][1, 0] > 0
    assert VideoFile(folder / "clip.mp4").info.rate == NTSC
    assert run(["samples", str(folder), "--what", "video"]) == 6


def test_tracking_imports_no_torch(tmp_path, person):
    import subprocess
    import sys

    video = write(tmp_path / "clip.mp4", person, 2)
    code = (
        "import sys\nfrom facekit.cli.main import run\n"
        f"assert run(['track', {str(video)!r}, '-o', {str(tmp_path / 'out')!r}]) == 0\n"
        "print('TORCH', 'torch' in sys.modules, 'open3d' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("TORCH False False")
