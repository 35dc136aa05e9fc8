"""A morphable model from a folder of registered heads and the template they belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.basis.build import IdentityBasis, align_rigidly, build_identity_basis
from facekit.basis.expressions import expression_prior, mirrored_name
from facekit.basis.registered import RegisteredHead, read_index, read_vertices
from facekit.basis.template_file import HeadTemplate
from facekit.errors import InputError
from facekit.morphable.model import MorphableModel

_FLIP = np.array([-1.0, 1.0, 1.0])


class BuiltModel(NamedTuple):
    """A model and the basis it was made of, in the model's frame."""

    model: MorphableModel
    basis: IdentityBasis
    num_subjects: int


def build_model(
    folder: Path,
    template: HeadTemplate,
    *,
    name: str,
    num_modes: int = 80,
    progress: Callable[[int, int], None] | None = None,
) -> BuiltModel:
    """Build a model: identity modes of the neutral heads, expressions as offsets from them.

    Neutral heads are aligned rigidly (no scale, so the model stays metric) on the face, and
    analysed with weights that count the face fully and the rest a little. An expression is the
    mean offset from the same subject's neutral. Both halves count as each other's mirror images.
    The frame's origin is put midway between the two tragions of the mean.

    Args:
        folder: registered heads with ``index.csv``.
        template: the one they were registered to, with landmark set ``tragion``.
        name: of the model.
        num_modes: K.
        progress: called with (done, total) heads read.

    Raises:
        InputError: fewer than 2 accepted neutral heads, or files of another template.
    """
    index = [row for row in read_index(folder) if row.accepted]
    neutral = [row for row in index if not row.expression]
    if len(neutral) < 2:
        raise InputError(
            f"{folder}: expected at least 2 accepted neutral heads, got {len(neutral)}"
        )
    shapes = np.empty((len(neutral), *template.vertices.shape), np.float32)
    for i, row in enumerate(neutral):
        shapes[i] = read_vertices(folder, row, template)
        if progress:
            progress(i + 1, len(neutral))
    by_subject = {row.subject: shapes[i].copy() for i, row in enumerate(neutral)}
    aligned = align_rigidly(shapes, weights=alignment_weights(template), mirror=template.mirror)
    basis = build_identity_basis(
        aligned,
        template.faces,
        num_modes=num_modes,
        weights=vertex_importance(template),
        mirror=template.mirror,
    )
    origin = _origin(template, basis.mean)
    basis = basis._replace(mean=basis.mean - origin)
    names, modes = _expressions(folder, template, index, by_subject)
    priors = np.array([expression_prior(n) for n in names]).reshape(-1, 2)
    model = MorphableModel(
        name=name,
        mean=basis.mean.astype(np.float32),
        faces=template.faces,
        identity_modes=basis.modes.astype(np.float32),
        expression_modes=modes.astype(np.float32),
        expression_names=names,
        expression_kind=("blendshape",) * len(names),
        expression_bounds=np.tile(np.array([0.0, 1.0], np.float32), (len(names), 1)),
        expression_mean=priors[:, 0].astype(np.float32),
        expression_std=priors[:, 1].astype(np.float32),
        albedo_mean=template.albedo.astype(np.float32),
        albedo_modes=np.zeros((0, len(template.vertices), 3), np.float32),
        uvs=template.uvs.astype(np.float32),
        face_uvs=template.face_uvs,
        landmarks=template.landmarks,
        regions=template.regions,
        mirror=template.mirror,
        licence=template.licence,
        provenance=template.provenance
        + f"; basis: facekit basis build on {len(neutral)} heads and their mirror images,"
        f" {num_modes} modes",
    )
    return BuiltModel(model, basis, len(neutral))


def alignment_weights(template: HeadTemplate) -> np.ndarray:
    """Return (V,) weights of the rigid alignment: the outer face, all of it alike."""
    face = template.regions.get("scan", template.part == 0)
    return face.astype(np.float64)


def vertex_importance(template: HeadTemplate) -> np.ndarray:
    """Return (V,) weights of the analysis: the face 1, ears and eyeballs .5, the rest little."""
    regions, n = template.regions, len(template.vertices)
    none = np.zeros(n, bool)
    weights = np.full(n, 0.15)
    weights[template.part == 1] = 0.03
    weights[template.part == 2] = 0.03
    weights[template.part >= 3] = 0.3
    weights[regions.get("ears", none)] = 0.3
    weights[regions.get("face", ~none)] = 1.0
    return weights


def _origin(template: HeadTemplate, mean: np.ndarray) -> np.ndarray:
    marks = template.landmarks.get("tragion")
    if marks is None:
        raise InputError("template: expected a landmark set 'tragion' that fixes the origin")
    points = np.einsum("nk,nkd->nd", marks.barycentric, mean[template.faces[marks.faces]])
    return points.mean(axis=0) * [0, 1, 1]


def _expressions(
    folder: Path,
    template: HeadTemplate,
    index: list[RegisteredHead],
    by_subject: dict[str, np.ndarray],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names, in order of first appearance, and the modes (E, V, 3) float64."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for row in index:
        if not row.expression or row.subject not in by_subject:
            continue
        offset = read_vertices(folder, row, template).astype(np.float64)
        offset -= by_subject[row.subject]
        sums[row.expression] = sums.get(row.expression, 0.0) + offset
        counts[row.expression] = counts.get(row.expression, 0) + 1
    means = {name: total / counts[name] for name, total in sums.items()}
    modes = []
    for name, mode in means.items():
        # A pair without its other half cannot be made symmetric and stays as it is.
        other = means.get(mirrored_name(name))
        modes.append(mode if other is None else 0.5 * (mode + other[template.mirror] * _FLIP))
    empty = np.zeros((0, len(template.vertices), 3))
    return tuple(means), np.array(modes) if modes else empty
