import json
import struct

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facekit.errors import InputError
from facekit.io.gltf import SplitMesh
from facekit.io.gltf_animation import AnimatedHead, quaternions, write_animated_glb
from facekit.types import Mesh

VERTICES = np.array([[0, 0, 0], [100, 0, 0], [0, 200, 0]], np.float32)
MESH = Mesh(VERTICES, np.array([[0, 1, 2]], np.int32))
TARGETS = [("jawOpen", np.array([[0, -5, 0], [0, 0, 0], [0, 0, 0]], np.float32)),
           ("smile", np.zeros((3, 3), np.float32))]  # fmt: skip


def head(name="person1", count=3, **changed):
    turns = Rotation.from_euler("y", np.linspace(0, 40, count)[:, None], degrees=True)
    values = {
        "name": name,
        "vertices": VERTICES,
        "normals": None,
        "colours": np.full((3, 3), 0.5, np.float32),
        "times_s": np.arange(count) * 1001 / 30000,
        "weights": np.linspace(0, 1, 2 * count).reshape(count, 2),
        "rotations": turns.as_matrix(),
        "translations": np.arange(3.0 * count).reshape(count, 3),
        "shown": np.arange(count) != 1,
    }
    return AnimatedHead(**{**values, **changed})


def read(path):
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + size])
    binary = data[28 + size :]

    def accessor(index):
        entry = document["accessors"][index]
        view = document["bufferViews"][entry["bufferView"]]
        columns = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
        offset = view["byteOffset"]
        values = np.frombuffer(binary, "<f4", entry["count"] * columns, offset)
        return values.reshape(entry["count"], columns)

    return document, accessor


def test_keyframes_are_those_given(tmp_path):
    one, two = head(), head("person2", count=2)
    path = write_animated_glb(tmp_path / "a.glb", [one, two], SplitMesh(MESH), TARGETS)
    document, accessor = read(path)
    assert [node["name"] for node in document["nodes"]] == ["millimetres", "person1", "person2"]
    assert document["nodes"][0]["scale"] == [0.001] * 3
    assert document["nodes"][0]["children"] == [1, 2]
    assert document["meshes"][0]["extras"]["targetNames"] == ["jawOpen", "smile"]
    animation = document["animations"][0]
    found = {}
    for channel in animation["channels"]:
        if channel["target"]["node"] == 1:
            sampler = animation["samplers"][channel["sampler"]]
            found[channel["target"]["path"]] = sampler
    times = accessor(found["weights"]["input"])[:, 0]
    np.testing.assert_allclose(times, one.times_s, rtol=1e-6)
    entry = document["accessors"][found["weights"]["input"]]
    assert entry["min"] == [0.0]
    assert entry["max"] == [pytest.approx(times[-1])]
    weights = accessor(found["weights"]["output"])[:, 0]
    np.testing.assert_allclose(weights.reshape(3, 2), one.weights, atol=1e-7)
    turned = Rotation.from_quat(accessor(found["rotation"]["output"])).as_matrix()
    np.testing.assert_allclose(turned, one.rotations, atol=1e-6)
    np.testing.assert_allclose(accessor(found["translation"]["output"]), one.translations)
    scale = accessor(found["scale"]["output"])
    np.testing.assert_array_equal(scale, np.repeat([[1.0], [0.0], [1.0]], 3, axis=1))
    assert found["scale"]["interpolation"] == "STEP"


def test_turns_take_the_short_way():
    angles = np.linspace(0, 720, 40)
    found = quaternions(Rotation.from_euler("z", angles[:, None], degrees=True).as_matrix())
    assert (np.sum(found[1:] * found[:-1], axis=1) > 0).all()


def test_nobody_gives_an_empty_scene(tmp_path):
    document, _ = read(write_animated_glb(tmp_path / "a.glb", [], SplitMesh(MESH), TARGETS))
    assert "animations" not in document
    assert document["nodes"] == [{"name": "millimetres", "scale": [0.001] * 3}]


@pytest.mark.parametrize(
    "bad",
    [
        {"times_s": np.array([0.0, 0.1, 0.1])},
        {"weights": np.zeros((3, 1))},
        {"translations": np.zeros((2, 3))},
        {"shown": np.zeros(3)},
    ],
)
def test_keyframes_that_do_not_fit_are_refused(tmp_path, bad):
    with pytest.raises(InputError):
        write_animated_glb(tmp_path / "a.glb", [head(**bad)], SplitMesh(MESH), TARGETS)
