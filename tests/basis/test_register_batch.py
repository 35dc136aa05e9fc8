import csv
import json

import numpy as np
import pytest
from toy_scans import CLEAN, scan_model, toy_head, toy_scan, write_scan

from facekit.basis.register_batch import BatchOptions, register_scans
from facekit.basis.scan_files import find_scans, read_landmarks
from facekit.basis.template_model import open_template, template_of_model
from facekit.cli.main import run
from facekit.errors import InputError, ItemError
from facekit.io.ply import write_ply
from facekit.morphable.native import write_native
from facekit.types import Mesh


@pytest.fixture
def scans(tmp_path):
    """Two good persons, one with an expression, and three scans that cannot be used."""
    folder = tmp_path / "scans"
    model = scan_model()
    for name, seed in (("ann", 1), ("bob", 2)):
        write_scan(folder / name / "neutral", *toy_scan(toy_head(seed)))
    smile = toy_head(1) + 0.7 * model.expression_modes[0]
    write_scan(folder / "ann" / "jawOpen", *toy_scan(smile))
    mesh, marks = toy_scan(toy_head(3))
    write_scan(folder / "faceless", mesh, marks)
    (folder / "faceless" / "landmarks.json").unlink()
    write_scan(folder / "few", mesh, np.where(np.arange(68)[:, None] < 64, np.nan, marks))
    write_scan(folder / "few_smile" / "jawOpen", mesh, marks)
    write_scan(folder / "broken", mesh, marks)
    path = folder / "broken" / "mesh.ply"
    path.write_bytes(path.read_bytes()[:5000])
    half = Mesh(mesh.vertices, mesh.faces[(mesh.vertices[mesh.faces][:, :, 0] > 15).all(axis=1)])
    write_scan(folder / "half", half, marks)
    return folder


def register(scans, output, **options):
    model = scan_model()
    return register_scans(
        find_scans([scans]),
        output,
        template_of_model(model),
        model,
        batch=BatchOptions(pictures=False, **options),
    )


def test_good_scans_are_registered_and_bad_ones_named(scans, tmp_path):
    output = tmp_path / "REG"
    result = register(scans, output)
    assert [row.path for row in result.rows if row.accepted] == [
        "ann.npz",
        "ann/jawOpen.npz",
        "bob.npz",
    ]
    failures = json.loads((output / "failures.json").read_text())
    assert failures == result.failures
    reasons = {failure["input"].split("scans/")[1]: failure["error"] for failure in failures}
    assert "no landmarks" in reasons["faceless/mesh.ply"]
    assert "51 inner landmarks, got 4" in reasons["few/mesh.ply"]
    assert "registered neutral face" in reasons["few_smile/jawOpen/mesh.ply"]
    assert "broken/mesh.ply" in reasons
    assert "of the face has scan near it" in reasons["half/mesh.ply"]
    rows = list(csv.DictReader((output / "index.csv").read_text().splitlines()))
    assert {row["path"]: row["accepted"] for row in rows}["half.npz"] == "0"
    with np.load(output / "ann.npz") as data:
        truth = toy_head(1)
        gap = np.linalg.norm(data["vertices"] - truth, axis=1)[scan_model().regions["scan"]]
        assert (
            gap.mean() < 0.7 and bool(data["accepted"]) and data["residuals"].shape == (len(truth),)
        )
    assert open_template(output / "template.npz").sha256 == template_of_model(scan_model()).sha256


def test_running_again_does_what_is_missing(scans, tmp_path):
    output = tmp_path / "REG"
    first = register(scans, output)
    again = register(scans, output)
    assert again.rows == first.rows
    # Scans without a result are tried again; the three good ones and the half one are not.
    assert again.made == first.made - 4
    (output / "bob.npz").unlink()
    assert register(scans, output).made == again.made + 1


def test_names_of_files_and_folders(tmp_path):
    mesh, marks = toy_scan(toy_head(1))
    write_scan(tmp_path / "one", mesh, marks)
    write_scan(tmp_path / "one" / "smile", mesh, marks)
    write_ply(tmp_path / "one" / "dense.ply", mesh)
    (tmp_path / "two").mkdir()
    write_ply(tmp_path / "two" / "frown.ply", mesh)
    write_ply(tmp_path / "two.ply", mesh)
    np.save(tmp_path / "two.npy", marks)
    items = find_scans([tmp_path])
    assert [item.key for item in items] == ["one", "two", "one/smile", "two/frown"]
    assert items[1].landmarks == tmp_path / "two.npy"
    assert [item.key for item in find_scans([tmp_path / "one"])] == ["one", "one/smile"]
    assert [item.key for item in find_scans([tmp_path / "one" / "mesh.ply"])] == ["one"]
    assert [item.key for item in find_scans([tmp_path / "two.ply"])] == ["two"]
    named = find_scans([tmp_path / "two.ply"], landmarks=tmp_path / "one" / "landmarks.json")
    assert named[0].landmarks.name == "landmarks.json"
    with pytest.raises(InputError, match="is for one scan"):
        find_scans([tmp_path], landmarks=tmp_path / "x.json")
    with pytest.raises(InputError, match="there is none"):
        find_scans([tmp_path / "missing"])
    with pytest.raises(InputError, match="both of two"):
        find_scans([tmp_path / "two.ply", tmp_path / "two.ply"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        find_scans([tmp_path / "empty"])


def test_landmark_files_are_checked(tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"points": {"ibug68": [[0, 0, 0]] * 67}}))
    with pytest.raises(ItemError, match="expected 68 points, got 67"):
        read_landmarks(path)
    path.write_text("{")
    with pytest.raises(ItemError, match="cannot be read"):
        read_landmarks(path)
    np.save(tmp_path / "five.npy", np.zeros((5, 3)))
    with pytest.raises(ItemError, match="68 points of iBUG, got five"):
        read_landmarks(tmp_path / "five.npy")


def test_from_scans_to_a_model_on_the_command_line(tmp_path, capsys):
    model = write_native(scan_model(), tmp_path / "toy.npz")
    for seed in range(4):
        write_scan(tmp_path / "scans" / f"s{seed}", *toy_scan(toy_head(seed), CLEAN))
    reg, made = tmp_path / "REG", tmp_path / "made.npz"
    command = ["basis", "register", str(tmp_path / "scans"), "-o", str(reg)]
    common = ["--template", str(model), "--prior", str(model)]
    assert run([*command, *common, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["heads"]) == 4 and document["failures"] == []
    assert (reg / "s0.png").stat().st_size > 5000
    command = ["basis", "build", str(reg), "--donor", str(model), "--measures", "20"]
    assert run([*command, "-o", str(made), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["heads"] == 4 and document["expressions"] == 4
    assert document["curves"]["modes"][0] == 1 and (tmp_path / "made.measures.png").exists()
    assert run(["basis", "info", str(made), "-o", str(tmp_path / "modes.png"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["vertices"] == scan_model().num_vertices and facts["compactness"][-1] == 1.0
    assert run(["basis", "sample", str(made), "--count", "2", "-o", str(tmp_path / "heads")]) == 0
    capsys.readouterr()
    assert len(json.loads((tmp_path / "heads" / "heads.json").read_text())["heads"]) == 2
    assert run(["basis", "compare", str(model), str(made), "--heads", str(reg), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["models"]
    # The heads were drawn from the first and built into the second.
    assert scores[str(model)]["metrics"]["corresponded_mm"] < 0.2
    assert scores[str(made)]["metrics"]["corresponded_mm"] < 0.2
    assert run(["basis", "compare", str(made), "--heads", str(reg)]) == 0
    assert "corresponded_mm" in capsys.readouterr().out


def test_a_scan_without_a_face_is_exit_5(tmp_path, capsys):
    model = write_native(scan_model(), tmp_path / "toy.npz")
    mesh, marks = toy_scan(toy_head(1))
    write_scan(tmp_path / "scan", mesh, marks)
    (tmp_path / "scan" / "landmarks.json").unlink()
    command = ["basis", "register", str(tmp_path / "scan"), "-o", str(tmp_path / "REG")]
    assert run([*command, "--template", str(model), "--prior", "none"]) == 5
    assert "no face is known in this scan" in capsys.readouterr().err
    assert run(["basis", "sample", "-o", str(tmp_path / "x")]) == 2
