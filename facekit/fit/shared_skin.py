"""Pixels of one photograph in a joint fit, with a skin that all photographs of a person share.

Colour departs from the model's albedo by the person (blotches, brows and lips a little elsewhere)
and by the photograph (shadows, shine, light that is no spherical harmonics). One photograph cannot
tell the two apart, several can; and what is the person's is then no noise but what ties the
photographs together: a point of skin has the same albedo in each, so a point that is looked for in
the wrong place betrays the shape. The logarithm of the person's albedo over the model's is
therefore a variable of every sample point that the photographs share, with a Gaussian process
(``fit.colour_noise``) as its prior. The residual is linear in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_solve

from facekit.fit.arrow import Block
from facekit.fit.colour_noise import ColourNoise
from facekit.fit.landmark import FaceState, LandmarkProblem
from facekit.fit.photometric import fit_light
from facekit.fit.photometric_problem import (
    FaceSurface,
    PhotometricConfig,
    PhotometricProblem,
    Point,
    Seen,
)
from facekit.fit.pixels import ImageLevel
from facekit.morphable.model import MorphableModel


@dataclass(frozen=True)
class SkinConfig:
    """How colour's departure from the model's is split between person and photograph.

    On renders seen with the true shape, what a photograph adds has a deviation of 0.05 and what
    is the person's one of 0.1. The solver's stays at the errors that its own shape makes, so what
    a photograph adds was raised to where joint fits of 8 heads erred least; none of those heads
    is in the published bench.

    Attributes:
        person: what belongs to the person.
        photograph: what each photograph adds.
        outlier: deviations of that beyond which a point is something else than skin.
        rounds: renewals of visibility and weights before the skin is a variable, and after.
    """

    person: ColourNoise = field(
        default_factory=lambda: ColourNoise(
            broad=0.06, fine=0.08, fine_mm=12.0, white=0.05, edge_mm=2.0, relief=()
        )
    )
    photograph: ColourNoise = field(
        default_factory=lambda: ColourNoise(
            broad=0.09, fine=0.12, fine_mm=12.0, white=0.09, edge_mm=0.45, relief=((0.05, 4.0),)
        )
    )
    outlier: float = 4.0
    rounds: tuple[int, int] = (2, 3)


class SkinProblem(PhotometricProblem):
    """A photographed face whose skin is not the model's alone.

    Attributes:
        skin: (N,) logarithm of the person's albedo over the model's.
    """

    def __init__(
        self,
        landmarks: LandmarkProblem,
        surface: FaceSurface,
        model: MorphableModel,
        config: PhotometricConfig,
    ) -> None:
        super().__init__(landmarks, surface, model, config)
        self.skin = np.zeros(len(surface.albedo))

    def residuals(
        self, at: Point, level: ImageLevel, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See the base class."""
        residual, inside = super().residuals(at, level, index)
        return residual + self.skin[index], inside

    def jacobian(
        self, at: Point, level: ImageLevel, index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See the base class; the skin's own derivative, 1, is not in it."""
        residual, jacobian = super().jacobian(at, level, index)
        return residual + self.skin[index], jacobian


class PixelTerm:
    """Landmarks and pixels of one photograph in a joint fit; see ``fit.shared_terms.Term``.

    Attributes:
        problem: the residuals.
        at: the photograph's state.
        level: its pixels.
        seen: what is held while steps are taken.
        shares_skin: whether the skin is a variable after the identity; else it is held.
    """

    def __init__(self, problem: SkinProblem, at: Point, level: ImageLevel) -> None:
        self.problem, self.at, self.level = problem, at, level
        self.shares_skin = False
        self.robust: np.ndarray | None = None
        self.look()
        self.at = fit_light(problem, at, level, self.seen, self.prior)
        self.reweigh()

    @property
    def landmarks(self) -> LandmarkProblem:
        """The landmarks' residuals."""
        return self.problem.landmarks

    @property
    def face(self) -> FaceState:
        """The face's part of the state."""
        return self.at.face

    def look(self) -> None:
        """Renew what is seen, and factor its noise."""
        self.seen: Seen = self.problem.see(self.at, self.level, self.robust)
        self.prior = self.problem.light_prior(self.at.light)
        self.limit = max(2.0, self._worst(self.at))

    def reweigh(self) -> None:
        """Renew the weights of outliers, and what is seen."""
        self.robust = self.problem.robust_weights(
            self.at, self.level, self.seen.chosen, self.robust
        )
        self.look()

    def share_skin(self, surface: FaceSurface, config: PhotometricConfig) -> None:
        """Make the skin a variable, under the noise that is the photograph's own."""
        self.problem.surface, self.problem.config = surface, config
        self.shares_skin = True
        self.look()

    def renew(self) -> bool:
        """Nothing: what is seen is held between ``look``s."""
        return False

    def moved(self, shared: np.ndarray, own: np.ndarray) -> tuple[Point, np.ndarray]:
        """Return face and light after a step, and the skin."""
        K = self.landmarks.basis.num_identity
        n = self.problem.num_face - K
        face = self.at.face
        step = np.concatenate([shared[:K] - face.coefficients[:K], own[:n]])
        point = Point(self.landmarks.moved(face, step), self.at.light + own[n:])
        return point, shared[K:] if self.shares_skin else self.problem.skin

    def accept(self, candidate: tuple[Point, np.ndarray]) -> None:
        """Take a candidate."""
        self.at, self.problem.skin = candidate

    def cost(self, candidate: tuple[Point, np.ndarray] | None = None) -> float:
        """Return the energy."""
        before = self.problem.skin
        point, self.problem.skin = candidate or (self.at, before)
        try:
            return self.problem.energy(point, self.level, self.seen, self.prior)
        finally:
            self.problem.skin = before

    def linearise(self) -> Block:
        """Return the normal equations: identity, the skin that is seen, then its own."""
        problem, index = self.problem, self.seen.chosen
        hessian, gradient = problem.linearise(self.at, self.level, self.seen, self.prior)
        K, n = self.landmarks.basis.num_identity, problem.num_face
        free = np.ones(problem.num_free - K, bool)
        free[: n - K] = self.landmarks.free_variables(self.at.face, gradient[:n], "all")[K:]
        if not self.shares_skin:
            return Block(hessian, gradient, np.arange(K), free)
        residual, jacobian = problem.jacobian(self.at, self.level, index)
        factor = (self.seen.factor, True)
        precision = cho_solve(factor, np.eye(len(index)), check_finite=False)
        by_skin = precision @ np.column_stack([jacobian, residual])
        total = np.block(
            [
                [hessian[:K, :K], by_skin[:, :K].T, hessian[:K, K:]],
                [by_skin[:, :K], precision, by_skin[:, K:-1]],
                [hessian[K:, :K], by_skin[:, K:-1].T, hessian[K:, K:]],
            ]
        )
        right = np.concatenate([gradient[:K], by_skin[:, -1], gradient[K:]])
        return Block(total, right, np.concatenate([np.arange(K), K + index]), free)

    def allowed(self, candidate: tuple[Point, np.ndarray]) -> bool:
        """Say whether no landmark leaves two of its deviations."""
        face = candidate[0].face
        return bool(face.translation[2] > 1) and self._worst(candidate[0]) <= self.limit

    def _worst(self, at: Point) -> float:
        marks = self.landmarks
        error = marks.project(at.face, self.seen.rows)[1] - marks.observed
        variance = (self.seen.marks**2).sum(1).reshape(68, 2)
        return float(np.sqrt((error**2 / variance).max()))
