"""Principal components of rows with holes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError


class MissingPca(NamedTuple):
    """Modes of incomplete rows.

    Attributes:
        modes: (K, D) orthogonal, each times its standard deviation, largest first.
        deviations: (K,) standard deviations.
        scores: (N, K) each row's coefficients in standard deviations (posterior means).
        noise: deviation of what the modes leave.
    """

    modes: np.ndarray
    deviations: np.ndarray
    scores: np.ndarray
    noise: float


def missing_pca(
    rows: np.ndarray,
    seen: np.ndarray,
    count: int,
    *,
    rounds: int = 20,
    seed: int = 0,
    known: np.ndarray | None = None,
    strength: float = 0.0,
) -> MissingPca:
    """Return the principal components of centred rows of which only a part was seen.

    Expectation-maximisation of the probabilistic model x = W z + noise over the seen entries; the
    result is turned onto its principal axes. Where everything is seen it is the ordinary PCA.

    Args:
        rows: (N, D) centred values; what stands in a hole is ignored.
        seen: (N, D) bool.
        count: K, less than N.
        rounds: of expectation-maximisation.
        seed: of the start.
        known: (M, D) modes, a standard deviation each, that were believed before, M at most
            ``count``; None knows none.
        strength: how many rows, wholly seen, that belief counts for.

    Raises:
        InputError: bad shapes, too many modes, or a column that no row shows.

    Source: M. Tipping, C. Bishop, Probabilistic principal component analysis, 1999, section 3.3
    and appendix B, over seen entries.
    """
    data = check_array(rows, "rows", shape=("N", "D"), finite=False)
    mask = check_array(seen, "seen", shape=data.shape).astype(bool)
    n, d = data.shape
    if not 1 <= count < n:
        raise InputError(f"count: expected 1 to {n - 1} modes of {n} rows, got {count}")
    if not mask.any(axis=0).all():
        raise InputError("rows: expected every column to be seen in some row")
    weight = mask.astype(np.float32)
    values = np.where(mask, data, 0).astype(np.float32)
    rng = np.random.default_rng(seed)
    spread = float(np.sqrt((values**2).sum() / weight.sum()))
    loads = (0.3 * spread * rng.standard_normal((d, count))).astype(np.float32)
    belief = np.zeros_like(loads)
    if known is not None:
        modes = check_array(known, "known", shape=("M", d))
        if len(modes) > count:
            raise InputError(f"known: expected at most {count} modes, got {len(modes)}")
        belief[:, : len(modes)] = modes.T
        loads[:, : len(modes)] = modes.T
    noise = np.float32(0.5 * spread**2)
    pairs = np.triu_indices(count)
    eye = np.eye(count, dtype=np.float32)
    for _ in range(rounds):
        # Expectation: each row's coefficients from what it shows.
        products = loads[:, pairs[0]] * loads[:, pairs[1]]
        gram = _squares(weight @ products, pairs, count)
        covariance = np.linalg.inv(gram / noise + eye)
        means = np.einsum("nij,nj->ni", covariance, values @ loads) / noise
        # Maximisation: each column's loads from the rows that show it.
        second = covariance + means[:, :, None] * means[:, None, :]
        flat = second[:, pairs[0], pairs[1]]
        moment = _squares(weight.T @ flat, pairs, count) + np.float32(1e-6 + strength) * eye
        right = values.T @ means + np.float32(strength) * belief
        loads = np.linalg.solve(moment, right[..., None])[..., 0]
        left = values - weight * (means @ loads.T)
        products = loads[:, pairs[0]] * loads[:, pairs[1]]
        within = _squares(weight @ products, pairs, count)
        doubt = np.einsum("nij,nij->", within, covariance)
        noise = np.float32(max(((left**2).sum() + doubt) / weight.sum(), 1e-12))
    # Principal axes of W z with z as spread as it turned out to be.
    second = (covariance.sum(0) + means.T @ means + strength * eye) / (n + strength)
    root = np.linalg.cholesky(second.astype(np.float64))
    u, deviations, vt = np.linalg.svd(loads.astype(np.float64) @ root, full_matrices=False)
    scores = means @ np.linalg.inv(root).T @ vt.T
    return MissingPca(
        (u * deviations).T.astype(np.float32),
        deviations,
        scores.astype(np.float32),
        float(np.sqrt(noise)),
    )


def _squares(flat: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], count: int) -> np.ndarray:
    """Symmetric matrices (M, K, K) from their upper triangles (M, K (K + 1) / 2)."""
    full = np.empty((len(flat), count, count), flat.dtype)
    full[:, pairs[0], pairs[1]] = flat
    full[:, pairs[1], pairs[0]] = flat
    return full
