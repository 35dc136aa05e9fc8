import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from stage_case import BOARD, small_poses, small_rig, write_boards

from facekit.capture.board_check import check_boards
from facekit.capture.board_images import list_pictures, look
from facekit.capture.calibrate import (
    Calibration,
    _each_alone,
    _together,
    calibrate,
    picture_errors,
)
from facekit.capture.calibrate_run import calibrate_folder
from facekit.capture.rig_compare import compare_rigs
from facekit.errors import InputError, ItemError, OutputExistsError, UsageError
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.io.atomic import write_json
from facekit.io.images import read_image, write_image
from facekit.io.rig import read_rig
from facekit.types import Camera, Rig


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    rig, poses = small_rig(), small_poses(12)
    write_boards(folder / "boards", rig, poses)
    write_json(folder / "boards" / "board.json", BOARD.document())
    return folder, rig


@pytest.fixture
def boards(stage, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(stage[0] / "boards", tmp_path / "boards")
    return tmp_path / "boards"


@pytest.fixture(scope="module")
def calibrated(stage):
    return calibrate(stage[0] / "boards", BOARD)


def errors_of(failures):
    return {failure["input"]: failure["error"] for failure in failures}


def test_the_stage_is_recovered(stage, calibrated):
    assert isinstance(calibrated, Calibration)
    assert calibrated.failures == []
    assert calibrated.rms_px < 0.08
    found = compare_rigs(calibrated.rig, stage[1])
    # A pixel is 3.2 times as large as at 1024, and the outer cameras see few boards.
    assert found.position_mm.mean() < 0.3
    assert found.pixel.mean() < 0.02
    assert abs(found.scale) < 1e-4
    rows = picture_errors(calibrated)
    assert sum(row.corners for row in rows) == len(calibrated.seen.camera)
    assert calibrated.rig.frame == "camera cam00"
    np.testing.assert_allclose(calibrated.rig.cameras["cam00"].rotation, np.eye(3), atol=1e-12)


def test_the_folder_holds_everything_and_is_kept(stage, tmp_path):
    out = tmp_path / "cal"
    first = calibrate_folder(stage[0], out, exports=("colmap", "opencv", "nerf"))
    assert json.loads((out / "failures.json").read_text()) == []
    for name in ("cameras.json", "sparse", "cameras.yml", "transforms.json"):
        rig = read_rig(out / name)
        assert list(rig.cameras) == [f"cam{i:02d}" for i in range(6)]
        found = compare_rigs(rig, read_rig(out / "cameras.json"))
        assert found.position_mm.max() < 1e-6
    assert "cam03" in (out / "report.html").read_text()
    assert (out / "pictures.csv").read_text().count("\n") == first["pictures"] + 1
    before = (out / "cameras.json").stat().st_mtime_ns
    again = calibrate_folder(stage[0], out, exports=("colmap", "opencv", "nerf"))
    assert again == json.loads(json.dumps(first))
    assert (out / "cameras.json").stat().st_mtime_ns == before
    with pytest.raises(OutputExistsError):
        calibrate_folder(stage[0], out)
    with pytest.raises(UsageError, match="colmap"):
        calibrate_folder(stage[0], tmp_path / "x", exports=("alembic",))


def test_what_is_wrong_is_named_and_the_rest_calibrated(stage, boards):
    blank = np.full((320, 320), 90, np.uint8)
    for path in (boards / "cam00").glob("*.png"):
        write_image(path, blank + np.uint8(int(path.stem)))
    for path in (boards / "cam01").glob("*.png"):
        write_image(path, np.ascontiguousarray(read_image(path)[:, ::-1]))
    (boards / "empty").mkdir()
    (boards / "few").mkdir()
    for path in sorted((boards / "cam05").glob("*.png"))[:2]:
        # Not byte for byte: a camera that saw two frames only.
        write_image(boards / "few" / path.name, read_image(path) // 2 * 2)
    four = sorted((boards / "cam04").glob("*.png"))
    write_image(four[0], read_image(four[0])[:200])
    shutil.copy(four[1], boards / "cam04" / "099.png")
    four[2].write_bytes(four[2].read_bytes()[:200])
    result = calibrate(boards, BOARD)
    assert isinstance(result, Calibration)
    assert result.cameras == ["cam02", "cam03", "cam04", "cam05"]
    errors = errors_of(result.failures)
    assert "none of its" in errors["cam00"]
    assert "mirror" in errors["cam01"]
    assert "no pictures" in errors["empty"]
    assert "at least 3" in errors["few"]
    assert "320x200" in errors[f"cam04/{four[0].name}"]
    assert "copy" in errors["cam04/099.png"] or "copy" in errors[f"cam04/{four[1].name}"]
    assert f"cam04/{four[2].name}" in errors
    found = compare_rigs(result.rig, stage[1])
    assert found.position_mm.mean() < 0.4


def test_a_picture_of_another_moment_is_set_aside(boards):
    files = sorted((boards / "cam03").glob("*.png"))
    first, second = read_image(files[0]), read_image(files[1])
    write_image(files[0], second)
    write_image(files[1], first)
    result = calibrate(boards, BOARD)
    assert isinstance(result, Calibration)
    named = errors_of(result.failures)
    assert {f"cam03/{files[0].stem}", f"cam03/{files[1].stem}"} <= set(named)
    assert all("does not fit" in text for text in named.values())
    assert result.rms_px < 0.1


def test_a_frame_whose_pictures_contradict_each_other_is_given_up(stage):
    looked = look(BOARD, list_pictures(stage[0] / "boards")[0])
    frame = next(f for _, f in looked.sightings)
    pair = [key for key in looked.sightings if key[1] == frame]
    assert len(pair) >= 2
    spoilt = dict(looked.sightings)
    for key in pair[2:]:
        del spoilt[key]
    view = spoilt[pair[1]]
    # One square off, as a detector may be.
    spoilt[pair[1]] = replace(view, pixels=view.pixels + [26.0, 11.0])
    failures = []
    looked = looked._replace(sightings=spoilt)
    result = _together(BOARD, looked, _each_alone(BOARD, looked, failures), failures)
    assert {f["input"].split("/")[1] for f in result.failures} == {frame}
    assert result.rms_px < 0.1


def test_without_any_usable_camera_only_failures_come_back(boards, tmp_path):
    for path in boards.glob("*/*.png"):
        if int(path.stem) < 4 and path.parent.name in ("cam01", "cam02"):
            write_image(path, np.ascontiguousarray(read_image(path)[:, ::-1]))
        else:
            path.unlink()
    result = calibrate(boards, BOARD)
    assert isinstance(result, list)
    errors = errors_of(result)
    assert set(errors) == {f"cam{i:02d}" for i in range(6)}
    assert "mirror" in errors["cam01"]
    assert "no pictures" in errors["cam05"]
    document = calibrate_folder(boards, tmp_path / "out")
    assert document["cameras"] == []
    assert not (tmp_path / "out" / "cameras.json").exists()


def test_cameras_that_share_no_frame_are_named(boards):
    for path in (boards / "cam05").glob("*.png"):
        path.rename(path.with_name(f"9{path.name}"))
    result = calibrate(boards, BOARD)
    assert isinstance(result, Calibration)
    assert "shares no frame" in errors_of(result.failures)["cam05"]
    assert len(result.rig.cameras) == 5


def test_folders_without_pictures_cannot_start(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        calibrate(tmp_path / "missing", BOARD)
    (tmp_path / "cam").mkdir()
    with pytest.raises(InputError, match="CAMERA/FRAME"):
        calibrate(tmp_path, BOARD)


def moved_rig(rig, name, shift_mm, turn):
    cameras = dict(rig.cameras)
    camera = cameras[name]
    rotation = rotvec_to_matrix(np.array(turn)) @ camera.rotation
    centre = -camera.rotation.T @ camera.translation + np.array(shift_mm)
    cameras[name] = Camera(
        camera.intrinsics,
        rotation,
        -rotation @ centre,
        camera.width,
        camera.height,
        camera.distortion,
    )
    return Rig(cameras, rig.frame)


def test_a_moved_camera_is_found(stage):
    looked = look(BOARD, list_pictures(stage[0] / "boards")[0])
    still = check_boards(stage[1], BOARD, looked)
    assert not any(check.moved for check in still)
    assert max(check.error_px for check in still) < 0.05
    # The pictures show where cam03 stands; this rig believes it elsewhere.
    rig = moved_rig(stage[1], "cam03", [2.0, 0, 0], [0, 0, 0.003])
    checks = {check.name: check for check in check_boards(rig, BOARD, looked)}
    assert [name for name, check in checks.items() if check.moved] == ["cam03"]
    assert 1.8 < checks["cam03"].shift_mm < 2.2
    assert abs(checks["cam03"].turn_deg - np.degrees(0.003)) < 0.03
    # A tenth of that is below the limit of half a pixel.
    rig = moved_rig(stage[1], "cam03", [0.2, 0, 0], [0, 0, 0.0003])
    assert not any(check.moved for check in check_boards(rig, BOARD, looked))


def test_two_moved_cameras_are_found(stage):
    looked = look(BOARD, list_pictures(stage[0] / "boards")[0])
    rig = moved_rig(stage[1], "cam01", [3.0, 1, 0], [0, 0, 0])
    rig = moved_rig(rig, "cam04", [0, 0, 0], [0.004, 0, 0])
    moved = [check.name for check in check_boards(rig, BOARD, looked) if check.moved]
    assert moved == ["cam01", "cam04"]


def test_a_capture_of_one_camera_tells_nothing(stage):
    pictures = [p for p in list_pictures(stage[0] / "boards")[0] if p.camera == "cam02"]
    with pytest.raises(ItemError, match="two cameras"):
        check_boards(stage[1], BOARD, look(BOARD, pictures))


def test_comparison_undoes_any_rigid_motion(stage):
    rig = stage[1]
    turn, shift = rotvec_to_matrix(np.array([0.3, -1.0, 2.0])), np.array([100.0, -50, 900])
    cameras = {
        name: Camera(
            c.intrinsics,
            c.rotation @ turn.T,
            c.translation - c.rotation @ turn.T @ shift,
            c.width,
            c.height,
            c.distortion,
        )
        for name, c in rig.cameras.items()
    }
    same = compare_rigs(Rig(cameras), rig)
    assert same.position_mm.max() < 1e-6
    assert same.rotation_deg.max() < 1e-6
    assert same.pixel.max() < 1e-6
    off = compare_rigs(moved_rig(rig, "cam02", [1.0, 0, 0], [0, 0, 0]), rig)
    assert off.position_mm.argmax() == 2
    with pytest.raises(InputError, match="two cameras"):
        compare_rigs(rig, Rig({"other": rig.cameras["cam00"]}))
