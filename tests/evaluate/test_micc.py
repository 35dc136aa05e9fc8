import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from scan_case import egg, face, moved, write_face

from facekit.cli.main import run
from facekit.errors import InputError
from facekit.evaluate.estimator import EstimatorConfig
from facekit.evaluate.micc import (
    ScanInputs,
    evaluate_facewarehouse,
    evaluate_micc,
    find_scans,
)

CONFIG = EstimatorConfig(init="five", crop_radius_mm=0.0, icp_trim=0.0)


@pytest.fixture
def folders(tmp_path):
    """Two subjects, the second 2 % larger in prediction; two videos of the first."""
    data, predictions = tmp_path / "MICC", tmp_path / "pred"
    for name in ("subject_01", "subject_02"):
        write_face(data / name / "Model/frontal1/scan.ply", egg(), marks="five")
        write_face(data / name / "Model/sidel/scan.ply", egg(2.0), marks="five")
    write_face(predictions / "subject_1/indoor/a.obj", egg(1.02), marks="five")
    write_face(predictions / "subject_1/indoor/b.obj", egg(0.98), marks="five")
    write_face(predictions / "subject_02/indoor/a.obj", egg(1.02), marks="five")
    return predictions, data


def names(result):
    return [item.name for item in result.items]


def test_each_prediction_is_an_item(folders):
    result = evaluate_micc(*folders, CONFIG)
    assert names(result) == ["subject_1/indoor/a", "subject_1/indoor/b", "subject_02/indoor/a"]
    assert result.document["metrics"]["count"] == 3
    assert max(item.value for item in result.items) < 2e-3
    assert set(result.document["groups"]) == {"indoor"}
    assert result.document["protocol"]["crop_radius_mm"] == 0
    scales = [item.details["scale"] for item in result.items]
    np.testing.assert_allclose(scales, [1 / 1.02, 1 / 0.98, 1 / 1.02], rtol=1e-4)


def test_one_global_scale_is_the_median(folders):
    config = dataclasses.replace(CONFIG, scale="global")
    result = evaluate_micc(*folders, config)
    assert result.document["protocol"]["global_scale"] == pytest.approx(1 / 1.02, rel=1e-4)
    values = [item.value for item in result.items]
    assert values[0] < 2e-3
    assert values[2] < 2e-3
    assert values[1] > 1


def test_frames_of_a_video_as_one(folders):
    config = dataclasses.replace(CONFIG, scale="none")
    each = evaluate_micc(*folders, config)
    errors = evaluate_micc(*folders, dataclasses.replace(config, per_video="average-error"))
    shapes = evaluate_micc(*folders, dataclasses.replace(config, per_video="average-shape"))
    assert names(errors) == names(shapes) == ["subject_01/indoor", "subject_02/indoor"]
    first = [item.value for item in each.items]
    assert errors.items[0].value == pytest.approx(np.mean(first[:2]))
    # The mean of 1.02 and 0.98 times one shape is that shape.
    assert shapes.items[0].value < 2e-3
    assert shapes.items[1].value == pytest.approx(first[2])


def test_missing_unmatched_and_bad_files_do_not_stop_the_rest(folders, tmp_path):
    predictions, data = folders
    write_face(predictions / "subject_77/indoor/a.obj", egg(), marks="five")
    write_face(predictions / "subject_02/outdoor.obj", egg(), marks="five")
    (predictions / "subject_02/outdoor.obj").write_text("v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n")
    (predictions / "subject_1/indoor/b.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    few = predictions / "subject_02/indoor/b.obj"
    write_face(few, egg(), marks="five")
    np.save(few.with_suffix(".npy"), egg().landmarks["five"][:3])
    result = evaluate_micc(predictions, data, CONFIG)
    errors = {item.name: item.error for item in result.items if item.error}
    assert "no faces" in errors["subject_1/indoor/b"]
    assert "finite" in errors["subject_02/outdoor"]
    assert "no prediction was found: expected" in errors["subject_01/outdoor"]
    assert "got 3" in errors["subject_02/indoor/b"]
    assert "no scan of this name" in errors["subject_77/indoor/a"]
    metrics = result.document["metrics"]
    assert (metrics["count"], metrics["missing"], metrics["unmatched"]) == (2, 4, 1)


def test_units_and_surfaces_that_are_doubtful_are_said(folders):
    predictions, data = folders
    metres = moved(egg(), scale=0.001)
    write_face(predictions / "subject_02/indoor/a.obj", metres, marks=None)
    np.save(predictions / "subject_02/indoor/a.npy", metres.landmarks["five"])
    fin = egg()
    fin = dataclasses.replace(fin, faces=np.vstack([fin.faces, [[0, 72, 500]]]).astype(np.int32))
    write_face(predictions / "subject_1/indoor/b.obj", fin, marks="five")
    result = evaluate_micc(predictions, data, CONFIG)
    first, second, third = result.items
    assert first.warnings == ()
    assert "no manifold" in second.warnings[0]
    assert "looks like m" in third.warnings[0]
    assert result.document["metrics"]["warned"] == 2
    strict = evaluate_micc(predictions, data, CONFIG, inputs=ScanInputs(strict=True))
    assert [item.value is None for item in strict.items] == [False, True, True]
    assert "--strict" in strict.items[1].error
    assert strict.document["metrics"]["missing"] == 2


def test_a_scan_that_cannot_be_read_fails_its_own_items(folders):
    predictions, data = folders
    (data / "subject_02/Model/frontal1/scan.ply").write_text("nonsense")
    result = evaluate_micc(predictions, data, CONFIG)
    assert [item.value is None for item in result.items] == [False, False, True]
    assert "scan.ply" in result.items[2].error


def test_facewarehouse_pairs_by_path(tmp_path):
    data, predictions = tmp_path / "fw", tmp_path / "pred"
    for key in ("id1/smile", "id1/open", "id2/smile"):
        write_face(data / f"{key}.obj", face(20, 26), marks=None)
    write_face(predictions / "id1/smile.obj", face(20, 26), marks=None)
    lifted = moved(face(20, 26), scale=1.1)
    write_face(predictions / "id1/open.obj", lifted, marks=None)
    write_face(predictions / "id9/open.obj", lifted, marks=None)
    (tmp_path / "mask.txt").write_text(" ".join(str(i) for i in range(100, 200)))
    config = EstimatorConfig(crop_radius_mm=0.0, scale="none", stat="mean", correspondence="auto")
    result = evaluate_facewarehouse(
        predictions, data, config, mask=tmp_path / "mask.txt", inputs=ScanInputs()
    )
    by_name = {item.name: item for item in result.items}
    assert by_name["id1/smile"].value < 1e-3
    part = face(20, 26).vertices[100:200]
    expected = 0.1 * np.linalg.norm(part - part.mean(0), axis=1).mean()
    assert by_name["id1/open"].value == pytest.approx(expected, rel=1e-3)
    assert by_name["id1/open"].details["points"] == 100
    assert "no prediction was found: expected" in by_name["id2/smile"].error
    assert by_name["id9/open"].unmatched


def test_scans_are_found(tmp_path):
    with pytest.raises(InputError, match="expected a folder of scans"):
        find_scans(tmp_path / "none", per_folder=True)
    with pytest.raises(InputError, match="found none"):
        find_scans(tmp_path, per_folder=True)
    write_face(tmp_path / "a/sider/x.obj", face(5, 6))
    write_face(tmp_path / "a/frontal2/x.obj", face(5, 6))
    write_face(tmp_path / "b.obj", face(5, 6))
    found = find_scans(tmp_path, per_folder=True)
    assert found == {"a": tmp_path / "a/frontal2/x.obj", "b": tmp_path / "b.obj"}
    assert set(find_scans(tmp_path, per_folder=False)) == {"a/sider/x", "a/frontal2/x", "b"}


def test_command_writes_everything(folders, tmp_path, capsys):
    predictions, data = folders
    (predictions / "subject_1/indoor/b.obj").unlink()
    output = tmp_path / "report"
    arguments = ["eval", "micc", str(predictions), "--data", str(data), "--preset", "genova"]
    code = run([*arguments, "--set", "crop_radius_mm=0", "-o", str(output), "--json"])
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert code == 0
    assert document["schema"] == "facekit.eval/1"
    assert document["protocol"]["preset"] == "genova"
    assert document["protocol"]["scale"] == "global"
    assert json.loads((output / "report.json").read_text()) == document
    rows = list(csv.DictReader((output / "items.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["subject_01/indoor", "subject_02/indoor"]
    assert float(rows[0]["value"]) == pytest.approx(document["items"][0]["value"])
    for name in ("curve.png", "curve_items.png", "heat/subject_01/indoor.png"):
        picture = np.asarray(Image.open(output / name))
        assert picture.std() > 5
    assert (output / "curve.csv").is_file()
    assert captured.err.strip().endswith(f"-> {output}")


def test_command_prints_its_configuration_and_counts(folders, capsys):
    predictions, data = folders
    write_face(predictions / "subject_5/x.obj", egg(), marks="five")
    code = run(["eval", "micc", str(predictions), "--data", str(data)])
    captured = capsys.readouterr()
    assert code == 5
    assert captured.out.splitlines()[0].split() == [
        "mm", "median", "mean", "std", "count", "missing",
    ]  # fmt: skip
    assert "forehead_cut=True" in captured.out
    assert "stat=rmse" in captured.out
    assert "subject_5/x: there is no scan of this name" in captured.err
    assert "1 unmatched" in captured.err


def test_command_names_bad_input_and_scores_the_rest(folders, capsys):
    predictions, data = folders
    (predictions / "subject_1/indoor/b.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    swapped = egg(1.02).landmarks["five"][[1, 0, 2, 4, 3]]
    np.save(predictions / "subject_02/indoor/a.npy", swapped)
    arguments = ["eval", "micc", str(predictions), "--data", str(data), "--set", "icp=false"]
    arguments += ["--set", "icp_max_angle_deg=180", "--set", "icp_max_distance_mm=500"]
    assert run([*arguments, "--json"]) == 5
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["metrics"]["count"] == 2
    assert "b.obj: the mesh is empty" in captured.err
    assert "subject_02/indoor/a: its five landmarks fit the scan's only as a mirror" in captured.err
    assert run([*arguments, "--strict", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["metrics"]["count"] == 1


def test_known_models():
    from facekit.evaluate.scan_controls import known_model

    assert known_model("none", []) is None
    assert known_model("auto", []) is None
    assert known_model("builtin", []).name == "builtin"
    with pytest.raises(InputError):
        known_model("nothing.npz", [])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["{none}", "--data", "{data}"], 3),
        (["{pred}", "--data", "{none}"], 3),
        (["{pred}", "--data", "{data}", "--set", "stat=max"], 3),
        (["{pred}", "--data", "{data}", "--set", "nothing=1"], 2),
        (["{pred}", "--data", "{data}", "--preset", "mine"], 2),
        (["{pred}", "--data", "{data}", "-o", "{file}/x"], 3),
        (["{pred}", "--data", "{data}", "--embedding", "{file}"], 3),
        (["{pred}", "--data", "{data}", "--model", "{none}"], 3),
    ],
)
def test_what_cannot_start(folders, tmp_path, capsys, arguments, code):
    predictions, data = folders
    (tmp_path / "file").write_text("x")
    places = {"pred": predictions, "data": data, "none": tmp_path / "none"}
    places["file"] = tmp_path / "file"
    assert run(["eval", "micc", *[a.format(**places) for a in arguments]]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_controls_of_a_known_model(tmp_path, capsys):
    from facekit.evaluate.scan_controls import model_surface
    from facekit.morphable.registry import load_model

    model = load_model("builtin")
    identity = np.zeros(model.num_identity)
    identity[:6] = [1.5, -1, 1, -1.5, 1, 0.5]
    truth = model_surface(model, model.shape(identity))
    mean = model_surface(model)
    data, predictions = tmp_path / "data", tmp_path / "pred"
    write_face(data / "one/scan.ply", truth, marks="ibug68")
    write_face(predictions / "one.obj", mean, marks=None)
    code = run(["eval", "micc", str(predictions), "--data", str(data), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    controls = {name: row["median"] for name, row in document["controls"].items()}
    assert controls["mean_face"] == pytest.approx(document["metrics"]["median"], abs=1e-3)
    assert controls["projection"] < controls["landmark_only"] < controls["mean_face"]
    assert document["protocol"]["model"] == model.name
