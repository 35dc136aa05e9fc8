import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.meshes import read_mesh, write_mesh
from facekit.io.obj import read_obj, write_obj
from facekit.io.ply import read_ply, write_ply
from facekit.types import Mesh

VERTICES = np.array([[0, 0, 0], [10.5, 0, 0], [0, -20.25, 0], [1, 2, 3.125]])
FACES = np.array([[0, 1, 2], [0, 3, 1]], np.int32)
COLOURS = np.array([[0, 0.2, 1], [1, 1, 1], [0.4, 0.6, 0.8], [0, 0, 0]])
UVS = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.5], [0.25, 0.75]])
FACE_UVS = np.array([[0, 1, 2], [4, 3, 1]], np.int32)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_round_trip(tmp_path, suffix):
    mesh = Mesh(VERTICES, FACES, colours=COLOURS)
    again = read_mesh(write_mesh(tmp_path / f"head é{suffix}", mesh))
    np.testing.assert_allclose(again.vertices, VERTICES, atol=1e-4)
    np.testing.assert_array_equal(again.faces, FACES)
    np.testing.assert_allclose(again.colours, COLOURS, atol=1 / 255)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("cm", 0.1), ("m", 0.001)])
def test_units(tmp_path, suffix, unit, factor):
    again = read_mesh(write_mesh(tmp_path / f"head{suffix}", Mesh(VERTICES, FACES), unit=unit))
    np.testing.assert_allclose(again.vertices, VERTICES * factor, atol=1e-4)


def test_obj_keeps_uvs_and_names_its_texture(tmp_path):
    texture = tmp_path / "texture.jpg"
    texture.write_bytes(b"picture")
    path = write_obj(tmp_path / "face.obj", Mesh(VERTICES, FACES, UVS, FACE_UVS), texture=texture)
    again = read_obj(path)
    np.testing.assert_allclose(again.uvs, UVS)
    np.testing.assert_array_equal(again.face_uvs, FACE_UVS)
    assert "map_Kd texture.jpg" in (tmp_path / "face.mtl").read_text()


def test_obj_polygons_negative_indices_and_normals(tmp_path):
    path = tmp_path / "quad.obj"
    path.write_text(
        "# comment\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\n"
        "f 1//1 2//1 3//1 4//1\nf -4 -3 -2\n"
    )
    np.testing.assert_array_equal(read_obj(path).faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])


def test_ascii_ply_with_a_quad_and_extra_columns(tmp_path):
    path = tmp_path / "quad.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\n"
        "property float z\nproperty float quality\nelement face 2\n"
        "property list uchar int vertex_indices\nend_header\n"
        "0 0 0 9\n1 0 0 9\n1 1 0 9\n0 1 0 9\n4 0 1 2 3\n3 0 1 2\n"
    )
    np.testing.assert_array_equal(read_ply(path).faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])


def test_big_endian_ply_with_mixed_polygons(tmp_path):
    header = (
        "ply\nformat binary_big_endian 1.0\nelement vertex 4\nproperty double x\n"
        "property double y\nproperty double z\nelement face 2\n"
        "property list uchar int vertex_index\nend_header\n"
    )
    body = VERTICES.astype(">f8").tobytes()
    body += b"\4" + np.array([0, 1, 2, 3], ">i4").tobytes()
    body += b"\3" + np.array([0, 3, 1], ">i4").tobytes()
    path = tmp_path / "big.ply"
    path.write_bytes(header.encode() + body)
    mesh = read_ply(path)
    np.testing.assert_allclose(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 3, 1]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.obj", "nothing here\n", "no vertices"),
        ("a.obj", "v 0 0 zero\n", "malformed"),
        ("a.obj", "v 0 0 0\nf 1 2 3\n", "vertex indices"),
        ("a.ply", "solid stl\n", "expected a PLY"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\n", "expected a PLY"),
        (
            "a.ply",
            "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\n"
            "property float z\nend_header\n0 0 0\n",
            "malformed",
        ),
        ("a.stl", "solid\n", "expected a mesh"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_mesh(path)


def test_a_missing_file_is_refused(tmp_path):
    for name in ("none.obj", "none.ply"):
        with pytest.raises(InputError, match="cannot be read"):
            read_mesh(tmp_path / name)


def test_texture_without_uvs_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs a mesh with uvs"):
        write_obj(tmp_path / "x.obj", Mesh(VERTICES, FACES), texture=tmp_path / "t.jpg")


def test_binary_ply_body_cut_short(tmp_path):
    path = write_ply(tmp_path / "cut.ply", Mesh(VERTICES, FACES))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="malformed"):
        read_ply(path)
