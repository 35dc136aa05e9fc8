"""Named landmark sets and the one mapping from the dense 478 points to the others.

Sets: ``mediapipe478`` (468 surface points and 5 points on each iris), ``ibug68``, ``five`` (right
eye, left eye, nose tip, right and left mouth corner) and the two iris centres. The person's right
always comes first.

The dense set's midline and the order of its mirror pairs are facts of its canonical mesh: the
points right of the symmetry plane, in rising order, pair with those left of it in rising order.
"""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array

# Dense points on the symmetry plane of the canonical mesh.
_MIDLINE = (0, 1, 2, *range(4, 7), *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200)
_FIRST_LEFT, _NUM_SURFACE = 248, 468
# Iris rings run the same way round in the image, so inner and outer points swap under a flip.
_IRIS_PAIRS = ((468, 473), (469, 476), (470, 475), (471, 474), (472, 477))

# iBUG points of the person's right half and the midline as (dense a, dense b, weight of b).
# Jaw: equal arc lengths along the dense oval, since annotators space those points evenly.
# Brows: between the upper and lower dense rows, a third of the way down.
# Bridge: even steps from between the eyes (168, 6) to the tip (4).
_HALF: dict[int, tuple[int, int, float]] = {
    0: (127, 234, 0.0),
    1: (234, 93, 0.17),
    2: (93, 132, 0.29),
    3: (132, 58, 0.34),
    4: (58, 172, 0.41),
    5: (172, 136, 0.80),
    6: (150, 149, 0.41),
    7: (176, 148, 0.36),
    8: (152, 152, 0.0),
    17: (70, 46, 0.33),
    18: (63, 53, 0.33),
    19: (105, 52, 0.33),
    20: (66, 65, 0.33),
    21: (107, 55, 0.33),
    27: (168, 6, 0.5),
    28: (6, 197, 0.96),
    29: (195, 5, 0.59),
    30: (4, 4, 0.0),
    31: (98, 98, 0.0),
    32: (97, 97, 0.0),
    33: (2, 2, 0.0),
    36: (33, 33, 0.0),
    37: (160, 160, 0.0),
    38: (158, 158, 0.0),
    39: (133, 133, 0.0),
    40: (153, 153, 0.0),
    41: (144, 144, 0.0),
    48: (61, 61, 0.0),
    49: (39, 39, 0.0),
    50: (37, 37, 0.0),
    51: (0, 0, 0.0),
    57: (17, 17, 0.0),
    58: (84, 84, 0.0),
    59: (181, 181, 0.0),
    60: (78, 78, 0.0),
    61: (81, 81, 0.0),
    62: (13, 13, 0.0),
    66: (14, 14, 0.0),
    67: (178, 178, 0.0),
}

# iBUG index of each point's mirror image.
_IBUG_PAIRS = (
    *((i, 16 - i) for i in range(8)),
    *((i, 43 - i) for i in range(17, 22)),
    (31, 35),
    (32, 34),
    (36, 45),
    (37, 44),
    (38, 43),
    (39, 42),
    (40, 47),
    (41, 46),
    (48, 54),
    (49, 53),
    (50, 52),
    (59, 55),
    (58, 56),
    (60, 64),
    (61, 63),
    (67, 65),
)


def _permutation(size: int, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    table = np.arange(size)
    for a, b in pairs:
        table[a], table[b] = b, a
    table.setflags(write=False)
    return table


def _dense_pairs() -> tuple[tuple[int, int], ...]:
    right = [i for i in range(_FIRST_LEFT) if i not in set(_MIDLINE)]
    return (*zip(right, range(_FIRST_LEFT, _NUM_SURFACE), strict=True), *_IRIS_PAIRS)


# Index of the point that a point becomes when the image is mirrored.
FLIP478 = _permutation(478, _dense_pairs())
FLIP68 = _permutation(68, _IBUG_PAIRS)
IRIS478 = (468, 473)


def _dense_to_ibug_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = dict(_HALF)
    for i, (a, b, w) in _HALF.items():
        rows.setdefault(int(FLIP68[i]), (int(FLIP478[a]), int(FLIP478[b]), w))
    first, second, weight = zip(*(rows[i] for i in range(68)), strict=True)
    return np.array(first), np.array(second), np.array(weight)


_FIRST, _SECOND, _WEIGHT = _dense_to_ibug_table()


def dense_to_ibug68(dense: np.ndarray) -> np.ndarray:
    """Return the iBUG points (..., 68, D) of dense points (..., 478, D).

    Each is a dense point or a convex combination of two. The jaw contour follows the surface,
    not the silhouette: with a turned head it lies inside the outline.

    Raises:
        InputError: not 478 points.
    """
    dense = check_array(dense, "dense landmarks", shape=("...", 478, None), finite=False)
    weight = _WEIGHT[:, None].astype(dense.dtype if dense.dtype.kind == "f" else float)
    return (1 - weight) * dense[..., _FIRST, :] + weight * dense[..., _SECOND, :]


def dense_weights68() -> np.ndarray:
    """Return the (68, 478) float64 matrix whose rows sum to 1: ``ibug68 = matrix @ dense``."""
    matrix = np.zeros((68, 478))
    np.add.at(matrix, (np.arange(68), _FIRST), 1 - _WEIGHT)
    np.add.at(matrix, (np.arange(68), _SECOND), _WEIGHT)
    return matrix


def ibug68_to_five(points: np.ndarray) -> np.ndarray:
    """Return five points (..., 5, D) of iBUG points (..., 68, D).

    An eye is the middle of its corners: independent of gaze and blinking.
    """
    points = check_array(points, "ibug68", shape=("...", 68, None), finite=False)
    eyes = (points[..., [36, 42], :] + points[..., [39, 45], :]) / 2
    return np.concatenate([eyes, points[..., [30, 48, 54], :]], axis=-2)


def dense_to_iris(dense: np.ndarray) -> np.ndarray:
    """Return the iris centres (..., 2, D) of dense points (..., 478, D)."""
    dense = check_array(dense, "dense landmarks", shape=("...", 478, None), finite=False)
    return dense[..., list(IRIS478), :]
