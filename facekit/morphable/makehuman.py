"""MakeHuman: ``base.obj`` and a folder of sparse ``.target`` files (CC0).

Lengths are decimetres. A target's line is a vertex number and its displacement at weight 1.
Targets of ``expression/`` are blendshapes. The others are sliders: a pair of opposite names
(``…-incr`` and ``…-decr`` and the like) makes one identity mode, half their difference, a lone
one its own mode; a standard deviation is a set share of a slider.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.obj import read_obj
from facekit.morphable.foreign import foreign_model
from facekit.morphable.model import MorphableModel

SLIDER_DEVIATION = 0.3
_OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("out", "in"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("big", "small"),
    ("max", "min"),
)
_BODY_GROUP = "body"


def read_makehuman(
    base: Path,
    *,
    targets: Path | None = None,
    deviation: float = SLIDER_DEVIATION,
    now7: Sequence[int] | None = None,
) -> MorphableModel:
    """Read the base mesh and its targets.

    Args:
        base: ``base.obj``. Of its groups only ``body`` is kept when there is one: the others are
            helpers for clothes. All its vertices stay, so targets' numbers hold.
        targets: folder searched recursively for ``.target`` and ``.target.gz``; None takes
            ``targets`` beside the base.
        deviation: slider value of one standard deviation.
        now7: vertex numbers of NoW's seven points (``read_bfm2009`` has their order).

    Raises:
        InputError: a file is missing or malformed, or there are no targets.
    """
    mesh = read_obj(base)
    folder = base.parent / "targets" if targets is None else targets
    files = sorted(p for p in folder.rglob("*.target*") if p.suffix in (".target", ".gz"))
    if not files:
        raise InputError(f"{folder}: expected a folder of MakeHuman's .target files, found none")
    shapes = {_name(p, folder): read_target(p, len(mesh.vertices)) for p in files}
    expressions = {n: s for n, s in shapes.items() if n.split("/")[0].startswith("expression")}
    sliders = {n: s for n, s in shapes.items() if n not in expressions}
    identity = [deviation * mode for mode in _pair(sliders).values()]
    empty = np.zeros((0, *mesh.vertices.shape))
    keep = _body_faces(base)
    body = len(keep) == len(mesh.faces)
    faces = mesh.faces[keep] if body else mesh.faces
    uvs = face_uvs = None
    if mesh.uvs is not None and mesh.face_uvs is not None:
        uvs = mesh.uvs.astype(np.float32)
        face_uvs = mesh.face_uvs[keep] if body else mesh.face_uvs
    return foreign_model(
        "makehuman",
        mesh.vertices,
        faces,
        np.array(identity) if identity else empty,
        expression=np.array(list(expressions.values())) if expressions else empty,
        expression_names=[n.split("/")[-1] for n in expressions],
        expression_kind="blendshape",
        uvs=uvs,
        face_uvs=face_uvs,
        now7=now7,
        millimetres=100.0,
        licence="MakeHuman base mesh and targets: CC0 1.0",
        provenance=f"read from {base.name} and {len(files)} targets, one deviation is"
        f" {deviation:g} of a slider",
    )


def _pair(sliders: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return one mode per slider: of opposite targets half their difference."""
    modes: dict[str, np.ndarray] = {}
    done: set[str] = set()
    for name in sliders:
        if name in done:
            continue
        modes[name] = sliders[name]
        for first, second in _OPPOSITES:
            for plus, minus in ((first, second), (second, first)):
                other = name[: -len(plus)] + minus
                if name.endswith(f"-{plus}") and other in sliders:
                    sign = 1.0 if plus == first else -1.0
                    modes[name] = sign * 0.5 * (sliders[name] - sliders[other])
                    done.add(other)
    return modes


def read_target(path: Path, num_vertices: int) -> np.ndarray:
    """Read a ``.target`` or ``.target.gz`` as displacements (num_vertices, 3) in decimetres.

    Raises:
        InputError: the file cannot be read, or a line is not a vertex number and three numbers.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    offsets = np.zeros((num_vertices, 3))
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                fields = line.split("#")[0].split()
                if fields:
                    vertex, x, y, z = fields
                    offsets[_vertex(vertex, num_vertices)] = float(x), float(y), float(z)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected lines 'vertex dx dy dz' ({error})") from error
    return offsets


def _vertex(text: str, num_vertices: int) -> int:
    vertex = int(text)
    if not 0 <= vertex < num_vertices:
        raise ValueError(f"vertex {vertex} of {num_vertices}")
    return vertex


def _name(path: Path, folder: Path) -> str:
    relative = path.relative_to(folder).as_posix()
    return relative.removesuffix(".gz").removesuffix(".target")


def _body_faces(base: Path) -> np.ndarray:
    """Return (F,) bool: triangles (polygons split into fans) of the group ``body``."""
    keep: list[bool] = []
    group, found = "", False
    for line in base.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("g "):
            group = line[2:].strip()
            found = found or group == _BODY_GROUP
        elif line.startswith("f "):
            keep += [group == _BODY_GROUP] * (len(line.split()) - 3)
    return np.array(keep, bool) if found else np.ones(len(keep), bool)
