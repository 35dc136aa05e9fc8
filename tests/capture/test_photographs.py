import numpy as np
import pytest
from dense_case import ring

from facekit.capture.photographs import read_subject
from facekit.errors import InputError
from facekit.io.images import write_image
from facekit.types import Rig

OPTIONS = {"masks": None, "max_side": 2048}


def write(folder, names, size=40, seed=0):
    rng = np.random.default_rng(seed)
    for name in names:
        write_image(folder / name, rng.integers(0, 255, (size, size, 3), np.uint8))


@pytest.fixture
def rig():
    return Rig({f"cam{k}": camera for k, camera in enumerate(ring(4, size=40))})


def test_photographs_meet_their_cameras(tmp_path, rig):
    write(tmp_path, [f"cam{k}.png" for k in range(4)])
    subject = read_subject(tmp_path, rig=rig, output=tmp_path / "out", **OPTIONS)
    assert [p.name for p in subject.photographs] == list(rig.cameras)
    assert not subject.failures
    small = read_subject(
        tmp_path, rig=rig, output=tmp_path / "out", masks=None, max_side=20
    ).photographs[0]
    assert small.image.shape == (20, 20, 3)
    assert small.camera.intrinsics[0, 0] == rig.cameras["cam0"].intrinsics[0, 0] / 2


def test_bad_photographs_are_named_and_the_rest_is_kept(tmp_path, rig):
    write(tmp_path, [f"cam{k}.png" for k in range(3)])
    (tmp_path / "cam1b.png").write_bytes((tmp_path / "cam1.png").read_bytes())
    write(tmp_path, ["other.png"], seed=5)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    subject = read_subject(tmp_path, rig=rig, output=tmp_path / "out", **OPTIONS)
    assert [p.name for p in subject.photographs] == ["cam0", "cam1", "cam2"]
    said = " ".join(failure["error"] for failure in subject.failures)
    assert "same picture as cam1.png" in said
    assert "no camera 'other'" in said
    assert "no photograph of camera 'cam3'" in said
    assert len(subject.failures) == 4


def test_sizes_that_differ_are_named(tmp_path, rig):
    write(tmp_path, [f"cam{k}.png" for k in range(3)])
    write(tmp_path, ["cam3.png"], size=30)
    calibrated = read_subject(tmp_path, rig=rig, output=tmp_path / "out", **OPTIONS)
    assert "30 x 30" in calibrated.failures[0]["error"]
    free = read_subject(tmp_path, rig=None, output=tmp_path / "out", **OPTIONS)
    assert len(free.photographs) == 3 and "one camera" in free.failures[0]["error"]


def test_too_few_are_refused_with_the_reasons(tmp_path, rig):
    write(tmp_path, ["cam0.png", "cam1.png", "stranger.png"])
    with pytest.raises(InputError, match=r"at least 3 .*stranger"):
        read_subject(tmp_path, rig=rig, output=tmp_path / "out", **OPTIONS)


def test_masks_come_by_name(tmp_path, rig):
    write(tmp_path / "a", [f"cam{k}.png" for k in range(4)])
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20] = 255
    for k in range(3):
        write_image(tmp_path / "m" / f"cam{k}.png", mask)
    subject = read_subject(
        tmp_path / "a", rig=rig, masks=tmp_path / "m", max_side=2048, output=tmp_path / "out"
    )
    assert subject.photographs[0].mask.sum() == 400
    assert "no mask cam3.png" in subject.failures[0]["error"]
