"""Pixels of many photographs of one person, from the joint fit of their landmarks.

First the photographs share the identity alone, so that each finds its light and what is no skin;
then also the skin (``fit.shared_skin``). The landmarks' noise is that of the set, see
``fit.image_set``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from facekit.errors import ItemError
from facekit.fit.arrow import covariances
from facekit.fit.joint import minimise, normal_equations
from facekit.fit.landmark import FaceState, LandmarkFit, LandmarkProblem
from facekit.fit.louder import louder
from facekit.fit.outline import OutlineConfig, RimFinder
from facekit.fit.outline_term import OutlinedTerm, OutlineProblem
from facekit.fit.photo import centred_intrinsics
from facekit.fit.photometric import PhotometricFitter
from facekit.fit.photometric_problem import FaceSurface, PhotometricConfig, build_surface
from facekit.fit.pixels import shrunk_mask
from facekit.fit.prior import FacePrior
from facekit.fit.scale import with_focal_variance
from facekit.fit.shared_skin import PixelTerm, SkinConfig, SkinProblem
from facekit.fit.shared_terms import LandmarkTerm
from facekit.types import DetectedFace


@dataclass
class SetPixels:
    """Fits the pixels of sets of photographs.

    Attributes:
        fitter: of single photographs: model, landmark rows, sample points and their noise.
        skin: how colour is split between person and photograph.
        rims: finds the model's outline; None leaves outlines out.
        outline: how they count.
    """

    fitter: PhotometricFitter
    skin: SkinConfig = field(default_factory=SkinConfig)
    rims: RimFinder | None = None
    outline: OutlineConfig | None = None

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
        count, fitter = len(images), self.fitter
        model, config = fitter.model, fitter.config
        basis = replace(fitter.basis, covariance_mm2=count * fitter.basis.covariance_mm2)
        terms: list[PixelTerm | LandmarkTerm | OutlinedTerm] = []
        for image, face, start, mask in zip(images, faces, starts, masks, strict=True):
            height, width = image.shape[:2]
            intrinsics = centred_intrinsics(start.focal, width, height)
            marks = LandmarkProblem.of_face(
                basis,
                model,
                face,
                intrinsics,
                replace(louder(fitter.landmark_config, count), log_focal_std=0.0),
                prior,
            )
            marks.weights = start.weights
            problem = SkinProblem(marks, fitter.surface, model, config)
            if mask is not None:
                blur_px = max(config.blur_mm) * float(start.focal / start.translation[2])
                problem.mask = shrunk_mask(mask, blur_px)
            coefficients = np.concatenate([start.identity, start.expression])
            state = FaceState(coefficients, start.rotation, start.translation, 0.0)
            try:
                levels, at = fitter.begin(problem, image, intrinsics, state)
                one: PixelTerm | LandmarkTerm = PixelTerm(problem, at, levels[-1])
            except ItemError:
                # Too little skin is seen here; its landmarks still count.
                one = LandmarkTerm(marks, marks, state)
            if self.rims is None or self.outline is None:
                terms.append(one)
                continue
            loud = float(np.sqrt(count))
            found = OutlineProblem(self.rims, marks, image, self.outline, mask=mask, louder=loud)
            terms.append(OutlinedTerm(one, found))
        K = basis.num_identity
        shared, precision = starts[0].identity, np.zeros((K, K))
        for turn in range(sum(self.skin.rounds)):
            if turn == self.skin.rounds[0]:
                precision = self._share(terms, K)
                shared = np.concatenate([shared, np.zeros(len(precision) - K)])
            joint = minimise(
                terms, shared, precision, steps=config.steps, tolerance=config.tolerance
            )
            shared = joint.shared
            terms = [_renewed(term) for term in terms]
        _, spreads = covariances(*normal_equations(terms, shared, precision), K)
        fits = []
        for term, spread, start in zip(terms, spreads, starts, strict=True):
            n = term.landmarks.num_free
            fit = term.landmarks.result(term.face, term.cost(), joint.iterations)
            spread = 0.5 * (spread + spread.T)[:n, :n]
            fit = replace(fit.with_covariance(spread), focal=start.focal)
            fits.append(with_focal_variance(fit, start, n))
        return fits

    def _share(
        self, terms: Sequence[PixelTerm | LandmarkTerm | OutlinedTerm], num_identity: int
    ) -> np.ndarray:
        """Let the photographs share a skin; return the precision of all that they share."""
        surface, person, config = self._skin_surfaces
        for term in terms:
            inner = term.term if isinstance(term, OutlinedTerm) else term
            if isinstance(inner, PixelTerm):
                inner.share_skin(surface, config)
        covariance = person.process + np.diag(person.own_variance)
        count = num_identity + len(covariance)
        precision = np.zeros((count, count))
        precision[num_identity:, num_identity:] = np.linalg.inv(covariance)
        return precision

    @cached_property
    def _skin_surfaces(self) -> tuple[FaceSurface, FaceSurface, PhotometricConfig]:
        """The sample points under the photograph's noise and under the person's."""
        fitter = self.fitter
        config = replace(fitter.config, noise=self.skin.photograph, outlier=self.skin.outlier)
        photograph, person = (
            build_surface(fitter.model, fitter.patch, replace(config, noise=noise))
            for noise in (self.skin.photograph, self.skin.person)
        )
        return photograph, person, config


def _renewed(
    term: PixelTerm | LandmarkTerm | OutlinedTerm,
) -> PixelTerm | LandmarkTerm | OutlinedTerm:
    """A term with new weights; where no skin is left to see, that of its landmarks alone."""
    try:
        term.reweigh()
    except ItemError:
        lone = LandmarkTerm(term.landmarks, term.landmarks, term.face)
        return OutlinedTerm(lone, term.outline) if isinstance(term, OutlinedTerm) else lone
    return term
