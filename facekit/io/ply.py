"""PLY meshes: ASCII and binary in, binary little-endian out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.io.obj import UNITS_PER_MM
from facekit.types import Mesh

_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


def write_ply(
    path: Path, mesh: Mesh, *, unit: str = "mm", normals: np.ndarray | None = None
) -> Path:
    """Write a binary little-endian PLY (float32 positions, uchar colours); lengths in ``unit``.

    Args:
        path: the file.
        mesh: without faces it is a cloud of points.
        unit: of lengths in the file.
        normals: (V, 3) unit normals to write too, or None.
    """
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if normals is not None:
        normals = check_array(normals, "normals", shape=(len(mesh.vertices), 3))
        fields += [("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")]
    if mesh.colours is not None:
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    table = np.zeros(len(mesh.vertices), dtype=fields)
    for axis, name in enumerate("xyz"):
        table[name] = mesh.vertices[:, axis] * UNITS_PER_MM[unit]
        if normals is not None:
            table[f"n{name}"] = normals[:, axis]
    if mesh.colours is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            table[name] = np.clip(mesh.colours[:, channel] * 255 + 0.5, 0, 255)
    faces = np.zeros(len(mesh.faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, mesh.faces
    names = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"comment facekit, {unit}"]
    header += [f"element vertex {len(table)}"]
    header += [f"property {names[kind]} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode())
        file.write(table.tobytes())
        file.write(faces.tobytes())
    return path


def read_ply(path: Path) -> Mesh:
    """Read a mesh in the file's own unit; polygons are split into fans.

    Raises:
        InputError: not a PLY, no x, y, z, or a body shorter than its header says.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise InputError(f"{path}: expected a PLY file")
    body = data.index(b"\n", end) + 1
    try:
        form, elements = _parse_header(data[:end].decode("ascii", "replace"))
        if form == "ascii":
            columns = _read_ascii(data[body:].decode("ascii"), elements)
        else:
            columns = _read_binary(data[body:], elements, "<" if "little" in form else ">")
        return _mesh(columns)
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: malformed PLY ({error})") from error


_Element = tuple[str, int, list[tuple[str, ...]]]


def _parse_header(header: str) -> tuple[str, list[_Element]]:
    form = ""
    elements: list[_Element] = []
    for line in header.splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append(tuple(words[1:]))
    return form, elements


def _read_binary(body: bytes, elements: list[_Element], order: str) -> dict:
    columns: dict[str, dict] = {}
    offset = 0
    for name, count, properties in elements:
        if all(p[0] != "list" for p in properties):
            dtype = np.dtype([(p[1], order + _TYPES[p[0]]) for p in properties])
            table = np.frombuffer(body, dtype, count, offset)
            offset += table.nbytes
            columns[name] = {p[1]: table[p[1]] for p in properties}
            continue
        columns[name], offset = _read_binary_lists(body, offset, count, properties, order)
    return columns


def _read_binary_lists(
    body: bytes, offset: int, count: int, properties: list[tuple[str, ...]], order: str
) -> tuple[dict, int]:
    kinds = [
        (order + _TYPES[p[1]], order + _TYPES[p[2]]) if p[0] == "list" else order + _TYPES[p[0]]
        for p in properties
    ]
    if len(properties) == 1 and count:
        length = int(np.frombuffer(body, kinds[0][0], 1, offset)[0])
        row = np.dtype([("n", kinds[0][0]), ("v", kinds[0][1], length)])
        if offset + count * row.itemsize <= len(body):
            table = np.frombuffer(body, row, count, offset)
            if (table["n"] == length).all():
                return {properties[0][-1]: table["v"]}, offset + table.nbytes
    values: dict[str, list] = {p[-1]: [] for p in properties}
    for _ in range(count):
        for prop, kind in zip(properties, kinds, strict=True):
            n = 1
            if prop[0] == "list":
                n = int(np.frombuffer(body, kind[0], 1, offset)[0])
                offset += np.dtype(kind[0]).itemsize
                kind = kind[1]
            values[prop[-1]].append(np.frombuffer(body, kind, n, offset))
            offset += n * np.dtype(kind).itemsize
    return values, offset


def _read_ascii(text: str, elements: list[_Element]) -> dict:
    lines = iter(line for line in text.splitlines() if line.strip())
    columns: dict[str, dict] = {}
    for name, count, properties in elements:
        values: dict[str, list] = {p[-1]: [] for p in properties}
        for _ in range(count):
            words = next(lines, "").split()
            at = 0
            for prop in properties:
                n = 1
                if prop[0] == "list":
                    n, at = int(words[at]), at + 1
                numbers = [float(word) for word in words[at : at + n]]
                if len(numbers) != n:
                    raise ValueError("a line is too short")
                values[prop[-1]].append(numbers if prop[0] == "list" else numbers[0])
                at += n
        columns[name] = values
    return columns


def _mesh(columns: dict) -> Mesh:
    vertex = columns["vertex"]
    vertices = np.stack([np.asarray(vertex[axis], np.float64) for axis in "xyz"], axis=1)
    colours = None
    if all(name in vertex for name in ("red", "green", "blue")):
        colours = np.stack([np.asarray(vertex[c]) for c in ("red", "green", "blue")], 1) / 255.0
    polygons = columns.get("face", {})
    lists = polygons.get("vertex_indices", polygons.get("vertex_index", []))
    if isinstance(lists, np.ndarray) and lists.ndim == 2 and lists.shape[1] == 3:
        faces = lists.astype(np.int32)
    else:
        fans = [
            (p[0], p[i], p[i + 1])
            for p in (np.asarray(polygon).astype(int) for polygon in lists)
            for i in range(1, len(p) - 1)
        ]
        faces = np.array(fans, np.int32).reshape(-1, 3)
    return Mesh(vertices, faces, colours=colours)
