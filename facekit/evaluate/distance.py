"""``facekit eval distance``: how well one photograph tells how far away its face is.

Heads of known shape are seen from several distances, each lens chosen so that the head fills the
same part of its picture: nothing but perspective tells the distance. Three labellers are compared
(the true landmarks, the same with noise, and a detector on rendered pictures), each with the focal
length estimated and known. Reported are the distance's error, how often the stated 90 % interval
holds the truth, and the error of the neutral shape by NoW's distance, which should not grow as the
camera comes nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import Detector, open_detector
from facekit.errors import InputError, ItemError, UsageError
from facekit.evaluate.gates import development_heads, model_heads
from facekit.evaluate.heads import SCHEMA, HeadSet, model_prediction, read_heads
from facekit.evaluate.now import NowItem, aggregate, score_scan
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFit, FaceFitter, Setting
from facekit.geometry.cameras import project, to_camera
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.metrics.statistics import bootstrap_interval
from facekit.morphable import load_model
from facekit.simulate.look import random_look
from facekit.simulate.portrait import View, face_centre, render_portrait, view_camera
from facekit.simulate.scene import build_scene
from facekit.simulate.subject import Subject, open_foreign_heads
from facekit.types import Camera, DetectedFace

EXACT, NOISY, DETECTED = "exact", "noisy", "detected"
ESTIMATED, KNOWN = "estimated", "known"
# The shape's error is compared with that at this distance.
REFERENCE_MM = 2000.0
# Chin to crown of an adult head, and the part of the picture that it fills.
_HEAD_MM, _FILL = 240.0, (0.5, 0.7)
_TURN_DEG, _LIMIT_DEG = (10.0, 6.0, 4.0), 25.0
# Row of the iBUG points from which the distance counts.
_BRIDGE = 27


@dataclass(frozen=True)
class DistanceOptions:
    """What decides the numbers.

    Attributes:
        count: heads.
        distances_mm: camera to the bridge between the eyes.
        noise: of the noisy landmarks, as a part of the outer eye corners' distance.
        seed: of every draw.
        model: ``builtin`` or a model file.
        landmarks: detector's name, or ``none`` to render nothing.
        allow_download: let an optional package download its own weights.
        size: side of the pictures in pixels.
    """

    count: int = 12
    distances_mm: tuple[float, ...] = (250.0, 300.0, 400.0, 600.0, 1000.0, 2000.0)
    noise: float = 0.015
    seed: int = 0
    model: str = "builtin"
    landmarks: str = "builtin"
    allow_download: bool = False
    size: int = 512

    def __post_init__(self) -> None:
        if self.count < 1 or not self.distances_mm or min(self.distances_mm) < 150:
            raise UsageError("distance: expected heads, and distances of at least 150 mm")
        if not 0 <= self.noise < 1:
            raise UsageError(f"noise: expected a part of the eye distance, got {self.noise}")


class DistanceItem(NamedTuple):
    """One fit of one picture; ``fit`` numbers are NaN when there is none.

    Attributes:
        head, distance_mm: what was seen, from where (the true distance of the bridge).
        place_mm: the distance that was asked for.
        labeller, focal: which landmarks, and whether the lens was known.
        found_mm, low_mm, high_mm: the distance and its 90 % interval.
        errors_mm: NoW's distances of the neutral shape, or None.
    """

    head: int
    distance_mm: float
    place_mm: float
    labeller: str
    focal: str
    found_mm: float
    low_mm: float
    high_mm: float
    errors_mm: np.ndarray | None


class Shot(NamedTuple):
    """A head before a camera: where its landmarks lie, how far its bridge is, what is seen."""

    camera: Camera
    landmarks: np.ndarray
    distance_mm: float
    view: View


def evaluate_distance(
    options: DistanceOptions,
    *,
    heads_file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[DistanceItem], dict[str, Any]]:
    """Run the bench and return its items and JSON document.

    Args:
        options: what decides the numbers.
        heads_file: ``.npz`` of foreign heads, of which those outside ``eval truth``'s default
            draw are used; None takes heads of the model's own space.
        progress: called with pictures done and their number.

    Raises:
        InputError: the heads cannot be read, or the model has no 'now7' landmarks.
        UsageError: more heads than there are.
        MissingDependencyError: the model or the detector is missing.
    """
    model = load_model(options.model)
    if "now7" not in model.landmarks:
        raise InputError(f"model {model.name}: has no 'now7' landmarks, so NoW cannot score it")
    heads, chosen, subject_of = _open_heads(options, heads_file)
    detector = None
    if options.landmarks != "none":
        detector = open_detector(options.landmarks, allow_download=options.allow_download)
    fitter = FaceFitter(model, LandmarkFitConfig())
    items: list[DistanceItem] = []
    total = len(chosen) * len(options.distances_mm)
    for number, head in enumerate(chosen):
        subject = subject_of(head)
        faces = _Faces(subject, head, options, detector)
        scan, marks = heads.scan(head)
        for place, distance in enumerate(options.distances_mm):
            shot = take_shot(subject, head, distance, options)
            image, labelled = faces.labelled(shot, distance)
            for labeller, face in labelled.items():
                for focal in (ESTIMATED, KNOWN):
                    lens = shot.view.focal_px if focal == KNOWN else None
                    fit = _fitted(fitter, image, face, lens)
                    errors = None
                    if fit is not None:
                        prediction = model_prediction(model, fit.neutral)
                        errors = score_scan(scan, marks, prediction, warn=False).distances
                    items.append(_item(head, shot, distance, labeller, focal, fit, errors))
            if progress is not None:
                progress(number * len(options.distances_mm) + place + 1, total)
    protocol = {
        **asdict(options),
        "heads": heads_file.name if heads_file is not None else None,
        "model": model.name,
        "model_sha256": model.sha256,
        "detector": None if detector is None else detector.fingerprint,
    }
    return items, distance_report(items, protocol=protocol, seed=options.seed)


def take_shot(subject: Subject, head: int, distance_mm: float, options: DistanceOptions) -> Shot:
    """Place a camera so that a head's bridge is ``distance_mm`` deep before it.

    Pose and framing depend on (seed, head) alone: only distance and lens change.
    """
    rng = np.random.default_rng([options.seed, head, 41])
    angles = np.radians(np.clip(rng.normal(0, _TURN_DEG), -_LIMIT_DEG, _LIMIT_DEG))
    yaw, pitch, roll = (float(angle) for angle in angles)
    fill = rng.uniform(*_FILL)
    points = subject.points(subject.vertices)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(yaw, pitch, roll)
    behind = -float((rotation @ (points[_BRIDGE] - face_centre(subject)))[2])
    view = View(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        distance_mm=distance_mm + behind,
        focal_px=fill * options.size / _HEAD_MM * distance_mm,
        width=options.size,
        height=options.size,
    )
    camera = view_camera(view, face_centre(subject))
    landmarks = project(camera, points)[:, :2]
    true = float(np.linalg.norm(to_camera(camera, points[_BRIDGE])))
    return Shot(camera, landmarks, true, view)


def distance_report(
    items: Sequence[DistanceItem], *, protocol: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Return the JSON document: every labeller and focal length at every distance.

    ``rows`` has ``error_percent`` (median of the absolute relative error), ``p90_percent``,
    ``bias_percent``, ``within_15_percent`` and ``within_30_percent`` (of the heads),
    ``coverage_percent`` of the 90 % intervals, ``interval_ratio`` (median upper over lower end),
    ``shape_mm`` (mean over heads of NoW's median) and ``shape_ratio`` with its 95 % interval: the
    ratio to the same head's error at the farthest distance up to 2 m, averaged over heads.

    Raises:
        InputError: there are no items.
    """
    if not items:
        raise InputError("distance report: expected at least one item, got none")
    places = sorted({item.place_mm for item in items})
    reference = max([p for p in places if p <= REFERENCE_MM] or places[:1])
    groups = list(dict.fromkeys((item.labeller, item.focal) for item in items))
    rows = []
    for labeller, focal in groups:
        mine = [i for i in items if (i.labeller, i.focal) == (labeller, focal)]
        base = {i.head: _median(i) for i in mine if i.place_mm == reference}
        for place in places:
            here = [i for i in mine if i.place_mm == place]
            row = {"labeller": labeller, "focal": focal, "distance_mm": place}
            rows.append({**row, **_numbers(here, base, seed)})
    main = [i for i in items if (i.labeller, i.focal) == groups[-2 if len(groups) > 1 else -1]]
    return {
        "schema": SCHEMA,
        "protocol": {"name": "distance", "reference_mm": reference, "seed": seed, **protocol},
        "metrics": aggregate([NowItem(str(i.head), i.labeller, i.errors_mm, {}) for i in main]),
        "rows": rows,
        "items": [
            {k: _plain(v) for k, v in i._asdict().items() if k != "errors_mm"}
            | {"shape_mm": _plain(_median(i))}
            for i in items
        ],
    }


class _Faces:
    """A head's landmarks by every labeller; its looks are made once."""

    def __init__(
        self, subject: Subject, head: int, options: DistanceOptions, detector: Detector | None
    ) -> None:
        self.subject, self.head, self.options, self.detector = subject, head, options, detector
        if detector is not None:
            rng = np.random.default_rng([options.seed, head, 42])
            look = random_look(rng, size=options.size, glasses=0.0, occluders=0.0)
            # Hair and cast shadows are no part of the question.
            self.look = replace(look, hair=replace(look.hair, thickness=0.0, length=0.0))
            self.scene = build_scene(subject, self.look)

    def labelled(
        self, shot: Shot, distance: float
    ) -> tuple[np.ndarray, dict[str, DetectedFace | None]]:
        """Return the picture (grey when nothing is rendered) and a face for each labeller."""
        size = self.options.size
        rng = np.random.default_rng([self.options.seed, self.head, round(distance), 43])
        eyes = np.linalg.norm(shot.landmarks[45] - shot.landmarks[36])
        noise = self.options.noise * eyes * rng.standard_normal(shot.landmarks.shape)
        faces: dict[str, DetectedFace | None] = {
            EXACT: _face(shot.landmarks),
            NOISY: _face(shot.landmarks + noise),
        }
        if self.detector is None:
            return np.full((size, size, 3), 128, np.uint8), faces
        image = render_portrait(self.subject, self.look, shot.view, scene=self.scene).image
        found = self.detector.detect(image)
        faces[DETECTED] = found[0] if found else None
        return image, faces


def _open_heads(
    options: DistanceOptions, heads_file: Path | None
) -> tuple[HeadSet, list[int], Callable[[int], Subject]]:
    if heads_file is None:
        heads, subjects = model_heads(load_model(options.model), options.count, options.seed)
        return heads, list(range(options.count)), subjects.__getitem__
    heads = read_heads(heads_file)
    chosen = development_heads(len(heads), options.count)
    return heads, chosen, open_foreign_heads(heads_file).subject


def _face(points: np.ndarray) -> DetectedFace:
    low, high = points.min(axis=0), points.max(axis=0)
    return DetectedFace(np.concatenate([low, high - low]), 1.0, ibug68=points, jaw_on_outline=False)


def _fitted(
    fitter: FaceFitter, image: np.ndarray, face: DetectedFace | None, focal_px: float | None
) -> FaceFit | None:
    if face is None:
        return None
    try:
        return fitter.fit(image, face, setting=Setting(focal_px=focal_px))
    except ItemError:
        return None


def _item(
    head: int,
    shot: Shot,
    place: float,
    labeller: str,
    focal: str,
    fit: FaceFit | None,
    errors: np.ndarray | None,
) -> DistanceItem:
    nothing = (float("nan"),) * 3
    found = nothing
    if fit is not None:
        found = (fit.distance.mm, fit.distance.low, fit.distance.high)
    return DistanceItem(head, shot.distance_mm, place, labeller, focal, *found, errors)


def _median(item: DistanceItem) -> float:
    return float("nan") if item.errors_mm is None else float(np.median(item.errors_mm))


def _numbers(items: Sequence[DistanceItem], base: dict[int, float], seed: int) -> dict[str, Any]:
    """One row of the report."""
    found = [i for i in items if np.isfinite(i.found_mm)]
    row: dict[str, Any] = {"count": len(found), "missing": len(items) - len(found)}
    if not found:
        return row
    ratio = np.array([i.found_mm / i.distance_mm for i in found])
    error = np.abs(ratio - 1)
    held = [i.low_mm <= i.distance_mm <= i.high_mm for i in found]
    shapes = np.array([_median(i) for i in found])
    ratios = np.array([_median(i) / base.get(i.head, np.nan) for i in found])
    ratios = ratios[np.isfinite(ratios)]
    row |= {
        "error_percent": 100 * float(np.median(error)),
        "p90_percent": 100 * float(np.quantile(error, 0.9)),
        "bias_percent": 100 * float(np.expm1(np.log(ratio).mean())),
        "within_15_percent": 100 * float((error <= 0.15).mean()),
        "within_30_percent": 100 * float((error <= 0.30).mean()),
        "coverage_percent": 100 * float(np.mean(held)),
        "interval_ratio": float(np.median([i.high_mm / i.low_mm for i in found])),
        "shape_mm": float(shapes.mean()),
    }
    if len(ratios):
        interval = bootstrap_interval(ratios, statistic="mean", seed=seed)
        row |= {
            "shape_ratio": interval.estimate,
            "shape_ratio_low": interval.low,
            "shape_ratio_high": interval.high,
        }
    return row


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
