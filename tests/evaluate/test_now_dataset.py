import json

import numpy as np
import pytest
from now_twin import small_case

from facekit.errors import InputError, ItemError
from facekit.evaluate.now import NowOptions, NowPrediction, score_scan
from facekit.evaluate.now_dataset import (
    NowImage,
    find_prediction,
    open_dataset,
    read_scan,
    strangers,
)
from facekit.evaluate.now_evaluation import NowRun, evaluate_now
from facekit.io.gltf import SplitMesh, write_glb
from facekit.io.meshes import write_mesh
from facekit.types import Mesh


def write_pp(path, points):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f'<point x="{x}" y="{y}" z="{z}"/>' for x, y, z in points)
    path.write_text(f"<PickedPoints>{rows}</PickedPoints>")


@pytest.fixture(scope="module")
def now_folders(tmp_path_factory):
    """Two subjects, five images: an OBJ, a PLY, a fit's folder, a broken and a missing one."""
    root = tmp_path_factory.mktemp("now")
    data, predictions = root / "data", root / "predictions"
    cases = {}
    for seed, subject in enumerate(("A", "B")):
        case = cases[subject] = small_case(seed)
        (data / "scans" / subject).mkdir(parents=True)
        write_mesh(data / "scans" / subject / "scan.obj", Mesh(case[0], case[1]))
        write_pp(data / "scans_lmks_onlypp" / subject / "scan.pp", case[2])
    lines = [
        "iphone/A/selfie/one.jpg",
        "iphone/B/selfie/two.jpg",
        "iphone/A/multiview_neutral/three.jpg",
        "iphone/B/multiview_neutral/broken.jpg",
        "iphone/A/selfie/missing.jpg",
    ]
    (data / "imagepathsvalidation.txt").write_text("\n".join(lines) + "\n\n")

    def mesh(subject):
        return Mesh(cases[subject][3], cases[subject][4])

    for folder in ("A/selfie", "B/selfie", "A/multiview_neutral", "B/multiview_neutral"):
        (predictions / folder).mkdir(parents=True)
    write_mesh(predictions / "A/selfie/one.obj", mesh("A"))
    np.save(predictions / "A/selfie/one.npy", cases["A"][5][None])
    write_mesh(predictions / "B/selfie/two.ply", mesh("B"))
    np.savetxt(predictions / "B/selfie/two.txt", cases["B"][5])
    fitted = predictions / "A/multiview_neutral/three"
    fitted.mkdir()
    write_mesh(fitted / "neutral.obj", mesh("A"))
    np.savez(
        fitted / "params.npz",
        now7=cases["A"][5].astype(np.float32),
        meta=np.array(json.dumps({"schema": "facekit.params/1"})),
    )
    (predictions / "B/multiview_neutral/broken.obj").write_text("no mesh\n")
    return data, predictions, cases


def test_every_layout_is_found_and_scored_like_the_arrays(now_folders):
    data, predictions, cases = now_folders
    seen = []
    result = evaluate_now(
        predictions, open_dataset(data), progress=lambda done, total: seen.append((done, total))
    )
    scored = [item.distances is not None for item in result.items]
    assert scored == [True, True, True, False, False]
    for item, subject in zip(result.items, "ABA", strict=False):
        scan, _, marks, vertices, faces, points = cases[subject]
        expected = score_scan(scan, marks, NowPrediction(vertices, faces, points))
        np.testing.assert_allclose(item.distances, expected.distances, atol=2e-3)
        assert item.distances.dtype == np.float32
    metrics = result.document["metrics"]
    pooled = np.concatenate([i.distances for i in result.items[:3]])
    assert metrics["median"] == pytest.approx(np.median(pooled))
    assert (metrics["count"], metrics["missing"]) == (3, 2)
    assert [i["image"] for i in result.document["items"]][4].endswith("missing.jpg")
    assert "no prediction" in result.document["items"][4]["error"]
    assert "broken.obj" in result.document["items"][3]["error"]
    assert list(result.document["groups"]) == ["selfie", "multiview_neutral"]
    assert seen[-1] == (5, 5)
    json.dumps(result.document, allow_nan=False)


def test_other_formats_and_units_score_alike(now_folders, tmp_path):
    """Predictions in metres as PLY, glTF, npz, coloured OBJ, and a fit's folder written in m."""
    data, _, cases = now_folders
    _, _, _, vertices, faces, points = cases["A"]
    folder = tmp_path / "A/selfie"
    folder.mkdir(parents=True)
    small = 0.001 * vertices
    write_mesh(folder / "a.ply", Mesh(small, faces))
    np.save(folder / "a.npy", 0.001 * points)
    np.savez(folder / "b.npz", vertices=small, faces=faces, now7=0.001 * points)
    rows = [f"v {x} {y} {z} 0.1 0.5 0.9\n" for x, y, z in small]
    rows += [f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in faces]
    (folder / "c.obj").write_text("".join(rows))
    (folder / "c.json").write_text(json.dumps((0.001 * points).tolist()))
    (folder / "d").mkdir()
    write_mesh(folder / "d/neutral.obj", Mesh(vertices, faces), unit="m")
    meta = np.array(json.dumps({"schema": "facekit.params/1"}))
    np.savez(folder / "d/params.npz", now7=points, meta=meta)
    write_glb(folder / "e.glb", vertices, SplitMesh(Mesh(vertices, faces)))
    np.savetxt(folder / "e.txt", 0.001 * points)
    names = "abcde"
    (tmp_path / "imagepathstest.txt").write_text("".join(f"A/selfie/{n}.jpg\n" for n in names))
    for kind in ("scans", "scans_lmks_onlypp"):
        (tmp_path / kind).symlink_to(data / kind)
    options = NowOptions(metrical=True, unit="m")
    result = evaluate_now(tmp_path, open_dataset(tmp_path), options=options)
    found = [item.details.get("mean", item.details.get("error")) for item in result.items]
    # OBJ in metres keeps hundredths of a mm.
    np.testing.assert_allclose(found, found[0], rtol=3e-3)
    assert not any("warnings" in item.details for item in result.items)
    with pytest.raises(InputError, match="um, in"):
        NowOptions(unit="km")


def test_a_missing_scan_ends_its_own_items_only(now_folders, tmp_path):
    data, predictions, _ = now_folders
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/A").symlink_to(data / "scans/A")
    (tmp_path / "scans_lmks_onlypp").symlink_to(data / "scans_lmks_onlypp")
    (tmp_path / "imagepathsvalidation.txt").write_text(
        (data / "imagepathsvalidation.txt").read_text()
    )
    result = evaluate_now(predictions, open_dataset(tmp_path))
    missing = [item.details.get("error", "")[:5] for item in result.items]
    assert missing == ["", "scan:", "", "scan:", "no pr"]
    assert result.document["metrics"]["count"] == 2
    (tmp_path / "scans/A").unlink()
    with pytest.raises(InputError, match=r"scans/A: expected a file \*\.obj"):
        evaluate_now(predictions, open_dataset(tmp_path))


def test_predictions_of_no_image_are_told_apart(now_folders, tmp_path):
    """Those of the data's other list are no fault; those of none are."""
    data, predictions, _ = now_folders
    (tmp_path / "imagepathsvalidation.txt").write_text("A/selfie/one.jpg\n")
    (tmp_path / "imagepathstest.txt").write_text("B/selfie/two.jpg\nB/x/y.jpg\n")
    other, none = strangers(predictions, open_dataset(tmp_path))
    assert other == ["B/selfie/two"]
    assert none == ["A/multiview_neutral/three", "B/multiview_neutral/broken"]
    assert strangers(tmp_path / "nothing", open_dataset(tmp_path)) == ([], [])
    for kind in ("scans", "scans_lmks_onlypp"):
        (tmp_path / kind).symlink_to(data / kind)
    items = evaluate_now(predictions, open_dataset(tmp_path)).as_scans().items
    assert [item.unmatched for item in items] == [False, True, True]


def test_bad_predictions_are_named_and_the_rest_scored(now_folders, tmp_path):
    data, _, cases = now_folders
    _, _, _, vertices, faces, points = cases["A"]
    folder = tmp_path / "A/selfie"
    folder.mkdir(parents=True)

    def put(name, v=vertices, f=faces, p=points):
        write_mesh(folder / f"{name}.ply", Mesh(v, f))
        np.save(folder / f"{name}.npy", p)

    put("good")
    put("order", p=points[[4, 1, 6, 3, 0, 5, 2]])
    put("few", p=points[:5])
    put("empty", f=faces[:0])
    put("fan", f=np.vstack([faces, [[0, 1, 100], [0, 1, 101]]]).astype(np.int32))
    put("metres", v=vertices / 1000, p=points / 1000)
    broken = vertices.copy()
    broken[5] = np.nan
    np.savez(folder / "nan.npz", vertices=broken, faces=faces, now7=points)
    put("point", v=np.ones_like(vertices))
    text = (folder / "good.ply").read_bytes()
    (folder / "cut.ply").write_bytes(text[: len(text) // 2])
    np.save(folder / "cut.npy", points)
    expected = {
        "good": "", "order": "another order", "few": "(7, 3)", "empty": "no faces|with faces",
        "point": f"{folder}/point.ply: the mesh is empty: all its vertices are equal",
        "cut": f"{folder}/cut.ply: ", "nan": "vertex 5 is not finite", "fan": "no manifold",
        "metres": "looks like m",
    }  # fmt: skip
    lines = "".join(f"A/selfie/{name}.jpg\n" for name in expected)
    (tmp_path / "imagepathstest.txt").write_text(lines)
    for kind in ("scans", "scans_lmks_onlypp"):
        (tmp_path / kind).symlink_to(data / kind)
    dataset = open_dataset(tmp_path)
    plain = evaluate_now(tmp_path, dataset)
    scored = {"good", "fan", "metres"}
    for item, (name, text) in zip(plain.items, expected.items(), strict=True):
        assert (item.distances is not None) == (name in scored), name
        said = item.details.get("error", " ".join(item.details.get("warnings", [])))
        assert any(part in said for part in text.split("|")), (name, said)
    strict = evaluate_now(tmp_path, dataset, run=NowRun(strict=True))
    assert [item.distances is not None for item in strict.items] == [True] + 8 * [False]
    assert "--strict" in strict.items[-1].details["error"]
    quirks = evaluate_now(tmp_path, dataset, options=NowOptions(reference_quirks=True))
    assert quirks.items[1].distances is not None
    assert "another order" in quirks.items[1].details["warnings"][0]


def test_options_reach_the_score(now_folders):
    data, predictions, _ = now_folders
    options = NowOptions(metrical=True, reference_quirks=True)
    result = evaluate_now(predictions, open_dataset(data), options=options)
    plain = evaluate_now(predictions, open_dataset(data))
    assert result.document["protocol"]["metrical"] is True
    assert result.document["metrics"]["median"] > 1.1 * plain.document["metrics"]["median"]


def test_nothing_predicted_gives_no_numbers(now_folders, tmp_path):
    result = evaluate_now(tmp_path, open_dataset(now_folders[0]))
    assert result.document["metrics"]["median"] is None
    assert result.document["metrics"]["missing"] == 5


def test_list_may_lie_in_a_folder_dataset_and_have_backslashes(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "imagepathstest.txt").write_text("x\\S\\selfie\\a b.jpg\n")
    dataset = open_dataset(tmp_path)
    assert dataset.split == "test"
    assert dataset.images[0][1:] == ("S", "selfie", "a b.jpg")


def test_validation_comes_first_unless_asked(tmp_path):
    for name in ("test", "validation"):
        (tmp_path / f"imagepaths{name}.txt").write_text(f"S/selfie/{name}.jpg")
    assert open_dataset(tmp_path).split == "validation"
    assert open_dataset(tmp_path, split="test").images[0].file == "test.jpg"


def test_dataset_rejections(tmp_path):
    with pytest.raises(InputError, match="found none"):
        open_dataset(tmp_path / "none")
    with pytest.raises(InputError, match="imagepathsvalidation"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="split"):
        open_dataset(tmp_path, split="train")
    path = tmp_path / "imagepathstest.txt"
    path.write_text("a.jpg\n")
    with pytest.raises(InputError, match="line 1"):
        open_dataset(tmp_path)
    path.write_text("\n")
    with pytest.raises(InputError, match="found none"):
        open_dataset(tmp_path)
    path.write_text("S/selfie/a.jpg\n")
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match="folder of predictions"):
        evaluate_now(tmp_path / "none", dataset)
    with pytest.raises(InputError, match=r"\*\.obj"):
        evaluate_now(tmp_path, dataset)


def test_scan_needs_seven_landmarks(tmp_path):
    (tmp_path / "imagepathstest.txt").write_text("S/selfie/a.jpg\n")
    (tmp_path / "scans" / "S").mkdir(parents=True)
    write_mesh(tmp_path / "scans/S/x.obj", Mesh(np.eye(3), np.array([[0, 1, 2]])))
    write_pp(tmp_path / "scans_lmks_onlypp/S/x.pp", np.zeros((6, 3)))
    with pytest.raises(InputError, match="7 landmarks, got 6"):
        read_scan(open_dataset(tmp_path), "S")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no landmarks"), ("1 2 3\n", r"\(7, 3\)"), ("", r"\(7, 3\)"), ("a b c", "read")],
)
def test_unusable_prediction_landmarks(tmp_path, content, message):
    folder = tmp_path / "S" / "selfie"
    folder.mkdir(parents=True)
    write_mesh(folder / "a.obj", Mesh(np.eye(3), np.array([[0, 1, 2]])))
    if content is not None:
        (folder / "a.txt").write_text(content)
    with pytest.raises(ItemError, match=message):
        find_prediction(tmp_path, NowImage("S/selfie/a.jpg", "S", "selfie", "a.jpg"))
