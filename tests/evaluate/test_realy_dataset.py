import json

import numpy as np
import pytest
from now_twin import surface
from realy_case import UNIT, keypoints, regions, snapped
from toy import toy_model

from facekit.cli.main import run
from facekit.errors import InputError
from facekit.evaluate.embedding import embedded_points
from facekit.evaluate.micc import ScanInputs
from facekit.evaluate.realy_dataset import (
    carry_keypoints,
    open_realy,
    topology_embedding,
)
from facekit.evaluate.realy_evaluation import evaluate_realy
from facekit.geometry.alignment import align_similarity
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.io.meshes import write_mesh
from facekit.io.obj import write_obj
from facekit.types import Mesh

NO_FACES = np.zeros((0, 3), np.int32)


def embed(points, vertices, faces):
    found = closest_points(build_tree(vertices, faces), points)
    return np.column_stack([found.triangle, found.barycentric[:, :2]])


@pytest.fixture
def folders(tmp_path):
    """Two people with one shape, the second twice as large in mm; a 22 x 28 topology."""
    data, predictions = tmp_path / "REALY" / "data", tmp_path / "pred"
    vertices, faces = surface(22, 28)
    for person in (1, 2):
        for name, region in regions().items():
            write_obj(data / f"REALY_scan_region/{person}/{name}.obj",
                      Mesh(region.vertices, region.faces), decimals=8)  # fmt: skip
        write_obj(
            data / f"REALY_HIFI3D_keypoints/{person}.obj", Mesh(snapped(), NO_FACES), decimals=8
        )
    (data / "metrical_scale.txt").write_text("9.0\n18.0\n8.5\n")
    embedding = embed(snapped(), vertices / UNIT, faces)
    (data / "grid.txt").write_text(json.dumps(embedding.tolist()))
    write_mesh(data / "grid.obj", Mesh(vertices, faces))
    noise = np.random.default_rng(0).normal(scale=0.8, size=vertices.shape)
    for name in ("1", "2"):
        write_mesh(predictions / f"{name}.obj", Mesh(vertices + noise, faces))
    return predictions, data.parent


def test_errors_are_scaled_to_each_person(folders):
    predictions, data = folders
    dataset = open_realy(data)
    assert dataset.people == (1, 2)
    embedding = topology_embedding(dataset, "grid", None)
    result = evaluate_realy(predictions, dataset, embedding)
    one, two = result.items
    assert two.value == pytest.approx(2 * one.value, rel=1e-6)
    assert 0.1 < one.value < 3
    document = result.document
    assert one.value == pytest.approx(np.mean([one.details[r] for r in regions()]))
    nose = [item.details["nose"] for item in result.items]
    assert document["regions"]["nose"]["mean"] == pytest.approx(np.mean(nose))
    assert document["regions"]["nose"]["std"] == pytest.approx(np.std(nose, ddof=1))
    means = [row["mean"] for row in document["regions"].values()]
    assert document["metrics"]["mean"] == pytest.approx(np.mean(means))


def test_views_missing_and_strangers(folders):
    predictions, data = folders
    dataset = open_realy(data)
    vertices, faces = surface(22, 28)
    (predictions / "2.obj").rename(predictions / "2_left.obj")
    (predictions / "1.obj").rename(predictions / "1_left.obj")
    write_mesh(predictions / "1_right.obj", Mesh(vertices, faces))
    write_mesh(predictions / "7_left.obj", Mesh(vertices, faces))
    write_mesh(predictions / "mean.obj", Mesh(vertices, faces))
    embedding = topology_embedding(dataset, "grid", None)
    mirrored = vertices * [-1, 1, 1]
    write_mesh(predictions / "2_left.obj", Mesh(mirrored, faces))
    result = evaluate_realy(predictions, dataset, embedding)
    by_name = {item.name: item for item in result.items}
    assert list(by_name) == ["1_left", "1_right", "2_left", "2_right", "7_left", "mean"]
    assert by_name["1_right"].value < 1e-3
    assert "no prediction was found: expected" in by_name["2_right"].error
    assert by_name["7_left"].unmatched and by_name["mean"].unmatched
    assert "left and right" in by_name["2_left"].warnings[0]
    assert set(result.document["groups"]) == {"left", "right"}
    strict = evaluate_realy(predictions, dataset, embedding, inputs=ScanInputs(strict=True))
    assert {item.name for item in strict.items if item.value is not None} == {"1_left", "1_right"}


def test_bad_files_fail_their_own_items(folders):
    predictions, data = folders
    dataset = open_realy(data)
    embedding = topology_embedding(dataset, "grid", None)
    write_mesh(predictions / "1.obj", Mesh(*surface(5, 6)))
    (dataset.root / "REALY_scan_region/2/mouth.obj").unlink()
    result = evaluate_realy(predictions, dataset, embedding)
    assert "another topology" in result.items[0].error
    assert "mouth.obj" in result.items[1].error
    assert result.document["metrics"]["missing"] == 2
    assert result.document["regions"]["nose"]["mean"] is None


def test_controls_of_a_model_are_scored_in_mm(folders):
    predictions, data = folders
    model = toy_model()
    keys = np.vstack([model.landmark_points("ibug68", model.mean), np.zeros((17, 3))])
    keys[68:] = keys[27:44]
    embedding = embed(keys, model.mean.astype(float), model.faces)
    for path in predictions.glob("*.obj"):
        write_mesh(path, Mesh(model.mean, model.faces))
    result = evaluate_realy(
        predictions, open_realy(data), embedding, inputs=ScanInputs(model=model)
    )
    controls = result.document["controls"]
    assert set(controls) == {"mean_face", "landmark_only", "projection"}
    assert controls["mean_face"]["count"] == 2
    values = [item.value for item in result.items]
    assert [item.value for item in result.controls["mean_face"]] == pytest.approx(values, rel=1e-3)
    without = evaluate_realy(
        predictions, open_realy(data), embedding, inputs=ScanInputs(model=model), controls=False
    )
    assert without.document["controls"] == {}


def test_key_points_are_carried_to_any_model():
    model = toy_model()
    keys = keypoints()
    embedding = carry_keypoints(keys, model)
    found = embedded_points(embedding, model.mean.astype(float), model.faces)
    dense = model.landmark_points("ibug68", model.mean.astype(float))
    np.testing.assert_allclose(found[:68], dense, atol=1e-3)
    # The others stay between the same landmarks: near where the similarity alone takes them.
    rough = align_similarity(keys[:68], dense).apply(keys)[68:]
    assert np.linalg.norm(found[68:] - rough, axis=1).max() < 40
    off = closest_points(build_tree(model.mean, model.faces), found)
    assert np.sqrt(off.squared_distance.max()) < 1e-2


def test_what_is_no_dataset(folders, tmp_path):
    _, data = folders
    with pytest.raises(InputError, match="REALY_scan_region"):
        open_realy(tmp_path)
    dataset = open_realy(data)
    with pytest.raises(InputError, match="there are grid"):
        topology_embedding(dataset, "FLAME", None)
    with pytest.raises(InputError, match="--topology"):
        topology_embedding(dataset, "", None)
    (dataset.root / "metrical_scale.txt").write_text("1.0\n")
    with pytest.raises(InputError, match="people 1 to 1"):
        open_realy(data)
    (dataset.root / "metrical_scale.txt").unlink()
    with pytest.raises(InputError, match="a number a line"):
        open_realy(data)


def test_command(folders, tmp_path, capsys):
    predictions, data = folders
    output = tmp_path / "report"
    arguments = ["eval", "realy", str(predictions), "--data", str(data)]
    assert run([*arguments, "--topology", "grid", "--json", "-o", str(output)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"]["name"] == "realy"
    for name in ("items.csv", "curve.png", "heat/1.png"):
        assert (output / name).is_file()
    assert run([*arguments, "--topology", "grid"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[1:6]] == ["all", "nose", "mouth", "forehead", "cheek"]
    assert run(arguments) == 3
    assert "--topology" in capsys.readouterr().err
    assert run([*arguments, "--embedding", str(data / "data/metrical_scale.txt")]) == 3
