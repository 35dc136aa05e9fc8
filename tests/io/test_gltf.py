import json
import struct

import numpy as np
import pytest

from facekit.errors import InputError
from facekit.io.gltf import SplitMesh, write_glb
from facekit.types import Mesh

VERTICES = np.array([[0, 0, 0], [100, 0, 0], [0, 200, 0], [100, 200, 50]], np.float32)
FACES = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
# Vertices 1 and 2 lie on a seam: each has two uvs.
UVS = np.array([[0, 0], [1, 0], [0, 1], [0.9, 0.1], [0.8, 0.8], [0.1, 0.9]])
FACE_UVS = np.array([[0, 1, 2], [3, 4, 5]], np.int32)


class Glb:
    """A reader of just what the format's specification says."""

    def __init__(self, path):
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        assert size % 4 == 0
        self.document = json.loads(data[20 : 20 + size])
        binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        self.binary = data[28 + size : 28 + size + binary_size]
        assert self.document["buffers"][0]["byteLength"] == binary_size

    def view(self, index, dtype, count, columns):
        view = self.document["bufferViews"][index]
        assert view["byteOffset"] % np.dtype(dtype).itemsize == 0
        values = np.frombuffer(self.binary, dtype, count * columns, view["byteOffset"])
        assert values.nbytes == view["byteLength"]
        return values.reshape(count, columns)

    def accessor(self, index):
        entry = self.document["accessors"][index]
        columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[entry["type"]]
        dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2"}
        if "bufferView" in entry:
            values = self.view(
                entry["bufferView"], dtype[entry["componentType"]], entry["count"], columns
            ).copy()
        else:
            values = np.zeros((entry["count"], columns), "<f4")
        if "sparse" in entry:
            sparse = entry["sparse"]
            rows = self.view(
                sparse["indices"]["bufferView"],
                dtype[sparse["indices"]["componentType"]],
                sparse["count"],
                1,
            )[:, 0]
            assert (np.diff(rows.astype(int)) > 0).all()
            values[rows] = self.view(
                sparse["values"]["bufferView"], "<f4", sparse["count"], columns
            )
        if "min" in entry:
            np.testing.assert_allclose(values.min(0), entry["min"])
            np.testing.assert_allclose(values.max(0), entry["max"])
        return values


@pytest.fixture
def glb(tmp_path):
    split = SplitMesh(Mesh(VERTICES, FACES, UVS, FACE_UVS))
    offsets = np.zeros((4, 3), np.float32)
    offsets[2] = (0, -5, 1)
    path = write_glb(
        tmp_path / "face.glb",
        VERTICES,
        split,
        normals=np.tile([0.0, 0, 1], (4, 1)),
        texture=b"\xff\xd8jpeg",
        morph_targets=[("jawOpen", offsets), ("still", np.zeros((4, 3)))],
        morph_weights=[0.25, 0.0],
    )
    return Glb(path), split, offsets


def test_geometry_survives_the_split_at_seams(glb):
    file, split, _ = glb
    primitive = file.document["meshes"][0]["primitives"][0]
    positions = file.accessor(primitive["attributes"]["POSITION"])
    indices = file.accessor(primitive["indices"]).reshape(-1, 3)
    np.testing.assert_array_equal(positions[indices], VERTICES[FACES])
    uvs = file.accessor(primitive["attributes"]["TEXCOORD_0"])[indices]
    np.testing.assert_allclose(uvs[..., 0], UVS[FACE_UVS][..., 0])
    np.testing.assert_allclose(1 - uvs[..., 1], UVS[FACE_UVS][..., 1], atol=1e-6)
    assert len(split.source) == 6


def test_metres_come_from_the_root_node(glb):
    file, _, _ = glb
    root = file.document["nodes"][file.document["scenes"][0]["nodes"][0]]
    assert root["scale"] == [0.001, 0.001, 0.001]
    assert file.document["nodes"][root["children"][0]]["mesh"] == 0


def test_morph_targets_are_named_weighted_and_exact(glb):
    file, split, offsets = glb
    mesh = file.document["meshes"][0]
    assert mesh["extras"]["targetNames"] == ["jawOpen", "still"]
    assert mesh["weights"] == [0.25, 0.0]
    target, still = mesh["primitives"][0]["targets"]
    np.testing.assert_array_equal(file.accessor(target["POSITION"]), offsets[split.source])
    assert not file.accessor(still["POSITION"]).any()


def test_texture_is_embedded(glb):
    file, _, _ = glb
    image = file.document["images"][0]
    view = file.document["bufferViews"][image["bufferView"]]
    start = view["byteOffset"]
    assert file.binary[start : start + view["byteLength"]] == b"\xff\xd8jpeg"


def test_a_plain_mesh_needs_no_texture(tmp_path):
    path = write_glb(
        tmp_path / "plain.glb", VERTICES, SplitMesh(Mesh(VERTICES, FACES)), colours=np.ones((4, 3))
    )
    attributes = Glb(path).document["meshes"][0]["primitives"][0]["attributes"]
    assert set(attributes) == {"POSITION", "COLOR_0"}


def test_weights_must_match_targets(tmp_path):
    with pytest.raises(InputError, match="expected 1 morph weights"):
        write_glb(
            tmp_path / "x.glb",
            VERTICES,
            SplitMesh(Mesh(VERTICES, FACES)),
            morph_targets=[("a", np.zeros((4, 3)))],
        )
