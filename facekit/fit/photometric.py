"""Fit a face to a photograph's pixels by Levenberg-Marquardt, starting from its landmarks.

The energy is that of ``fit.photometric_problem``. Visibility, robust weights, the noise's
covariance and the landmarks' outline are held while steps are taken, and renewed between them. A
step is accepted when the energy falls and no landmark leaves two of its deviations (or the
farthest one's place, when it starts outside).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from facekit.errors import ItemError
from facekit.fit.landmark import FaceState, LandmarkFit, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.outline import OutlineConfig, RimFinder
from facekit.fit.outline_term import OutlineProblem
from facekit.fit.patch import SurfacePatch
from facekit.fit.photometric_problem import (
    FaceSurface,
    PhotometricConfig,
    PhotometricProblem,
    Point,
    Seen,
    build_surface,
)
from facekit.fit.pixels import ImageLevel, channel_weights, face_light, make_level, shrunk_mask
from facekit.fit.prior import FacePrior, check_prior
from facekit.fit.shading import harmonics
from facekit.morphable.model import MorphableModel
from facekit.types import Camera, DetectedFace


class PhotometricFit(NamedTuple):
    """Result of a photometric fit.

    Attributes:
        fit: coefficients, pose and Laplace posterior, as a landmark fit has them.
        light: (10,) harmonics of the compared channel, and how much ambient occlusion shows.
        samples: (M,) vertices that counted; weights: (M,) in (0, 1], what robustness left.
        residuals: (M,) logarithm of predicted over observed light.
        log_evidence: Laplace's approximation in nats, up to a constant of the photograph.
        iterations: steps tried.
    """

    fit: LandmarkFit
    light: np.ndarray
    samples: np.ndarray
    weights: np.ndarray
    residuals: np.ndarray
    log_evidence: float
    iterations: int


@dataclass
class PhotometricFitter:
    """Fits one model to photographs; holds what is computed once.

    Attributes:
        model: the morphable model.
        basis: its landmark rows.
        patch: its sample points.
        landmark_config: settings of the landmark terms; config: of the pixels'.
        outline: of the face's outline, which counts where one is seen; None leaves it out.
    """

    model: MorphableModel
    basis: LandmarkBasis
    patch: SurfacePatch
    landmark_config: LandmarkFitConfig
    config: PhotometricConfig = field(default_factory=PhotometricConfig)
    outline: OutlineConfig | None = field(default_factory=OutlineConfig)

    @cached_property
    def rims(self) -> RimFinder:
        """What finds the model's outline."""
        return RimFinder(self.model)

    @cached_property
    def surface(self) -> FaceSurface:
        """What the sample points bring to every photograph."""
        return build_surface(self.model, self.patch, self.config)

    def fit(
        self,
        image: np.ndarray,
        face: DetectedFace,
        start: LandmarkFit,
        intrinsics: np.ndarray,
        *,
        prior: FacePrior | None = None,
        mask: np.ndarray | None = None,
    ) -> PhotometricFit:
        """Fit one face.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: the detection ``start`` was fitted to.
            start: landmark fit.
            intrinsics: (3, 3) of the photograph, with the fitted focal length.
            prior: what is believed of the coefficients; None takes the model's own.
            mask: (H, W) weights of pixels in [0, 1], or None.

        Raises:
            ItemError: too little of the face is seen, or the solver diverges.
        """
        problem = self.problem(image, face, start, intrinsics, prior=prior, mask=mask)
        coefficients = np.concatenate([start.identity, start.expression])
        state = FaceState(coefficients, start.rotation, start.translation, 0.0)
        return self._solve(problem, image, intrinsics, state)

    def problem(
        self,
        image: np.ndarray,
        face: DetectedFace,
        start: LandmarkFit,
        intrinsics: np.ndarray,
        *,
        prior: FacePrior | None = None,
        mask: np.ndarray | None = None,
    ) -> PhotometricProblem:
        """Return the energy that ``fit`` lowers, with its arguments."""
        marks = LandmarkProblem.of_face(
            self.basis,
            self.model,
            face,
            intrinsics,
            replace(self.landmark_config, log_focal_std=0.0),
            None if prior is None else check_prior(prior, self.model),
        )
        marks.weights = start.weights
        problem = PhotometricProblem(marks, self.surface, self.model, self.config)
        if mask is not None:
            blur_px = max(self.config.blur_mm) * float(intrinsics[0, 0] / start.translation[2])
            problem.mask = shrunk_mask(mask, blur_px)
        if self.outline is not None:
            problem.outline = OutlineProblem(self.rims, marks, image, self.outline, mask=mask)
        return problem

    def begin(
        self,
        problem: PhotometricProblem,
        image: np.ndarray,
        intrinsics: np.ndarray,
        state: FaceState,
    ) -> tuple[list[ImageLevel], Point]:
        """Return the photograph's levels, coarse to fine, and a face under an even light.

        Raises:
            ItemError: the face is black or outside the photograph.
        """
        config = self.config
        height, width = image.shape[:2]
        _, camera_points, _ = problem.camera_points(state)
        spots = camera_points[:, :2] / camera_points[:, 2:] @ intrinsics[:2, :2].T
        spots = spots + intrinsics[:2, 2]
        weights = channel_weights(config.red)
        median = face_light(image, spots, weights)
        if median <= 0:
            raise ItemError("photometric fit: the face is black or outside the photograph")
        px_per_mm = float(intrinsics[0, 0] / state.translation[2])
        light = problem.light_mean.copy()
        light[0] = median / float(np.median(self.surface.albedo)) / harmonics(np.eye(3)[:1])[0, 0]
        levels = [
            make_level(
                image,
                Camera(intrinsics, np.eye(3), np.zeros(3), width, height),
                (*spots.min(0), *spots.max(0)),
                weights=weights,
                blur_px=blur * px_per_mm,
                floor=config.floor * median,
            )
            for blur in config.blur_mm
        ]
        return levels, Point(state, light)

    def _solve(
        self,
        problem: PhotometricProblem,
        image: np.ndarray,
        intrinsics: np.ndarray,
        state: FaceState,
    ) -> PhotometricFit:
        config = self.config
        levels, at = self.begin(problem, image, intrinsics, state)
        robust = None
        iterations = 0
        for number, level in enumerate(levels):
            for turn in range(config.rounds):
                seen = problem.see(at, level, robust)
                prior = problem.light_prior(at.light)
                if number == turn == 0:
                    at = fit_light(problem, at, level, seen, prior)
                    robust = problem.robust_weights(at, level, seen.chosen, robust)
                    seen = problem.see(at, level, robust)
                at, energy, tried = _minimise(problem, at, level, seen, prior)
                iterations += tried
                robust = problem.robust_weights(at, level, seen.chosen, robust)
        hessian, _ = problem.linearise(at, level, seen, prior)
        residual, _ = problem.residuals(at, level, seen.chosen)
        fit = problem.landmarks.result(at.face, energy, iterations)
        covariance = np.linalg.inv(hessian)
        covariance = 0.5 * (covariance + covariance.T)
        n = problem.num_face
        believed = np.linalg.slogdet(problem.landmarks.prior.precision)[1]
        log_prior = float(np.log(prior).sum() - 0.5 * believed)
        log_noise = float(np.log(np.diag(seen.factor)).sum() + np.log(np.diag(seen.marks)).sum())
        evidence = -0.5 * energy - log_noise - log_prior
        evidence += 0.5 * float(np.linalg.slogdet(covariance)[1])
        return PhotometricFit(
            fit.with_covariance(covariance[:n, :n]),
            at.light,
            self.patch.samples[seen.chosen],
            seen.weights,
            residual,
            evidence,
            iterations,
        )


def fit_light(
    problem: PhotometricProblem, at: Point, level: ImageLevel, seen: Seen, prior: np.ndarray
) -> Point:
    """Return a face after a few Gauss-Newton steps of its light alone; what is seen is held."""
    n = problem.num_face
    energy = problem.energy(at, level, seen, prior)
    for _ in range(8):
        hessian, gradient = problem.linearise(at, level, seen, prior)
        step = -np.linalg.solve(hessian[n:, n:], gradient[n:])
        size = 1.0
        while size > 0.05:
            candidate = at._replace(light=at.light + size * step)
            new = problem.energy(candidate, level, seen, prior)
            if new < energy:
                break
            size *= 0.5
        else:
            break
        gain, at, energy = energy - new, candidate, new
        if gain < 1e-3 * (1 + abs(energy)):
            break
    return at


def _minimise(
    problem: PhotometricProblem, at: Point, level: ImageLevel, seen: Seen, prior: np.ndarray
) -> tuple[Point, float, int]:
    """Levenberg-Marquardt with bounds by an active set; what is seen is held."""
    config = problem.config
    n = problem.num_face
    damping = 1e-3
    energy = problem.energy(at, level, seen, prior)
    if not np.isfinite(energy):
        raise ItemError("photometric fit: part of the face lies outside the photograph")
    limit = max(2.0, _worst_landmark(problem, at, seen))
    tried = 0
    fresh = True
    while tried < config.steps:
        tried += 1
        if fresh:
            hessian, gradient = problem.linearise(at, level, seen, prior)
            mask = np.ones(problem.num_free, bool)
            mask[:n] = problem.landmarks.free_variables(at.face, gradient[:n], "all")
        reduced = hessian[np.ix_(mask, mask)]
        reduced[np.diag_indices_from(reduced)] *= 1 + damping
        step = np.zeros(problem.num_free)
        try:
            step[mask] = -cho_solve(cho_factor(reduced, check_finite=False), gradient[mask])
        except LinAlgError:
            damping *= 8
            fresh = False
            continue
        candidate = Point(problem.landmarks.moved(at.face, step[:n]), at.light + step[n:])
        new = problem.energy(candidate, level, seen, prior)
        if not new < energy or _worst_landmark(problem, candidate, seen) > limit:
            damping = max(damping * 8, 1e-3)
            fresh = False
            if damping > 1e6:
                break
            continue
        small = energy - new < config.tolerance * (1 + abs(energy))
        at, energy, damping, fresh = candidate, new, max(damping / 8, 1e-9), True
        if small:
            break
    return at, energy, tried


def _worst_landmark(problem: PhotometricProblem, at: Point, seen: Seen) -> float:
    """The largest landmark error over its own deviation."""
    marks = problem.landmarks
    error = marks.project(at.face, seen.rows)[1] - marks.observed
    variance = (seen.marks**2).sum(1).reshape(68, 2)
    return float(np.sqrt((error**2 / variance).max()))
