"""A template to a scan: landmarks, what heads are likely to do, then a smooth deformation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from facekit.basis.elastic import ElasticSurface, landmark_matrix
from facekit.basis.field_fit import FieldOptions, RandomField
from facekit.basis.shape_fit import ShapeFitOptions, ShapeModes
from facekit.basis.template_file import HeadTemplate
from facekit.errors import InputError, ItemError
from facekit.geometry.alignment import IDENTITY, SimilarityTransform, align_similarity
from facekit.geometry.mesh import face_normals, vertex_areas, vertex_normals
from facekit.geometry.surface import Surface, SurfacePairs
from facekit.morphable.model import MorphableModel

# The jaw's points are outlines of a view and no places on the skin.
JAW = 17
LEAST_LANDMARKS = 6
# Without a prior heads differ from the template by as much as the field ever takes.
_BARE_FIELD = FieldOptions(amplitudes_mm=(2.0,))
_EYEBALLS = ((3, 1.0), (4, -1.0))


class ElasticStep(NamedTuple):
    """One stage of the deformation: stiffnesses, the landmarks' weight, the longest pair, mm."""

    bend: float
    stretch: float
    landmark_weight: float
    reach_mm: float


@dataclass(frozen=True)
class RegisterOptions:
    """How a scan is registered and what is accepted.

    Attributes:
        neutral: stages after the fit of a random field to a neutral face.
        expression, bare_expression: stages after the fit of a model's expressions, and where
            there is no model.
        rounds: of closest points in each stage of an expression; neutral_rounds: of a neutral face.
        least_cosine: of the angle between the normals of a pair.
        least_landmarks: of the 51 inner points.
        landmark_rms_mm: of the landmarks after their alignment; more is no face.
        sizes: smallest and largest head, as shares of the template's.
        coverage: share of the face's area that must have scan near it.
        surface_mm: mean distance of the face to the scan.
        folded: share of the face's triangles that may have turned over.
        unlikely: root mean square of the model's coefficients.
    """

    neutral: tuple[ElasticStep, ...] = (
        ElasticStep(1.0, 0.1, 0.0, 4.0),
        ElasticStep(0.1, 0.01, 0.0, 3.0),
    )
    expression: tuple[ElasticStep, ...] = (
        ElasticStep(10.0, 1.0, 0.0, 8.0),
        ElasticStep(2.5, 0.25, 0.0, 6.0),
        ElasticStep(1.0, 0.1, 0.0, 5.0),
        ElasticStep(0.25, 0.025, 0.0, 4.0),
        ElasticStep(0.1, 0.01, 0.0, 3.0),
    )
    bare_expression: tuple[ElasticStep, ...] = (
        ElasticStep(25.0, 25.0, 5.0, 15.0),
        ElasticStep(10.0, 10.0, 2.0, 15.0),
        ElasticStep(2.5, 2.5, 0.5, 12.0),
        ElasticStep(1.0, 1.0, 0.0, 8.0),
        ElasticStep(0.4, 0.4, 0.0, 6.0),
        ElasticStep(0.2, 0.2, 0.0, 5.0),
        ElasticStep(0.1, 0.1, 0.0, 4.0),
    )
    rounds: int = 3
    neutral_rounds: int = 2
    least_cosine: float = 0.6
    least_landmarks: int = LEAST_LANDMARKS
    landmark_rms_mm: float = 12.0
    sizes: tuple[float, float] = (0.7, 1.4)
    coverage: float = 0.6
    surface_mm: float = 0.5
    folded: float = 0.02
    unlikely: float = 3.0


class ScanSurface(NamedTuple):
    """A scan made ready: its surface and its landmarks (68, 3), NaN where unknown, mm."""

    surface: Surface
    landmarks: np.ndarray


class Registration(NamedTuple):
    """A template on a scan.

    Attributes:
        vertices: (V, 3) float64 in the scan's frame, mm.
        residuals: (V,) mm from each vertex to the scan, NaN where nothing of it is near.
        accepted: whether a basis may use it; reason: why not.
        coverage: share of the face's area with scan near it.
        surface_mm, surface_p95_mm: distance of the face's vertices to the scan.
        landmark_mm: mean distance of the landmarks from the template's.
        folded: share of the face's triangles that turned over.
        unlikely: root mean square of the model's coefficients, 0 without a model.
    """

    vertices: np.ndarray
    residuals: np.ndarray
    accepted: bool
    reason: str
    coverage: float
    surface_mm: float
    surface_p95_mm: float
    landmark_mm: float
    folded: float
    unlikely: float


class Registrar:
    """Registers scans to one template.

    Args:
        template: with landmark set ``ibug68``.
        prior: a model of the template's topology whose shapes come first, or None.
        options: of the registration.

    Raises:
        InputError: the template has no ``ibug68``, or the prior is of another topology.
    """

    def __init__(
        self,
        template: HeadTemplate,
        prior: MorphableModel | None,
        options: RegisterOptions | None = None,
    ) -> None:
        marks = template.landmarks.get("ibug68")
        if marks is None:
            raise InputError("register: expected a template with the landmark set 'ibug68'")
        if prior is not None and not np.array_equal(prior.faces, template.faces):
            raise InputError(
                f"register: the prior {prior.name} has another topology than the template; pass"
                " it as the template too, or --prior none"
            )
        self.template = template
        self.prior = prior
        self.options = options or RegisterOptions()
        count = len(template.vertices)
        self._marks = landmark_matrix(template.faces, count, marks)
        self._elastic = ElasticSurface(template.faces, count, marks)
        self._skin = template.part == 0
        face = template.regions.get("scan", self._skin)
        self._face = face & self._skin
        self._areas = vertex_areas(template.vertices, template.faces)

    @cached_property
    def _sampling(self) -> np.ndarray:
        """How often vertices look for the scan: by area, the face three times as often."""
        low = self.template.vertices[:, 1] < self.template.vertices[self._face, 1].min() - 15.0
        share = np.where(self._face, 1.0, 0.35) * (self._skin & ~low)
        return self._areas * share

    @cached_property
    def _field(self) -> RandomField:
        prior = self.prior
        return RandomField(
            self.template.vertices if prior is None else prior.mean,
            self.template.faces,
            weights=self._sampling,
            marks=self._marks,
            modes=None if prior is None else prior.identity_modes,
            options=_BARE_FIELD if prior is None else None,
        )

    def neutral(self, scan: ScanSurface) -> Registration:
        """Register a neutral face.

        Raises:
            ItemError: too few landmarks, or landmarks or size unlike a head's.
        """
        field, options = self._field, self.options
        start = self._align(field.base, scan, with_scale=self.prior is None)
        fit = field.fit(scan.surface, self._inner(scan), start)
        unlikely = float(np.sqrt(np.mean(fit.coefficients**2))) if self.prior is not None else 0.0
        steps, rounds = options.neutral, options.neutral_rounds
        return self._deform(fit.vertices, scan, steps, rounds, unlikely)

    def expression(self, scan: ScanSurface, neutral: np.ndarray) -> Registration:
        """Register an expression of the person whose registered neutral (V, 3) is given.

        The prior's expressions are put on the person's own neutral; without a prior the neutral
        itself is deformed.

        Raises:
            ItemError: as ``neutral``.
        """
        options = self.options
        start = self._align(neutral, scan, with_scale=False)
        if self.prior is None or not self.prior.num_expression:
            return self._deform(start.apply(neutral), scan, options.bare_expression, options.rounds)
        modes = ShapeModes(
            neutral,
            self.prior.expression_modes,
            self.prior.faces,
            weights=self._sampling,
            marks=self._marks,
            mean=self.prior.expression_mean,
            deviation=np.maximum(self.prior.expression_std, 0.05) * 2.0,
            options=ShapeFitOptions(across_mm=1.0),
        )
        fit = modes.fit(scan.surface, self._inner(scan), start)
        return self._deform(fit.vertices, scan, options.expression, options.rounds)

    def _inner(self, scan: ScanSurface) -> np.ndarray:
        marks = np.array(scan.landmarks, np.float64)
        marks[:JAW] = np.nan
        return marks

    def _align(
        self, vertices: np.ndarray, scan: ScanSurface, *, with_scale: bool
    ) -> SimilarityTransform:
        options = self.options
        marks = self._inner(scan)
        known = np.flatnonzero(np.isfinite(marks).all(axis=1))
        if len(known) < options.least_landmarks:
            raise ItemError(
                f"expected at least {options.least_landmarks} of the 51 inner landmarks, got"
                f" {len(known)}"
            )
        own = (self._marks @ vertices)[known]
        free = align_similarity(own, marks[known], with_scale=True)
        low, high = options.sizes
        if not low < free.scale < high:
            raise ItemError(
                f"the face has {free.scale:.3g} times the size of the template's; expected"
                f" {low:g} to {high:g}: is the scan's unit millimetres (--unit)?"
            )
        rms = float(np.sqrt(((free.apply(own) - marks[known]) ** 2).sum(axis=1).mean()))
        if rms > options.landmark_rms_mm:
            raise ItemError(
                f"the landmarks are no face's: {rms:.1f} mm from the template's after alignment,"
                f" expected at most {options.landmark_rms_mm:g}"
            )
        return align_similarity(own, marks[known], with_scale=with_scale)

    def _deform(
        self,
        reference: np.ndarray,
        scan: ScanSurface,
        steps: tuple[ElasticStep, ...],
        rounds: int,
        unlikely: float = 0.0,
    ) -> Registration:
        """Bend ``reference`` onto the scan, stage by stage, and judge the result."""
        current, triangle = reference, None
        marks = self._inner(scan)
        for step in steps:
            for _ in range(rounds):
                pairs = scan.surface.pairs(current, IDENTITY, start=triangle)
                triangle = pairs.triangle
                use = self._usable(current, pairs, step.reach_mm)
                weight = use / (1.0 + (2.0 * pairs.distance / step.reach_mm) ** 2)
                current = self._elastic.solve(
                    reference,
                    pairs.closest,
                    weight,
                    bend=step.bend,
                    stretch=step.stretch,
                    landmarks=marks,
                    landmark_weight=step.landmark_weight,
                )
        current = self._with_eyeballs(reference, current)
        return self._judge(reference, current, scan, steps[-1].reach_mm, unlikely)

    def _usable(self, vertices: np.ndarray, pairs: SurfacePairs, reach_mm: float) -> np.ndarray:
        own = vertex_normals(vertices, self.template.faces).astype(np.float64)
        facing = (own * pairs.normal).sum(axis=1)
        near = (pairs.distance < reach_mm) & (facing > self.options.least_cosine)
        return self._skin & near & ~pairs.border

    def _with_eyeballs(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Move each eyeball, which no scan shows whole, as the rim of its lids moved."""
        template, moved = self.template, after.copy()
        for part, side in _EYEBALLS:
            ball = template.part == part
            rim = (template.rim == 2) & (template.vertices[:, 0] * side > 0)
            if ball.any() and rim.sum() >= 3:
                lids = align_similarity(before[rim], after[rim], with_scale=False)
                moved[ball] = lids.apply(before[ball])
        return moved

    def _judge(
        self,
        reference: np.ndarray,
        vertices: np.ndarray,
        scan: ScanSurface,
        reach_mm: float,
        unlikely: float,
    ) -> Registration:
        options, face = self.options, self._face
        pairs = scan.surface.pairs(vertices, IDENTITY)
        use = self._usable(vertices, pairs, reach_mm)
        residuals = np.where(use, pairs.distance, np.nan)
        coverage = float(self._areas[use & face].sum() / self._areas[face].sum())
        near = residuals[use & face]
        mean = float(near.mean()) if len(near) else np.inf
        p95 = float(np.percentile(near, 95)) if len(near) else np.inf
        inside = face[self.template.faces].all(axis=1)
        turned = face_normals(vertices, self.template.faces[inside])
        folded = float(
            ((turned * face_normals(reference, self.template.faces[inside])).sum(1) < 0).mean()
        )
        marks = self._inner(scan)
        known = np.isfinite(marks).all(axis=1)
        off = np.linalg.norm((self._marks @ vertices - marks)[known], axis=1)
        reasons = []
        if coverage < options.coverage:
            reasons.append(
                f"only {100 * coverage:.0f} % of the face has scan near it, expected"
                f" {100 * options.coverage:.0f} %"
            )
        if len(near) and mean > options.surface_mm:
            reasons.append(
                f"the face is {mean:.2f} mm from the scan, expected at most {options.surface_mm:g}"
            )
        if folded > options.folded:
            reasons.append(
                f"{100 * folded:.1f} % of the face's triangles turned over, expected at most"
                f" {100 * options.folded:g} %"
            )
        if unlikely > options.unlikely:
            reasons.append(
                f"the shape lies {unlikely:.1f} deviations from the model's mean, expected at most"
                f" {options.unlikely:g}"
            )
        return Registration(
            vertices,
            residuals,
            not reasons,
            "; ".join(reasons),
            coverage,
            mean,
            p95,
            float(off.mean()),
            folded,
            unlikely,
        )
