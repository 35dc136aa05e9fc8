"""One person from many photographs: a shared identity, everything else each photograph's own.

All photographs are solved together (``fit.joint``): identity is shared; expression, pose, focal
length and, with pixels, light belong to each. What errs in a photograph is mostly the person and
not the photograph: where a labeller sees this person's brows, and what the model cannot express of
this face, is the same in every picture. On renders of heads of known shape about two thirds of the
landmarks' error variance is. So N photographs are not N measurements: their noise is taken N times
as large, and together they count as one that has seen every side of the head.

A photograph of somebody else is left out and named; see ``fit.odd_photo``. Where photographs show
the far side of a turned face before a background, its outline counts too; see ``fit.outline``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facekit.errors import ItemError
from facekit.fit.arrow import Block, Eliminated, covariances
from facekit.fit.joint import Joint, minimise, normal_equations
from facekit.fit.landmark import (
    FaceState,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkProblem,
    fit_landmarks,
)
from facekit.fit.landmark_basis import LandmarkBasis
from facekit.fit.louder import louder
from facekit.fit.network_prior import fused, hold, let_go
from facekit.fit.odd_photo import disagreements
from facekit.fit.outline import OutlineConfig, RimFinder
from facekit.fit.outline_term import OutlinedTerm, OutlineProblem
from facekit.fit.photo import FaceFit, FaceFitter, Setting, centred_intrinsics
from facekit.fit.prior import FacePrior, model_prior
from facekit.fit.scale import FocalPrior
from facekit.fit.shared_terms import LandmarkTerm
from facekit.types import DetectedFace

if TYPE_CHECKING:
    from facekit.fit.set_pixels import SetPixels

# Rounds after the first in which outliers lose weight.
_REWEIGHTINGS = 4
# Rounds in which the outline is found anew.
_OUTLINE_ROUNDS = 3
# Times what is usual in its set that an odd photograph must be: a poor labeller's are all far.
_STANDS_OUT = 1.4
# Points of the face whose skin the photographs share.
_SAMPLES = 400


@dataclass(frozen=True)
class ImageSetConfig:
    """Settings of a joint fit; chosen on renders of 24 heads, none of them in the published bench.

    Attributes:
        odd: how far a photograph must be from the others to be left out, where 0.7 is usual; see
            ``fit.odd_photo``. Of 360 photographs in sets of one person none was left out.
        outline: how outlines count; None leaves them out.
    """

    odd: float = 1.3
    outline: OutlineConfig | None = field(default_factory=OutlineConfig)


class Member(NamedTuple):
    """A photograph of a set.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        faces: its faces, largest first.
        setting: what is known of its camera.
        mask: gives a face's (H, W) weights of the pixels, or None.
    """

    image: np.ndarray
    faces: Sequence[DetectedFace]
    setting: Setting = Setting()
    mask: Callable[[DetectedFace], np.ndarray | None] | None = None

    def mask_of(self, face: DetectedFace) -> np.ndarray | None:
        """Return a face's mask, or None."""
        return None if self.mask is None else self.mask(face)


class Start(NamedTuple):
    """One face of a photograph, fitted alone."""

    face: DetectedFace
    focal: FocalPrior
    fit: LandmarkFit
    belief: FacePrior | None


class Solved(NamedTuple):
    """A joint fit of landmarks: which photographs, their terms, and the system at the minimum."""

    members: list[int]
    terms: list[LandmarkTerm]
    joint: Joint
    blocks: list[Block]
    left: Eliminated


class SetFit(NamedTuple):
    """A fitted person.

    Attributes:
        faces: for each photograph its face, or None where it was left out; all of one identity.
        chosen: index of the face that was taken, in each photograph.
        reasons: why a photograph was left out, empty where it was not.
        best: the photograph whose fit has the highest quality.
        disagreement: for each photograph, 0.7 where it is usual; NaN where it could not be told.
    """

    faces: list[FaceFit | None]
    chosen: list[int]
    reasons: list[str]
    best: int
    disagreement: np.ndarray


@dataclass
class ImageSetFitter:
    """Fits one person to several photographs.

    Attributes:
        fitter: of single photographs: the model, the noise, and whether pixels count.
        config: see ``ImageSetConfig``.
    """

    fitter: FaceFitter
    config: ImageSetConfig = field(default_factory=ImageSetConfig)

    @property
    def basis(self) -> LandmarkBasis:
        """The model's landmark rows."""
        return self.fitter.basis

    @property
    def landmark_config(self) -> LandmarkFitConfig:
        """Settings of a single photograph's landmarks."""
        return self.fitter.config

    @cached_property
    def pixels(self) -> SetPixels:
        """What fits the pixels of all photographs."""
        # Imported here: its kernels would lengthen every start.
        from facekit.fit.patch import build_patch
        from facekit.fit.photometric import PhotometricFitter
        from facekit.fit.set_pixels import SetPixels

        model, config = self.fitter.model, self.landmark_config
        patch = build_patch(model, count=_SAMPLES)
        pixels = PhotometricFitter(model, self.basis, patch, config)
        return SetPixels(pixels, rims=self.rims, outline=self.config.outline)

    @cached_property
    def rims(self) -> RimFinder:
        """What finds the model's outline."""
        return RimFinder(self.fitter.model)

    def fit(self, members: Sequence[Member]) -> SetFit:
        """Fit one person.

        Of a photograph with several faces the largest counts, or, where that one disagrees with
        the other photographs, the first that does not. A photograph that disagrees with the rest
        is left out; with two photographs nobody can say which.

        Args:
            members: the photographs.

        Raises:
            ItemError: no photograph has a face that can be fitted.
        """
        count = len(members)
        faces: list[FaceFit | None] = [None] * count
        reasons = [""] * count
        chosen = [0] * count
        starts: dict[int, Start] = {}
        for index, member in enumerate(members):
            try:
                starts[index] = self._start(member, member.faces[0])
            except ItemError as error:
                reasons[index] = str(error)
        if not starts:
            raise ItemError("; ".join(dict.fromkeys(reasons)))
        disagreement = np.full(count, np.nan)
        if len(starts) > 1:
            solved = self._agreed(members, starts, chosen, reasons, disagreement)
            starts = {index: starts[index] for index in solved.members}
        if len(starts) == 1:
            index = next(iter(starts))
            member, face = members[index], starts[index].face
            mask = member.mask_of(face)
            faces[index] = self.fitter.fit(member.image, face, setting=member.setting, mask=mask)
            return SetFit(faces, chosen, reasons, index, disagreement)
        masks = [members[i].mask_of(starts[i].face) for i in solved.members]
        if self.config.outline is not None:
            images = [members[i].image for i in solved.members]
            solved = self._outlined(solved, images, masks, self.config.outline)
        fits = self._landmark_fits(solved)
        if self.fitter.photometric:
            ids = solved.members
            fits = self.pixels.fit(
                [members[i].image for i in ids],
                [starts[i].face for i in ids],
                fits,
                masks,
                self._prior([starts[i] for i in ids]),
            )
        belief = self._belief([starts[i] for i in solved.members])
        if belief is not None:
            fits = [let_go(fit, belief, self.basis.num_identity) for fit in fits]
        for index, fit in zip(solved.members, fits, strict=True):
            start = starts[index]
            faces[index] = self.fitter.complete(members[index].image, start.face, fit, start.focal)
        quality = [-1.0 if face is None else face.quality for face in faces]
        return SetFit(faces, chosen, reasons, int(np.argmax(quality)), disagreement)

    def _start(self, member: Member, face: DetectedFace) -> Start:
        focal = self.fitter.focal(member.image, face, member.setting)
        height, width = member.image.shape[:2]
        belief = self.fitter.belief(member.image, face)
        fit = fit_landmarks(
            self.basis,
            self.fitter.model,
            np.asarray(face.ibug68),
            intrinsics=centred_intrinsics(focal.focal_px, width, height),
            confidence=face.confidence,
            config=replace(self.landmark_config, log_focal_std=focal.log_std),
            prior=None if belief is None else hold(belief, self.basis.num_identity),
            outline=face.jaw_on_outline,
        )
        return Start(face, focal, fit, belief)

    def _agreed(
        self,
        members: Sequence[Member],
        starts: dict[int, Start],
        chosen: list[int],
        reasons: list[str],
        disagreement: np.ndarray,
    ) -> Solved:
        """Fit, replace or leave out the photograph that disagrees most, until none does."""
        kept = sorted(starts)
        tried = dict.fromkeys(kept, 1)
        while True:
            solved = self._solve(members, starts, kept)
            if len(kept) < 3:
                return solved
            noise = self.landmark_config.label_noise_px
            far = disagreements(
                solved.terms, solved.blocks, solved.left, self.basis, label_noise_px=noise
            )
            disagreement[kept] = far
            worst = int(far.argmax())
            usual = float(np.median(np.delete(far, worst)))
            if far[worst] < max(self.config.odd, _STANDS_OUT * usual):
                return solved
            index = kept[worst]
            if not self._other_face(members[index], starts, index, tried, chosen):
                reasons[index] = (
                    "shows somebody else than the other photographs, or its landmarks failed: they "
                    f"differ {far[worst] / usual:.1f} times as much as is usual in this set"
                )
                kept = [i for i in kept if i != index]

    def _other_face(
        self,
        member: Member,
        starts: dict[int, Start],
        index: int,
        tried: dict[int, int],
        chosen: list[int],
    ) -> bool:
        """Take the next face of a photograph that can be fitted; say whether there is one."""
        while tried[index] < len(member.faces):
            number = tried[index]
            tried[index] += 1
            try:
                starts[index] = self._start(member, member.faces[number])
            except ItemError:
                continue
            chosen[index] = number
            return True
        return False

    def _belief(self, starts: Sequence[Start]) -> FacePrior | None:
        """What the networks' looks say together; None where there was none."""
        told = [start.belief for start in starts if start.belief is not None]
        return fused(told, self.basis.num_identity) if told else None

    def _prior(self, starts: Sequence[Start]) -> FacePrior:
        """What landmarks and pixels are added to; each photograph brings its share."""
        belief, K = self._belief(starts), self.basis.num_identity
        if belief is None:
            scale = self.landmark_config.identity_scale
            prior = model_prior(self.fitter.model, identity_scale=scale)
        else:
            prior = hold(belief, K, pictures=len(starts))
        precision = prior.precision.copy()
        precision[:K, :K] /= len(starts)
        return FacePrior(prior.mean, precision)

    def _solve(
        self, members: Sequence[Member], starts: dict[int, Start], kept: Sequence[int]
    ) -> Solved:
        model, K = self.fitter.model, self.basis.num_identity
        count = len(kept)
        prior = self._prior([starts[i] for i in kept])
        loud = louder(self.landmark_config, count)
        basis = replace(self.basis, covariance_mm2=count * self.basis.covariance_mm2)
        shared = np.mean([starts[i].fit.identity for i in kept], axis=0)
        terms = []
        for index in kept:
            start = starts[index]
            face, fit = start.face, start.fit
            height, width = members[index].image.shape[:2]
            intrinsics = centred_intrinsics(start.focal.focal_px, width, height)
            problem, judge = (
                LandmarkProblem.of_face(
                    rows,
                    model,
                    face,
                    intrinsics,
                    replace(config, log_focal_std=start.focal.log_std),
                    prior,
                )
                for rows, config in ((basis, loud), (self.basis, self.landmark_config))
            )
            judge.weights = fit.weights
            state = FaceState(
                np.concatenate([shared, fit.expression]),
                fit.rotation,
                fit.translation,
                float(np.log(fit.focal / start.focal.focal_px)),
            )
            terms.append(LandmarkTerm(problem, judge, state))
        nothing = np.zeros((K, K))
        for _ in range(1 + _REWEIGHTINGS):
            joint = minimise(terms, shared, nothing)
            shared = joint.shared
            if not any([term.reweigh() for term in terms]):  # noqa: C419 (each must be asked)
                break
        blocks, left = normal_equations(terms, shared, nothing)
        return Solved(list(kept), terms, joint, blocks, left)

    def _outlined(
        self,
        solved: Solved,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray | None],
        config: OutlineConfig,
    ) -> Solved:
        """Go on from a joint fit of landmarks with the faces' outlines."""
        terms = []
        for term, image, mask in zip(solved.terms, images, masks, strict=True):
            loud = float(np.sqrt(len(images)))
            outline = OutlineProblem(
                self.rims, term.landmarks, image, config, mask=mask, louder=loud
            )
            terms.append(OutlinedTerm(term, outline))
        joint, nothing = solved.joint, np.zeros((self.basis.num_identity,) * 2)
        for turn in range(_OUTLINE_ROUNDS):
            if turn:
                for outlined in terms:
                    outlined.reweigh()
            joint = minimise(terms, joint.shared, nothing)
        blocks, left = normal_equations(terms, joint.shared, nothing)
        return solved._replace(joint=joint, blocks=blocks, left=left)

    def _landmark_fits(self, solved: Solved) -> list[LandmarkFit]:
        """Each photograph's fit, with the joint posterior of its variables."""
        K = self.basis.num_identity
        _, spreads = covariances(solved.blocks, solved.left, K)
        found = []
        for term, spread in zip(solved.terms, spreads, strict=True):
            fit = term.problem.result(term.state, term.cost(), solved.joint.iterations)
            found.append(fit.with_covariance(0.5 * (spread + spread.T)))
        return found
