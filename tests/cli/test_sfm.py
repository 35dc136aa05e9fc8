import json
import shutil

import numpy as np
import pytest
from scan_stage import write_small_stage

from facekit.cli.main import run
from facekit.io.atomic import read_json
from facekit.io.colmap import read_colmap
from facekit.io.ply import read_ply
from facekit.io.rig import read_rig, write_rig
from facekit.types import Rig


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return write_small_stage(tmp_path_factory.mktemp("stage") / "stage")


def arguments(stage, out, *more):
    cameras = str(stage / "truth" / "cameras.json")
    subject = str(stage / "subjects" / "s000")
    return ["sfm", subject, "--cameras", cameras, "-o", str(out), "--trust-cameras", *more]


@pytest.fixture(scope="module")
def scan(stage, tmp_path_factory):
    out = tmp_path_factory.mktemp("scan") / "scan"
    assert run(arguments(stage, out)) == 0
    return out


def test_a_small_stage_is_reconstructed(stage, scan, capsys):
    truth = str(stage / "truth" / "s000")
    assert run(["eval", "scan", str(scan), "--truth", truth, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    # A pixel is 1.4 mm wide on the face.
    assert metrics["accuracy_median"] < 0.25
    assert metrics["accuracy_p95"] < 1.2
    assert metrics["completeness_within_mm"] > 85
    assert metrics["landmarks_mean"] < 4
    assert metrics["scale"] == 1


def test_half_the_detail_is_a_coarser_surface_with_the_same_landmarks(stage, scan, tmp_path):
    assert run(arguments(stage, tmp_path / "half", "--detail", "half")) == 0
    fine, coarse = (read_json(folder / "report.json") for folder in (scan, tmp_path / "half"))
    assert coarse["vertices"] < 0.5 * fine["vertices"]
    assert coarse["frame"] == "head"
    marks = [
        read_json(folder / "landmarks.json")["triangulated"] for folder in (scan, tmp_path / "half")
    ]
    assert marks[0] == marks[1]


def test_everything_is_in_the_head_frame(scan):
    report = read_json(scan / "report.json")
    assert (report["scale"], report["unit"], report["frame"]) == ("metric", "mm", "head")
    marks = read_json(scan / "landmarks.json")
    assert marks["frame"] == "head" and len(marks["points"]["ibug68"]) == 68
    points = np.array(marks["points"]["ibug68"][17:], float)
    # The head frame: symmetric in x, the nose's tip in front of the eyes, the chin below.
    assert abs(points[:, 0].mean()) < 5
    assert points[13, 2] > points[19:31, 2].max()
    mesh, cloud = read_ply(scan / "mesh.ply"), read_ply(scan / "dense.ply")
    assert not len(cloud.faces) and b"nx" in (scan / "dense.ply").read_bytes()[:400]
    for cameras in (read_rig(scan / "cameras.json"), read_colmap(scan / "sparse")):
        centres = cameras.centres()
        assert len(centres) == 8 and (centres[:, 2] > mesh.vertices[:, 2].max()).all()
    tip = mesh.vertices[np.argmax(mesh.vertices[:, 2] - 0.5 * np.abs(mesh.vertices[:, 0]))]
    assert np.linalg.norm(tip - points[13]) < 12
    assert read_json(scan / "failures.json") == []


def test_running_again_makes_only_what_is_missing(stage, scan, capsys):
    before = (scan / "work" / "cloud.npz").stat().st_mtime_ns
    (scan / "work" / "surface.npz").unlink()
    (scan / "mesh.ply").unlink()
    assert run(arguments(stage, scan)) == 0
    assert (scan / "mesh.ply").exists()
    assert (scan / "work" / "cloud.npz").stat().st_mtime_ns == before
    assert capsys.readouterr().err.splitlines()[-1].endswith("mesh.ply")
    assert run(arguments(stage, scan, "--voxel", "3")) == 6


def test_what_is_missing_is_named_and_the_rest_is_reconstructed(stage, tmp_path, capsys):
    folder = tmp_path / "subject"
    shutil.copytree(stage / "subjects" / "s000", folder)
    shutil.copy(folder / "cam00.png", folder / "twin.png")
    rig = read_rig(stage / "truth" / "cameras.json")
    left = dict(list(rig.cameras.items())[:5])
    write_rig(tmp_path / "cameras.json", Rig(left))
    command = ["sfm", str(folder), "--cameras", str(tmp_path / "cameras.json")]
    command += ["-o", str(tmp_path / "out"), "--trust-cameras", "--no-face", "--json"]
    assert run(command) == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["frame"] == "cameras" and not document["face"]["found"]
    assert not (tmp_path / "out" / "landmarks.json").exists()
    assert (tmp_path / "out" / "mesh.ply").exists()
    assert len(document["failures"]) == 4
    assert "no camera 'cam07'" in captured.err and "same picture as cam00.png" in captured.err


def test_nothing_is_started_without_views_or_with_clashing_options(stage, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["sfm", str(empty), "-o", str(tmp_path / "o")]) == 3
    for name in ("cam00.png", "cam01.png"):
        shutil.copy(stage / "subjects" / "s000" / name, empty / name)
    assert run(["sfm", str(empty), "-o", str(tmp_path / "o")]) == 3
    assert "at least 3 photographs" in capsys.readouterr().err
    assert run(["sfm", str(empty), "-o", str(tmp_path / "o"), "--trust-cameras"]) == 2
    assert run(arguments(stage, tmp_path / "o", "--poses", "refine")) == 2
    assert not (tmp_path / "o").exists()


def test_photographs_that_show_nothing_have_no_surface(stage, tmp_path, capsys):
    from facekit.io.images import write_image

    for k in range(4):
        grey = np.full((288, 288, 3), 100 + k, np.uint8)
        write_image(tmp_path / "flat" / f"cam0{k}.png", grey)
    command = ["sfm", str(tmp_path / "flat"), "-o", str(tmp_path / "o"), "--trust-cameras"]
    assert run([*command, "--cameras", str(stage / "truth" / "cameras.json")]) == 5
    assert "agree on 0 points" in capsys.readouterr().err


def test_a_scan_is_measured_or_refused(stage, scan, tmp_path, capsys):
    mesh = str(stage / "truth" / "s000" / "mesh.ply")
    assert run(["eval", "scan", mesh, "--truth", str(stage / "truth" / "s000"), "--no-align"]) == 0
    assert "accuracy_median" in capsys.readouterr().out
    assert run(["eval", "scan", str(scan), "--truth", str(tmp_path)]) == 3
