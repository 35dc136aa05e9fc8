import json

import numpy as np
import pytest
from now_twin import small_case

from facekit.cli.main import run
from facekit.io.images import write_image
from facekit.io.landmark_files import write_landmarks
from facekit.io.meshes import read_mesh, write_mesh
from facekit.types import DetectedFace, Mesh


@pytest.fixture
def now_folders(tmp_path):
    scan, scan_faces, marks, vertices, faces, points = small_case(0)
    data, predictions = tmp_path / "NoW data", tmp_path / "pred"
    (data / "scans" / "A").mkdir(parents=True)
    write_mesh(data / "scans/A/a.obj", Mesh(scan, scan_faces))
    (data / "scans_lmks_onlypp" / "A").mkdir(parents=True)
    rows = "".join(f'<point x="{x}" y="{y}" z="{z}"/>' for x, y, z in marks)
    (data / "scans_lmks_onlypp/A/a.pp").write_text(f"<PickedPoints>{rows}</PickedPoints>")
    (data / "imagepathsvalidation.txt").write_text("A/selfie/one.jpg\nA/selfie/two.jpg\n")
    (predictions / "A" / "selfie").mkdir(parents=True)
    for name in ("one", "two"):
        write_mesh(predictions / f"A/selfie/{name}.obj", Mesh(vertices, faces))
        np.save(predictions / f"A/selfie/{name}.npy", points)
    return data, predictions


def test_now_prints_one_document(now_folders, tmp_path, capsys):
    data, predictions = now_folders
    output = tmp_path / "report"
    code = run(["eval", "now", str(predictions), "--data", str(data), "--json", "-o", str(output)])
    captured = capsys.readouterr()
    assert code == 0
    document = json.loads(captured.out)
    assert set(document["metrics"]) >= {"median", "mean", "std", "count", "missing"}
    assert document["metrics"]["count"] == 2
    assert document["schema"] == "facekit.eval/1"
    assert len(document["items"]) == 2
    assert json.loads((output / "report.json").read_text()) == document
    assert (output / "curve.csv").read_text().startswith("error_mm,percent\n0.00,")
    assert captured.err.strip().endswith(f"-> {output}")


def test_now_writes_every_report_and_compares(now_folders, tmp_path, capsys):
    data, predictions = now_folders
    output = tmp_path / "report"
    pair = [str(predictions), f"same={predictions}"]
    arguments = ["eval", "now", "--compare", *pair, "--data", str(data)]
    assert run([*arguments, "-o", str(output)]) == 0
    captured = capsys.readouterr()
    assert "same against pred: +0.000 mm [+0.000, +0.000] on 2 items of 1 persons" in captured.err
    assert "reading " in captured.err
    for name in ("curve.png", "items.csv", "same/items.csv", "pred/heat/A/selfie/one.png"):
        assert (output / name).is_file(), name
    assert run([*arguments[:3], *arguments[5:]]) == 2
    plain = ["eval", "now", str(predictions), "--data", str(data), "--no-heat"]
    assert run([*plain, "-o", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain/heat").exists()


def test_now_gives_the_same_document_in_two_processes(now_folders, capsys):
    data, predictions = now_folders
    np.save(predictions / "A/selfie/two.npy", np.full((7, 3), np.nan))
    documents = []
    for jobs in ("1", "2"):
        arguments = ["eval", "now", str(predictions), "--data", str(data), "--jobs", jobs]
        assert run([*arguments, "--json"]) == 5
        documents.append(capsys.readouterr().out)
    assert documents[0] == documents[1]
    items = json.loads(documents[0])["items"]
    assert [item["missing"] for item in items] == [False, True]
    assert "finite" in items[1]["error"]


def test_now_names_what_is_doubtful(now_folders, capsys):
    data, predictions = now_folders
    mesh = read_mesh(predictions / "A/selfie/one.obj")
    marks = np.load(predictions / "A/selfie/one.npy")
    write_mesh(predictions / "A/selfie/one.obj", Mesh(mesh.vertices / 1000, mesh.faces))
    np.save(predictions / "A/selfie/one.npy", marks / 1000)
    np.save(predictions / "A/selfie/two.npy", marks[[3, 2, 1, 0, 4, 6, 5]])
    assert run(["eval", "now", str(predictions), "--data", str(data)]) == 0
    said = capsys.readouterr().err
    assert "the file looks like m" in said
    assert "left and right" in said or "another order" in said


def test_now_table_and_missing(now_folders, capsys):
    data, predictions = now_folders
    (predictions / "A/selfie/two.obj").unlink()
    assert run(["eval", "now", str(predictions), "--data", str(data), "--metrical"]) == 5
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["mm", "median", "mean", "std", "count", "missing"]
    assert lines[1].split()[0] == "all"
    assert lines[1].split()[-2:] == ["1", "1"]
    assert lines[2].split()[0] == "selfie"
    assert "two.jpg: no prediction was found" in captured.err
    assert "1 predictions, 1 missing" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["eval", "now", "{none}", "--data", "{data}"], 3),
        (["eval", "now", "{pred}", "--data", "{none}"], 3),
        (["eval", "now", "{pred}", "--data", "{data}", "--split", "train"], 3),
        (["eval", "now", "{pred}", "--data", "{data}", "-o", "{file}/out"], 3),
        (["eval", "now", "{pred}"], 2),
        (["eval", "now", "{pred}", "--data", "{data}", "--unit", "km"], 2),
        (["eval", "landmarks", "{none}"], 3),
        (["eval", "landmarks", "{pred}", "--landmarks", "files"], 3),
        (["eval", "truth", "--heads", "{none}", "--images"], 2),
        (["eval", "truth", "--heads", "{none}"], 3),
        (["eval", "truth", "--heads", "{none}", "--yaw", "0,x"], 2),
        (["eval", "speed", "--what", "nonsense"], 2),
        (["eval", "speed", "--rounds", "0"], 2),
    ],
)
def test_what_cannot_start(now_folders, tmp_path, capsys, arguments, code):
    data, predictions = now_folders
    (tmp_path / "file").write_text("x")
    places = {
        "data": data,
        "pred": predictions,
        "none": tmp_path / "none",
        "file": tmp_path / "file",
    }
    assert run([a.format(**places) for a in arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_landmarks_of_saved_predictions(tmp_path, capsys):
    folder, saved = tmp_path / "set", tmp_path / "saved"
    for seed, name in enumerate(("a", "b", "c")):
        points = np.random.default_rng(seed).uniform(20, 180, (68, 2))
        points[36], points[45] = [50, 60], [150, 60]
        found = DetectedFace(np.array([20, 20, 160, 160.0]), 1.0, ibug68=points + [2.0, 0])
        truth = DetectedFace(np.array([20, 20, 160, 160.0]), 1.0, ibug68=points)
        write_image(folder / f"{name}.png", np.zeros((200, 200, 3), np.uint8))
        write_landmarks(folder / f"{name}.json", [truth], image=name, width=200, height=200)
        faces = [] if name == "c" else [found]
        write_landmarks(saved / f"{name}.json", faces, image=name, width=200, height=200)
    arguments = ["eval", "landmarks", str(folder), "--predictions", str(saved)]
    assert run([*arguments, "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["mean"] == pytest.approx(2.0)
    assert document["metrics"]["missing"] == 1
    assert run(arguments) == 5
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[:3] == ["saved", "2", "2"]
    assert "c.png: no face was found" in captured.err
    assert run([*arguments, "--predictions", f"again={saved}", "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert list(document["detectors"]) == ["saved", "again"]
    assert document["comparisons"]["again"]["mean_difference"] == 0


def test_speed_of_the_help(capsys):
    assert run(["eval", "speed", "--what", "help", "--rounds", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    result = document["metrics"]["help.import"]
    assert 0 < result["median_ms"] <= result["p95_ms"]
    assert result["threads"] == 1
    assert document["machine"]["cores"] >= 1
