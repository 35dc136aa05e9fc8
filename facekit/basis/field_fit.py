"""A smooth random displacement of a head, with a model's modes or without, fitted to a scan.

Closest points say how far the surface is, but not where along it a point belongs. What a Gaussian
process over the whole head expects, given every distance across the surface and the landmarks,
says that: it needs no annealing of stiffness, and its evidence says how far heads like this one
are from the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from facekit.basis.shape_fit import choose_rows
from facekit.geometry.alignment import IDENTITY, SimilarityTransform, compose
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.geometry.surface import Surface

_MIRROR = np.array([-1.0, 1.0, 1.0])
# Polynomials of a position are in units of this, mm.
_UNIT_MM = 100.0
_NORMALS_MM = 15.0


@dataclass(frozen=True)
class FieldOptions:
    """How displacements are distributed, and what is known of them.

    Attributes:
        samples: vertices that look for the scan.
        length_mm: over which displacements are alike.
        along: deviation along the surface as a share of that across it.
        symmetry: correlation of a displacement with its mirror image.
        rigid_mm: deviation of a shift in each round, and of a turn, 100 mm from the origin.
        linear, quadratic: deviation of these polynomials, 100 mm from the origin, as shares of
            the field's.
        amplitudes_mm: deviations of the field, of which the likeliest is chosen.
        boldness: the deviation taken, as a multiple of the one chosen.
        rounds: of closest points and one solve.
        across_mm: deviation of a distance across the surface in the first and the last round.
        landmark_mm: deviation of a landmark's coordinate.
        outlier_mm: a landmark so far from the fit counts a quarter (weights of Geman, McClure).
        reach_mm: longest pair in the first and in the last round.
        least_cosine: of the angle between the normals of a pair.
        evidence_every: of the distances, one in so many is used to choose the amplitude.
    """

    samples: int = 1300
    length_mm: float = 20.0
    along: float = 0.7
    symmetry: float = 0.8
    rigid_mm: float = 5.0
    linear: float = 1.6
    quadratic: float = 1.0
    amplitudes_mm: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    boldness: float = 2.0
    rounds: int = 8
    across_mm: tuple[float, float] = (1.0, 0.4)
    landmark_mm: float = 1.6
    outlier_mm: float = 4.0
    reach_mm: tuple[float, float] = (10.0, 3.0)
    least_cosine: float = 0.75
    evidence_every: int = 3


class FieldFit(NamedTuple):
    """A fitted head.

    Attributes:
        vertices: (V, 3) float64 in the scan's frame.
        coefficients: (K,) of the modes.
        amplitude_mm: deviation of the field that was taken.
    """

    vertices: np.ndarray
    coefficients: np.ndarray
    amplitude_mm: float


class _Facts(NamedTuple):
    """What is known: displacements of nodes along directions.

    Attributes:
        nodes: (M,) rows of the process's nodes; directions: (M, 3).
        values, variances: (M,) mm and mm^2.
    """

    nodes: np.ndarray
    directions: np.ndarray
    values: np.ndarray
    variances: np.ndarray


class RandomField:
    """Displacements of a head: a Gaussian process, plus modes with coefficients N(0, 1).

    The field is A(x) g(x), with g of covariance a^2 k(|x - x'|) I + a^2 s k(|x - Mx'|) M, where k
    is Matern's of smoothness 3/2, M the mirror x = 0 and s the symmetry; A shortens what is along
    the surface (of the base, smoothed). Linear and quadratic polynomials in k take up proportions,
    a rigid motion the pose. It is conditioned on distances across the scan at sampled
    vertices and on landmarks; every vertex follows.

    Args:
        base: (V, 3) head of no cost, mm, symmetric about x = 0.
        faces: (F, 3).
        weights: (V,) how often each vertex is chosen to look for the scan; 0 never.
        marks: (N, V) sparse rows that read landmarks.
        modes: (K, V, 3) mm per deviation, or None.
        options: of the field.
        seed: of the choice of vertices.

    Source: M. Luethi et al., Gaussian process morphable models, 2018, with closest planes for
    closest points; C. Rasmussen, C. Williams, Gaussian processes for machine learning, 2006,
    equations 2.23 and 2.30.
    """

    def __init__(
        self,
        base: np.ndarray,
        faces: np.ndarray,
        *,
        weights: np.ndarray,
        marks: sp.csr_array,
        modes: np.ndarray | None = None,
        options: FieldOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.options = options or FieldOptions()
        self.base = np.asarray(base, np.float64)
        self.faces = faces
        self._marks = marks
        self.rows = choose_rows(weights, self.options.samples, seed)
        self.modes = np.zeros((0, *self.base.shape), np.float32) if modes is None else modes
        self._rigid = self.options.rigid_mm * _rigid_modes(self.base)

    @cached_property
    def _nodes(self) -> np.ndarray:
        """(Q, 3): the sampled vertices, then the landmarks."""
        return np.concatenate([self.base[self.rows], self._marks @ self.base])

    @cached_property
    def _covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """(V, Q) float32 of unit amplitude: with the nodes, and with their mirror images."""
        return self._between(self.base)

    @cached_property
    def _node_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """(Q, Q), the same among the nodes."""
        return self._between(self._nodes)

    def _between(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        options, nodes = self.options, self._nodes
        plain = _matern(points, nodes, options.length_mm)
        mirrored = options.symmetry * _matern(points, nodes * _MIRROR, options.length_mm)
        plain += self._polynomials(points) @ self._polynomials(nodes).T
        return plain, mirrored

    def _polynomials(self, points: np.ndarray) -> np.ndarray:
        x, y, z = (points / _UNIT_MM).T.astype(np.float32)
        linear = self.options.linear * np.stack([x, y, z], axis=1)
        squares = np.stack([x * x, y * y, z * z, x * y, y * z, z * x], axis=1)
        return np.concatenate([linear, self.options.quadratic * squares], axis=1)

    @cached_property
    def _shapes(self) -> tuple[np.ndarray, np.ndarray]:
        """(V, 3, 3) and (Q, 3, 3): A at every vertex and at the nodes."""
        own = vertex_normals(self.base, self.faces).astype(np.float64)
        smooth = []
        for points in (self.base, self._nodes):
            weights = np.exp(-_squares(points, self.base[self.rows]) / (2 * _NORMALS_MM**2))
            mean = (weights @ own[self.rows]) / (weights.sum(axis=1, keepdims=True) + 1e-9)
            # In thin parts, as ears, normals cancel and there is no direction across.
            mean /= np.sqrt((mean**2).sum(axis=1, keepdims=True) + 0.01)
            along = self.options.along
            across = mean[:, :, None] * mean[:, None, :]
            smooth.append(along * np.eye(3) + (1.0 - along) * across)
        return smooth[0], smooth[1]

    @cached_property
    def _node_modes(self) -> np.ndarray:
        """(K + 6, Q, 3) float64: of the modes, then of the rigid motion."""
        parts = []
        for modes in (self.modes, self._rigid):
            read = [self._marks @ mode.astype(np.float64) for mode in modes]
            marked = np.stack(read) if read else np.zeros((0, self._marks.shape[0], 3))
            parts.append(np.concatenate([modes[:, self.rows], marked], axis=1))
        return np.concatenate(parts)

    def fit(self, surface: Surface, landmarks: np.ndarray, start: SimilarityTransform) -> FieldFit:
        """Fit the field to a scan.

        Args:
            surface: the scan.
            landmarks: (N, 3) on the scan, NaN where unknown.
            start: from the base's frame to the scan's.
        """
        options = self.options
        known = np.flatnonzero(np.isfinite(landmarks).all(axis=1))
        marked = (self._marks @ self.base)[known]
        trust = np.ones(len(known))
        move, vertices, triangle = start, self.base, None
        amplitude = options.boldness * options.amplitudes_mm[len(options.amplitudes_mm) // 2]
        for step in range(options.rounds):
            share = step / max(options.rounds - 1, 1)
            reach = options.reach_mm[0] + share * (options.reach_mm[1] - options.reach_mm[0])
            across = options.across_mm[0] * (options.across_mm[1] / options.across_mm[0]) ** share
            planes, triangle = self._planes(surface, move, vertices, triangle, reach, across)
            wanted = move.inverse().apply(landmarks[known]) - marked
            facts = _joined(planes, self._landmark_facts(known, wanted, trust))
            if step and len(options.amplitudes_mm) > 1:
                amplitude = self._amplitude(facts)
            moved, coefficients = self._expect(facts, amplitude)
            vertices = self.base + moved
            # What was rigid is moved for good: it is linear for small turns only.
            shift, turn = options.rigid_mm * coefficients[-6:-3], coefficients[-3:]
            rotation = rotvec_to_matrix(options.rigid_mm / _UNIT_MM * turn)
            move = compose(move, SimilarityTransform(1.0, rotation, shift))
            left = move.apply((self._marks @ vertices)[known]) - landmarks[known]
            away = np.linalg.norm(left, axis=1) / (move.scale * options.outlier_mm)
            trust = 1.0 / (1.0 + away**2) ** 2
        return FieldFit(move.apply(vertices), coefficients[:-6], amplitude)

    def _planes(
        self,
        surface: Surface,
        move: SimilarityTransform,
        vertices: np.ndarray,
        triangle: np.ndarray | None,
        reach: float,
        across_mm: float,
    ) -> tuple[_Facts, np.ndarray]:
        """Return the distances to the planes of closest points, and their triangles."""
        own = vertex_normals(vertices, self.faces)[self.rows].astype(np.float64)
        pairs = surface.pairs(move.apply(vertices[self.rows]), IDENTITY, start=triangle)
        normal = pairs.normal @ move.rotation
        facing = (own * normal).sum(axis=1)
        near = (pairs.distance < reach) & (facing > self.options.least_cosine)
        use = np.flatnonzero(near & ~pairs.border)
        gap = move.inverse().apply(pairs.closest[use]) - self._nodes[use]
        doubt = (1.0 + (2.0 * pairs.distance[use] / reach) ** 2) ** 2
        values = (normal[use] * gap).sum(axis=1)
        return _Facts(use, normal[use], values, across_mm**2 * doubt), pairs.triangle

    def _landmark_facts(self, known: np.ndarray, wanted: np.ndarray, trust: np.ndarray) -> _Facts:
        nodes = np.repeat(len(self.rows) + known, 3)
        variances = self.options.landmark_mm**2 / np.repeat(trust, 3)
        return _Facts(nodes, np.tile(np.eye(3), (len(known), 1)), wanted.ravel(), variances)

    def _parts(self, facts: _Facts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return covariances (M, M): the field's of unit amplitude, the rest; and (M, 3) A e."""
        nodes, directions = facts.nodes, facts.directions
        turned = np.einsum("nij,nj->ni", self._shapes[1][nodes], directions)
        plain, mirrored = self._node_covariance
        pick = np.ix_(nodes, nodes)
        field = plain[pick] * (turned @ turned.T)
        field += mirrored[pick] * (turned @ (turned * _MIRROR).T)
        seen = np.einsum("knd,nd->nk", self._node_modes[:, nodes], directions)
        rest = seen @ seen.T
        rest[np.diag_indices_from(rest)] += facts.variances
        return field, rest, turned

    def _amplitude(self, facts: _Facts) -> float:
        """Return the amplitude to take, by the evidence of a part of the facts."""
        options = self.options
        some = np.arange(0, len(facts.values), options.evidence_every)
        few = _Facts(*(part[some] for part in facts))
        field, rest, _ = self._parts(few)
        best, chosen = -np.inf, options.amplitudes_mm[0]
        for amplitude in options.amplitudes_mm:
            factor = cho_factor(amplitude**2 * field + rest, lower=True, check_finite=False)
            fit = few.values @ cho_solve(factor, few.values, check_finite=False)
            evidence = -0.5 * fit - np.log(np.diag(factor[0])).sum()
            if evidence > best:
                best, chosen = evidence, amplitude
        # The likeliest explains the distances; places along the surface, which no distance tells,
        # were nearer to the truth where the field was freer.
        return options.boldness * chosen

    def _expect(self, facts: _Facts, amplitude: float) -> tuple[np.ndarray, np.ndarray]:
        """Return displacements (V, 3) without the rigid ones, and coefficients (K + 6,)."""
        field, rest, turned = self._parts(facts)
        field *= amplitude**2
        field += rest
        factor = cho_factor(field, lower=True, overwrite_a=True, check_finite=False)
        dual = cho_solve(factor, facts.values, check_finite=False)
        weights = np.zeros((len(self._nodes), 3), np.float32)
        np.add.at(weights, facts.nodes, turned * dual[:, None])
        plain, mirrored = self._covariance
        smooth = plain @ weights + mirrored @ (weights * _MIRROR.astype(np.float32))
        moved = amplitude**2 * np.einsum("nij,nj->ni", self._shapes[0], smooth)
        seen = np.einsum("knd,nd->nk", self._node_modes[:, facts.nodes], facts.directions)
        coefficients = seen.T @ dual
        moved += np.tensordot(coefficients[:-6].astype(np.float32), self.modes, axes=1)
        return moved, coefficients


def _rigid_modes(points: np.ndarray) -> np.ndarray:
    """Return (6, V, 3): shifts of 1 mm, then turns that move a point 100 mm away by 1 mm."""
    shifts = np.broadcast_to(np.eye(3)[:, None], (3, *points.shape))
    turns = np.cross(np.eye(3)[:, None], points[None]) / _UNIT_MM
    return np.concatenate([shifts, turns])


def _joined(first: _Facts, second: _Facts) -> _Facts:
    return _Facts(*(np.concatenate(parts) for parts in zip(first, second, strict=True)))


def _squares(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return squared distances (V, Q) float32 of points (V, 3) to others (Q, 3)."""
    squares = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * points @ others.T
    return np.maximum(squares, 0.0).astype(np.float32)


def _matern(points: np.ndarray, others: np.ndarray, length: float) -> np.ndarray:
    """Return Matern's covariance of smoothness 3/2, (V, Q) float32, 1 at no distance."""
    far = np.sqrt(_squares(points, others))
    far *= np.float32(np.sqrt(3.0) / length)
    return (1.0 + far) * np.exp(-far)
