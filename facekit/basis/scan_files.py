"""Scans in folders and files: who they show, their meshes and their landmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.basis.register import ScanSurface
from facekit.errors import InputError, ItemError
from facekit.geometry.surface import Surface
from facekit.io.meshes import SUFFIXES, read_mesh
from facekit.io.points3d import read_points3d

MESH_NAME = "mesh.ply"
LANDMARK_NAME = "landmarks.json"
NEUTRAL = "neutral"
# Files that lie beside a mesh and are none of their own.
_OTHER = frozenset({"dense.ply"})
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


class ScanItem(NamedTuple):
    """A scan to register.

    Attributes:
        subject, expression: names; expression is empty for the neutral face.
        mesh: its file; landmarks: its landmark file, which may not exist.
    """

    subject: str
    expression: str
    mesh: Path
    landmarks: Path

    @property
    def key(self) -> str:
        """``subject`` or ``subject/expression``."""
        return f"{self.subject}/{self.expression}" if self.expression else self.subject


def find_scans(paths: Sequence[Path], *, landmarks: Path | None = None) -> list[ScanItem]:
    """Return the scans of files and folders, neutral faces first.

    A scan is a folder with ``mesh.ply`` and ``landmarks.json`` (as ``facekit sfm`` writes it), or
    a mesh ``NAME.ply`` or ``NAME.obj`` with ``NAME.json`` (or another format of points) beside
    it. ``SUBJECT`` or ``SUBJECT/neutral`` is a neutral face, ``SUBJECT/NAME`` an expression. Other
    folders are searched.

    Args:
        paths: scans, or folders of them.
        landmarks: the landmark file of the one scan.

    Raises:
        InputError: a path is missing, holds no scan, two scans share a name, or ``landmarks`` is
            given with several scans.
    """
    found: list[ScanItem] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: expected a scan or a folder of scans; there is none")
        mine = [_item(mesh, path) for mesh in _meshes(path)]
        if not mine:
            raise InputError(
                f"{path}: expected a folder with {MESH_NAME} (facekit sfm makes it) or meshes"
                f" {' '.join(sorted(SUFFIXES))}; found none"
            )
        found += mine
    found.sort(key=lambda item: (item.expression != "", item.subject, item.expression))
    for first, second in pairwise(found):
        if first.key == second.key:
            raise InputError(
                f"scans: {first.mesh} and {second.mesh} are both of {first.key}; rename one"
            )
    if landmarks is not None:
        if len(found) != 1:
            raise InputError(f"--landmarks: is for one scan, but there are {len(found)}")
        found[0] = found[0]._replace(landmarks=landmarks)
    return found


def read_scan(item: ScanItem, *, unit: str = "mm") -> ScanSurface:
    """Read a scan's mesh and landmarks, in mm.

    Raises:
        ItemError: a file is missing or damaged, coordinates are not finite, or it has no faces.
    """
    try:
        mesh = read_mesh(item.mesh)
    except InputError as error:
        raise ItemError(str(error)) from error
    vertices = np.asarray(mesh.vertices, np.float64)
    if not len(mesh.faces):
        raise ItemError(f"{item.mesh}: expected a surface, got {len(vertices)} points and no faces")
    scale = _MILLIMETRES[unit]
    marks = scale * read_landmarks(item.landmarks)
    return ScanSurface(Surface(scale * vertices, mesh.faces), marks)


def read_landmarks(path: Path) -> np.ndarray:
    """Read iBUG's 68 points (68, 3), NaN where unknown, in the file's unit.

    ``landmarks.json`` as ``facekit sfm`` writes it (``points``: ``ibug68``: rows or null), or any
    format that other commands read points from; 51 points are iBUG's without the jaw.

    Raises:
        ItemError: no such file (no face was found in the scan), or no 68 points in it.
    """
    if not path.is_file():
        raise ItemError(
            f"{path}: no landmarks, so no face is known in this scan; facekit sfm writes them"
            " where it finds a face, or name a file with --landmarks"
        )
    if path.suffix.lower() == ".json":
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            points = document.get("points") if isinstance(document, dict) else None
            if isinstance(points, dict) and "ibug68" in points:
                return _rows(points["ibug68"])
        except (OSError, ValueError, TypeError) as error:
            raise ItemError(f"{path}: its landmarks cannot be read ({error})") from error
    try:
        found = read_points3d(path)
    except InputError as error:
        raise ItemError(str(error)) from error
    if "ibug68" not in found:
        raise ItemError(f"{path}: expected the 68 points of iBUG, got {', '.join(found)}")
    return found["ibug68"]


def _rows(rows: list[list[float] | None]) -> np.ndarray:
    if len(rows) != 68:
        raise ValueError(f"expected 68 points, got {len(rows)}")
    return np.array([[np.nan] * 3 if row is None else row for row in rows], np.float64)


def _meshes(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / MESH_NAME).is_file() and not any(path.glob(f"*/{MESH_NAME}")):
        return [path / MESH_NAME]
    found = [
        mesh
        for mesh in sorted(path.rglob("*"))
        if mesh.suffix.lower() in SUFFIXES and mesh.name not in _OTHER and mesh.is_file()
    ]
    scans = {mesh.parent for mesh in found if mesh.name == MESH_NAME}
    return [m for m in found if m.name == MESH_NAME or not scans.intersection(m.parents)]


def _item(mesh: Path, root: Path) -> ScanItem:
    folder = mesh.name == MESH_NAME
    place = mesh.parent if folder else mesh.with_suffix("")
    base = root.parent if root == mesh or (root / MESH_NAME).is_file() else root
    base = base.parent if root == mesh and folder else base
    parts = place.resolve().relative_to(base.resolve()).parts
    expression = parts[-1] if len(parts) > 1 else ""
    subject = parts[-2] if len(parts) > 1 else parts[-1]
    if expression == NEUTRAL:
        expression = ""
    if folder:
        landmarks = mesh.parent / LANDMARK_NAME
    else:
        beside = [mesh.with_suffix(s) for s in (".json", ".npz", ".npy", ".pp", ".txt", ".lnd")]
        landmarks = next((path for path in beside if path.is_file()), beside[0])
    return ScanItem(subject, expression, mesh, landmarks)
