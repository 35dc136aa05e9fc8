"""Named 3D points in the layouts that benchmarks and labelling tools write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.npz import read_npz
from facekit.io.pp import read_pp

SUFFIXES = (".npy", ".npz", ".pp", ".lnd", ".json", ".txt")
# What a file with so many points means when it does not say.
SET_OF_COUNT = {4: "four", 5: "five", 7: "now7", 68: "ibug68", 85: "realy85"}


def read_points3d(path: Path, *, vertices: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Read points of one face, by the name of their set, in the file's unit.

    ``.npy`` (N, 3) or (1, N, 3); ``.pp`` (MeshLab); ``.lnd`` and ``.txt``: a line a point, with
    three numbers, or an index and three numbers, or (with ``vertices``) the index of a vertex,
    after a name or not; ``.json``: a list of points, or a mapping from set names to such lists;
    ``.npz``: arrays by set name, or facekit's params (``now7``, ``landmarks_3d_mm``). A set that
    is not named is known by its count: 4, 5, 7, 68 or 85 points.

    Args:
        path: the file.
        vertices: (V, 3) of the mesh that indices count in.

    Raises:
        InputError: no such file or not in its format, another count of points, or points that
            are not finite.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".pp":
            found: dict[str, np.ndarray] = {"": read_pp(path).points}
        elif suffix == ".npy":
            found = {"": np.load(path, allow_pickle=False)}
        elif suffix == ".npz":
            found = _from_npz(path)
        elif suffix == ".json":
            found = _from_json(path)
        elif suffix in (".txt", ".lnd"):
            found = {"": _from_lines(path.read_text(encoding="utf-8"), vertices)}
        else:
            known = " ".join(SUFFIXES)
            raise InputError(f"{path}: expected 3D points as one of {known}, got {suffix!r}")
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its 3D points cannot be read ({error})") from error
    return dict(_named(path, name, points) for name, points in found.items())


def read_vertex_mask(path: Path, count: int) -> np.ndarray:
    """Read which of ``count`` vertices are meant, as sorted indices (n,).

    ``.npy`` or text; ``count`` zeros and ones are a mask, anything else are indices from 0.

    Raises:
        InputError: no such file, an index out of range, or nothing chosen.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False).ravel()
        else:
            text = path.read_text(encoding="utf-8").replace(",", " ")
            values = np.array(text.split(), dtype=np.float64)
        values = values.astype(np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected vertex indices or a mask ({error})") from error
    if len(values) == count and np.isin(values, (0, 1)).all():
        chosen = np.flatnonzero(values)
    else:
        bad = values[(values % 1 != 0) | (values < 0) | (values >= count)]
        if len(bad):
            raise InputError(
                f"{path}: expected vertex indices in [0, {count}) or {count} zeros and ones, got "
                f"{bad[0]:.12g} among {len(values)} values; is it of another topology?"
            )
        chosen = np.unique(values.astype(np.int64))
    if not len(chosen):
        raise InputError(f"{path}: chooses no vertex")
    return chosen


def _named(path: Path, name: str, points: np.ndarray) -> tuple[str, np.ndarray]:
    table = np.asarray(points)
    if table.ndim == 3 and len(table) == 1:
        table = table[0]
    if table.dtype.kind not in "fiu" or table.ndim != 2 or table.shape[1] != 3:
        raise InputError(f"{path}: expected points of three numbers, got shape {table.shape}")
    table = table.astype(np.float64)
    if not np.isfinite(table).all():
        row = int(np.argwhere(~np.isfinite(table))[0][0])
        raise InputError(f"{path}: expected finite points, but point {row} is {table[row]}")
    if not name:
        if len(table) not in SET_OF_COUNT:
            counts = ", ".join(str(n) for n in SET_OF_COUNT)
            raise InputError(f"{path}: expected {counts} points, got {len(table)}")
        name = SET_OF_COUNT[len(table)]
    wanted = next((n for n, known in SET_OF_COUNT.items() if known == name), len(table))
    if len(table) != wanted:
        raise InputError(f"{path}: {name} has {wanted} points, got {len(table)}")
    return name, table


def _from_npz(path: Path) -> dict[str, np.ndarray]:
    values = read_npz(path, what="3D points")
    names = {**{name: name for name in SET_OF_COUNT.values()}, "landmarks_3d_mm": "ibug68"}
    found = {names[key]: value for key, value in values.items() if key in names}
    if not found:
        raise InputError(f"{path}: expected one of the arrays {', '.join(names)}")
    return found


def _from_json(path: Path) -> dict[str, np.ndarray]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(document, list):
        return {"": np.array(document, dtype=np.float64)}
    known = {name: document[name] for name in SET_OF_COUNT.values() if name in document}
    if not known and "points" in document:
        points = document["points"]
        rows = list(points.values()) if isinstance(points, dict) else points
        return {"": np.array(rows, dtype=np.float64)}
    if not known:
        raise InputError(f"{path}: expected a list of points, or one of the keys points, five, …")
    return {name: np.array(rows, dtype=np.float64) for name, rows in known.items()}


def _from_lines(text: str, vertices: np.ndarray | None) -> np.ndarray:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [line.replace(",", " ").split() for line in lines]
    widths = {len(row) for row in rows}
    if widths == {3}:
        return np.array(rows, dtype=np.float64)
    if widths == {4}:
        return np.array([row[1:] for row in rows], dtype=np.float64)
    if widths <= {1, 2} and rows:
        if vertices is None:
            raise ValueError("it holds vertex indices, but there is no mesh to read them in")
        indices = np.array([int(row[-1]) for row in rows])
        if indices.min() < 0 or indices.max() >= len(vertices):
            raise ValueError(
                f"expected vertex indices in [0, {len(vertices)}), got {indices.min()} to "
                f"{indices.max()}"
            )
        return np.asarray(vertices)[indices]
    raise ValueError("expected three numbers a line, or an index and three numbers")
