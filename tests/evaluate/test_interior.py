import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from now_twin import landmarks, surface
from scan_case import face, write_face

from facekit.evaluate.estimator import PRESETS
from facekit.evaluate.faces3d import FaceSurface
from facekit.evaluate.fg2018 import evaluate_stirling
from facekit.evaluate.interior import WARN_SHARE, interior_points, interior_warnings
from facekit.evaluate.micc import evaluate_micc
from facekit.evaluate.now import NowPrediction, crop_scan, score_scan

OUT = np.array([0, 0, 1.0])


def with_cavity(share):
    """A face with an open bag of skin 25 mm behind the mouth, ``share`` of the cropped points."""
    vertices, faces = surface(80, 108)
    crop = crop_scan(vertices, landmarks())
    count = round(share * len(crop) / (1 - share))
    side = int(np.ceil(np.sqrt(count)))
    y, x = np.divmod(np.arange(side * side), side)
    bag = np.column_stack([x / side * 30 - 15, y / side * 16 - 50, np.full(side * side, 40.0)])
    first = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    triangles = np.concatenate(
        [
            np.stack([first, first + 1, first + side], 1),
            np.stack([first + 1, first + side + 1, first + side], 1),
        ]
    )
    return np.concatenate([vertices, bag]), np.concatenate([faces, triangles + len(vertices)])


def test_a_plain_face_has_no_inner_points():
    item = face(80, 108, seed=0, noise=0.3)
    crop = crop_scan(item.vertices, item.landmarks["now7"])
    assert interior_points(item.vertices, item.faces, crop, outwards=OUT).share == 0
    assert interior_warnings(item.vertices, item.faces, crop, outwards=OUT) == ()
    flipped = item.faces[:, ::-1]
    assert interior_points(item.vertices, flipped, crop, outwards=OUT).share == 0


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_the_share_behind_the_skin_is_found_and_named(share):
    vertices, faces = with_cavity(share)
    crop = crop_scan(vertices, landmarks())
    found = interior_points(vertices, faces, crop, outwards=OUT, most=len(crop))
    true = float((crop >= 80 * 108).mean())
    assert found.share == pytest.approx(true, abs=0.001)
    assert (found.points[:, 2] == 40).all()
    some = interior_points(vertices, faces, crop, outwards=OUT)
    assert some.share == pytest.approx(true, rel=0.35)
    assert some.checked <= 1500
    (warning,) = interior_warnings(vertices, faces, crop, outwards=OUT)
    assert f"{100 * some.share:.1f} % of its scored points" in warning


def test_why_it_matters():
    vertices, _ = with_cavity(0.02)
    plain, plain_faces = surface(80, 108)
    prediction = NowPrediction(plain, plain_faces, landmarks())
    clean = score_scan(plain + [0, 0, 0.3], landmarks() + [0, 0, 0.3], prediction)
    dirty = score_scan(vertices + [0, 0, 0.3], landmarks() + [0, 0, 0.3], prediction)
    assert dirty.distances.mean() > 3 * max(clean.distances.mean(), 0.1)


def test_degenerate_input_has_no_share():
    vertices, faces = surface(9, 9)
    assert interior_points(vertices, faces, np.zeros(0, int), outwards=OUT).share == 0
    assert interior_points(vertices, np.zeros((0, 3), int), np.arange(5), outwards=OUT).share == 0


DATA = Path(os.environ.get("FACEKIT_TEST_DATA", "")) / "foreign_heads.npz"


@pytest.mark.skipif(
    "FACEKIT_TEST_DATA" not in os.environ or not DATA.is_file(),
    reason="FACEKIT_TEST_DATA names no folder with foreign_heads.npz",
)
@pytest.mark.parametrize("kind", ["neutral", "expressed"])
def test_real_heads_with_and_without_their_inner_surfaces(kind):
    from facekit.evaluate.estimator import face_axes

    with np.load(DATA) as data:
        outer, skin = data["scan_faces"], data["skin_faces"]
        for head in range(0, 200, 40):
            vertices = data[kind][head] * float(data["quantum_mm"])
            corners = vertices[data["landmark_vertices"]]
            marks = np.einsum("nk,nkd->nd", data["landmark_weights"], corners)[data["now7_rows"]]
            item = FaceSurface(vertices, skin, {"now7": marks})
            crop = crop_scan(vertices, marks)
            shares = [
                interior_points(
                    vertices, f, crop[np.isin(crop, f)], outwards=face_axes(item)[1]
                ).share
                for f in (outer, skin)
            ]
            assert shares[0] < WARN_SHARE < 0.2 < shares[1]


def test_benchmarks_warn_of_it(tmp_path):
    vertices, faces = with_cavity(0.1)
    plain = face(80, 108)
    bad = FaceSurface(vertices, faces.astype(np.int32), plain.landmarks)
    write_face(tmp_path / "data/s/frontal1.obj", bad, marks="five")
    write_face(tmp_path / "out/s.obj", plain, marks="five")
    result = evaluate_micc(tmp_path / "out", tmp_path / "data", PRESETS["deep3d"])
    (item,) = result.items
    assert item.value is not None
    assert any("scan: " in w and "behind the skin" in w for w in item.warnings)
    write_face(tmp_path / "data/s/frontal1.obj", plain, marks="five")
    write_face(tmp_path / "out/s.obj", bad, marks="five")
    one_way = evaluate_micc(tmp_path / "out", tmp_path / "data", PRESETS["deep3d"])
    assert one_way.items[0].warnings == ()
    both = replace(PRESETS["deep3d"], direction="symmetric")
    (item,) = evaluate_micc(tmp_path / "out", tmp_path / "data", both).items
    assert any("behind the skin" in w and "scan: " not in w for w in item.warnings)


def test_the_challenges_scans_are_looked_through(tmp_path):
    vertices, faces = with_cavity(0.1)
    plain = face(80, 108)
    bad = FaceSurface(vertices, faces.astype(np.int32), plain.landmarks)
    write_face(tmp_path / "data/F1_N.obj", bad, marks="now7")
    write_face(tmp_path / "out/F1_N.obj", plain, marks="now7")
    (item,) = evaluate_stirling(tmp_path / "out", tmp_path / "data").items
    assert any("behind the skin" in w for w in item.warnings)
    assert item.person == "F1_N"
