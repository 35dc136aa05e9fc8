import json

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.io.colmap import read_colmap, write_colmap
from facekit.io.opencv_rig import read_opencv_rig, write_opencv_rig
from facekit.io.rig import read_rig, write_rig
from facekit.io.transforms import read_transforms, write_transforms
from facekit.types import Camera, Rig


def make_rig(k3=0.0):
    rng = np.random.default_rng(3)
    cameras = {}
    for i in range(3):
        f = 900 + 10 * i
        cameras[f"cam{i:02d}"] = Camera(
            np.array([[f, 0, 330.25], [0, f + 1, 240.5], [0, 0, 1.0]]),
            rotvec_to_matrix(rng.normal(0, 1.2, 3)),
            rng.normal(0, 300, 3),
            640,
            480,
            np.array([-0.1, 0.02, 1e-3, -5e-4, k3]),
        )
    return Rig(
        cameras,
        "camera cam00",
        {"cam01": 0.07},
        {"cam02": np.diag(np.arange(1.0, 15.0))},
    )


def assert_same(one, other, tolerance=1e-9):
    assert list(one.cameras) == list(other.cameras)
    for a, b in zip(one.cameras.values(), other.cameras.values(), strict=True):
        for name in ("intrinsics", "rotation", "translation", "distortion"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=tolerance)
        assert (a.width, a.height) == (b.width, b.height)


@pytest.mark.parametrize("k3", [0.0, 0.03])
def test_cameras_json_keeps_everything(tmp_path, k3):
    rig = make_rig(k3)
    again = read_rig(write_rig(tmp_path / "cameras.json", rig))
    assert_same(rig, again, 0)
    assert again.frame == "camera cam00"
    assert again.rms_px == {"cam01": 0.07}
    np.testing.assert_array_equal(again.covariance["cam02"], rig.covariance["cam02"])
    document = json.loads((tmp_path / "cameras.json").read_text())
    assert document["unit"] == "mm"
    assert document["cameras"][0]["model"] == ("FULL_OPENCV" if k3 else "OPENCV")


@pytest.mark.parametrize("k3", [0.0, 0.03])
def test_every_format_round_trips(tmp_path, k3):
    rig = make_rig(k3)
    assert_same(rig, read_rig(write_colmap(tmp_path / "sparse", rig)))
    assert_same(rig, read_rig(write_transforms(tmp_path / "transforms.json", rig)))
    for suffix in ("yml", "json", "xml"):
        path = write_opencv_rig(tmp_path / f"rig.{suffix}", rig)
        again = read_rig(path)
        assert_same(rig, again)
        assert again.rms_px == {"cam01": 0.07}
    assert_same(rig, read_rig(tmp_path))


def test_colmap_by_hand(tmp_path):
    # A camera 500 from the origin, half-turned about y: it looks back along -z.
    (tmp_path / "cameras.txt").write_text(
        "# comment\n7 SIMPLE_RADIAL 640 480 800 320 240 -0.1\n9 PINHOLE 10 20 5 6 7.5 8.5\n"
    )
    (tmp_path / "images.txt").write_text(
        "# comment\n1 0 0 1 0 10 0 500 7 a/b c.jpg\n1.5 2.5 -1 7 8 9\n2 1 0 0 0 0 0 0 9 d.png\n\n"
    )
    rig = read_colmap(tmp_path)
    assert list(rig.cameras) == ["a/b c", "d"]
    camera = rig.cameras["a/b c"]
    np.testing.assert_allclose(camera.rotation, np.diag([-1.0, 1, -1]), atol=1e-12)
    np.testing.assert_allclose(rig.centres()[0], [10, 0, 500])
    # COLMAP's middle of a 640-wide image is 320; ours is 319.5. The point (10, 50, 0) is at
    # (0, 50, 500) before the camera: y = 0.1, radial 1 - 0.1 * 0.01, 239.5 + 800 * 0.0999.
    np.testing.assert_allclose(
        project(camera, np.array([10.0, 50, 0])), [319.5, 239.5 + 79.92, 500]
    )
    np.testing.assert_allclose(rig.cameras["d"].intrinsics, [[5, 0, 7], [0, 6, 8], [0, 0, 1]])
    metres = read_colmap(tmp_path, mm_per_unit=1000)
    np.testing.assert_allclose(metres.cameras["a/b c"].translation, [10_000, 0, 500_000])


def test_transforms_by_hand(tmp_path):
    # The camera stands at z = 2 m, looks along -z (OpenGL's own view axis), y up.
    document = {
        "camera_angle_x": 2 * np.arctan(0.5),
        "w": 100,
        "h": 80,
        "unit": "m",
        "frames": [
            {
                "file_path": "./images/one.png",
                "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]],
            }
        ],
    }
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps(document))
    camera = read_rig(path).cameras["one"]
    # 100 px span twice 0.5: f = 100. 200 mm to the right and up at 2 m: 10 px right and up.
    np.testing.assert_allclose(
        project(camera, np.array([200.0, 200, 0])), [49.5 + 10, 39.5 - 10, 2000]
    )


def test_opencv_file_of_one_camera(tmp_path):
    path = tmp_path / "left.yml"
    path.write_text(
        "%YAML:1.0\n---\nimage_width: 640\nimage_height: 480\n"
        "camera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
        "   data: [ 500., 0., 320., 0., 510., 240., 0., 0., 1. ]\n"
        "distortion_coefficients: !!opencv-matrix\n   rows: 5\n   cols: 1\n   dt: d\n"
        "   data: [ 0.1, 0.2, 0.3, 0.4, 0.5 ]\n"
    )
    rig = read_rig(path)
    camera = rig.cameras["left"]
    np.testing.assert_array_equal(camera.distortion, [0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_array_equal(camera.rotation, np.eye(3))
    np.testing.assert_array_equal(camera.intrinsics[1], [0, 510, 240])


def test_centres_are_where_the_cameras_stand():
    rig = make_rig()
    for centre, camera in zip(rig.centres(), rig.cameras.values(), strict=True):
        np.testing.assert_allclose(camera.rotation @ centre + camera.translation, 0, atol=1e-9)


def test_rejections(tmp_path):
    with pytest.raises(InputError, match="expected cameras"):
        read_rig(tmp_path)
    with pytest.raises(InputError, match="no camera"):
        Rig({}, rms_px={"a": 0.1})
    with pytest.raises(InputError, match="covariance of"):
        Rig(make_rig().cameras, covariance={"cam00": np.eye(3)})
    bad = write_rig(tmp_path / "cameras.json", make_rig())
    document = json.loads(bad.read_text())
    for change, match in (
        ({"unit": "m"}, "unit"),
        ({"schema": "facekit.cameras/9"}, "schema"),
        ({"cameras": document["cameras"][:1] * 2}, "twice"),
        ({"cameras": [{"name": "x"}]}, "damaged"),
        ({"cameras": [document["cameras"][0] | {"model": "FISHEYE"}]}, "FISHEYE"),
        ({"cameras": [document["cameras"][0] | {"distortion": [0, 0]}]}, "4 terms"),
    ):
        bad.write_text(json.dumps(document | change))
        with pytest.raises(InputError, match=match):
            read_rig(bad)
    with pytest.raises(InputError, match="suffix"):
        write_opencv_rig(tmp_path / "a.txt", make_rig())
    (tmp_path / "empty.yml").write_text("%YAML:1.0\n---\nx: 1\n")
    with pytest.raises(InputError, match="camera_matrix"):
        read_opencv_rig(tmp_path / "empty.yml")
    (tmp_path / "transforms.json").write_text('{"frames": [{"file_path": "a"}]}')
    with pytest.raises(InputError, match="damaged"):
        read_transforms(tmp_path / "transforms.json")
    skewed = make_rig().cameras["cam00"]
    skewed.intrinsics[0, 1] = 2
    with pytest.raises(InputError, match="skew"):
        write_colmap(tmp_path / "s", Rig({"a": skewed}))
    for line, match in (("1 FISHEYE 4 4 1", "FISHEYE"), ("1 PINHOLE 4 4 1", "4 numbers")):
        (tmp_path / "cameras.txt").write_text(line + "\n")
        with pytest.raises(InputError, match=match):
            read_colmap(tmp_path)
