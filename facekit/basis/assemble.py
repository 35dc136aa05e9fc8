"""A morphable model from a folder of registered heads and the template they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.basis.build import (
    IdentityBasis,
    align_rigidly,
    build_identity_basis,
    first_modes,
)
from facekit.basis.expression_modes import (
    ExpressionBasis,
    named_expressions,
    principal_expressions,
    steadied,
    transferred,
)
from facekit.basis.registered import RegisteredHead, read_index, read_vertices
from facekit.basis.styner import BasisCurves, basis_curves
from facekit.basis.template_file import HeadTemplate
from facekit.errors import InputError
from facekit.morphable.model import MorphableModel

_USUAL_MODES = 80


class BuiltModel(NamedTuple):
    """A model and the basis it was made of, in the model's frame."""

    model: MorphableModel
    basis: IdentityBasis
    num_subjects: int
    curves: BasisCurves | None = None


@dataclass(frozen=True)
class BuildOptions:
    """What a model is built with.

    Attributes:
        name: of the model.
        num_modes: K; None for 80, or fewer where the heads support no more.
        expression_modes: 0 for named blendshapes; else principal components of all offsets.
        measures: draws of the specificity; 0 measures nothing.
        seed: of the measures.
    """

    name: str = "built"
    num_modes: int | None = None
    expression_modes: int = 0
    measures: int = 0
    seed: int = 0


def build_model(
    folder: Path,
    template: HeadTemplate,
    *,
    options: BuildOptions | None = None,
    donor: MorphableModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BuiltModel:
    """Build a model: identity modes of the neutral heads, expressions as offsets from them.

    Neutral heads are aligned rigidly (no scale, so the model stays metric) on the face, and
    analysed with weights that count the face fully and the rest a little. Both halves count as
    each other's mirror images. The frame's origin is put midway between the two tragions of the
    mean. Expressions: see ``basis.expressions``.

    Args:
        folder: registered heads with ``index.csv``.
        template: the one they were registered to, with landmark set ``tragion``.
        options: of the model.
        donor: a model of the topology: its blendshapes are transferred to the new mean where the
            folder holds no expressions, and its albedo modes are kept.
        progress: called with (done, total) heads read.

    Raises:
        InputError: fewer than 2 accepted neutral heads, files of another template, or a donor of
            another topology.
    """
    chosen = options or BuildOptions()
    if donor is not None and not np.array_equal(donor.faces, template.faces):
        raise InputError(f"build: the model {donor.name} has another topology than the template")
    heads = read_heads(folder, template, progress=progress)
    aligned = align_rigidly(
        heads.shapes, weights=alignment_weights(template), mirror=template.mirror
    )
    importance = vertex_importance(template)
    basis = build_identity_basis(
        aligned,
        template.faces,
        num_modes=chosen.num_modes,
        weights=importance,
        mirror=template.mirror,
    )
    if chosen.num_modes is None:
        basis = first_modes(basis, _USUAL_MODES)
    count = len(basis.modes)
    curves = None
    if chosen.measures:
        curves = basis_curves(
            aligned,
            template.faces,
            basis,
            region=alignment_weights(template) > 0,
            weights=importance,
            mirror=template.mirror,
            draws=chosen.measures,
            seed=chosen.seed,
        )
    origin = _origin(template, basis.mean)
    basis = basis._replace(mean=basis.mean - origin)
    found = _expressions(heads, template, basis.mean, donor, chosen.expression_modes)
    albedo = template.albedo if donor is None else donor.albedo_mean
    no_albedo = np.zeros((0, len(template.vertices), 3), np.float32)
    model = MorphableModel(
        name=chosen.name,
        mean=basis.mean.astype(np.float32),
        faces=template.faces,
        identity_modes=basis.modes.astype(np.float32),
        expression_modes=found.modes.astype(np.float32),
        expression_names=found.names,
        expression_kind=(found.kind,) * len(found.names),
        expression_bounds=np.tile(found.bounds, (len(found.names), 1)),
        expression_mean=found.prior[:, 0].astype(np.float32),
        expression_std=found.prior[:, 1].astype(np.float32),
        albedo_mean=albedo.astype(np.float32),
        albedo_modes=no_albedo if donor is None else donor.albedo_modes,
        uvs=template.uvs.astype(np.float32),
        face_uvs=template.face_uvs,
        landmarks=template.landmarks,
        regions=template.regions,
        mirror=template.mirror,
        licence=template.licence,
        provenance=template.provenance
        + f"; basis: facekit basis build on {len(aligned)} heads and their mirror images,"
        f" {count} modes; expressions: {found.source}",
    )
    return BuiltModel(model, basis, len(aligned), curves)


class RegisteredSet(NamedTuple):
    """The accepted heads of a folder.

    Attributes:
        folder: where they lie; rows: the accepted ones of its index.
        subjects: names of the neutral heads; shapes: (N, V, 3) float32 of each.
    """

    folder: Path
    rows: list[RegisteredHead]
    subjects: list[str]
    shapes: np.ndarray


def read_heads(
    folder: Path,
    template: HeadTemplate,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> RegisteredSet:
    """Read the accepted neutral heads of a folder.

    Raises:
        InputError: fewer than 2, or files of another template.
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
    return RegisteredSet(folder, index, [row.subject for row in neutral], shapes)


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
    heads: RegisteredSet,
    template: HeadTemplate,
    mean: np.ndarray,
    donor: MorphableModel | None,
    components: int,
) -> ExpressionBasis:
    """Return captured expressions, else the donor's moved to the mean, else none."""
    neutral = dict(zip(heads.subjects, heads.shapes, strict=True))
    names, offsets = [], []
    for row in heads.rows:
        if row.expression and row.subject in neutral:
            head = read_vertices(heads.folder, row, template)
            # What was sampled rather than scanned shares its neutral's frame exactly.
            shape = steadied(head, neutral[row.subject]) if row.residual_mm > 0 else head
            names.append(row.expression)
            offsets.append(shape.astype(np.float64) - neutral[row.subject])
    if not names:
        return transferred(mean, template, donor)
    if components:
        return principal_expressions(np.array(offsets), vertex_importance(template), components)
    return named_expressions(names, offsets, template.mirror)
