"""MakeHuman's CC0 base mesh and targets, wherever a user keeps them.

Either the files themselves (``base.obj`` and a folder of ``.target`` files, as in
https://github.com/makehumancommunity/makehuman under ``makehuman/data``), or one ``.npz`` that
holds the same: ``vertices``, ``polygons``, ``polygon_group``, ``group_names``, ``target_names``,
``target_ptr``, ``target_index`` and ``target_delta``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.io.npz import read_npz
from facekit.io.obj import read_obj
from facekit.morphable.makehuman import read_target

VERTICES = 19158
# Decimals of a dm that are kept, so that heads are the same whatever precision a file has.
_DECIMALS = 5
_ARRAYS = (
    "vertices", "polygons", "polygon_group", "group_names",
    "target_names", "target_ptr", "target_index", "target_delta",
)  # fmt: skip
_BASES = ("base.obj", "3dobjs/base.obj", "data/3dobjs/base.obj", "makehuman/data/3dobjs/base.obj")


class Targets:
    """Displacements (n, 3) in dm by target name (``nose/nose-scale-incr``), read when asked for.

    Args:
        readers: makes a target's displacements (V, 3) of the whole base mesh, by name.
    """

    def __init__(self, readers: dict[str, Callable[[], np.ndarray]]) -> None:
        self._readers = readers
        # One order, whatever the targets came from: draws go through the names.
        self.names = tuple(sorted(readers, key=lambda name: name.split("/")))

    def __contains__(self, name: str) -> bool:
        return name in self._readers

    def read(self, name: str) -> np.ndarray:
        """Return a target's displacements.

        Raises:
            InputError: there is no such target, or it cannot be read.
        """
        if name not in self._readers:
            raise InputError(f"MakeHuman's targets: expected {name}, which is not there")
        return np.round(self._readers[name](), _DECIMALS)


class MakehumanAssets(NamedTuple):
    """The base mesh and its targets.

    Attributes:
        vertices: (V, 3) float64, dm.
        faces: (F, 3) int32 triangles of its polygons.
        groups: (F,) each one's group.
        targets: by name.
    """

    vertices: np.ndarray
    faces: np.ndarray
    groups: np.ndarray
    targets: Targets


def is_makehuman(path: Path) -> bool:
    """Say whether a path can be MakeHuman's assets: an ``.obj``, a folder, or their archive."""
    if path.is_dir() or path.suffix.lower() == ".obj":
        return True
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            return "target_names" in data
    except (OSError, ValueError, EOFError):
        return False  # reading it as heads will say what is wrong with it


def open_assets(path: Path, *, targets: Path | None = None) -> MakehumanAssets:
    """Read the base mesh and find its targets.

    Args:
        path: ``base.obj``, the archive, or a folder that holds either (MakeHuman's own folders
            are known).
        targets: folder of ``.target`` files; None takes ``targets`` beside the base mesh, or
            beside its folder.

    Raises:
        InputError: a file is missing, or the mesh is not MakeHuman's base mesh.
    """
    base = _find(path)
    if base.suffix.lower() == ".npz":
        return _read_archive(base)
    mesh = read_obj(base)
    _check_count(base, len(mesh.vertices))
    folder = targets or next(
        (f for f in (base.parent / "targets", base.parent.parent / "targets") if f.is_dir()),
        base.parent / "targets",
    )
    return MakehumanAssets(
        np.round(np.asarray(mesh.vertices, np.float64), _DECIMALS),
        mesh.faces,
        _triangle_groups(base),
        _read_folder(folder),
    )


def _find(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: expected MakeHuman's base.obj, found none")
        return path
    places = [path / name for name in _BASES]
    places += [p for p in sorted(path.glob("*.npz")) if is_makehuman(p)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(f"{path}: expected MakeHuman's base.obj in it (or 3dobjs/), found none")
    return found


def _check_count(path: Path, count: int) -> None:
    if count != VERTICES:
        raise InputError(
            f"{path}: expected MakeHuman's base mesh of {VERTICES} vertices, got {count}"
        )


def _read_folder(folder: Path) -> Targets:
    readers: dict[str, Callable[[], np.ndarray]] = {}
    for path in folder.rglob("*.target*"):
        if path.suffix in (".target", ".gz"):
            name = path.relative_to(folder).as_posix()
            name = name.removesuffix(".gz").removesuffix(".target")
            readers[name] = partial(read_target, path, VERTICES)
    if not readers:
        raise InputError(f"{folder}: expected a folder of MakeHuman's .target files, found none")
    return Targets(readers)


def _triangle_groups(path: Path) -> np.ndarray:
    """Return the group of each triangle that ``read_obj`` makes of the file's polygons."""
    groups: list[str] = []
    current = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("g "):
            current = line[2:].strip()
        elif line.startswith("f "):
            groups += [current] * (len(line.split()) - 3)
    return np.array(groups)


def _read_archive(path: Path) -> MakehumanAssets:
    data = read_npz(path, what="MakeHuman's base mesh and targets")
    missing = [name for name in _ARRAYS if name not in data]
    if missing:
        raise InputError(f"{path}: expected the arrays {', '.join(missing)}, found none")
    _check_count(path, len(data["vertices"]))
    ends = data["target_ptr"].astype(np.int64)
    names = [str(name) for name in data["target_names"]]
    if len(ends) != len(names) + 1 or len(data["target_index"]) != ends[-1]:
        raise InputError(f"{path}: target_ptr does not fit target_names and target_index")
    polygons, label = data["polygons"].astype(np.int32), data["group_names"][data["polygon_group"]]
    faces, groups = _fans(polygons, label)
    readers: dict[str, Callable[[], np.ndarray]] = {
        name: partial(_unpack, data, slice(int(start), int(stop)))
        for name, start, stop in zip(names, ends[:-1], ends[1:], strict=True)
    }
    vertices = np.round(data["vertices"].astype(np.float64), _DECIMALS)
    return MakehumanAssets(vertices, faces, groups, Targets(readers))


def _fans(polygons: np.ndarray, label: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Split polygons (P, 3 or 4), -1 for a missing corner, into triangles with their groups."""
    faces, groups = [], []
    for row, group in zip(polygons.tolist(), label, strict=True):
        corners = [corner for corner in row if corner >= 0]
        for k in range(1, len(corners) - 1):
            faces.append((corners[0], corners[k], corners[k + 1]))
            groups.append(str(group))
    return np.array(faces, np.int32), np.array(groups)


def _unpack(data: dict[str, np.ndarray], rows: slice) -> np.ndarray:
    offsets = np.zeros((VERTICES, 3))
    offsets[data["target_index"][rows]] = data["target_delta"][rows]
    return offsets
