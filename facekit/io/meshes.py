"""Read or write a mesh by its suffix."""

from __future__ import annotations

from pathlib import Path

from facekit.errors import InputError
from facekit.io.obj import read_obj, write_obj
from facekit.io.ply import read_ply, write_ply
from facekit.types import Mesh

SUFFIXES = frozenset({".obj", ".ply"})


def read_mesh(path: Path) -> Mesh:
    """Read ``.obj`` or ``.ply`` in the file's own unit."""
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return read_obj(path)
    if suffix == ".ply":
        return read_ply(path)
    raise InputError(f"{path}: expected a mesh as .obj or .ply, got {suffix or 'no suffix'!r}")


def write_mesh(path: Path, mesh: Mesh, *, unit: str = "mm") -> Path:
    """Write ``.obj`` or ``.ply``, lengths in ``unit``."""
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return write_obj(path, mesh, unit=unit)
    if suffix == ".ply":
        return write_ply(path, mesh, unit=unit)
    raise InputError(f"{path}: expected a name that ends in .obj or .ply, got {suffix!r}")
