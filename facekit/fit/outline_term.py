"""The outline of one photographed face as a part of a joint fit.

At points of the model's rim (``fit.outline``) the residual is the distance along the picture's
normal from the projected point to where skin ends. Its noise is how sure that end is, plus what
the model cannot express: a Gaussian process over the rim. Which points those are, and where skin
ends near them, is held while steps are taken and renewed between them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from facekit.fit.arrow import Block
from facekit.fit.landmark import FaceState, LandmarkProblem
from facekit.fit.outline import OutlineConfig, RimFinder, find_ends

# Deviation of every end, mm: pixels are about as large.
_OWN_MM = 0.3
# Fewer ends than this are chance.
_FEWEST = 6


class _Held(NamedTuple):
    """What is held while steps are taken: n points and where they belong."""

    mean: np.ndarray  # (n, 3) of the mean head
    modes: np.ndarray  # (n, 3, C)
    normals: np.ndarray  # (n, 2)
    ends: np.ndarray  # (n,) pixels along the normals
    factor: np.ndarray  # (n, n) lower Cholesky factor of the noise, pixels


class OutlineProblem:
    """Residuals of one face's outline and their derivatives.

    Attributes:
        finder: of rims.
        landmarks: the photograph's camera, and what its variables are.
        image: (H, W, 3) uint8 RGB; mask: (H, W) weights of its pixels, or None.
        config: see ``OutlineConfig``.
        louder: factor on the noise's deviation.
        held: what ``look`` found.
    """

    def __init__(
        self,
        finder: RimFinder,
        landmarks: LandmarkProblem,
        image: np.ndarray,
        config: OutlineConfig,
        *,
        mask: np.ndarray | None = None,
        louder: float = 1.0,
    ) -> None:
        self.finder, self.landmarks, self.image = finder, landmarks, image
        self.config, self.mask, self.louder = config, mask, louder
        self.held: _Held | None = None

    def look(self, face: FaceState) -> None:
        """Find the rim of a face and where skin ends near it."""
        config, marks = self.config, self.landmarks
        focal = marks.focal * np.exp(face.log_focal)
        place = face.coefficients, face.rotation, face.translation
        rim = self.finder.find(*place, focal, marks.centre, config)
        found, deviation = find_ends(self.image, rim, config, mask=self.mask)
        there = np.flatnonzero(~np.isnan(found))
        self.held = None
        if len(there) < _FEWEST:
            return
        rim, found, deviation = rim.take(there), found[there], deviation[there]
        mean, modes = self.finder.rows(rim)
        apart = ((rim.points[:, None] - rim.points[None]) ** 2).sum(axis=2)
        alike = np.exp(-0.5 * apart / config.length_mm**2)
        dof, own = config.robust_dof, deviation**2 + _OWN_MM**2
        # What is far off is hair, or another edge.
        squared = found**2 / (own + config.discrepancy_mm**2)
        weight = np.minimum((dof + 1) / (dof + squared), 1.0)
        total = own + config.discrepancy_mm**2
        covariance = config.discrepancy_mm**2 * alike
        covariance[np.diag_indices_from(covariance)] += own + total * (1 / weight - 1)
        scale = self.louder * rim.px_per_mm
        factor = scale * np.linalg.cholesky(covariance)
        ends = (rim.pixels * rim.normals).sum(axis=1) + found * rim.px_per_mm
        self.held = _Held(mean, modes, rim.normals, ends, factor)

    def residuals(self, face: FaceState) -> np.ndarray:
        """Return residuals (n,) in deviations."""
        if self.held is None:
            return np.zeros(0)
        projected = self._projected(face, self.held)[1]
        off = (projected * self.held.normals).sum(axis=1) - self.held.ends
        return solve_triangular(self.held.factor, off, lower=True, check_finite=False)

    def cost(self, face: FaceState) -> float:
        """Return the squared residuals' sum."""
        residual = self.residuals(face)
        return float(residual @ residual)

    def linearise(self, face: FaceState) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Newton matrix and gradient (both halved) over the landmark problem's variables."""
        marks, held = self.landmarks, self.held
        if held is None:
            return np.zeros((marks.num_free, marks.num_free)), np.zeros(marks.num_free)
        camera, projected = self._projected(face, held)
        depth = np.maximum(camera[:, 2], 1.0)[:, None]
        by_place = np.empty((len(camera), 3))
        by_place[:, :2] = held.normals * marks.focal * np.exp(face.log_focal) / depth
        by_place[:, 2] = -(by_place[:, :2] * camera[:, :2]).sum(axis=1) / depth[:, 0]
        C = marks.num_coefficients
        jacobian = np.empty((len(camera), marks.num_free + 1))
        jacobian[:, :C] = np.einsum("nd,ndc->nc", by_place @ face.rotation, held.modes)
        jacobian[:, C : C + 3] = np.cross(camera - face.translation, by_place)
        jacobian[:, C + 3 : C + 6] = by_place
        if marks.num_free > C + 6:
            outward = ((projected - marks.centre) * held.normals).sum(axis=1)
            jacobian[:, C + 6] = outward + by_place @ face.translation
        jacobian[:, -1] = (projected * held.normals).sum(axis=1) - held.ends
        white = solve_triangular(held.factor, jacobian, lower=True, check_finite=False)
        return white[:, :-1].T @ white[:, :-1], white[:, :-1].T @ white[:, -1]

    def _projected(self, face: FaceState, held: _Held) -> tuple[np.ndarray, np.ndarray]:
        points = held.mean + held.modes @ face.coefficients
        camera = points @ face.rotation.T + face.translation
        depth = np.maximum(camera[:, 2:], 1.0)
        scale = self.landmarks.focal * np.exp(face.log_focal)
        return camera, scale * camera[:, :2] / depth + self.landmarks.centre


class OutlinedTerm:
    """A term of a joint fit with its photograph's outline; see ``fit.shared_terms.Term``."""

    def __init__(self, term: Any, outline: OutlineProblem) -> None:
        self.term, self.outline = term, outline
        outline.look(term.face)

    @property
    def landmarks(self) -> LandmarkProblem:
        """The landmarks' residuals."""
        return self.term.landmarks

    @property
    def face(self) -> FaceState:
        """The face's part of the state."""
        return self.term.face

    def renew(self) -> bool:
        """See ``Term``; the outline is held between ``reweigh``s."""
        return self.term.renew()

    def reweigh(self) -> bool:
        """Renew the weights of outliers, and the outline."""
        changed = bool(self.term.reweigh())
        self.outline.look(self.term.face)
        return changed

    def moved(self, shared: np.ndarray, own: np.ndarray) -> Any:
        """See ``Term``."""
        return self.term.moved(shared, own)

    def accept(self, candidate: Any) -> None:
        """See ``Term``."""
        self.term.accept(candidate)

    def cost(self, candidate: Any | None = None) -> float:
        """See ``Term``."""
        return self.term.cost(candidate) + self.outline.cost(self._face(candidate))

    def linearise(self) -> Block:
        """See ``Term``."""
        block = self.term.linearise()
        hessian, gradient = self.outline.linearise(self.face)
        K = self.landmarks.basis.num_identity
        own = len(block.shared) + np.arange(len(gradient) - K)
        index = np.concatenate([np.arange(K), own])
        total, right = block.hessian.copy(), block.gradient.copy()
        total[np.ix_(index, index)] += hessian
        right[index] += gradient
        return block._replace(hessian=total, gradient=right)

    def allowed(self, candidate: Any) -> bool:
        """See ``Term``."""
        return self.term.allowed(candidate)

    def _face(self, candidate: Any | None) -> FaceState:
        if candidate is None:
            return self.face
        return candidate if isinstance(candidate, FaceState) else candidate[0].face
