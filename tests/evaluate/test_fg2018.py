import json

import numpy as np
import pytest
from now_twin import landmarks, point_to_mesh, surface
from scan_case import face, moved, write_face
from scipy.spatial.transform import Rotation

from facekit.cli.main import run
from facekit.errors import InputError, ItemError
from facekit.evaluate.faces3d import FaceSurface
from facekit.evaluate.fg2018 import (
    StirlingOptions,
    evaluate_stirling,
    score_fg2018,
    score_stirling,
)
from facekit.evaluate.fg2018_data import find_stirling_scans, match_scan, read_pairs
from facekit.evaluate.now import NowPrediction, score_scan
from facekit.io.meshes import write_mesh
from facekit.types import Mesh


def fg_twin(scan, prediction):
    """The protocol written out: reflection allowed, least-squares scale, ball of 1.2."""
    target, source = scan.landmarks["now7"], prediction.landmarks["now7"]
    x, y = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    turn = u @ vt
    size = s.sum() / (x**2).sum()
    aligned = size * (prediction.vertices - source.mean(0)) @ turn + target.mean(0)
    bridge = (target[1] + target[2]) / 2
    middle = target[4] + 0.3 * (bridge - target[4])
    radius = 0.6 * (np.linalg.norm(target[0] - target[3]) + np.linalg.norm(bridge - target[4]))
    crop = np.flatnonzero(np.linalg.norm(scan.vertices - middle, axis=1) <= radius)
    return crop, point_to_mesh(scan.vertices[crop], aligned, prediction.faces)


def write_lnd(path, marks):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{i} {x} {y} {z}\n" for i, (x, y, z) in enumerate(marks)))


@pytest.fixture
def folders(tmp_path):
    data, predictions = tmp_path / "Stirling", tmp_path / "pred"
    for stem in ("F1001_N", "m1002_N", "m1002_NH"):
        write_face(data / "scans" / f"{stem}.obj", face(seed=3, noise=0.2), marks=None)
        write_lnd(data / "annotations" / f"{stem}.lnd", landmarks())
    prediction = moved(face(30, 40, seed=5, noise=0.8), scale=0.01)
    write_face(predictions / "HQ/F1001_smile.obj", prediction)
    write_face(predictions / "LQ/m1002_N/frame.obj", prediction)
    write_face(predictions / "LQ/F1001_N.obj", prediction)
    return predictions, data


@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    scan = face(24, 32, seed=seed, noise=0.4)
    prediction = face(13, 17, seed=seed + 10, noise=1.0)
    marks = {"now7": landmarks() + rng.normal(scale=1.5, size=(7, 3))}
    turn = Rotation.from_rotvec(rng.normal(size=3)).as_matrix()
    prediction = moved(
        FaceSurface(prediction.vertices, prediction.faces, marks), scale=0.2, rotation=turn,
        shift=(3, 4, 5),
    )  # fmt: skip
    found = score_fg2018(scan, prediction)
    crop, distances = fg_twin(scan, prediction)
    assert found.crop.tolist() == crop.tolist()
    np.testing.assert_allclose(found.distances, distances, atol=1e-8)


def test_a_copy_in_any_pose_is_no_error():
    scan = face(30, 40)
    turn = Rotation.from_rotvec([1, 2, 3]).as_matrix()
    assert score_fg2018(scan, moved(scan, scale=7, rotation=turn)).distances.max() < 1e-9


def test_a_known_offset_of_the_surface_is_the_error():
    # Landmarks say that nothing moved, so there is no alignment that could hide the offset.
    vertices, faces = surface(3, 3)
    flat = np.column_stack([vertices[:, :2], np.zeros(len(vertices))])
    marks = {"now7": landmarks() * [1, 1, 0] + [0, 0, 1e-3] * np.arange(7)[:, None]}
    grid = np.stack(np.meshgrid(np.arange(-60, 61, 5), np.arange(-60, 61, 5)), -1).reshape(-1, 2)
    scan = FaceSurface(np.column_stack([grid, np.zeros(len(grid))]), faces, marks)
    shifted = FaceSurface(flat + [0, 0, 2.5], faces, marks)
    result = score_fg2018(scan, shifted)
    np.testing.assert_allclose(result.distances, 2.5, atol=1e-9)
    now = score_stirling(scan, shifted, StirlingOptions("now"))
    assert now.distances.max() < 0.5
    assert len(now.crop) > len(result.crop)


def test_now_protocol_is_now():
    scan, prediction = face(24, 32), face(13, 17, seed=1, noise=1.0)
    found = score_stirling(scan, prediction, StirlingOptions("now"))
    expected = score_scan(
        scan.vertices,
        landmarks(),
        NowPrediction(prediction.vertices, prediction.faces, landmarks()),
    )
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_a_scaled_copy_counts_only_in_the_metrical_variant():
    scan = face(24, 32)
    larger = moved(scan, scale=1.1)
    free = score_stirling(scan, larger, StirlingOptions("now"))
    held = score_stirling(scan, larger, StirlingOptions("now", metrical=True))
    assert free.distances.max() < 1e-3
    assert held.distances.mean() > 0.5
    assert score_fg2018(scan, larger).distances.max() < 1e-9


def test_names_find_their_scans():
    scans = ["F1001_N", "m1002_N", "m1002_NH", "f1013_NH_2", "f1013_NH_3"]
    assert match_scan("HQ/m1002_NH", scans) == "m1002_NH"
    assert match_scan("m1002_NH/frame", scans) == "m1002_NH"
    assert match_scan("LQ/f1001_video_0003", scans) == "F1001_N"
    assert match_scan("M1002_left", scans) == "m1002_N"
    with pytest.raises(ItemError, match="several scans may be meant: f1013_NH_2, f1013_NH_3"):
        match_scan("F1013_x", scans)
    with pytest.raises(ItemError, match="no scan"):
        match_scan("HQ/x", scans)


def test_evaluation_groups_and_counts(folders):
    predictions, data = folders
    write_face(predictions / "HQ/stranger.obj", face(10, 12))
    result = evaluate_stirling(predictions, data)
    names = [item.name for item in result.items]
    assert names == [
        "HQ/F1001_smile", "LQ/F1001_N", "LQ/m1002_N/frame", "m1002_NH", "HQ/stranger",
    ]  # fmt: skip
    metrics = result.document["metrics"]
    assert (metrics["count"], metrics["missing"], metrics["unmatched"]) == (3, 1, 1)
    assert set(result.document["groups"]) == {"HQ", "LQ"}
    values = [item.details["rmse"] for item in result.items[:3]]
    assert metrics["mean"] == pytest.approx(np.mean(values))
    pooled = evaluate_stirling(predictions, data, StirlingOptions("now"))
    everything = np.concatenate([i.distances for i in pooled.items if i.distances is not None])
    assert pooled.document["metrics"]["mean"] == pytest.approx(everything.mean())
    assert pooled.document["metrics"]["median"] == pytest.approx(np.median(everything))
    assert pooled.document["metrics"]["unmatched"] == 1


def test_a_list_decides(folders, tmp_path):
    predictions, data = folders
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("HQ/F1001_smile, m1002_NH\nHQ/none m1002_N\n\nLQ/F1001_N nobody\n")
    result = evaluate_stirling(predictions, data, pairs=pairs)
    errors = {item.name: item.error for item in result.items}
    assert errors["HQ/F1001_smile"] is None
    assert "no prediction was found: expected" in errors["HQ/none"]
    assert "nobody" in errors["LQ/F1001_N"]
    for text in ("", "one\n", "a b c\n"):
        pairs.write_text(text)
        with pytest.raises(InputError):
            read_pairs(pairs)


def test_bad_input_is_named(folders):
    predictions, data = folders
    np.save(predictions / "HQ/F1001_smile.npy", landmarks()[:6])
    swapped = 0.01 * landmarks()[[3, 2, 1, 0, 4, 6, 5]]
    np.save(predictions / "LQ/F1001_N.npy", swapped)
    (data / "annotations/m1002_N.lnd").unlink()
    result = evaluate_stirling(predictions, data)
    by_name = {item.name: item for item in result.items}
    assert "got 6" in by_name["HQ/F1001_smile"].error
    texts = by_name["LQ/F1001_N"].warnings
    assert any("left and right" in text for text in texts)
    assert any("looks like" in text for text in texts)
    assert "landmarks now7 are needed" in by_name["LQ/m1002_N/frame"].error


def test_scans(tmp_path):
    with pytest.raises(InputError, match="Stirling"):
        find_stirling_scans(tmp_path / "none")
    with pytest.raises(InputError, match="found none"):
        find_stirling_scans(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_mesh(tmp_path / folder / "x.obj", Mesh(*surface(3, 3)))
    with pytest.raises(InputError, match="second scan"):
        find_stirling_scans(tmp_path)
    with pytest.raises(InputError, match="protocol"):
        StirlingOptions("icp")
    with pytest.raises(InputError, match="metrical"):
        StirlingOptions("fg2018", metrical=True)


def test_command(folders, tmp_path, capsys):
    predictions, data = folders
    (data / "scans/m1002_NH.obj").unlink()
    output = tmp_path / "report"
    arguments = ["eval", "fg2018", str(predictions), "--data", str(data)]
    assert run([*arguments, "--unit", "m", "--json", "-o", str(output)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"]["crop_factor"] == 1.2
    rows = (output / "distances/HQ/F1001_smile_distances.txt").read_text().splitlines()
    item = next(i for i in document["items"] if i["name"] == "HQ/F1001_smile")
    assert len(rows) == item["points"]
    values = np.array([float(row.split()[1]) for row in rows])
    assert np.sqrt((values**2).mean()) == pytest.approx(item["rmse"], abs=1e-5)
    assert (output / "heat/LQ/m1002_N/frame.png").is_file()
    assert run([*arguments, "--protocol", "now"]) == 0
    assert "protocol=now" in capsys.readouterr().out
    assert run([*arguments, "--metrical"]) == 2
    assert run([*arguments, "--protocol", "icp"]) == 2
    assert run([*arguments, "--list", str(tmp_path / "none")]) == 3
