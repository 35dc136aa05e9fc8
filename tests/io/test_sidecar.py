import numpy as np
import pytest
from PIL import Image

from facekit.errors import InputError
from facekit.io.landmark_files import write_landmarks
from facekit.io.sidecar import find_sidecar, read_faces, read_points, upright_size
from facekit.types import DetectedFace


def write_pts(path, points):
    rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


def test_pts_counts_pixels_from_one(tmp_path):
    points = np.random.default_rng(0).uniform(1, 100, (68, 2))
    write_pts(tmp_path / "a.pts", points)
    assert np.allclose(read_points(tmp_path / "a.pts")["ibug68"], points - 1, atol=1e-3)


def test_five_point_text(tmp_path):
    five = np.arange(10.0).reshape(5, 2)
    np.savetxt(tmp_path / "a.txt", five)
    assert np.array_equal(read_points(tmp_path / "a.txt")["five"], five)


def test_npz_names(tmp_path):
    rng = np.random.default_rng(1)
    points, iris = rng.normal(size=(68, 2)), rng.normal(size=(2, 2))
    np.savez(tmp_path / "a.npz", landmarks_2d=points, iris=iris, box=[1, 2, 3, 4])
    found = read_points(tmp_path / "a.npz")
    assert np.array_equal(found["ibug68"], points) and np.array_equal(found["iris"], iris)
    assert found["box"].tolist() == [1, 2, 3, 4]


def test_the_search_order(tmp_path):
    image = tmp_path / "a b.jpg"
    assert find_sidecar(image) is None
    (tmp_path / "detections").mkdir()
    np.savetxt(tmp_path / "detections/a b.txt", np.zeros((5, 2)))
    assert find_sidecar(image) == tmp_path / "detections/a b.txt"
    write_pts(tmp_path / "a b.pts", np.zeros((68, 2)))
    assert find_sidecar(image) == tmp_path / "a b.pts"
    face = DetectedFace(box=np.array([1.0, 2, 3, 4]), score=0.5)
    write_landmarks(tmp_path / "a b.json", [face], image="a b.jpg", width=9, height=9)
    assert find_sidecar(image) == tmp_path / "a b.json"
    assert read_faces(tmp_path / "a b.json")[0].score == 0.5


def test_an_npz_of_something_else_is_not_a_sidecar(tmp_path):
    np.savez(tmp_path / "a.npz", weights=np.zeros(3))
    assert find_sidecar(tmp_path / "a.jpg") is None


def test_upright_size_follows_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGB", (40, 30)).save(tmp_path / "plain.png")
    assert upright_size(tmp_path / "turned.jpg") == (30, 40)
    assert upright_size(tmp_path / "plain.png") == (40, 30)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pts", "version: 1\n", "landmark points"),
        ("a.pts", "{ 1 2 3 }", "landmark points"),
        ("a.pts", "{ 1 2 3 4 }", "5, 68 or 478"),
        ("a.txt", "1 2\n3 4\n", "5, 68 or 478"),
        ("a.txt", "eye nose\n", "landmark points"),
        ("a.txt", "nan 2\n3 4\n5 6\n7 8\n9 10\n", "finite"),
        ("a.npz", "no archive", "landmark points"),
    ],
)
def test_damaged_files(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_points(tmp_path / name)


def test_wrong_arrays_in_an_npz(tmp_path):
    np.savez(tmp_path / "a.npz", five=np.zeros((4, 2)))
    with pytest.raises(InputError, match="five"):
        read_points(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", iris=np.zeros((2, 2)))
    with pytest.raises(InputError, match="found none"):
        read_points(tmp_path / "b.npz")


def test_size_of_no_image(tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(InputError, match="readable image"):
        upright_size(tmp_path / "a.jpg")
