import json

import numpy as np
import pytest
from scan_case import face, moved, write_face
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from toy import frontal_landmarks

from facekit.cli.main import run
from facekit.errors import InputError, ItemError
from facekit.evaluate.aflw2000 import (
    _MIRROR,
    BINS,
    AflwOptions,
    bin_of,
    bin_summary,
    box_size,
    evaluate_aflw,
    point_errors,
)
from facekit.evaluate.aflw2000_data import AflwPredictions, AflwTruth, read_aflw
from facekit.io.landmark_files import write_landmarks
from facekit.types import DetectedFace

YAWS = np.array([0.0, 30.0, -30.01, 60.0, 61.0, -89.0, 10.0])
NAMES = tuple(f"image{i:05d}" for i in range(len(YAWS)))


def face_points(seed):
    rng = np.random.default_rng(seed)
    xy = frontal_landmarks() * [1, -1] * rng.uniform(0.8, 1.2) + 225
    return np.column_stack([xy, rng.normal(scale=20, size=68)])


POINTS = np.stack([face_points(i) for i in range(len(YAWS))])


def truth(**points):
    roi = np.tile([105.0, 85, 345, 385], (len(YAWS), 1))
    return AflwTruth(NAMES, {"original": POINTS, **points}, YAWS, roi)


def nme_twin(predicted, expected, yaws):
    """The protocol in loops."""
    bins, values = {"0-30": [], "30-60": [], "60-90": []}, []
    for p, g, yaw in zip(predicted, expected, yaws, strict=True):
        w, h = max(g[:, 0]) - min(g[:, 0]), max(g[:, 1]) - min(g[:, 1])
        total = 0.0
        for k in range(68):
            total += ((p[k, 0] - g[k, 0]) ** 2 + (p[k, 1] - g[k, 1]) ** 2) ** 0.5
        value = 100 * total / 68 / (w * h) ** 0.5
        values.append(value)
        name = "0-30" if abs(yaw) <= 30 else "30-60" if abs(yaw) <= 60 else "60-90"
        bins[name].append(value)
    means = [sum(v) / len(v) for v in bins.values()]
    return values, means, sum(means) / 3


def save(path, table):
    np.save(path, table)
    return path


def test_agrees_with_the_slow_twin(tmp_path):
    noisy = POINTS + np.random.default_rng(9).normal(scale=4, size=POINTS.shape)
    result = evaluate_aflw(save(tmp_path / "p.npy", noisy.transpose(0, 2, 1)), truth())
    values, means, overall = nme_twin(noisy, POINTS, YAWS)
    np.testing.assert_allclose([item.value for item in result.items], values, rtol=1e-12)
    document = result.document
    assert document["metrics"]["mean"] == pytest.approx(overall)
    assert document["metrics"]["std"] == pytest.approx(np.std(means))
    assert document["metrics"]["mean_of_all"] == pytest.approx(np.mean(values))
    for name, mean in zip(BINS, means, strict=True):
        assert document["bins"][name]["mean"] == pytest.approx(mean)
        assert document["groups"][name]["mean"] == pytest.approx(mean)
    assert document["images"] == {"0-30": 3, "30-60": 2, "60-90": 2}


def test_a_known_offset_is_a_known_error(tmp_path):
    shifted = POINTS + [3.0, 4.0, 100.0]
    result = evaluate_aflw(save(tmp_path / "p.npy", shifted), truth())
    expected = [100 * 5 / box_size(p) for p in POINTS]
    np.testing.assert_allclose([item.value for item in result.items], expected)
    # Depth begins anywhere, so a shift of all z is none.
    deep = evaluate_aflw(tmp_path / "p.npy", truth(), AflwOptions(variant="3d"))
    np.testing.assert_allclose([item.value for item in deep.items], expected)
    back = evaluate_aflw(
        save(tmp_path / "q.npy", POINTS - [1, 1, 0]), truth(), AflwOptions(offset_px=1.0)
    )
    assert max(item.value for item in back.items) < 1e-9


def test_a_scaled_copy_is_off_by_its_growth_and_mirrored_points_warn(tmp_path):
    """Nothing is free in image space: 1.1 times as large about its middle is a known error."""
    middle = POINTS[..., :2].mean(axis=1, keepdims=True)
    larger = middle + 1.1 * (POINTS[..., :2] - middle)
    result = evaluate_aflw(save(tmp_path / "p.npy", larger), truth())
    arms = np.linalg.norm(POINTS[..., :2] - middle, axis=2).mean(axis=1)
    sizes = [np.sqrt(np.prod(np.ptp(points[:, :2], axis=0))) for points in POINTS]
    np.testing.assert_allclose([item.value for item in result.items], 10 * arms / sizes)
    assert not any(item.warnings for item in result.items)
    mirrored = POINTS[:, list(_MIRROR)]
    result = evaluate_aflw(save(tmp_path / "q.npy", mirrored), truth())
    assert all("left and right" in item.warnings[0] for item in result.items)


def test_depth_counts_in_3d():
    a = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, 0.0]])
    b = a + [[0, 0, 2], [0, 0, -2], [0, 0, 2], [0, 0, -2]]
    assert box_size(a) == 10
    np.testing.assert_allclose(point_errors(b, a, 10.0, depth=True), 20)
    np.testing.assert_allclose(point_errors(b, a, 10.0), 0)
    with pytest.raises(ItemError, match="the prediction has x and y only"):
        point_errors(b[:, :2], a, 10.0, depth=True)
    with pytest.raises(InputError, match="no area"):
        box_size(a * [1, 0, 1])


def test_crops_are_mapped_back(tmp_path):
    crops = POINTS.copy()
    crops[..., 0] = (crops[..., 0] - 105) * 120 / 240
    crops[..., 1] = (crops[..., 1] - 85) * 120 / 300
    path = save(tmp_path / "p.npy", crops)
    result = evaluate_aflw(path, truth(), AflwOptions(crop=True))
    assert max(item.value for item in result.items) < 1e-9
    plain = evaluate_aflw(path, truth())
    assert any("--crop" in text for text in plain.items[0].warnings)
    with pytest.raises(InputError, match="roi_box"):
        bare = AflwTruth(NAMES, {"original": POINTS}, YAWS)
        evaluate_aflw(path, bare, AflwOptions(crop=True))


def test_two_truths(tmp_path):
    other = POINTS[..., :2] + 5
    path = save(tmp_path / "p.npy", POINTS)
    result = evaluate_aflw(path, truth(reannotated=other), AflwOptions(truth="reannotated"))
    assert result.items[0].value == pytest.approx(100 * np.sqrt(50) / box_size(POINTS[0]))
    with pytest.raises(InputError, match="no reannotated truth"):
        evaluate_aflw(path, truth(), AflwOptions(truth="reannotated"))
    deep = evaluate_aflw(
        path, truth(reannotated=other), AflwOptions(truth="reannotated", variant="3d")
    )
    assert deep.items[0].error.endswith("but the truth has x and y only")


def test_bins_and_their_borders():
    assert [bin_of(yaw) for yaw in YAWS] == [
        "0-30", "0-30", "30-60", "30-60", "60-90", "60-90", "0-30",
    ]  # fmt: skip
    result = bin_summary(np.array([1.0, 3.0, 8.0]), ["0-30", "0-30", "60-90"])
    assert (result["mean"], result["std"]) == (5.0, 3.0)
    assert result["bins"]["0-30"] == {"mean": 2.0, "std": 1.0, "count": 2}
    assert result["bins"]["30-60"] is None
    assert bin_summary(np.zeros(0), [])["mean"] is None


def test_swapped_and_foreign_points_are_said(tmp_path):
    assert sorted(_MIRROR) == list(range(68))
    flipped = frontal_landmarks()[list(_MIRROR)] * [-1, 1]
    np.testing.assert_allclose(flipped, frontal_landmarks(), atol=1e-9)
    table = POINTS.copy()
    table[0] = table[0][list(_MIRROR)]
    table[1] = table[1] / 450
    table[2] = table[2][::-1]
    result = evaluate_aflw(save(tmp_path / "p.npy", table), truth())
    texts = [item.warnings[0] if item.warnings else "" for item in result.items]
    assert "left and right are swapped" in texts[0]
    assert "between 0 and 1" in texts[1]
    assert "order" in texts[2]
    assert texts[3:] == [""] * 4
    strict = evaluate_aflw(tmp_path / "p.npy", truth(), strict=True)
    assert strict.document["metrics"]["missing"] == 3


def test_predictions_in_every_layout(tmp_path):
    two = POINTS[..., :2]
    found = DetectedFace(np.array([0, 0, 10, 10.0]), 1.0, ibug68=two[0])
    write_landmarks(tmp_path / "image00000.json", [found], image="x", width=450, height=450)
    np.savez(tmp_path / "image00001.npz", landmarks_2d=two[1])
    np.save(tmp_path / "image00002.npy", POINTS[2].T)
    np.savetxt(tmp_path / "image00003.txt", POINTS[3])
    (tmp_path / "image00004").mkdir()
    np.savez(tmp_path / "image00004/params.npz", landmarks_2d=two[4])
    write_landmarks(tmp_path / "image00005.json", [], image="x", width=450, height=450)
    np.savetxt(tmp_path / "image99999.txt", POINTS[3])
    result = evaluate_aflw(tmp_path, truth())
    values = [item.value for item in result.items]
    assert max(values[:5]) < 0.01
    assert "no face with 68" in result.items[5].error
    assert "no prediction was found: expected" in result.items[6].error
    assert result.items[7].unmatched
    assert result.document["metrics"]["missing"] == 2


def test_predictions_that_are_none(tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    with pytest.raises(InputError, match="found none"):
        AflwPredictions(bad, NAMES)
    with pytest.raises(InputError, match="found none"):
        AflwPredictions(tmp_path / "none", NAMES)
    with pytest.raises(InputError, match="7 predictions, got 3"):
        AflwPredictions(save(tmp_path / "p.npy", POINTS[:3]), NAMES)
    with pytest.raises(InputError, match="shape"):
        AflwPredictions(save(tmp_path / "p.npy", POINTS[:, :60]), NAMES)
    table = POINTS[0].copy()
    table[7, 1] = np.nan
    np.save(bad / "image00000.npy", table)
    np.save(bad / "image00001.npy", POINTS[0][:67])
    (bad / "image00002.pts").write_text("nonsense")
    saved = AflwPredictions(bad, NAMES)
    for name, text in zip(NAMES, ("point 7 is not finite", "expected 68", "image00002"),
                          strict=False):  # fmt: skip
        with pytest.raises(ItemError, match=text):
            saved.points(name)


def write_mats(folder):
    folder.mkdir(parents=True)
    for name, points, yaw in zip(NAMES, POINTS, YAWS, strict=True):
        pose = np.array([[0.1, np.radians(yaw), 0.2, 0, 0, 0, 1]])
        savemat(folder / f"{name}.mat", {"pt3d_68": points.T, "Pose_Para": pose})


def test_both_layouts_of_the_truth(tmp_path):
    write_mats(tmp_path / "a")
    mats = read_aflw(tmp_path / "a")
    assert mats.names == NAMES
    np.testing.assert_allclose(mats.points["original"], POINTS)
    np.testing.assert_allclose(mats.yaw_deg, YAWS)
    folder = tmp_path / "b/test.configs"
    folder.mkdir(parents=True)
    np.save(folder / "AFLW2000-3D.pts68.npy", POINTS.transpose(0, 2, 1))
    np.save(folder / "AFLW2000-3D-Reannotated.pts68.npy", POINTS[..., :2].transpose(0, 2, 1))
    np.save(folder / "AFLW2000-3D.pose.npy", YAWS)
    np.save(folder / "AFLW2000-3D_crop.roi_box.npy", np.ones((7, 4)))
    arrays = read_aflw(tmp_path / "b")
    assert arrays.names == tuple("0123456")
    np.testing.assert_allclose(arrays.points["original"], POINTS)
    assert arrays.points["reannotated"].shape == (7, 68, 2)
    (folder / "all.list").write_text("".join(f"{name}.jpg\n" for name in NAMES))
    assert read_aflw(tmp_path / "b").names == NAMES
    (folder / "all.list").write_text("one.jpg\n")
    with pytest.raises(InputError, match="list of 7"):
        read_aflw(tmp_path / "b")
    (folder / "all.list").unlink()
    np.save(folder / "AFLW2000-3D_crop.roi_box.npy", np.ones((6, 4)))
    with pytest.raises(InputError, match="expected 7 images, got 6"):
        read_aflw(tmp_path / "b")
    savemat(tmp_path / "a/image00003.mat", {"pt3d_68": POINTS[0].T[:2], "Pose_Para": [[0, 0, 0]]})
    with pytest.raises(InputError, match=r"image00003.mat: expected pt3d_68 of shape \(3, 68\)"):
        read_aflw(tmp_path / "a")
    with pytest.raises(InputError, match="found neither"):
        (tmp_path / "empty").mkdir()
        read_aflw(tmp_path / "empty")


def test_dense_variants(tmp_path):
    item = face(12, 14)
    small = AflwTruth(NAMES[:3], {"original": POINTS[:3]}, YAWS[:3])
    for name in NAMES[:3]:
        write_face(tmp_path / f"truth/{name}.obj", item, marks=None)
    turn = Rotation.from_rotvec([0.02, 0, 0.05]).as_matrix()
    write_face(tmp_path / f"pred/{NAMES[0]}.obj", moved(item, shift=(3, 4, 9)), marks=None)
    turned = moved(item, scale=1.2, rotation=turn)
    write_face(tmp_path / f"pred/{NAMES[1]}.obj", turned, marks=None)
    write_face(tmp_path / f"pred/{NAMES[2]}.obj", face(9, 11), marks=None)
    results = {
        variant: evaluate_aflw(
            tmp_path / "pred",
            small,
            AflwOptions(variant=variant),
            dense=tmp_path / "truth",
            pictures=tmp_path / "heat" / variant,
        ).items
        for variant in ("dense-2d", "dense-3d", "reconstruction")
    }
    expected = 100 * 5 / box_size(POINTS[0])
    assert results["dense-2d"][0].value == pytest.approx(expected, rel=1e-4)
    assert results["dense-3d"][0].value == pytest.approx(expected, rel=1e-4)
    assert results["dense-2d"][1].value < results["dense-3d"][1].value
    assert results["reconstruction"][0].value < 0.01
    assert results["reconstruction"][1].value < 0.01
    assert "one topology" in results["dense-2d"][2].error
    assert 0 < results["reconstruction"][2].value < 20
    drawn = sorted(p.parent.name for p in (tmp_path / "heat").rglob("*.png"))
    assert drawn == ["dense-2d"] * 2 + ["dense-3d"] * 2 + ["reconstruction"] * 3
    with pytest.raises(InputError, match="--dense"):
        evaluate_aflw(tmp_path / "pred", small, AflwOptions(variant="dense-2d"))


def test_command(tmp_path, capsys):
    write_mats(tmp_path / "data")
    shifted = save(tmp_path / "p.npy", POINTS + [3, 4, 0])
    output = tmp_path / "report"
    arguments = ["eval", "aflw2000", str(shifted), "--data", str(tmp_path / "data")]
    assert run([*arguments, "--json", "-o", str(output)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"]["truth"] == "original"
    assert (output / "curve_items.png").is_file()
    assert run(arguments) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[:5]] == ["%", "all", "0-30", "30-60", "60-90"]
    assert run([*arguments, "--truth", "reannotated"]) == 3
    assert run([*arguments, "--variant", "4d"]) == 2
    assert run(["eval", "aflw2000", str(shifted), "--data", str(tmp_path / "none")]) == 3
    with pytest.raises(InputError, match="variant"):
        AflwOptions(variant="4d")
