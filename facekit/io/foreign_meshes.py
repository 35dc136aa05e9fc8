"""Shapes out of files that facekit reads but does not keep: binary glTF and STL."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.types import Mesh

_DTYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_TRIANGLES = 4
_STL_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])


def read_glb(path: Path) -> Mesh:
    """Read the triangles of a ``.glb``'s scene in millimetres (glTF is in metres).

    Nodes' transforms are applied and equal vertices joined (seams of the texture disappear);
    morph targets count with the weights that the file gives them, as viewers show them.

    Raises:
        InputError: no such file, no binary glTF 2, compressed geometry, or no triangles.
    """
    try:
        document, binary = _chunks(path.read_bytes())
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        nodes = document.get("nodes", [])
        scene = document.get("scenes", [{}])[document.get("scene", 0)]
        for index in scene.get("nodes", range(len(nodes))):
            _collect(document, binary, index, np.eye(4), parts, depth=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise InputError(f"{path}: expected a binary glTF 2 file ({error})") from error
    if not parts:
        raise InputError(f"{path}: expected a scene with triangles, found none")
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    vertices = np.concatenate([vertices for vertices, _ in parts])
    faces = np.concatenate([f + o for (_, f), o in zip(parts, offsets, strict=False)])
    return _joined(1000.0 * vertices, faces)


def read_stl(path: Path) -> Mesh:
    """Read a binary or text ``.stl`` in the file's own unit; equal corners are joined.

    Raises:
        InputError: no such file, or not STL.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    corners = np.zeros((0, 3, 3))
    if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        corners = np.frombuffer(data, _STL_RECORD, offset=84)["corners"].astype(np.float64)
    elif data.lstrip()[:5].lower() == b"solid":
        rows = [line.split() for line in data.decode("utf-8", "replace").splitlines()]
        try:
            points = np.array([row[1:4] for row in rows if row and row[0] == "vertex"], np.float64)
            corners = points.reshape(-1, 3, 3)
        except ValueError as error:
            raise InputError(f"{path}: malformed STL ({error})") from error
    if not len(corners):
        raise InputError(f"{path}: expected an STL mesh, found no triangles")
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    return _joined(corners.reshape(-1, 3), faces)


def _joined(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Join equal vertices, in the order of their first use; faces that collapse are dropped."""
    unique, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    joined = rank[inverse.ravel()][faces]
    a, b, c = joined.T
    return Mesh(unique[order], joined[(a != b) & (b != c) & (c != a)].astype(np.int32))


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, _ = struct.unpack_from("<4sII", data)
    if magic != b"glTF" or version != 2:
        raise ValueError("no glTF 2 header")
    document: dict[str, Any] = {}
    binary, place = b"", 12
    while place + 8 <= len(data):
        size, kind = struct.unpack_from("<I4s", data, place)
        chunk = data[place + 8 : place + 8 + size]
        if kind == b"JSON":
            document = json.loads(chunk)
        elif kind == b"BIN\0":
            binary = chunk
        place += 8 + size
    return document, binary


def _collect(
    document: dict[str, Any],
    binary: bytes,
    index: int,
    parent: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    *,
    depth: int,
) -> None:
    if depth > 64:
        raise ValueError("its nodes are nested in a circle")
    node = document["nodes"][index]
    matrix = parent @ _matrix(node)
    if "mesh" in node:
        mesh = document["meshes"][node["mesh"]]
        weights = node.get("weights", mesh.get("weights", []))
        for primitive in mesh["primitives"]:
            if primitive.get("mode", _TRIANGLES) != _TRIANGLES:
                continue
            if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
                raise ValueError("its geometry is Draco-compressed")
            points = _accessor(document, binary, primitive["attributes"]["POSITION"])
            points = points.astype(np.float64)
            for weight, target in zip(weights, primitive.get("targets", []), strict=False):
                if weight and "POSITION" in target:
                    points += weight * _accessor(document, binary, target["POSITION"])
            if "indices" in primitive:
                faces = _accessor(document, binary, primitive["indices"]).reshape(-1, 3)
            else:
                faces = np.arange(len(points)).reshape(-1, 3)
            moved = points @ matrix[:3, :3].T + matrix[:3, 3]
            if faces.size and faces.max() >= len(points):
                raise ValueError("an index is out of range")
            parts.append((moved, faces.astype(np.int64)))
    for child in node.get("children", []):
        _collect(document, binary, child, matrix, parts, depth=depth + 1)


def _matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _accessor(document: dict[str, Any], binary: bytes, index: int) -> np.ndarray:
    entry = document["accessors"][index]
    dtype, width, count = _DTYPES[entry["componentType"]], _WIDTHS[entry["type"]], entry["count"]
    if "bufferView" in entry:
        values = _view(document, binary, entry, dtype, width, count)
    else:
        values = np.zeros((count, width), dtype)
    if "sparse" in entry:
        few = entry["sparse"]
        kind = _DTYPES[few["indices"]["componentType"]]
        rows = _view(document, binary, few["indices"], kind, 1, few["count"])[:, 0]
        values[rows] = _view(document, binary, few["values"], dtype, width, few["count"])
    return values if width > 1 else values[:, 0]


def _view(
    document: dict[str, Any],
    binary: bytes,
    place: dict[str, Any],
    kind: str,
    width: int,
    count: int,
) -> np.ndarray:
    """Return the (count, width) numbers at a place in the file's buffer."""
    view = document["bufferViews"][place["bufferView"]]
    if "uri" in document["buffers"][view["buffer"]]:
        raise ValueError("its geometry is in another file")
    dtype = np.dtype(kind)
    start = view.get("byteOffset", 0) + place.get("byteOffset", 0)
    stride = view.get("byteStride", dtype.itemsize * width)
    last = start + stride * (count - 1) + dtype.itemsize * width
    if count < 1 or last > len(binary):
        raise ValueError("a buffer is too short")
    return np.ndarray((count, width), dtype, binary, start, (stride, dtype.itemsize)).copy()
