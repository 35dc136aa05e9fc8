import json
import struct

import numpy as np
import pytest
from scan_case import face

from facekit.errors import InputError
from facekit.evaluate.faces3d import read_prediction
from facekit.io.foreign_meshes import read_glb, read_stl
from facekit.io.gltf import SplitMesh, write_glb
from facekit.types import Mesh

FACE = face(8, 10)


def corners(mesh):
    return mesh.vertices[mesh.faces]


def pack(document, binary=b""):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def triangle_document(**node):
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0, **node}],
    }
    return document, points


def test_own_glb_comes_back_in_millimetres(tmp_path):
    uvs = np.random.default_rng(0).uniform(size=(3 * len(FACE.faces), 2))
    face_uvs = np.arange(3 * len(FACE.faces), dtype=np.int32).reshape(-1, 3)
    mesh = Mesh(FACE.vertices, FACE.faces, uvs, face_uvs)
    write_glb(tmp_path / "a.glb", FACE.vertices, SplitMesh(mesh))
    found = read_glb(tmp_path / "a.glb")
    assert len(found.vertices) == len(FACE.vertices)
    np.testing.assert_allclose(corners(found), corners(FACE), atol=1e-4)
    read = read_prediction(tmp_path / "a.glb", unit="cm")  # glTF has one unit, whatever is said
    np.testing.assert_allclose(corners(read), corners(FACE), atol=1e-4)


def test_morph_targets_count_with_their_weights(tmp_path):
    rng = np.random.default_rng(1)
    offsets = [(name, rng.normal(size=FACE.vertices.shape)) for name in ("smile", "blink")]
    offsets[0][1][5:] = 0  # few vertices move: such targets are stored sparsely
    split = SplitMesh(Mesh(FACE.vertices, FACE.faces))
    options = {"morph_targets": offsets, "morph_weights": (0.7, 0.2)}
    write_glb(tmp_path / "a.glb", FACE.vertices, split, **options)
    moved = FACE.vertices + 0.7 * offsets[0][1] + 0.2 * offsets[1][1]
    expected = Mesh(moved, FACE.faces)
    np.testing.assert_allclose(corners(read_glb(tmp_path / "a.glb")), corners(expected), atol=1e-3)


def test_nodes_are_applied(tmp_path):
    half = np.sqrt(0.5)
    document, points = triangle_document(
        rotation=[0, 0, half, half], scale=[2, 1, 1], translation=[0, 0, 3]
    )
    (tmp_path / "a.glb").write_bytes(pack(document, points))
    expected = 1000 * np.array([[0, 0, 3], [0, 2, 3], [-1, 0, 3.0]])
    np.testing.assert_allclose(read_glb(tmp_path / "a.glb").vertices, expected, atol=1e-3)
    matrix = np.diag([1.0, 1, 1, 1])
    matrix[0, 3] = 5
    document, points = triangle_document(matrix=matrix.T.ravel().tolist())
    (tmp_path / "b.glb").write_bytes(pack(document, points))
    assert read_glb(tmp_path / "b.glb").vertices[:, 0].tolist() == [5000, 6000, 5000]


@pytest.mark.parametrize("text", [True, False])
def test_stl_joins_its_corners(tmp_path, text):
    path = tmp_path / "a.stl"
    if text:
        rows = ["solid face"]
        for triangle in corners(FACE):
            rows += ["facet normal 0 0 0", "outer loop"]
            rows += [f"vertex {x:.6f} {y:.6f} {z:.6f}" for x, y, z in triangle]
            rows += ["endloop", "endfacet"]
        path.write_text("\n".join([*rows, "endsolid"]))
    else:
        table = np.zeros((len(FACE.faces), 50), np.uint8)
        table[:, 12:48] = corners(FACE).astype("<f4").reshape(-1, 9).view(np.uint8)
        head = b"solid, but binary".ljust(80) + struct.pack("<I", len(FACE.faces))
        path.write_bytes(head + table.tobytes())
    found = read_stl(path)
    assert len(found.vertices) == len(FACE.vertices)
    np.testing.assert_allclose(corners(found), corners(FACE), atol=1e-4)
    assert read_prediction(path).warnings == ()


def test_rejections(tmp_path):
    path = tmp_path / "a.glb"
    for data in (b"", b"nonsense", pack({}), pack({"nodes": [{"children": [0]}]})):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.glb"):
            read_glb(path)
    document, points = triangle_document()
    path.write_bytes(pack(document, points[:20]))
    with pytest.raises(InputError, match="too short"):
        read_glb(path)
    document["accessors"][0]["sparse"] = {}
    path.write_bytes(pack(document, points))
    with pytest.raises(InputError, match="indices"):
        read_glb(path)
    for data in (b"", b"solid x\nvertex 1 2\n", b"solid x\nendsolid", b"x" * 200):
        (tmp_path / "a.stl").write_bytes(data)
        with pytest.raises(InputError, match=r"a\.stl"):
            read_stl(tmp_path / "a.stl")
    with pytest.raises(InputError, match="cannot be read"):
        read_glb(tmp_path / "none.glb")
    with pytest.raises(InputError, match="cannot be read"):
        read_stl(tmp_path / "none.stl")
