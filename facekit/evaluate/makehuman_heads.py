"""Heads of known shape sampled from MakeHuman's CC0 assets, which the user downloads.

The assets are read by ``makehuman_assets``. The heads are of mixed ancestry, sex, age and weight,
with sliders of the face; each has a neutral shape and one expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.evaluate.makehuman_assets import VERTICES, MakehumanAssets, Targets, open_assets
from facekit.geometry.closest_point import build_tree
from facekit.geometry.rays import hemisphere, open_directions
from facekit.io.atomic import atomic_path

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
# and third. They lie where facekit's own detector finds them on 96 renders of the base head,
# mirror images of each other: printed by docs/make_makehuman_landmarks.py.
_LANDMARKS = (
    (261, 255, 262, 0.63, 0.17), (225, 232, 262, 0.11, 0.02), (224, 206, 204, 0.23, 0.26),
    (204, 177, 205, 0.37, 0.49), (208, 181, 209, 0.27, 0.36), (6983, 6984, 6957, 0.36, 0.27),
    (6979, 6980, 6953, 0.49, 0.37), (6998, 6979, 6981, 0.26, 0.23), (6999, 7031, 7005, 0.02, 0.11),
    (7030, 7031, 7024, 0.17, 0.63), (134, 129, 135, 0.00, 0.53), (164, 11679, 5063, 0.02, 0.43),
    (5134, 291, 290, 0.33, 0.01), (5054, 296, 297, 0.01, 0.87), (5137, 360, 358, 0.10, 0.77),
    (285, 314, 313, 0.29, 0.10), (317, 312, 311, 0.10, 0.00), (7054, 7076, 7077, 0.10, 0.29),
    (11751, 7119, 7121, 0.77, 0.10), (1062, 6780, 1063, 0.00, 0.50), (6, 4848, 4849, 0.37, 0.14),
    (58, 55, 4865, 0.34, 0.54), (4892, 74, 4873, 0.66, 0.13), (50, 4862, 4863, 0.30, 0.15),
    (6776, 1068, 1067, 0.42, 0.08), (11510, 11491, 6858, 0.13, 0.66),
    (6842, 11483, 6839, 0.54, 0.34), (6790, 11467, 11466, 0.14, 0.37),
    (7754, 7755, 13376, 0.50, 0.00), (13372, 7759, 7760, 0.08, 0.42),
    (6834, 11481, 11480, 0.15, 0.30), (498, 427, 499, 0.23, 0.69), (452, 5352, 5361, 0.73, 0.18),
    (460, 458, 461, 0.63, 0.16), (466, 464, 467, 0.00, 0.23), (7219, 7220, 7217, 0.16, 0.63),
    (7212, 11963, 11954, 0.18, 0.73), (7247, 7248, 7187, 0.69, 0.23),
    (7235, 7166, 7233, 0.09, 0.14), (7235, 7245, 7241, 0.03, 0.74), (486, 5337, 492, 0.20, 0.80),
    (480, 486, 490, 0.74, 0.03), (480, 478, 406, 0.14, 0.09), (418, 416, 430, 0.50, 0.33),
    (5362, 470, 453, 0.24, 0.61), (468, 473, 474, 0.00, 0.18), (11964, 7213, 7226, 0.61, 0.24),
    (7178, 7190, 7176, 0.33, 0.50), (7265, 7264, 7242, 0.00, 0.00), (487, 494, 493, 0.91, 0.09),
    (518, 487, 517, 0.00, 0.00),
)  # fmt: skip
# Rows of NoW's seven points among them (iBUG 36, 39, 42, 45, 33, 48, 54).
_NOW7 = (19, 22, 25, 28, 16, 31, 37)
# Directions over each half sphere, and how many of all an outer point sees at least.
_DIRECTIONS = 48
_OPEN = 14
_START_MM = 4.0


# Three vertices of a face, and the weights of the second and third.
Place = tuple[int, int, int, float, float]


class MakehumanHead(NamedTuple):
    """The head of the base mesh.

    Attributes:
        vertices: (19158, 3) of the whole base mesh, dm.
        keep: (V,) which of them are the head's.
        skin: (F, 3) faces in the head's own numbering; eyes: (E, 3); outer: (O, 3) those of the
            skin that can be seen from outside.
    """

    vertices: np.ndarray
    keep: np.ndarray
    skin: np.ndarray
    eyes: np.ndarray
    outer: np.ndarray


def write_makehuman_heads(
    base: Path, output: Path, *, count: int, seed: int = 0, targets: Path | None = None
) -> Path:
    """Sample heads and write them as ``heads.read_heads`` reads them.

    A head is the base mesh, plus a mixture of ancestries (Dirichlet, 0.7), one sex, an age from
    young to old, a weight, and sliders of the face (normal, deviation 0.3, cut at 1). Its
    expression is up to four units, each up to full strength. The same seed gives the same head
    whatever ``count`` is.

    Args:
        base, targets: the assets, as ``makehuman_assets.open_assets`` takes them.
        output: the ``.npz``.
        count: heads.
        seed: of every draw.

    Raises:
        InputError: a file is missing, or the base is not MakeHuman's.
    """
    if count < 1:
        raise InputError(f"count: expected at least 1 head, got {count}")
    assets = open_assets(base, targets=targets)
    head = _head(base, assets)
    shapes = _HeadTargets(assets.targets, head.keep)
    neutral = np.empty((count, len(head.keep), 3))
    expressed = np.empty_like(neutral)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rest = head.vertices[head.keep] + _identity(rng, shapes)
        # MakeHuman's origin is between the feet, so heads of tall people lie higher.
        rest -= (rest.min(axis=0) + rest.max(axis=0)) / 2
        neutral[number] = rest
        expressed[number] = rest + _expression(rng, shapes)
    return write_heads(output, head, neutral, expressed, seed=seed)


def write_heads(
    output: Path,
    head: MakehumanHead,
    neutral: np.ndarray,
    expressed: np.ndarray,
    *,
    places: Sequence[Place] = _LANDMARKS,
    seed: int = 0,
) -> Path:
    """Write heads of MakeHuman's topology as ``heads.read_heads`` reads them.

    Args:
        output: the ``.npz``.
        head: of the base mesh.
        neutral: (N, V, 3) dm, the head's vertices; expressed: (N, V, 3) with expression.
        places: of iBUG's points 17 to 67 on the base mesh.
        seed: that the heads were drawn with.

    Raises:
        InputError: a place is not on the head, or the file cannot be written.
    """
    scale = _MILLIMETRES / QUANTUM_MM
    arrays: dict[str, Any] = {
        "neutral": np.rint(scale * neutral).astype(np.int16),
        "expressed": np.rint(scale * expressed).astype(np.int16),
        "quantum_mm": np.float64(QUANTUM_MM),
        "skin_faces": head.skin,
        "eye_faces": head.eyes,
        "scan_faces": head.outer,
        "landmark_ids": np.arange(17, 68),
        "landmark_vertices": _own_numbers(head.keep)[np.array([place[:3] for place in places])],
        "landmark_weights": _weights(places),
        "now7_rows": np.array(_NOW7),
        "seed": np.int64(seed),
    }
    if (arrays["landmark_vertices"] < 0).any():
        raise InputError("MakeHuman's base mesh: is of another version: landmarks are gone")
    with atomic_path(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return output


class _HeadTargets:
    """Displacements (n, 3) of the head's vertices by target name, read when first asked for."""

    def __init__(self, targets: Targets, keep: np.ndarray) -> None:
        self._targets = targets
        self._keep = keep
        self._found: dict[str, np.ndarray] = {}

    def __call__(self, name: str) -> np.ndarray:
        if name not in self._found:
            self._found[name] = self._targets.read(name)[self._keep]
        return self._found[name]

    def sliders(self) -> list[tuple[str, str]]:
        """Return the face's sliders: the target of their upper and of their lower half."""
        pairs = []
        for name in self._targets.names:
            if name.split("/")[0] not in _SLIDERS:
                continue
            for plus, minus in _OPPOSITES:
                other = name[: -len(plus)] + minus
                if name.endswith(f"-{plus}") and other in self._targets:
                    pairs.append((name, other))
        return pairs

    def expressions(self) -> list[str]:
        """Return the expression units, left and right ones apart."""
        return [name for name in self._targets.names if name.startswith(f"{_EXPRESSIONS}/")]


def _identity(rng: np.random.Generator, shapes: _HeadTargets) -> np.ndarray:
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


def _expression(rng: np.random.Generator, shapes: _HeadTargets) -> np.ndarray:
    units = shapes.expressions()
    total: np.ndarray | float = 0.0
    for unit in rng.permutation(len(units))[: int(rng.integers(1, 5))]:
        total = total + float(rng.beta(1.5, 2.0)) * shapes(units[unit])
    return np.asarray(total)


def read_makehuman_head(path: Path, *, targets: Path | None = None) -> MakehumanHead:
    """Read the head of MakeHuman's base mesh.

    Args:
        path, targets: the assets, as ``makehuman_assets.open_assets`` takes them.

    Raises:
        InputError: a file is missing, or is not MakeHuman's base mesh.
    """
    return _head(path, open_assets(path, targets=targets))


def _head(path: Path, assets: MakehumanAssets) -> MakehumanHead:
    vertices, group = assets.vertices, assets.groups
    above = vertices[:, 1] > _NECK_DM
    skin = assets.faces[(group == "body") & above[assets.faces].all(axis=1)]
    eyes = assets.faces[np.isin(group, _EYES)]
    if not len(skin) or not len(eyes):
        raise InputError(f"{path}: expected the groups body, {', '.join(_EYES)}")
    keep = np.concatenate([np.unique(skin), np.unique(eyes)])
    own = _own_numbers(keep)
    skin, eyes = own[skin], own[eyes]
    outer = _outer_faces(_MILLIMETRES * vertices[keep], skin, eyes)
    return MakehumanHead(vertices, keep, skin, eyes, outer)


def _own_numbers(keep: np.ndarray) -> np.ndarray:
    """Return each base vertex's number among the kept ones, -1 for the others."""
    own = np.full(VERTICES, -1, np.int32)
    own[keep] = np.arange(len(keep), dtype=np.int32)
    return own


def _outer_faces(vertices: np.ndarray, skin: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Return the faces of the skin that can be seen from outside, whatever lies behind them."""
    tree = build_tree(vertices, np.concatenate([skin, eyes]))
    front, back = (hemisphere(np.array([0, 0, z]), _DIRECTIONS) for z in (1.0, -1.0))
    seen = open_directions(
        tree, vertices, np.concatenate([front, back]), start=_START_MM, enough=_OPEN
    )
    return skin[(seen >= _OPEN)[skin].all(axis=1)]


def _weights(places: Sequence[Place]) -> np.ndarray:
    pair = np.array([place[3:] for place in places], np.float32)
    return np.column_stack([1 - pair.sum(axis=1), pair])
