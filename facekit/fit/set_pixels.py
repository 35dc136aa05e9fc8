"""Pixels of many photographs of one person, from the joint fit of their landmarks.

The energy is the sum of the photographs' own (``fit.photometric_problem``) with a shared identity.
As with landmarks, what colours scatter about the model's is mostly the person, so the noise is
taken N times as large for N photographs; see ``fit.image_set``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facekit.errors import ItemError
from facekit.fit.arrow import Block, covariances
from facekit.fit.joint import minimise, normal_equations
from facekit.fit.landmark import FaceState, LandmarkFit, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.louder import louder, louder_colours
from facekit.fit.photo import centred_intrinsics
from facekit.fit.photometric import PhotometricFitter, fit_light
from facekit.fit.photometric_problem import PhotometricProblem, Point, Seen, build_surface
from facekit.fit.pixels import ImageLevel, shrunk_mask
from facekit.fit.prior import FacePrior
from facekit.fit.scale import with_focal_variance
from facekit.fit.shared_terms import LandmarkTerm
from facekit.types import DetectedFace


class PixelTerm:
    """Landmarks and pixels of one photograph in a joint fit; see ``fit.shared_terms.Term``.

    Attributes:
        problem: the residuals.
        at: the photograph's state.
        level: its pixels.
        seen: what is held while steps are taken.
    """

    def __init__(self, problem: PhotometricProblem, at: Point, level: ImageLevel) -> None:
        self.problem, self.at, self.level = problem, at, level
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

    def renew(self) -> bool:
        """Nothing: what is seen is held between ``look``s."""
        return False

    def moved(self, shared: np.ndarray, own: np.ndarray) -> Point:
        """Return face and light after a step."""
        K = self.landmarks.basis.num_identity
        n = self.problem.num_face - K
        face = self.at.face
        step = np.concatenate([shared[:K] - face.coefficients[:K], own[:n]])
        return Point(self.landmarks.moved(face, step), self.at.light + own[n:])

    def accept(self, candidate: Point) -> None:
        """Take a candidate."""
        self.at = candidate

    def cost(self, candidate: Point | None = None) -> float:
        """Return the energy."""
        return self.problem.energy(candidate or self.at, self.level, self.seen, self.prior)

    def linearise(self) -> Block:
        """Return the normal equations: identity, then its own."""
        problem = self.problem
        hessian, gradient = problem.linearise(self.at, self.level, self.seen, self.prior)
        K, n = problem.landmarks.basis.num_identity, problem.num_face
        free = np.ones(problem.num_free - K, bool)
        free[: n - K] = problem.landmarks.free_variables(self.at.face, gradient[:n], "all")[K:]
        return Block(hessian, gradient, np.arange(K), free)

    def allowed(self, candidate: Point) -> bool:
        """Say whether no landmark leaves two of its deviations."""
        return bool(candidate.face.translation[2] > 1) and self._worst(candidate) <= self.limit

    def _worst(self, at: Point) -> float:
        marks = self.landmarks
        error = marks.project(at.face, self.seen.rows)[1] - marks.observed
        variance = (self.seen.marks**2).sum(1).reshape(68, 2)
        return float(np.sqrt((error**2 / variance).max()))


@dataclass
class SetPixels:
    """Fits the pixels of sets of photographs.

    Attributes:
        fitter: of single photographs.
        basis: landmark rows of the set.
        landmark_config: settings of a single photograph's landmarks.
    """

    fitter: PhotometricFitter
    basis: LandmarkBasis
    landmark_config: LandmarkFitConfig

    def fit(
        self,
        images: Sequence[np.ndarray],
        faces: Sequence[DetectedFace],
        starts: Sequence[LandmarkFit],
        masks: Sequence[np.ndarray | None],
        prior: FacePrior,
    ) -> list[LandmarkFit]:
        """Fit one identity to all photographs' landmarks and pixels.

        Args:
            images: (H, W, 3) uint8 RGB each.
            faces: the detections.
            starts: of the joint fit of landmarks, all of one identity.
            masks: (H, W) weights of pixels in [0, 1], or None.
            prior: each photograph's share of what is believed of the coefficients.

        Raises:
            ItemError: the solver diverges.
        """
        count, model = len(images), self.fitter.model
        loud = replace(self.fitter.config, noise=louder_colours(self.fitter.config.noise, count))
        surface = build_surface(model, self.fitter.patch, loud)
        begin = PhotometricFitter(model, self.basis, self.fitter.patch, self.landmark_config, loud)
        basis = replace(self.basis, covariance_mm2=count * self.basis.covariance_mm2)
        terms: list[PixelTerm | LandmarkTerm] = []
        for image, face, start, mask in zip(images, faces, starts, masks, strict=True):
            height, width = image.shape[:2]
            intrinsics = centred_intrinsics(start.focal, width, height)
            trust = np.ones(68) if face.confidence is None else np.clip(face.confidence, 0, 1)
            marks = LandmarkProblem(
                basis,
                model,
                np.asarray(face.ibug68, np.float64),
                trust.astype(np.float64),
                intrinsics,
                replace(louder(self.landmark_config, count), log_focal_std=0.0),
                prior,
            )
            marks.weights = start.weights
            problem = PhotometricProblem(marks, surface, model, loud)
            if mask is not None:
                blur_px = max(loud.blur_mm) * float(start.focal / start.translation[2])
                problem.mask = shrunk_mask(mask, blur_px)
            coefficients = np.concatenate([start.identity, start.expression])
            state = FaceState(coefficients, start.rotation, start.translation, 0.0)
            try:
                levels, at = begin.begin(problem, image, intrinsics, state)
                terms.append(PixelTerm(problem, at, levels[-1]))
            except ItemError:
                # Too little skin is seen here; its landmarks still count.
                terms.append(LandmarkTerm(marks, marks, state))
        K = self.basis.num_identity
        shared, nothing = starts[0].identity, np.zeros((K, K))
        for _ in range(loud.rounds):
            joint = minimise(terms, shared, nothing, steps=loud.steps, tolerance=loud.tolerance)
            shared = joint.shared
            for term in terms:
                term.reweigh()
        _, spreads = covariances(*normal_equations(terms, shared, nothing), K)
        found = []
        for term, spread, start in zip(terms, spreads, starts, strict=True):
            n = term.landmarks.num_free
            fit = term.landmarks.result(term.face, term.cost(), joint.iterations)
            spread = 0.5 * (spread + spread.T)[:n, :n]
            fit = fit._replace(covariance=spread, focal=start.focal)
            found.append(with_focal_variance(fit, start, n))
        return found
