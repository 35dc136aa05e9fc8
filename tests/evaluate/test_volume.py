import dataclasses
import json

import numpy as np
import pytest
from scan_case import face, moved, write_face
from scipy.spatial.transform import Rotation

from facekit.cli.main import run
from facekit.errors import InputError, ItemError
from facekit.evaluate import volume
from facekit.evaluate.micc import ScanInputs
from facekit.evaluate.volume import (
    VolumeOptions,
    evaluate_volume,
    icp_partners,
    reconstruction_nme,
    size_warnings,
)

EYES = float(np.linalg.norm(face().landmarks["now7"][0] - face().landmarks["now7"][3]))


def icp_twin(truth, predicted, tolerance=1e-6, most=100):
    """All distances by brute force; the prediction itself moves."""
    moving, before = predicted.copy(), np.inf
    for rounds in range(most + 1):
        gaps = ((truth[:, None] - moving[None]) ** 2).sum(-1)
        partner, error = gaps.argmin(1), gaps.min(1).mean()
        if (rounds and before - error <= tolerance * before) or rounds == most:
            return partner, rounds
        before = error
        x = moving[partner]
        u, _, vt = np.linalg.svd((truth - truth.mean(0)).T @ (x - x.mean(0)))
        turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        moving = (moving - x.mean(0)) @ turn.T + truth.mean(0)
    return None


def test_agrees_with_the_slow_twin():
    truth = face(14, 18, seed=1, noise=0.5).vertices
    turn = Rotation.from_rotvec([0.1, -0.05, 0.08]).as_matrix()
    predicted = face(11, 13, seed=2, noise=1.0).vertices @ turn.T + [4, -3, 6]
    partner, rounds = icp_partners(truth, predicted, VolumeOptions())
    expected, steps = icp_twin(truth, predicted)
    assert rounds == steps > 1
    np.testing.assert_array_equal(partner, expected)
    score = reconstruction_nme(truth, predicted, 90.0)
    by_hand = 100 * np.linalg.norm(predicted[expected] - truth, axis=1).mean() / 90.0
    assert score.nme == pytest.approx(by_hand, rel=1e-12)


def test_a_shift_counts_unless_faces_are_aligned():
    truth = face(20, 26).vertices
    order = np.random.default_rng(0).permutation(len(truth))
    shifted = (truth + [3.0, 0, 4.0])[order]
    plain = reconstruction_nme(truth, shifted, 90.0)
    # The ICP finds the partners, and the faces are compared where they lie.
    np.testing.assert_array_equal(order[plain.partner], np.arange(len(truth)))
    assert plain.nme == pytest.approx(100 * 5 / 90)
    aligned = reconstruction_nme(truth, shifted, 90.0, options=VolumeOptions("rigid"))
    assert aligned.nme < 1e-9


def test_a_scaled_copy_counts_unless_scale_is_free():
    truth = face(20, 26).vertices
    larger = 1.1 * truth
    numbers = {
        align: reconstruction_nme(
            truth, larger, 90.0, options=VolumeOptions(align), same_topology=True
        ).nme
        for align in ("none", "rigid", "similarity")
    }
    assert numbers["none"] == pytest.approx(100 * 0.1 * np.linalg.norm(truth, axis=1).mean() / 90)
    centred = truth - truth.mean(0)
    expected = 100 * 0.1 * np.linalg.norm(centred, axis=1).mean() / 90
    assert numbers["rigid"] == pytest.approx(expected)
    assert numbers["similarity"] < 1e-9


def test_what_cannot_be_compared():
    truth = face(5, 6).vertices
    with pytest.raises(InputError, match="positive eye distance"):
        reconstruction_nme(truth, truth, 0.0)
    with pytest.raises(ItemError, match="expected the truth's topology"):
        reconstruction_nme(truth, truth, 1.0, options=VolumeOptions(correspondence="index"))
    with pytest.raises(InputError, match="align"):
        VolumeOptions("affine")
    with pytest.raises(InputError, match="iteration"):
        VolumeOptions(iterations=0)


@pytest.mark.parametrize(
    ("factor", "text"),
    [(0.001, "in metres"), (0.1, "in centimetres"), (0.37, "one unit"), (1000.0, "micrometres")],
)
def test_sizes_name_the_unit(factor, text):
    truth = face(10, 12).vertices
    assert size_warnings(truth, 1.2 * truth) == ()
    assert text in size_warnings(truth, factor * truth)[0]


@pytest.fixture
def folders(tmp_path):
    data, predictions = tmp_path / "truth", tmp_path / "pred"
    for key in ("yaw0/a", "yaw0/b", "yaw40/a"):
        write_face(data / f"{key}.obj", face(20, 26))
        write_face(predictions / f"{key}.obj", moved(face(20, 26), shift=(0, 0, 2.0)), marks=None)
    return predictions, data


def test_evaluation(folders):
    predictions, data = folders
    (predictions / "yaw0/b.obj").unlink()
    write_face(predictions / "yaw0/c.obj", face(5, 6), marks=None)
    metres = moved(face(20, 26), scale=0.001)
    np.savez(predictions / "yaw40/a.npz", vertices=metres.vertices, faces=metres.faces)
    (predictions / "yaw40/a.obj").unlink()
    result = evaluate_volume(predictions, data)
    by_name = {item.name: item for item in result.items}
    assert by_name["yaw0/a"].value == pytest.approx(100 * 2 / EYES, rel=1e-4)
    assert "no prediction was found: expected" in by_name["yaw0/b"].error
    assert by_name["yaw0/c"].unmatched
    assert "metres" in by_name["yaw40/a"].warnings[0]
    assert set(result.document["groups"]) == {"yaw0", "yaw40"}
    strict = evaluate_volume(predictions, data, inputs=ScanInputs(strict=True))
    assert strict.document["metrics"]["missing"] == 2


def test_bad_meshes_fail_their_own_items(folders):
    predictions, data = folders
    (predictions / "yaw0/a.obj").write_text("v 0 0 nan\nv 0 1 0\nv 1 0 0\nf 1 2 3\n")
    (data / "yaw0/b.npy").unlink()
    fin = face(20, 26)
    fin = dataclasses.replace(fin, faces=np.vstack([fin.faces, [[21, 22, 300]]]).astype(np.int32))
    write_face(predictions / "yaw40/a.obj", fin, marks=None)
    result = evaluate_volume(predictions, data)
    first, second, third = result.items
    assert "finite" in first.error
    assert "landmarks now7 are needed" in second.error
    assert "no manifold" in third.warnings[0]


def test_command(folders, tmp_path, capsys):
    predictions, data = folders
    output = tmp_path / "report"
    arguments = ["eval", "volume", str(predictions), "--data", str(data)]
    assert run([*arguments, "--json", "-o", str(output)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["mean"] == pytest.approx(100 * 2 / EYES, rel=1e-4)
    assert (output / "curve.csv").read_text().startswith("error_percent,percent\n")
    assert (output / "heat/yaw0/a.png").is_file()
    assert run([*arguments, "--align", "rigid", "--correspondence", "closest"]) == 0
    assert float(capsys.readouterr().out.splitlines()[1].split()[2]) < 1e-3
    assert run([*arguments, "--align", "affine"]) == 2
    assert run(["eval", "volume", str(predictions), "--data", str(tmp_path / "none")]) == 3


def test_a_face_is_drawn_from_the_front_whichever_way_depth_goes(tmp_path, monkeypatch):
    item = face(20, 26)
    seen = []

    def draw(path, vertices, faces, errors, *, axes, **how):
        up, out = axes
        seen.append(vertices @ np.stack([np.cross(up, out), up, out], axis=1))
        return path

    monkeypatch.setattr(volume, "draw_heat_map", draw)
    errors = np.zeros(len(item.vertices))
    for flip in ([1, 1, 1], [1, -1, -1], [1, -1, 1]):  # mm; pixels, z away and towards
        marks = {name: points * flip for name, points in item.landmarks.items()}
        turned = dataclasses.replace(item, vertices=item.vertices * flip, landmarks=marks)
        volume.draw_picture_errors(tmp_path / "x.png", turned, errors, title="x")
        if flip[1] < 0:  # in pixels not even landmarks are needed
            blank = dataclasses.replace(turned, landmarks={})
            volume.draw_picture_errors(tmp_path / "x.png", blank, errors, title="x")
    for other in (seen[1], seen[3]):
        np.testing.assert_allclose(other, seen[0], atol=1e-6)
    for other in (seen[2], seen[4]):
        np.testing.assert_allclose(other[:, 0], seen[0][:, 0], atol=1e-6)
        assert np.corrcoef(other[:, 2], seen[0][:, 2])[0, 1] > 0.9
