"""Portraits by number: the same seed and index give the same portrait, in any order."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np

from facekit.errors import InputError
from facekit.morphable.model import MorphableModel
from facekit.simulate.irregular import IrregularShapes
from facekit.simulate.look import Look, random_look
from facekit.simulate.placement import placement_offsets
from facekit.simulate.portrait import Portrait, View, render_portrait
from facekit.simulate.scene import Scene, build_scene
from facekit.simulate.subject import (
    ForeignHeads,
    Subject,
    random_coefficients,
    random_expression,
    subject_from_model,
    with_albedo,
    with_expression,
)

# How many people's geometry is kept for their next views.
_KEPT = 8


class SubjectSource(Protocol):
    """Where the people of a sampler come from."""

    def draw(self, rng: np.random.Generator, person: int) -> Subject:
        """Return person number ``person``; every random choice is taken from ``rng``."""


class ExpressiveSource(SubjectSource, Protocol):
    """A source whose people can show other expressions."""

    def express(self, rng: np.random.Generator, subject: Subject) -> Subject:
        """Return a person that ``draw`` gave with another random expression."""


class ModelSubjects:
    """Random people of a morphable model with an ``ibug68`` landmark map.

    Args:
        model: the morphable model.
        identity_strength, expression_strength: see ``random_coefficients``.
        irregular_mm: how far heads depart from what the model can make; see ``IrregularShapes``.
    """

    def __init__(
        self,
        model: MorphableModel,
        *,
        identity_strength: float = 1.0,
        expression_strength: float = 1.0,
        irregular_mm: float = 0.0,
    ) -> None:
        self._model = model
        self._identity, self._expression = identity_strength, expression_strength
        self._irregular = IrregularShapes(model, irregular_mm) if irregular_mm else None

    def draw(self, rng: np.random.Generator, person: int) -> Subject:
        """Return a random identity with a random expression."""
        del person
        identity, expression = random_coefficients(
            self._model,
            rng,
            identity_strength=self._identity,
            expression_strength=self._expression,
        )
        subject = subject_from_model(self._model, identity=identity, expression=expression)
        return subject if self._irregular is None else self._irregular.bend(rng, subject)

    def express(self, rng: np.random.Generator, subject: Subject) -> Subject:
        """Return the person with another random expression."""
        expression = random_expression(self._model, rng, strength=self._expression)
        return with_expression(subject, self._model, expression)

    def paint(self, rng: np.random.Generator, subject: Subject, *, share: float) -> Subject:
        """Return the person, with probability ``share`` painted with the model's albedo.

        Coefficients are normal, clipped to two deviations. A model without albedo modes paints
        nobody.
        """
        if not self._model.num_albedo or rng.random() >= share:
            return subject
        albedo = np.clip(rng.standard_normal(self._model.num_albedo), -2, 2)
        return with_albedo(subject, self._model, albedo.astype(np.float32))


class HeadSubjects:
    """The heads of a file, one after the other."""

    def __init__(self, heads: ForeignHeads) -> None:
        self._heads = heads

    def draw(self, rng: np.random.Generator, person: int) -> Subject:
        """Return head ``person`` (modulo their number)."""
        del rng
        return self._heads.subject(person % len(self._heads))


@dataclass(frozen=True)
class PortraitOptions:
    """What a sampler draws.

    Attributes:
        size: side of the square pictures, pixels.
        face_fraction: smallest and largest height of the face (brows to chin) over ``size``,
            drawn uniformly.
        yaw_deg: largest yaw; drawn from a normal of half of it, cut there. ``yaw_uniform`` draws
            it uniformly.
        pitch_deg, roll_deg: largest angles, likewise normal.
        focal_mm: shortest and longest lens, as 35 mm equivalents; None takes the lens that shows
            the face in its size from a distance drawn log-uniformly.
        distance_mm: nearest and farthest camera.
        glasses, occluders, clean: see ``random_look``.
        views: how many successive indices show the same head, hair, clothes and glasses (skin,
            light, pose, background and camera change): the geometry is made once for them.
        expressions: every view has an expression of its own, not the person; for people of a
            model.
        albedo: share of the pictures whose skin is the model's own albedo, with random
            coefficients, and not drawn; for people of a model with albedo modes.
        supersample: samples per pixel and side.
        placement_mm: how far brows are painted from where they usually lie; see
            ``placement_offsets``.
        occlusion_directions: from how many sides a person's own shadowing is looked at.
    """

    size: int = 256
    face_fraction: tuple[float, float] = (0.3, 0.6)
    yaw_deg: float = 60.0
    yaw_uniform: bool = False
    pitch_deg: float = 25.0
    roll_deg: float = 25.0
    focal_mm: tuple[float, float] | None = (25.0, 85.0)
    distance_mm: tuple[float, float] = (350.0, 2500.0)
    glasses: float = 0.15
    occluders: float = 0.1
    clean: float = 0.5
    views: int = 1
    expressions: bool = False
    albedo: float = 0.0
    supersample: int = 2
    occlusion_directions: int = 16
    placement_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise InputError(f"portrait size: expected at least 16 pixels, got {self.size}")
        for name in ("face_fraction", "focal_mm", "distance_mm"):
            low, high = getattr(self, name) or (1.0, 1.0)
            if not 0 < low <= high:
                raise InputError(f"{name}: expected 0 < low <= high, got {low}, {high}")
        if min(self.views, self.supersample, self.occlusion_directions) < 1:
            raise InputError("views, supersample and occlusion directions: expected at least 1")


class PortraitSampler:
    """Makes portraits by number.

    ``sample(index)`` depends on the seed, the options and the index alone, so workers can share
    out indices. Successive indices of one person (``options.views``) are fast, since geometry is
    kept for the last few people.

    Args:
        source: a morphable model, heads of a file, or any ``SubjectSource``.
        seed: of every draw.
        options: what is drawn.
    """

    def __init__(
        self,
        source: MorphableModel | ForeignHeads | SubjectSource,
        *,
        seed: int = 0,
        options: PortraitOptions | None = None,
    ) -> None:
        if isinstance(source, MorphableModel):
            self.source: SubjectSource = ModelSubjects(source)
        elif isinstance(source, ForeignHeads):
            self.source = HeadSubjects(source)
        else:
            self.source = source
        self.seed = seed
        self.options = PortraitOptions() if options is None else options
        if self.options.expressions and not hasattr(self.source, "express"):
            raise InputError("expressions of their own: expected people of a morphable model")
        self._people: OrderedDict[int, tuple[Subject, Look, Scene]] = OrderedDict()

    def sample(self, index: int) -> Portrait:
        """Return portrait ``index`` (0 or more)."""
        if index < 0:
            raise InputError(f"portrait index: expected 0 or more, got {index}")
        options = self.options
        subject, person, scene = self._person(index // options.views)
        rng = np.random.default_rng([self.seed, 2, index])
        look = random_look(
            rng,
            size=options.size,
            glasses=0.0,
            occluders=options.occluders,
            clean=options.clean,
        )
        # What is geometry, or grows on it, belongs to the person.
        look = replace(look, hair=person.hair, cloth=person.cloth, glasses=person.glasses)
        view = random_view(rng, subject, options)
        if options.expressions:
            source = cast(ExpressiveSource, self.source)
            shown = source.express(np.random.default_rng([self.seed, 4, index]), subject)
            subject, scene = shown, scene.with_expression(subject, shown)
        if options.albedo > 0 and isinstance(self.source, ModelSubjects):
            painted = self.source.paint(
                np.random.default_rng([self.seed, 6, index]), subject, share=options.albedo
            )
            if painted.vertex_albedo is not None:
                subject, scene = painted, scene.with_albedo(painted.vertex_albedo)
        return render_portrait(subject, look, view, supersample=options.supersample, scene=scene)

    def _person(self, person: int) -> tuple[Subject, Look, Scene]:
        if person in self._people:
            self._people.move_to_end(person)
            return self._people[person]
        rng = np.random.default_rng([self.seed, 1, person])
        subject = self.source.draw(rng, person)
        look = random_look(rng, size=self.options.size, glasses=self.options.glasses)
        directions = self.options.occlusion_directions
        scene = build_scene(subject, look, occlusion_directions=directions)
        if self.options.placement_mm:
            offsets = placement_offsets(rng, scene.paint_marks, self.options.placement_mm)
            scene = replace(scene, paint_marks=scene.paint_marks + offsets)
        made = subject, look, scene
        self._people[person] = made
        while len(self._people) > _KEPT:
            self._people.popitem(last=False)
        return made


def random_view(rng: np.random.Generator, subject: Subject, options: PortraitOptions) -> View:
    """Draw pose, lens, distance and place of a face in the picture.

    The lens is drawn log-uniformly and the face's size uniformly; the distance follows from both
    and is then kept within its range (which may change the size). Without lenses to draw from, the
    distance is drawn and the lens follows.
    """
    marks = subject.neutral_landmarks
    height_mm = float(np.linalg.norm(marks[17:27].mean(0) - marks[8]))
    drawn = float(np.exp(rng.uniform(*np.log(options.focal_mm or options.distance_mm))))
    fraction = float(rng.uniform(*options.face_fraction))
    per_mm = fraction * options.size / height_mm
    if options.focal_mm is None:
        distance, focal_px = drawn, drawn * per_mm
    else:
        focal_px = drawn / 36.0 * options.size
        distance = float(np.clip(focal_px / per_mm, *options.distance_mm))
    seen = focal_px * height_mm / distance / options.size
    room = max(0.0, 0.5 - 0.62 * seen) * options.size
    yaw = float(rng.uniform(-1, 1)) if options.yaw_uniform else _normal(rng)
    return View(
        yaw=float(np.radians(options.yaw_deg)) * yaw,
        pitch=float(np.radians(options.pitch_deg)) * _normal(rng),
        roll=float(np.radians(options.roll_deg)) * _normal(rng),
        distance_mm=distance,
        focal_px=focal_px,
        width=options.size,
        height=options.size,
        shift_px=(float(rng.uniform(-room, room)), float(rng.uniform(-room, room))),
    )


def _normal(rng: np.random.Generator) -> float:
    return float(np.clip(0.5 * rng.standard_normal(), -1, 1))
