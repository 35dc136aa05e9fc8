import numpy as np
import pytest
from skimage import data

from facekit.detect import open_detector
from facekit.detect.landmark_sets import ibug68_to_five
from facekit.detect.pose import MEAN68
from facekit.errors import ItemError
from facekit.geometry.rotations import HEAD_TO_CAMERA
from facekit.io.images import write_image
from facekit.io.landmark_files import write_landmarks
from facekit.types import DetectedFace


@pytest.fixture
def photo(tmp_path):
    image = data.astronaut()
    path = tmp_path / "one face.png"
    write_image(path, image)
    return path, image


def frontal(scale=1.0, at=(200.0, 150.0)):
    return scale * (MEAN68 @ HEAD_TO_CAMERA.T)[:, :2] + at


def save_pts(path, points):
    rows = "\n".join(f"{x} {y}" for x, y in points + 1)
    path.write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def test_points_beside_the_image_are_taken(photo):
    path, image = photo
    points = frontal()
    save_pts(path.with_suffix(".pts"), points)
    for name in ("files", "auto"):
        (face,) = open_detector(name).detect(image, path=path)
        assert np.allclose(face.ibug68, points)
        assert np.allclose(face.five, ibug68_to_five(points))
        assert abs(face.yaw_deg) < 0.1 and abs(face.roll_deg) < 0.1
        low, high = points.min(0), points.max(0)
        assert (face.box[:2] < low + 25).all() and (face.box[:2] + face.box[2:] > high - 25).all()


def test_a_reduced_copy_gets_reduced_points(photo):
    path, image = photo
    save_pts(path.with_suffix(".pts"), frontal())
    (face,) = open_detector("files").detect(np.ascontiguousarray(image[::2, ::2]), path=path)
    assert np.allclose(face.ibug68, 0.5 * (frontal() + 0.5) - 0.5)


def test_five_points(photo):
    path, image = photo
    folder = path.parent / "detections"
    folder.mkdir()
    five = ibug68_to_five(frontal())
    np.savetxt(folder / "one face.txt", five)
    (face,) = open_detector("files").detect(image, path=path)
    assert np.allclose(face.five, five) and face.ibug68 is None and face.roll_deg == 0
    assert (face.box[:2] < five.min(0)).all()
    assert (face.box[:2] + face.box[2:] > five.max(0)).all()


def test_all_faces_of_a_landmark_file(photo):
    path, image = photo
    boxes = np.array([[1.0, 2, 10, 10], [5, 5, 100, 100]])
    faces = [DetectedFace(box=b, score=0.9) for b in boxes]
    write_landmarks(path.with_suffix(".json"), faces, image=path.name, width=512, height=512)
    found = open_detector("files").detect(image, path=path)
    assert [f.box[2] for f in found] == [100, 10]


def test_auto_searches_where_no_file_lies(photo):
    path, image = photo
    auto = open_detector("auto")
    assert len(auto.detect(image, path=path)) == 1
    assert len(auto.detect(image)) == 1
    assert auto.fingerprint == f"auto:{open_detector('builtin').fingerprint}"


def test_nothing_beside_the_image(photo):
    path, image = photo
    with pytest.raises(ItemError, match="no points beside it"):
        open_detector("files").detect(image, path=path)
    with pytest.raises(ItemError, match="has no file"):
        open_detector("files").detect(image)


@pytest.mark.parametrize("name", ["files", "auto"])
def test_a_damaged_file_is_this_items_failure(photo, name):
    path, image = photo
    path.with_suffix(".pts").write_text("nothing")
    with pytest.raises(ItemError, match="landmark points"):
        open_detector(name).detect(image, path=path)


def test_files_say_what_their_jaw_is(tmp_path):
    image = tmp_path / "x.png"
    write_image(image, np.zeros((48, 64, 3), np.uint8))
    dense = np.random.default_rng(0).uniform(5, 40, (478, 2))
    np.savez(tmp_path / "x.npz", dense478=dense)
    (face,) = open_detector("files").detect(np.zeros((48, 64, 3), np.uint8), path=image)
    assert not face.jaw_on_outline  # dense points lie on the surface
    np.savez(tmp_path / "x.npz", ibug68=dense[:68])
    (face,) = open_detector("files").detect(np.zeros((48, 64, 3), np.uint8), path=image)
    assert face.jaw_on_outline
