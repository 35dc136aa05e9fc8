"""Wavefront OBJ: triangles or polygons in, triangles out; vertex colours; a texture by MTL."""

from __future__ import annotations

import io
import shutil
import warnings
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.atomic import atomic_path, write_text
from facekit.io.obj_text import read_tables
from facekit.types import Mesh

UNITS_PER_MM = {"mm": 1.0, "cm": 0.1, "m": 0.001}


def write_obj(
    path: Path, mesh: Mesh, *, texture: Path | None = None, unit: str = "mm", decimals: int = 4
) -> Path:
    """Write a mesh; lengths in ``unit``.

    Args:
        path: the ``.obj`` to write; with a texture a ``.mtl`` of the same stem lies beside it.
        mesh: uvs are written when present; colours as three more numbers of each vertex.
        texture: an image beside ``path`` (its name is written), or elsewhere (it is copied).
        unit: ``mm``, ``cm`` or ``m``.
        decimals: digits after the point.
    """
    vertices = np.asarray(mesh.vertices, np.float64) * UNITS_PER_MM[unit]
    lines = [f"# facekit, {unit}"]
    if texture is not None:
        if mesh.uvs is None:
            raise InputError("write_obj: a texture needs a mesh with uvs")
        _write_mtl(path, texture)
        lines += [f"mtllib {path.with_suffix('.mtl').name}", "usemtl face"]
    rows = vertices
    row = "v" + f" %.{decimals}f" * 3
    if mesh.colours is not None:
        rows = np.hstack([vertices, mesh.colours])
        row += " %.4f" * 3
    lines.append("\n".join([row] * len(rows)) % tuple(rows.ravel().tolist()) if len(rows) else "")
    faces = mesh.faces + 1
    if mesh.uvs is not None and mesh.face_uvs is not None:
        uvs = np.asarray(mesh.uvs, np.float64)
        lines.append("\n".join(["vt %.6f %.6f"] * len(uvs)) % tuple(uvs.ravel().tolist()))
        corners = np.stack([faces, mesh.face_uvs + 1], axis=-1).reshape(-1, 6)
        lines.append("\n".join(["f %d/%d %d/%d %d/%d"] * len(faces)) % tuple(corners.ravel()))
    else:
        lines.append("\n".join(["f %d %d %d"] * len(faces)) % tuple(faces.ravel().tolist()))
    return write_text(path, "\n".join(lines) + "\n")


def _write_mtl(path: Path, texture: Path) -> None:
    if texture.parent != path.parent:
        with atomic_path(path.parent / texture.name) as temporary:
            shutil.copyfile(texture, temporary)
    write_text(
        path.with_suffix(".mtl"),
        f"newmtl face\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {texture.name}\n",
    )


def read_obj(path: Path) -> Mesh:
    """Read a mesh in the file's own unit; polygons are split into fans.

    Vertex colours (six numbers in a vertex line) are kept when every vertex has them.

    Raises:
        InputError: no vertices or faces, malformed numbers, or indices out of range.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return _plain_mesh(content) or _any_mesh(path, content)


def _plain_mesh(content: bytes) -> Mesh | None:
    """The common case by compiled code: triangles with indices from 1; else None."""
    tables = read_tables(content)
    if tables is None:
        return None
    table, uv_table, faces, face_uvs = tables
    if table.shape[1] not in (3, 4, 6, 7) or faces.max() > len(table):
        return None  # the slow path says what is wrong
    has_uvs = len(uv_table) > 0 and bool((face_uvs > 0).all())
    colours = np.clip(table[:, 3:6], 0, 1) if table.shape[1] >= 6 else None
    return Mesh(
        np.ascontiguousarray(table[:, :3]),
        (faces - 1).astype(np.int32),
        np.ascontiguousarray(uv_table) if has_uvs else None,
        (face_uvs - 1).astype(np.int32) if has_uvs else None,
        colours,
    )


def _any_mesh(path: Path, content: bytes) -> Mesh:
    """Every other file, line by line."""
    vertices: list[str] = []
    uvs: list[str] = []
    corners: list[str] = []
    for line in io.StringIO(content.decode("utf-8", errors="replace"), newline=None):
        if line.startswith("v "):
            vertices.append(line[2:])
        elif line.startswith("vt "):
            uvs.append(line[3:])
        elif line.startswith("f "):
            corners.append(line[2:].strip())
    if not vertices:
        raise InputError(f"{path}: expected an OBJ mesh, found no vertices")
    try:
        table = _numbers(vertices)
        uv_table = _numbers(uvs)[:, :2] if uvs else None
        num_uvs = 0 if uv_table is None else len(uv_table)
        faces, face_uvs = _plain_triangles(corners, len(table), num_uvs) or _triangles(
            corners, len(table), num_uvs
        )
    except ValueError as error:
        raise InputError(f"{path}: malformed OBJ ({error})") from error
    colours = np.clip(table[:, 3:6], 0, 1) if table.shape[1] >= 6 else None
    if face_uvs is None:
        uv_table = None
    return Mesh(np.ascontiguousarray(table[:, :3]), faces, uv_table, face_uvs, colours)


def _numbers(rows: list[str]) -> np.ndarray:
    """Rows of equally many numbers as a table; one call parses what one writer wrote."""
    columns = len(rows[0].split())
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for a non-number
        try:
            values = np.fromstring(" ".join(rows), dtype=np.float64, sep=" ")
        except DeprecationWarning:
            raise ValueError("a line holds something that is not a number") from None
    if values.size != columns * len(rows) or columns < 2:
        raise ValueError("lines of different lengths")
    return values.reshape(len(rows), columns)


def _plain_triangles(
    corners: list[str], num_vertices: int, num_uvs: int
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The common case in one call: triangles of one form, indices from 1; else None."""
    spaces, slashes = {row.count(" ") for row in corners}, {row.count("/") for row in corners}
    text = " ".join(corners)
    if spaces != {2} or len(slashes) != 1 or "-" in text:
        return None
    per_corner = {0: 1, 3: 2, 6: 2 if "//" in text else 3}.get(slashes.pop())
    if per_corner is None:
        return None
    values = np.array(text.replace("//", " ").replace("/", " ").split(), dtype=np.int64)
    if values.size != 3 * per_corner * len(corners):
        return None
    table = values.reshape(len(corners), 3, per_corner) - 1
    if table.min(initial=0) < 0 or table[..., 0].max(initial=0) >= num_vertices:
        return None  # the slow path says which index is wrong
    faces = np.ascontiguousarray(table[..., 0], np.int32)
    has_uvs = num_uvs > 0 and per_corner > 1 and "//" not in text
    return faces, np.ascontiguousarray(table[..., 1], np.int32) if has_uvs else None


def _triangles(
    corners: list[str], num_vertices: int, num_uvs: int
) -> tuple[np.ndarray, np.ndarray | None]:
    faces, face_uvs = [], []
    has_uvs = num_uvs > 0
    for polygon in corners:
        indices = [_indices(corner, num_vertices, num_uvs) for corner in polygon.split()]
        has_uvs = has_uvs and all(uv is not None for _, uv in indices)
        for i in range(1, len(indices) - 1):
            fan = (indices[0], indices[i], indices[i + 1])
            faces.append([v for v, _ in fan])
            face_uvs.append([uv if uv is not None else 0 for _, uv in fan])
    table = np.array(faces, dtype=np.int32).reshape(-1, 3)
    return table, np.array(face_uvs, np.int32).reshape(-1, 3) if has_uvs else None


def _indices(corner: str, num_vertices: int, num_uvs: int) -> tuple[int, int | None]:
    parts = corner.split("/")
    # OBJ counts from 1, and negative numbers count back from the end.
    vertex = int(parts[0])
    vertex = vertex - 1 if vertex > 0 else num_vertices + vertex
    if len(parts) < 2 or not parts[1]:
        return vertex, None
    uv = int(parts[1])
    return vertex, uv - 1 if uv > 0 else num_uvs + uv
