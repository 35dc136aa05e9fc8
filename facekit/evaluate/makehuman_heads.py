"""Heads of known shape sampled from MakeHuman's CC0 assets, which the user downloads.

``base.obj`` and its ``targets`` folder (https://github.com/makehumancommunity/makehuman, in
``makehuman/data``; CC0 1.0). The heads are of mixed ancestry, sex, age and weight, with sliders of
the face; each has a neutral shape and one expression.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.geometry.closest_point import build_tree
from facekit.geometry.rays import hemisphere, open_directions
from facekit.io.atomic import atomic_path
from facekit.io.obj import read_obj
from facekit.morphable.makehuman import read_target

VERTICES = 19158
QUANTUM_MM = 0.01
_MILLIMETRES = 100.0
# The head is what of the body lies above this height of the base mesh, dm.
_NECK_DM = 5.895
_EYES = ("helper-l-eye", "helper-r-eye")
_RACES, _SEXES, _AGES = ("african", "asian", "caucasian"), ("female", "male"), ("young", "old")
_SLIDERS = ("cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
_DEVIATION = 0.3
_OPPOSITES = (
    ("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"),
    ("convex", "concave"), ("big", "small"),
)  # fmt: skip
_EXPRESSIONS = "expression/units/caucasian"
# iBUG's points 17 to 67 on the base mesh: a face's three vertices, and the weights of the second
# and third. They lie where a landmark detector finds the points on renders of such heads.
_LANDMARKS = (
    (254, 211, 212, 0.25, 0.60), (207, 179, 178, 0.02, 0.21), (206, 176, 204, 0.44, 0.02),
    (204, 177, 205, 0.88, 0.05), (208, 181, 209, 0.16, 0.41), (6983, 6984, 6957, 0.33, 0.15),
    (6979, 6980, 6953, 0.21, 0.61), (6981, 6979, 6952, 0.21, 0.16), (6999, 6981, 6982, 0.06, 0.90),
    (7023, 7024, 6987, 0.03, 0.54), (132, 133, 6911, 0.67, 0.09), (131, 5063, 11679, 0.52, 0.07),
    (291, 7059, 6976, 0.14, 0.06), (294, 5054, 11670, 0.62, 0.22), (286, 333, 334, 0.69, 0.03),
    (285, 314, 313, 0.55, 0.45), (343, 7079, 317, 0.48, 0.42), (7054, 7076, 7077, 0.25, 0.47),
    (7121, 7055, 7095, 0.74, 0.24), (6781, 21, 24, 0.37, 0.52), (6, 0, 4848, 0.15, 0.11),
    (4866, 4865, 54, 0.44, 0.47), (73, 70, 4870, 0.27, 0.32), (50, 47, 4862, 0.27, 0.25),
    (41, 6777, 36, 0.09, 0.13), (13360, 6850, 6853, 0.01, 0.64), (11483, 6838, 6785, 0.63, 0.17),
    (6790, 11467, 11466, 0.13, 0.10), (6811, 11473, 6808, 0.19, 0.39),
    (11478, 6820, 6825, 0.36, 0.50), (6834, 11480, 6831, 0.13, 0.66), (501, 426, 3704, 0.48, 0.28),
    (451, 5351, 5352, 0.51, 0.11), (450, 457, 460, 0.29, 0.17), (455, 466, 7222, 0.32, 0.28),
    (7210, 7216, 7215, 0.40, 0.23), (7169, 11953, 11956, 0.66, 0.27),
    (10404, 7187, 10403, 0.03, 0.82), (7235, 7166, 7233, 0.28, 0.06),
    (7235, 7245, 7241, 0.03, 0.69), (7241, 492, 5337, 0.71, 0.17), (480, 486, 490, 0.94, 0.00),
    (480, 478, 406, 0.11, 0.03), (437, 444, 443, 0.43, 0.44), (465, 472, 473, 0.72, 0.16),
    (468, 474, 7229, 0.45, 0.27), (7221, 7228, 7227, 0.50, 0.05), (7197, 7203, 7204, 0.44, 0.43),
    (7227, 7228, 7268, 0.49, 0.34), (7229, 474, 520, 0.60, 0.13), (472, 522, 521, 0.08, 0.21),
)  # fmt: skip
# Rows of NoW's seven points among them (iBUG 36, 39, 42, 45, 33, 48, 54).
_NOW7 = (19, 22, 25, 28, 16, 31, 37)
# Directions over each half sphere, and how many of all an outer point sees at least.
_DIRECTIONS = 48
_OPEN = 14
_START_MM = 4.0


class _Base(NamedTuple):
    """The head of the base mesh: which vertices, and faces in their numbering."""

    vertices: np.ndarray
    keep: np.ndarray
    skin: np.ndarray
    eyes: np.ndarray
    landmarks: np.ndarray


def is_makehuman_base(path: Path) -> bool:
    """Say whether a path is MakeHuman's base mesh by its name."""
    return path.suffix.lower() == ".obj"


def write_makehuman_heads(
    base: Path, output: Path, *, count: int, seed: int = 0, targets: Path | None = None
) -> Path:
    """Sample heads and write them as ``heads.read_heads`` reads them.

    A head is the base mesh, plus a mixture of ancestries (Dirichlet, 0.7), one sex, an age from
    young to old, a weight, and sliders of the face (normal, deviation 0.3, cut at 1). Its
    expression is up to four units, each up to full strength. The same seed gives the same head
    whatever ``count`` is.

    Args:
        base: MakeHuman's ``base.obj``.
        output: the ``.npz``.
        count: heads.
        seed: of every draw.
        targets: folder of ``.target`` files; None takes ``targets`` beside the base.

    Raises:
        InputError: a file is missing, or the base is not MakeHuman's.
    """
    if count < 1:
        raise InputError(f"count: expected at least 1 head, got {count}")
    head = _read_base(base)
    folder = base.parent / "targets" if targets is None else targets
    shapes = _Targets(folder, head.keep)
    neutral = np.empty((count, len(head.keep), 3))
    expressed = np.empty_like(neutral)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rest = head.vertices[head.keep] + _identity(rng, shapes)
        # MakeHuman's origin is between the feet, so heads of tall people lie higher.
        rest -= (rest.min(axis=0) + rest.max(axis=0)) / 2
        neutral[number] = rest
        expressed[number] = rest + _expression(rng, shapes)
    scale = _MILLIMETRES / QUANTUM_MM
    mean = _MILLIMETRES * head.vertices[head.keep]
    arrays: dict[str, Any] = {
        "neutral": np.rint(scale * neutral).astype(np.int16),
        "expressed": np.rint(scale * expressed).astype(np.int16),
        "quantum_mm": np.float64(QUANTUM_MM),
        "skin_faces": head.skin,
        "eye_faces": head.eyes,
        "scan_faces": _outer_faces(mean, head.skin, head.eyes),
        "landmark_ids": np.arange(17, 68),
        "landmark_vertices": head.landmarks,
        "landmark_weights": _weights(),
        "now7_rows": np.array(_NOW7),
        "seed": np.int64(seed),
    }
    with atomic_path(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return output


class _Targets:
    """Displacements (n, 3) of the head's vertices by target name, read when first asked for."""

    def __init__(self, folder: Path, keep: np.ndarray) -> None:
        self._keep = keep
        self._found: dict[str, np.ndarray] = {}
        self._files: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.target*")):
            if path.suffix in (".target", ".gz"):
                name = path.relative_to(folder).as_posix()
                self._files[name.removesuffix(".gz").removesuffix(".target")] = path
        if not self._files:
            raise InputError(
                f"{folder}: expected a folder of MakeHuman's .target files, found none"
            )

    def __call__(self, name: str) -> np.ndarray:
        if name not in self._files:
            raise InputError(f"MakeHuman's targets: expected {name}, which is not there")
        if name not in self._found:
            self._found[name] = read_target(self._files[name], VERTICES)[self._keep]
        return self._found[name]

    def sliders(self) -> list[tuple[str, str]]:
        """Return the face's sliders: the target of their upper and of their lower half."""
        pairs = []
        for name in self._files:
            if name.split("/")[0] not in _SLIDERS:
                continue
            for plus, minus in _OPPOSITES:
                other = name[: -len(plus)] + minus
                if name.endswith(f"-{plus}") and other in self._files:
                    pairs.append((name, other))
        return pairs

    def expressions(self) -> list[str]:
        """Return the expression units, left and right ones apart."""
        return [name for name in self._files if name.startswith(f"{_EXPRESSIONS}/")]


def _identity(rng: np.random.Generator, shapes: _Targets) -> np.ndarray:
    race = rng.dirichlet(np.full(len(_RACES), 0.7))
    sex = _SEXES[int(rng.integers(2))]
    old = float(rng.beta(1.0, 2.0))
    weight = float(np.clip(0.5 * rng.standard_normal(), -1, 1))
    total: np.ndarray | float = 0.0
    for age, share in zip(_AGES, (1 - old, old), strict=True):
        for name, part in zip(_RACES, race, strict=True):
            total = total + share * part * shapes(f"macrodetails/{name}-{sex}-{age}")
        for which, amount in (
            ("average", 1 - abs(weight)),
            ("max", max(weight, 0.0)),
            ("min", max(-weight, 0.0)),
        ):
            name = f"macrodetails/universal-{sex}-{age}-averagemuscle-{which}weight"
            total = total + share * amount * shapes(name)
    sliders = shapes.sliders()
    for (up, down), value in zip(
        sliders, np.clip(_DEVIATION * rng.standard_normal(len(sliders)), -1, 1), strict=True
    ):
        total = total + abs(value) * shapes(up if value > 0 else down)
    return np.asarray(total)


def _expression(rng: np.random.Generator, shapes: _Targets) -> np.ndarray:
    units = shapes.expressions()
    total: np.ndarray | float = 0.0
    for unit in rng.permutation(len(units))[: int(rng.integers(1, 5))]:
        total = total + float(rng.beta(1.5, 2.0)) * shapes(units[unit])
    return np.asarray(total)


def _read_base(path: Path) -> _Base:
    if not path.is_file():
        raise InputError(f"{path}: expected MakeHuman's base.obj, found none")
    mesh = read_obj(path)
    if len(mesh.vertices) != VERTICES:
        raise InputError(
            f"{path}: expected MakeHuman's base mesh of {VERTICES} vertices, "
            f"got {len(mesh.vertices)}"
        )
    group = _triangle_groups(path)
    above = np.asarray(mesh.vertices)[:, 1] > _NECK_DM
    skin = mesh.faces[(group == "body") & above[mesh.faces].all(axis=1)]
    eyes = mesh.faces[np.isin(group, _EYES)]
    if not len(skin) or not len(eyes):
        raise InputError(f"{path}: expected the groups body, {', '.join(_EYES)}")
    keep = np.concatenate([np.unique(skin), np.unique(eyes)])
    place = np.full(VERTICES, -1, np.int32)
    place[keep] = np.arange(len(keep), dtype=np.int32)
    marks = place[np.array([row[:3] for row in _LANDMARKS])]
    if (marks < 0).any():
        raise InputError(f"{path}: is another version of MakeHuman's base mesh: landmarks are gone")
    return _Base(np.asarray(mesh.vertices, np.float64), keep, place[skin], place[eyes], marks)


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


def _outer_faces(vertices: np.ndarray, skin: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Return the faces of the skin that can be seen from outside, whatever lies behind them."""
    tree = build_tree(vertices, np.concatenate([skin, eyes]))
    front, back = (hemisphere(np.array([0, 0, z]), _DIRECTIONS) for z in (1.0, -1.0))
    seen = open_directions(
        tree, vertices, np.concatenate([front, back]), start=_START_MM, enough=_OPEN
    )
    return skin[(seen >= _OPEN)[skin].all(axis=1)]


def _weights() -> np.ndarray:
    pair = np.array([row[3:] for row in _LANDMARKS], np.float32)
    return np.column_stack([1 - pair.sum(axis=1), pair])
