import numpy as np
import pytest
from scan_stage import write_small_stage

from facekit.capture.photographs import read_subject, write_working_copies
from facekit.capture.sparse_stage import SELF_CALIBRATED, SparseOptions, run_sparse
from facekit.geometry.alignment import align_similarity
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.io.npz import read_npz
from facekit.io.rig import read_rig
from facekit.types import Camera, Rig

pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'facekit[scan]'")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return write_small_stage(tmp_path_factory.mktemp("stage") / "stage", size=320)


def run_case(stage, work, rig, poses="given"):
    subject = read_subject(
        stage / "subjects" / "s000", rig=rig, masks=None, max_side=2048, output=work
    )
    images, masks = write_working_copies(work, subject.photographs)
    options = SparseOptions(poses, "global", False)
    return run_sparse(work, images, masks, subject.photographs, options)


def test_given_cameras_are_kept_and_triangulated(stage, tmp_path):
    rig = read_rig(stage / "truth" / "cameras.json")
    facts = run_case(stage, tmp_path, rig)
    assert facts["scale"] == "metric" and facts["moved"] == []
    kept = read_rig(tmp_path / "cameras.json")
    np.testing.assert_array_equal(kept.centres(), rig.centres())
    points = read_npz(tmp_path / "points.npz", what="points")["points"]
    assert facts["points"] == len(points) > 100
    assert np.linalg.norm(np.median(points, axis=0)) < 150
    pixels = [entry["reprojection_px"] for entry in facts["cameras"].values()]
    assert max(pixels) < 1.0


def test_a_turned_camera_is_named(stage, tmp_path):
    rig = read_rig(stage / "truth" / "cameras.json")
    camera = rig.cameras["cam03"]
    rotation = rotvec_to_matrix(np.array([0.012, 0.01, 0])) @ camera.rotation
    centre = -camera.rotation.T @ camera.translation
    turned = Camera(camera.intrinsics, rotation, -rotation @ centre, 320, 320, camera.distortion)
    facts = run_case(stage, tmp_path, Rig({**rig.cameras, "cam03": turned}))
    assert facts["moved"] == ["cam03"]
    assert any("camera cam03 seems to have moved" in text for text in facts["warnings"])


def test_poses_are_found_with_lenses_fixed(stage, tmp_path):
    rig = read_rig(stage / "truth" / "cameras.json")
    facts = run_case(stage, tmp_path, rig, poses="estimate")
    assert facts["scale"] == "arbitrary" and not facts["failures"]
    found = read_rig(tmp_path / "cameras.json")
    names = list(found.cameras)
    assert len(names) == len(rig.cameras)
    truth = np.array([-c.rotation.T @ c.translation for c in (rig.cameras[n] for n in names)])
    move = align_similarity(found.centres(), truth)
    # 230 points in pictures of 320 pixels: a few mm at a metre.
    assert np.linalg.norm(move.apply(found.centres()) - truth, axis=1).mean() < 10
    for name in names:
        np.testing.assert_array_equal(found.cameras[name].intrinsics, rig.cameras[name].intrinsics)


def test_without_calibration_there_is_a_warning(stage, tmp_path):
    facts = run_case(stage, tmp_path, None)
    assert SELF_CALIBRATED in facts["warnings"]
    assert facts["scale"] == "arbitrary"
    assert len(facts["cameras"]) + len(facts["failures"]) == 8
