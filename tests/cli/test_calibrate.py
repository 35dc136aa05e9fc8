import json

import numpy as np
import pytest
from stage_case import BOARD, small_poses, small_rig, write_boards

from facekit.cli.main import run
from facekit.io.atomic import write_json
from facekit.io.images import read_image, write_image
from facekit.io.rig import read_rig, write_rig


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage")
    rig = small_rig(cameras=3)
    write_boards(folder / "boards", rig, small_poses(9, seed=4))
    write_json(folder / "board.json", BOARD.document())
    write_rig(folder / "truth.json", rig)
    return folder


@pytest.fixture(scope="module")
def calibration(stage, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibration") / "cal"
    board = str(stage / "board.json")
    assert run(["calibrate", str(stage / "boards"), "-o", str(out), "--board-file", board]) == 0
    return out


def test_a_stage_is_calibrated_and_compared(stage, calibration, capsys):
    arguments = ["calibrate", str(stage / "boards"), "-o", str(calibration)]
    arguments += ["--board-file", str(stage / "board.json"), "--truth", str(stage / "truth.json")]
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [camera["name"] for camera in document["cameras"]] == ["cam00", "cam01", "cam02"]
    assert document["rms_px"] < 0.1
    assert max(document["truth"]["pixel"]) < 0.1
    assert "-> " in captured.err.splitlines()[-1]
    assert run(arguments) == 0
    assert "focal_px" in capsys.readouterr().out


def test_sizes_given_as_options_are_the_same_board(stage, calibration, tmp_path):
    sizes = ["--board", "charuco", "--columns", "6", "--rows", "5", "--square", "40"]
    arguments = ["calibrate", str(stage / "boards"), "-o", str(tmp_path / "cal"), *sizes]
    assert run([*arguments, "--marker", "30"]) == 0
    one, two = (read_rig(folder / "cameras.json") for folder in (calibration, tmp_path / "cal"))
    np.testing.assert_allclose(one.centres(), two.centres(), atol=1e-6)


def test_a_mirrored_camera_is_exit_5_and_the_rest_is_kept(stage, tmp_path, capsys):
    boards = tmp_path / "boards"
    for path in (stage / "boards").glob("*/*.png"):
        image = read_image(path)
        flipped = path.parent.name == "cam02"
        write_image(
            boards / path.parent.name / path.name,
            np.ascontiguousarray(image[:, ::-1]) if flipped else image,
        )
    write_json(boards / "board.json", BOARD.document())
    out = tmp_path / "cal"
    assert run(["calibrate", str(boards), "-o", str(out)]) == 5
    assert "mirror" in capsys.readouterr().err
    assert list(read_rig(out / "cameras.json").cameras) == ["cam00", "cam01"]
    assert json.loads((out / "failures.json").read_text())[0]["input"] == "cam02"


def test_checks_and_conversions(stage, calibration, tmp_path, capsys):
    board = ["--board-file", str(stage / "board.json")]
    check = ["calibrate", str(calibration), "--check", str(stage / "boards"), *board]
    assert run(check) == 0
    assert "no camera has moved" in capsys.readouterr().err
    rig = read_rig(calibration / "cameras.json")
    rig.cameras["cam01"].translation[0] += 4
    write_rig(tmp_path / "moved" / "cameras.json", rig)
    check[1] = str(tmp_path / "moved")
    assert run([*check, "--json", "-o", str(tmp_path / "check")]) == 5
    document = json.loads(capsys.readouterr().out)
    assert any(row["moved"] for row in document["cameras"])
    assert (tmp_path / "check" / "check.json").is_file()
    out = tmp_path / "nerf"
    assert run(["calibrate", str(calibration), "--export", "nerf,colmap", "-o", str(out)]) == 0
    again = read_rig(out / "transforms.json")
    np.testing.assert_allclose(
        again.centres(), read_rig(calibration / "cameras.json").centres(), atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing", "-o", "out"], 3),
        (["."], 2),
        (["boards", "-o", "out", "--export", "alembic"], 2),
        (["boards", "-o", "out", "--board", "dots"], 2),
        (["boards", "-o", "out", "--columns", "1"], 3),
        (["boards", "-o", "out", "--board-file", "b.json", "--rows", "4"], 2),
        (["boards", "-o", "out", "--board-file", "b.json"], 3),
        (["boards", "--check", "missing"], 3),
    ],
)
def test_bad_options_have_their_exit_codes(stage, tmp_path, monkeypatch, arguments, code, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boards").symlink_to(stage / "boards")
    assert run(["calibrate", *arguments]) == code
    assert capsys.readouterr().out == ""


def test_an_unwritable_output_is_exit_3(stage, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert run(["calibrate", str(stage / "boards"), "-o", str(tmp_path / "file" / "x")]) == 3
