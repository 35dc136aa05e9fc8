"""How far a fitted surface may be from the true one: deviations along the normal, vertex by vertex.

The fit's Laplace posterior says what the photograph left open of identity and expression. Where a
head lies, how it is turned and how large it is are no errors of its shape: benchmarks align a
prediction by a similarity first, and so does everybody who compares two heads. A displacement d of
the surface therefore counts along the normal n after the least-squares similarity of the face,

    e = n . d - S (S^T W S)^-1 S^T W (n . d),   S = [x cross n, n, n . x],

with W the area that each vertex of the face stands for: what is left after an alignment of surface
to surface. With A the coefficients' modes after this projection and C their posterior covariance,
the variance of a vertex is

    s^2 (diag(A C A^T) + D),   s^2 = (v + u / u0) / (v + 1).

D is what the model cannot express and what its errors elsewhere bring with them (``Discrepancy``).
s is the head's own. A head that took more of the prior's energy u (identity and expression) than
a head does on average, u0, is of a kind that the prior knows badly. This is the posterior mean of
an unknown common variance, v measurements against one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.fit.landmark_problem import LandmarkFit
from facekit.geometry.mesh import vertex_adjacency, vertex_areas, vertex_normals
from facekit.morphable.model import MorphableModel

# Unit of the rotation's and the scale's directions, so that all seven are of one size.
_LEVER_MM = 100.0


def similarity_slopes(vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return how a small similarity moves vertices along their normals, (V, 7).

    Columns: rotation about x, y, z (per 1/100 radian of a lever of 100 mm), translation along x,
    y, z (mm), growth (percent of 100 mm).

    Args:
        vertices: (V, 3) mm.
        normals: (V, 3) unit.
    """
    turn = np.cross(vertices, normals) / _LEVER_MM
    grow = (vertices * normals).sum(axis=1, keepdims=True) / _LEVER_MM
    return np.hstack([turn, normals, grow])


def aligned_displacements(along: np.ndarray, slopes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return displacements along the normals after the similarity that takes most of them away.

    Args:
        along: (V, N) mm, N displacement fields along the normals.
        slopes: (V, 7) of ``similarity_slopes``.
        weights: (V,) of the vertices that the alignment sees, 0 for others.

    Degenerate: where the weighted vertices leave a direction open (a sphere does not tell how it
    is turned), the smallest such similarity is taken.
    """
    counted = weights > 0
    root = np.sqrt(weights[counted])[:, None]
    solution, *_ = np.linalg.lstsq(root * slopes[counted], root * along[counted], rcond=1e-9)
    return along - slopes @ solution


@dataclass(frozen=True)
class Discrepancy:
    """What a fit's posterior does not know of.

    The defaults are those of the built-in model, estimated by ``facekit eval posterior
    --development`` on one half of its heads, none of them in the published benches.

    Attributes:
        general_mm: deviation along the normal where no region says otherwise.
        regions_mm: (name, deviation) of the model's regions, the first that holds a vertex counts.
        head_dof: v of a head's own scale; infinite for one scale for all.
        smoothing: rounds over which neighbouring vertices share their variance.
    """

    general_mm: float = 1.74
    regions_mm: tuple[tuple[str, float], ...] = (
        ("nose", 2.80),
        ("lips", 1.02),
        ("chin", 2.35),
        ("brows", 0.98),
        ("eyes", 0.85),
        ("forehead", 2.60),
        ("cheeks", 2.14),
    )
    head_dof: float = 0.5
    smoothing: int = 12

    def head_scale(self, strangeness: float) -> float:
        """Return s of a head whose ``SurfacePosterior.strangeness`` is given."""
        if np.isinf(self.head_dof):
            return 1.0
        return float(np.sqrt((self.head_dof + strangeness) / (self.head_dof + 1)))

    def variance(self, model: MorphableModel) -> np.ndarray:
        """Return (V,) mm^2 for a model's vertices."""
        variance = np.full(model.num_vertices, self.general_mm**2)
        free = np.ones(model.num_vertices, bool)
        for name, deviation in self.regions_mm:
            here = free & model.regions.get(name, False)
            variance[here] = deviation**2
            free &= ~here
        neighbours = vertex_adjacency(model.faces, model.num_vertices)
        count = np.maximum(np.asarray(neighbours.sum(axis=1)).ravel(), 1)
        for _ in range(self.smoothing if self.regions_mm else 0):
            variance = 0.5 * (variance + (neighbours @ variance) / count)
        return variance


class SurfacePosterior:
    """A model's part of the deviations, computed once.

    The modes' directions are taken along the normals of the mean head.

    Args:
        model: the morphable model.
        discrepancy: what the posterior does not know of.
    """

    def __init__(self, model: MorphableModel, discrepancy: Discrepancy | None = None) -> None:
        self.model = model
        self.discrepancy = discrepancy or Discrepancy()
        mean = model.mean.astype(np.float64)
        normals = vertex_normals(mean, model.faces).astype(np.float64)
        modes = np.concatenate([model.identity_modes, model.expression_modes])
        along = np.einsum("kvd,vd->vk", modes, normals, optimize=True)
        region = model.regions.get("face", np.ones(len(mean), bool))
        weights = vertex_areas(mean, model.faces) * region
        slopes = similarity_slopes(mean, normals)
        self._modes = aligned_displacements(along, slopes, weights).astype(np.float32)
        self._unknown = self.discrepancy.variance(model).astype(np.float32)

    def neutral_std(self, fit: LandmarkFit) -> np.ndarray:
        """Return (V,) float32 mm for the neutral head (identity alone)."""
        return self._std(fit, self.spread(fit))

    def face_std(self, fit: LandmarkFit) -> np.ndarray:
        """Return (V,) float32 mm for the head with its expression."""
        return self._std(fit, self.spread(fit, with_expression=True))

    def strangeness(self, fit: LandmarkFit) -> float:
        """Return u / u0, the prior's energy of a fit's coefficients over what is expected of it.

        Under the prior, a posterior's mean scatters by the prior's variance less the posterior's.
        """
        model = self.model
        deviation = np.concatenate([np.ones(model.num_identity), model.expression_std])
        offset = np.concatenate([fit.identity, fit.expression - model.expression_mean]) / deviation
        known = np.diag(fit.covariance)[: len(offset)] / deviation**2
        return float(offset @ offset) / max(float(len(offset) - known.sum()), 1.0)

    def head_scale(self, fit: LandmarkFit) -> float:
        """Return the head's own factor s on every deviation."""
        return self.discrepancy.head_scale(self.strangeness(fit))

    def spread(self, fit: LandmarkFit, *, with_expression: bool = False) -> np.ndarray:
        """Return (V,) float32 mm^2: the posterior's variance, without the discrepancy."""
        count = self._modes.shape[1] if with_expression else self.model.num_identity
        factor = np.linalg.cholesky(fit.covariance[:count, :count]).astype(np.float32)
        moved = self._modes[:, :count] @ factor
        return np.einsum("vk,vk->v", moved, moved)

    def _std(self, fit: LandmarkFit, spread: np.ndarray) -> np.ndarray:
        return np.float32(self.head_scale(fit)) * np.sqrt(spread + self._unknown)
