"""Expression modes of registered faces: named offsets, components, or transferred ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facekit.basis.expressions import expression_prior, mirrored_name
from facekit.basis.template_file import HeadTemplate
from facekit.basis.transfer import DeformationTransfer
from facekit.errors import InputError
from facekit.geometry.alignment import align_similarity
from facekit.morphable.model import MorphableModel

_FLIP = np.array([-1.0, 1.0, 1.0])
# Vertices that moved by much more than this say nothing about how the head was held, mm.
_STILL_MM = 0.5
_ROUNDS = 15


class ExpressionBasis(NamedTuple):
    """Expression modes of a model.

    Attributes:
        names: E; modes: (E, V, 3) mm per unit; kind: ``blendshape`` or ``pca``.
        prior: (E, 2) mean and deviation of the weights; bounds: (2,) float32 of each.
        source: what they were made of, for the provenance.
    """

    names: tuple[str, ...]
    modes: np.ndarray
    kind: str
    prior: np.ndarray
    bounds: np.ndarray
    source: str


def named_expressions(
    names: Sequence[str], offsets: Sequence[np.ndarray], mirror: np.ndarray
) -> ExpressionBasis:
    """Return one blendshape a name: the mean offset of all subjects who made it.

    Left and right partners are made each other's mirror images; a pair without its other half
    stays as it is.

    Args:
        names: of each offset; offsets: (V, 3) from the subject's neutral, mm.
        mirror: (V,).
    """
    means = {
        name: np.mean([o for n, o in zip(names, offsets, strict=True) if n == name], axis=0)
        for name in dict.fromkeys(names)
    }
    modes = []
    for name, mode in means.items():
        other = means.get(mirrored_name(name))
        modes.append(mode if other is None else 0.5 * (mode + other[mirror] * _FLIP))
    source = f"mean offsets of {len(offsets)} captured expressions"
    return _blendshapes(tuple(means), np.array(modes), source)


def principal_expressions(
    offsets: np.ndarray, importance: np.ndarray, count: int
) -> ExpressionBasis:
    """Return principal components of offsets (N, V, 3) about the neutral face.

    The offsets' second moments are analysed, not their deviations from a mean expression, so that
    0 stays the neutral face. Modes are in root mean squares of their coefficients.

    Raises:
        InputError: more components than offsets.
    """
    n = len(offsets)
    if not 0 < count <= n:
        raise InputError(f"expression modes: expected 1 to {n} of {n} expressions, got {count}")
    flat = (offsets * np.sqrt(importance)[:, None]).reshape(n, -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    order = np.argsort(values)[::-1][:count]
    modes = np.tensordot(vectors[:, order].T / np.sqrt(n), offsets, axes=1)
    names = tuple(f"expression_{k:03d}" for k in range(count))
    prior = np.tile([0.0, 1.0], (count, 1))
    bounds = np.array([-np.inf, np.inf], np.float32)
    source = f"{count} principal components of {n} captured expressions"
    return ExpressionBasis(names, modes, "pca", prior, bounds, source)


def transferred(
    mean: np.ndarray, template: HeadTemplate, donor: MorphableModel | None
) -> ExpressionBasis:
    """Return the donor's blendshapes moved to another mean (V, 3), or none without a donor.

    Modes that are no blendshapes are left out.
    """
    if donor is None:
        return _blendshapes((), np.zeros((0, *mean.shape)), "none")
    rows = [k for k, kind in enumerate(donor.expression_kind) if kind == "blendshape"]
    base = donor.mean.astype(np.float64)
    carry = DeformationTransfer(base, mean, template.faces)
    modes = [carry.transfer(base + donor.expression_modes[k]) - mean for k in rows]
    names = tuple(donor.expression_names[k] for k in rows)
    source = f"transferred from the model {donor.name} ({donor.sha256[:12]})"
    found = named_expressions(names, modes, template.mirror) if rows else None
    if found is None:
        return _blendshapes((), np.zeros((0, *mean.shape)), "none")
    prior = np.stack([donor.expression_mean[rows], donor.expression_std[rows]], axis=1)
    return found._replace(prior=prior, source=source)


def steadied(shape: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Return an expression (V, 3) moved rigidly onto its neutral by what did not move.

    Iteratively reweighted least squares with weights 1 / (1 + (d / 0.5 mm)^2).
    """
    moved = np.asarray(shape, np.float64)
    rest = np.asarray(neutral, np.float64)
    scale = 8 * _STILL_MM
    for _ in range(_ROUNDS):
        distance = np.linalg.norm(moved - rest, axis=1)
        weights = 1.0 / (1.0 + (distance / scale) ** 2)
        moved = align_similarity(moved, rest, weights=weights, with_scale=False).apply(moved)
        scale = max(0.7 * scale, _STILL_MM)
    return moved


def _blendshapes(names: tuple[str, ...], modes: np.ndarray, source: str) -> ExpressionBasis:
    prior = np.array([expression_prior(name) for name in names]).reshape(-1, 2)
    bounds = np.array([0.0, 1.0], np.float32)
    return ExpressionBasis(names, modes, "blendshape", prior, bounds, source)
