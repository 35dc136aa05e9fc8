"""The one split of photographs: nobody is in two of held out, validation and train."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from facekit.errors import InputError

SPLITS = ("held_out", "validation", "train")
# Two photographs whose identity embeddings agree this well show one person.
SAME_PERSON_COSINE = 0.6
# Embeddings are compared in blocks of this many rows.
_ROWS = 2048


def split_of_name(name: str) -> str:
    """Return the split of a person's first name: its sha256 modulo 10, 0 held out, 1 validation."""
    digest = int(hashlib.sha256(name.encode("utf-8")).hexdigest(), 16) % 10
    return {0: "held_out", 1: "validation"}.get(digest, "train")


def split_persons(
    names: Sequence[str],
    identity: np.ndarray | None = None,
    *,
    persons: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Return the split of every photograph; one person's photographs share one.

    Photographs whose embeddings have a cosine above 0.6, directly or through others, are one
    person's, and so are those of one name in ``persons``. The person's alphabetically first name
    decides, by ``split_of_name``.

    Args:
        names: N distinct names.
        identity: (N, D) identity embeddings of any length, not zero; a row of NaN is unknown.
            None knows none.
        persons: N names of people where they are known, else empty.

    Raises:
        InputError: counts differ, names repeat, or an embedding is zero or not finite.
    """
    count = len(names)
    if len(set(names)) != count or (persons is not None and len(persons) != count):
        raise InputError(f"split: expected distinct names, got {len(set(names))} of {count}")
    pairs = [(row, row) for row in range(count)]
    if identity is not None:
        pairs += _alike(identity, names)
    first_of: dict[str, int] = {}
    for row, person in enumerate(persons or ()):
        if person:
            pairs.append((row, first_of.setdefault(person, row)))
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    for name, g in zip(names, group, strict=True):
        first[int(g)] = min(name, first.get(int(g), name))
    kind = {g: split_of_name(name) for g, name in first.items()}
    return tuple(kind[int(g)] for g in group)


def _alike(identity: np.ndarray, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of rows whose embeddings are one person's."""
    vectors = np.asarray(identity, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(names):
        raise InputError(
            f"split: expected one embedding row per distinct name, got {vectors.shape} for "
            f"{len(names)} names ({len(set(names))} distinct)"
        )
    known = np.flatnonzero(~np.isnan(vectors).all(axis=1))
    lengths = np.linalg.norm(vectors[known], axis=1)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise InputError("split: expected finite embeddings that are not zero")
    unit = vectors[known] / lengths[:, None]
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(unit), _ROWS):
        rows, columns = np.nonzero(unit[start : start + _ROWS] @ unit.T > SAME_PERSON_COSINE)
        pairs += zip(known[rows + start].tolist(), known[columns].tolist(), strict=True)
    return pairs
