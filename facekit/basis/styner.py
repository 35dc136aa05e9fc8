"""Compactness, generalisation and specificity of a linear basis.

Source: M. Styner et al., Evaluation of 3D correspondence methods for model building, 2003.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.basis.build import IdentityBasis, build_identity_basis
from facekit.checks import check_array
from facekit.errors import InputError
from facekit.export.curves import draw_lines
from facekit.io.atomic import write_text

# Enough of a region's vertices to compare whole shapes by.
_SPECIFICITY_VERTICES = 800
# The plot's upper end is a multiple of this.
_TICK_MM = 0.5


class BasisCurves(NamedTuple):
    """Three measures over the number of modes kept.

    Attributes:
        modes: (M,) how many modes.
        compactness: (M,) share of the variance that they explain.
        generalisation: (M,) mm, mean distance of left-out shapes to their projections.
        generalisation_error: (M,) its standard error over the shapes.
        specificity: (M,) mm, mean distance of random shapes to the nearest training shape.
        specificity_error: (M,) its standard error over the draws.
    """

    modes: np.ndarray
    compactness: np.ndarray
    generalisation: np.ndarray
    generalisation_error: np.ndarray
    specificity: np.ndarray
    specificity_error: np.ndarray


def basis_curves(
    shapes: np.ndarray,
    faces: np.ndarray,
    basis: IdentityBasis,
    *,
    region: np.ndarray,
    weights: np.ndarray | None = None,
    mirror: np.ndarray | None = None,
    counts: Sequence[int] = (1, 2, 5, 10, 20, 40, 80, 160),
    folds: int = 5,
    draws: int = 1000,
    seed: int = 0,
) -> BasisCurves:
    """Measure a basis of aligned shapes.

    Generalisation leaves out a fold of the shapes at a time, builds the basis of the others and
    projects. Specificity draws coefficients N(0, 1) for the first m modes of ``basis``.

    Args:
        shapes: (N, V, 3) aligned, mm, N >= 3.
        faces: (F, 3).
        basis: of all of them.
        region: (V,) bool, where distances are measured.
        weights, mirror: as ``build_identity_basis`` got them.
        counts: numbers of modes; larger ones than a fold can support are left out.
        folds: at most N; N leaves one out at a time.
        draws: random shapes.
        seed: of folds and draws.

    Raises:
        InputError: fewer than 3 shapes or an empty region.
    """
    data = check_array(shapes, "shapes", shape=("N", "V", 3))
    n = len(data)
    rows = np.flatnonzero(region)
    if n < 3 or not len(rows):
        raise InputError(f"measures: expected 3 shapes and a region, got {n} and {len(rows)}")
    rng = np.random.default_rng(seed)
    groups = np.array_split(rng.permutation(n), min(folds, n))
    smallest = n - max(len(g) for g in groups)
    rank = smallest - 1 if mirror is None else 2 * smallest - 1
    wanted = [m for m in sorted(set(counts)) if m <= min(rank, len(basis.modes))]
    if not wanted:
        raise InputError(f"measures: expected counts of modes up to {rank}, got {list(counts)}")
    left = np.empty((len(wanted), n))
    for group in groups:
        rest = np.setdiff1d(np.arange(n), group)
        mine = build_identity_basis(
            data[rest], faces, num_modes=None, weights=weights, mirror=mirror
        )
        left[:, group] = _left_over(data[group], mine, rows, wanted)
    specific = np.array([_nearest(data, basis, rows, m, draws, rng) for m in wanted])
    return BasisCurves(
        np.array(wanted),
        basis.explained[np.array(wanted) - 1],
        left.mean(axis=1),
        left.std(axis=1) / np.sqrt(n),
        specific.mean(axis=1),
        specific.std(axis=1) / np.sqrt(draws),
    )


def _left_over(
    shapes: np.ndarray, basis: IdentityBasis, rows: np.ndarray, counts: list[int]
) -> np.ndarray:
    """Return (M, n) mean distances of shapes to their least-squares projections in the region."""
    gap = (shapes[:, rows] - basis.mean[rows]).reshape(len(shapes), -1)
    flat = basis.modes[:, rows].reshape(len(basis.modes), -1)
    found = []
    for m in counts:
        # A QR of the region's part: the modes are orthogonal over the whole head only.
        q, _ = np.linalg.qr(flat[:m].T)
        rest = (gap - (gap @ q) @ q.T).reshape(len(shapes), -1, 3)
        found.append(np.linalg.norm(rest, axis=2).mean(axis=1))
    return np.array(found)


def _nearest(
    shapes: np.ndarray,
    basis: IdentityBasis,
    rows: np.ndarray,
    count: int,
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (draws,) mean distances of random shapes to the nearest of ``shapes``."""
    rows = rows[:: max(1, len(rows) // _SPECIFICITY_VERTICES)]
    training = np.ascontiguousarray(shapes[:, rows], np.float32)
    modes = basis.modes[:count, rows].astype(np.float32)
    found = np.empty(draws)
    for i in range(draws):
        drawn = np.tensordot(rng.standard_normal(count).astype(np.float32), modes, axes=1)
        gap = training - (drawn + basis.mean[rows].astype(np.float32))
        found[i] = np.sqrt(np.einsum("nvd,nvd->nv", gap, gap)).mean(axis=1).min()
    return found


def curves_document(curves: BasisCurves) -> dict[str, Any]:
    """Return the curves as JSON values."""
    return {name: np.round(values, 5).tolist() for name, values in curves._asdict().items()}


def write_curves(curves: BasisCurves, stem: Path) -> list[Path]:
    """Write ``STEM.csv`` and ``STEM.png`` and return their paths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(curves._fields)
    for row in zip(*curves, strict=True):
        writer.writerow([f"{value:.5g}" for value in row])
    table = write_text(stem.with_name(f"{stem.name}.csv"), text.getvalue())
    largest = float(max(curves.generalisation.max(), curves.specificity.max()))
    top = _TICK_MM * max(1.0, np.ceil(largest / _TICK_MM))
    picture = draw_lines(
        stem.with_name(f"{stem.name}.png"),
        {
            "generalisation, mm": (curves.modes, curves.generalisation),
            "specificity, mm": (curves.modes, curves.specificity),
            f"compactness x {top:g}": (curves.modes, top * curves.compactness),
        },
        limits=(float(curves.modes[-1]), top),
        xlabel="modes",
        title="Measures of the basis (Styner 2003)",
    )
    return [table, picture]
