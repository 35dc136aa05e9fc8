import numpy as np
import pytest
from stage_case import small_rig
from toy import ellipsoid

from facekit.capture.check_run import check_capture
from facekit.errors import InputError, ItemError
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.io.images import write_image
from facekit.io.ply import write_ply
from facekit.io.rig import write_rig
from facekit.simulate.stage_heads import open_heads
from facekit.simulate.stage_paint import paint_head
from facekit.simulate.stage_render import SkinOptions, StageSensor, render_view
from facekit.types import Camera, Mesh, Rig


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    vertices, faces = ellipsoid()
    size = np.abs(vertices).max(axis=0)
    write_ply(folder / "ball.ply", Mesh(vertices / size * [90, 120, 90], faces))
    head = open_heads(mesh=folder / "ball.ply").head(0, 0)
    painted = paint_head(head, head.vertices - head.centre, np.random.default_rng(0))
    rig = small_rig(cameras=6, size=400)
    sensor = StageSensor(np.ones(3), 0.4, 1.0)
    skin = SkinOptions(contrast=2.0, detail_mm=2.5)
    for row, (name, camera) in enumerate(rig.cameras.items()):
        view = render_view(painted, camera, skin, sensor, seed=1, noise_seed=(row,), truth=False)
        write_image(folder / "subject" / f"{name}.png", view.image)
    write_rig(folder / "cameras.json", rig)
    return folder, rig


def test_a_rig_that_stands_still_passes(capture):
    folder, _ = capture
    document = check_capture(folder / "cameras.json", folder / "subject")
    assert document["kind"] == "features"
    assert not any(row["moved"] for row in document["cameras"])
    assert max(row["error_px"] for row in document["cameras"]) < 0.4


def test_a_moved_camera_is_found(capture, tmp_path):
    folder, rig = capture
    camera = rig.cameras["cam01"]
    rotation = rotvec_to_matrix(np.array([0.006, 0.003, 0])) @ camera.rotation
    centre = -camera.rotation.T @ camera.translation
    wrong = Camera(camera.intrinsics, rotation, -rotation @ centre, 400, 400, camera.distortion)
    write_rig(tmp_path / "cameras.json", Rig({**rig.cameras, "cam01": wrong}))
    document = check_capture(tmp_path, folder / "subject", output=tmp_path / "out")
    assert [row["name"] for row in document["cameras"] if row["moved"]] == ["cam01"]
    assert (tmp_path / "out" / "check.json").is_file()


def test_what_tells_nothing_is_refused(capture, tmp_path):
    folder, rig = capture
    with pytest.raises(InputError, match="no such folder"):
        check_capture(folder, tmp_path / "missing")
    for name in rig.cameras:
        write_image(tmp_path / "flat" / f"{name}.png", np.full((400, 400, 3), 90, np.uint8))
    with pytest.raises(ItemError, match="features"):
        check_capture(folder, tmp_path / "flat")
    write_image(tmp_path / "other" / "left" / "000.png", np.zeros((40, 40), np.uint8))
    with pytest.raises(InputError, match="not those"):
        check_capture(folder, tmp_path / "other")
