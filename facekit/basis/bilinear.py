"""A bilinear model: shape = core x identity x expression, from persons who all made the same faces.

Source: D. Vlasic et al., Face transfer with multilinear models, 2005; L. De Lathauwer et al., A
multilinear singular value decomposition, 2000.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.basis.assemble import alignment_weights, read_heads
from facekit.basis.build import align_rigidly
from facekit.basis.expression_modes import steadied
from facekit.basis.registered import RegisteredHead, read_vertices
from facekit.basis.template_file import HeadTemplate
from facekit.checks import check_array
from facekit.errors import InputError
from facekit.io.atomic import atomic_path


class BilinearModel(NamedTuple):
    """A truncated decomposition of faces over persons and expressions.

    A face is ``mean + sum_ij identity_i expression_j core[i, j]``.

    Attributes:
        mean: (V, 3) mm, of all faces.
        core: (I, J, V, 3) mm.
        identities: (N, I) a row of each person.
        expressions: (E, J) a row of each expression.
        names: of the expressions; subjects: of the persons.
    """

    mean: np.ndarray
    core: np.ndarray
    identities: np.ndarray
    expressions: np.ndarray
    names: tuple[str, ...]
    subjects: tuple[str, ...]

    def shape(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Return vertices (V, 3) of weights (I,) and (J,)."""
        return self.mean + np.einsum("i,j,ijvd->vd", identity, expression, self.core)


def bilinear_model(
    faces: np.ndarray,
    *,
    subjects: tuple[str, ...],
    names: tuple[str, ...],
    num_identity: int | None = None,
    num_expression: int | None = None,
) -> BilinearModel:
    """Decompose faces (N, E, V, 3) of N persons with the same E expressions each.

    Args:
        faces: aligned, mm; the first expression is the neutral face by convention.
        subjects, names: of the first two axes.
        num_identity, num_expression: sizes kept; None keeps all.

    Raises:
        InputError: bad shapes or sizes.
    """
    data = check_array(faces, "faces", shape=(len(subjects), len(names), "V", 3))
    n, e = data.shape[:2]
    keep = [num_identity or n, num_expression or e]
    if not (1 <= keep[0] <= n and 1 <= keep[1] <= e):
        raise InputError(f"bilinear: expected sizes up to {n} x {e}, got {keep[0]} x {keep[1]}")
    mean = data.mean(axis=(0, 1), dtype=np.float64)
    centred = data.astype(np.float64) - mean
    factors = []
    for axis, size in enumerate(keep):
        flat = np.moveaxis(centred, axis, 0).reshape(data.shape[axis], -1)
        _, vectors = np.linalg.eigh(flat @ flat.T)
        factors.append(vectors[:, ::-1][:, :size])
    core = np.einsum("nevd,ni,ej->ijvd", centred, factors[0], factors[1], optimize=True)
    return BilinearModel(mean, core, factors[0], factors[1], tuple(names), tuple(subjects))


def write_bilinear(model: BilinearModel, path: Path, *, provenance: str = "") -> Path:
    """Write a bilinear model as one .npz of plain arrays and return the path."""
    meta = {
        "format": 1,
        "kind": "facekit.bilinear",
        "unit": "mm",
        "expressions": list(model.names),
        "subjects": list(model.subjects),
        "provenance": provenance,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            mean=model.mean.astype(np.float32),
            core=model.core.astype(np.float32),
            identities=model.identities.astype(np.float32),
            expressions=model.expressions.astype(np.float32),
            meta=np.array(json.dumps(meta)),
        )
    return path


def bilinear_of_folder(
    folder: Path,
    template: HeadTemplate,
    *,
    num_identity: int | None = None,
    num_expression: int | None = None,
) -> BilinearModel:
    """Decompose the persons of a folder of registered heads who made every expression in it.

    Raises:
        InputError: fewer than 2 such persons, or no expressions.
    """
    heads = read_heads(folder, template)
    made: dict[str, dict[str, RegisteredHead]] = {name: {} for name in heads.subjects}
    for row in heads.rows:
        if row.expression and row.subject in made:
            made[row.subject][row.expression] = row
    names = tuple(dict.fromkeys(row.expression for row in heads.rows if row.expression))
    whole = [name for name in heads.subjects if names and set(made[name]) == set(names)]
    if len(whole) < 2:
        raise InputError(
            f"{folder}: a bilinear model needs 2 persons who made all of the {len(names)}"
            f" expressions, found {len(whole)}"
        )
    aligned = align_rigidly(
        heads.shapes, weights=alignment_weights(template), mirror=template.mirror
    )
    faces = []
    for name in whole:
        neutral = aligned[heads.subjects.index(name)]
        rows = [made[name][expression] for expression in names]
        shapes = [steadied(read_vertices(folder, row, template), neutral) for row in rows]
        faces.append(np.array([neutral, *shapes]))
    return bilinear_model(
        np.array(faces),
        subjects=tuple(whole),
        names=("neutral", *names),
        num_identity=num_identity,
        num_expression=num_expression,
    )
