"""``facekit eval conditions``: what hard pictures do to a fit, and whether its quality says so.

Heads of known shape are photographed under each condition and fitted. Two errors count: NoW's
distance of the neutral shape, which a strong prior keeps near that of the mean face whatever the
picture shows, and where the fitted face lies: the mean distance in the picture between its points
and the true ones, at the head's own scale (mm). A fit is bad when either is more than twice its
median over plain pictures. The quality is judged by the area under the ROC curve for finding bad
fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import open_detector
from facekit.errors import InputError, ItemError
from facekit.evaluate.conditions import CONDITIONS, PLAIN, Shot, check_condition, take_shot
from facekit.evaluate.gates import development_heads
from facekit.evaluate.heads import SCHEMA, HeadSet, choose_heads, model_prediction, read_heads
from facekit.evaluate.now import score_scan
from facekit.evaluate.projection import project_shape
from facekit.evaluate.truth import LANDMARK_FIT, TruthOptions, further_fits, head_portraits
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFit, FaceFitter
from facekit.fit.quality import (
    LOW_QUALITY,
    QualityWeights,
    learn_weights,
    quality_features,
    quality_of,
)
from facekit.geometry.alignment import align_similarity
from facekit.geometry.cameras import project, to_camera
from facekit.metrics.statistics import bootstrap_interval, roc_area
from facekit.morphable import load_model
from facekit.morphable.model import MorphableModel
from facekit.types import DetectedFace

# What the quality score must tell apart.
JUDGED = ("occluded", "small", "cropped")
# A fit is bad when an error is this many times its median over plain pictures.
BAD = 2.0


@dataclass(frozen=True, eq=False)
class ConditionItem:
    """One fit of one picture.

    Attributes:
        head, condition, kind, yaw_deg, method: what was fitted, and how.
        reason: why there is no fit, or empty.
        now_mm, mean_face_mm: NoW's median distance of the fit and of the mean face.
        place_mm: where the fitted face lies, against the true one.
        quality: the fit's own score.
        features: (3,) of ``quality.quality_features``; score: the detection's.
    """

    head: int
    condition: str
    kind: str
    yaw_deg: float
    method: str
    mean_face_mm: float
    reason: str = ""
    now_mm: float = float("nan")
    place_mm: float = float("nan")
    quality: float = 0.0
    features: tuple[float, ...] = (0.0, 0.0, 0.0)
    score: float = 0.0


class Truth(NamedTuple):
    """A head, and where its points lie on the model.

    Attributes:
        scan: (N, 3) its neutral skin, marks: (7, 3) NoW's landmarks, mm.
        rows: (n,) vertices of the head's mesh; corners (n, 3) and barycentric (n, 3): the
            model's points that stand for them.
        mean_face_mm: NoW's median distance of the model's mean.
    """

    scan: np.ndarray
    marks: np.ndarray
    rows: np.ndarray
    corners: np.ndarray
    barycentric: np.ndarray
    mean_face_mm: float


def know_head(heads: HeadSet, head: int, model: MorphableModel) -> Truth:
    """Score the mean face against a head and find its points on the model's best projection."""
    scan, marks = heads.scan(head)
    score = score_scan(scan, marks, model_prediction(model, model.mean), warn=False)
    start = align_similarity(model.mean, score.align(model.mean.astype(np.float64)))
    found = project_shape(model, scan[score.crop], start)
    return Truth(
        scan,
        marks,
        np.unique(heads.scan_faces)[score.crop],
        model.faces[found.triangle],
        found.barycentric,
        float(np.median(score.distances)),
    )


def place_error(shot: Shot, truth: Truth, fit: FaceFit) -> float:
    """Return how far a fitted face's points lie from the true ones in the picture, mm."""
    points = shot.vertices[truth.rows]
    expected = project(shot.camera, points)[:, :2]
    read = np.einsum("nk,nkd->nd", truth.barycentric, fit.vertices[truth.corners])
    found = project(fit.camera, read)[:, :2]
    mm_per_px = float(to_camera(shot.camera, points)[:, 2].mean() / shot.camera.intrinsics[0, 0])
    return mm_per_px * float(np.linalg.norm(found - expected, axis=1).mean())


def evaluate_conditions(
    heads_file: Path,
    options: TruthOptions,
    *,
    conditions: Sequence[str] = CONDITIONS,
    development: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ConditionItem], dict[str, Any]]:
    """Run the bench and return its items and JSON document.

    Args:
        heads_file: as ``truth.evaluate_truth`` takes it.
        options: count, seed, size, model, detector and fits; views belong to the conditions.
        conditions: of ``CONDITIONS``; plain pictures are always taken.
        development: use heads outside those that ``eval truth --count 50 --seed 0`` draws.
        progress: called with pictures done and their number.

    Raises:
        InputError: the heads cannot be read, or nothing could be fitted.
        UsageError: an unknown condition.
        MissingDependencyError: the model or the detector is missing.
    """
    used = list(dict.fromkeys((PLAIN, *conditions)))
    for condition in used:
        check_condition(condition)
    heads = read_heads(heads_file)
    model = load_model(options.model)
    detector = open_detector(options.landmarks, allow_download=options.allow_download)
    portrait_of = head_portraits(heads_file, options)
    plain = FaceFitter(model, LandmarkFitConfig())
    fitters = {LANDMARK_FIT: plain, **further_fits(options, plain)}
    chosen = (
        development_heads(len(heads), options.count)
        if development
        else choose_heads(options.count, len(heads), options.seed)
    )
    items = []
    for number, head in enumerate(chosen):
        truth = know_head(heads, head, model)
        for place, condition in enumerate(used):
            shot = take_shot(portrait_of, head, condition, seed=options.seed)
            faces = shot.faces(detector)
            for method, fitter in fitters.items():
                items.append(_fitted(fitter, method, head, shot, truth, faces))
            if progress is not None:
                progress(number * len(used) + place + 1, len(chosen) * len(used))
    protocol = {
        **asdict(options),
        "heads": heads_file.name,
        "development": development,
        "conditions": used,
        "model": model.name,
        "model_sha256": model.sha256,
        "detector": detector.fingerprint,
    }
    return items, condition_report(items, seed=options.seed, protocol=protocol)


def _fitted(
    fitter: FaceFitter,
    method: str,
    head: int,
    shot: Shot,
    truth: Truth,
    faces: Sequence[DetectedFace],
) -> ConditionItem:
    about = (head, shot.condition, shot.kind, shot.yaw_deg, method, truth.mean_face_mm)
    if not faces:
        return ConditionItem(*about, reason="no face was found")
    try:
        fit = fitter.fit(shot.image, faces[0])
        prediction = model_prediction(fitter.model, fit.neutral)
        score = score_scan(truth.scan, truth.marks, prediction, warn=False)
    except ItemError as error:
        return ConditionItem(*about, reason=str(error))
    features = quality_features(faces[0], fit.landmark_error, fit.fit.weights)
    return ConditionItem(
        *about,
        now_mm=float(np.median(score.distances)),
        place_mm=place_error(shot, truth, fit),
        quality=fit.quality,
        features=tuple(float(f) for f in features),
        score=float(faces[0].score),
    )


def bad_fits(items: Sequence[ConditionItem]) -> tuple[np.ndarray, np.ndarray]:
    """Return which fits are bad by NoW's distance and by their place, (N,) bool each.

    Limits are those of each method's own plain pictures; an item without a fit is neither.

    Raises:
        InputError: a method has no fit of a plain picture.
    """
    by_shape, by_place = np.zeros(len(items), bool), np.zeros(len(items), bool)
    for method in dict.fromkeys(item.method for item in items):
        plain = [i for i in items if i.method == method and i.condition == PLAIN and not i.reason]
        if not plain:
            raise InputError(f"conditions: {method} has no fit of a plain picture")
        shape = BAD * float(np.median([i.now_mm for i in plain]))
        place = BAD * float(np.median([i.place_mm for i in plain]))
        for index, item in enumerate(items):
            if item.method == method and not item.reason:
                by_shape[index] = item.now_mm > shape
                by_place[index] = item.place_mm > place
    return by_shape, by_place


def learn_quality(items: Sequence[ConditionItem]) -> QualityWeights:
    """Learn the quality's weights from fits and which of them are bad.

    Raises:
        InputError: there are not both good and bad fits.
    """
    shape, place = bad_fits(items)
    fitted = np.array([not item.reason for item in items])
    features = np.array([item.features for item in items])
    return learn_weights(features[fitted], (shape | place)[fitted])


def condition_report(
    items: Sequence[ConditionItem], *, seed: int, protocol: dict[str, Any]
) -> dict[str, Any]:
    """Return the JSON document.

    ``rows``: each method under each condition: ``count`` fits, ``missing`` (refused),
    ``now_mm`` and ``mean_face_mm`` (means over pictures of the medians), ``ratio_percent`` of
    the two with its 95 % interval over heads, ``place_mm`` (median), ``flagged_percent`` (quality
    under ``LOW_QUALITY``), ``bad_percent``, and ``unflagged_ratio_percent`` of the fits that were
    not flagged. ``quality``: for each method the ROC area on the ``JUDGED`` conditions together,
    on each, and on everything; ``halves`` has the same with weights learned on the other half of
    the heads. ``learned``: the weights from all of these fits.
    """
    if not items:
        raise InputError("conditions: expected at least one item, got none")
    shape, place = bad_fits(items)
    bad = shape | place
    quality = np.array([item.quality for item in items])
    heads = sorted({item.head for item in items})
    first = np.isin([item.head for item in items], heads[::2])
    crossed = quality.copy()
    for mine in (first, ~first):
        learned = _learned([i for i, m in zip(items, mine, strict=True) if not m])
        if learned is not None:
            crossed[mine] = [
                _requalified(i, learned) for i, m in zip(items, mine, strict=True) if m
            ]
    methods = list(dict.fromkeys(item.method for item in items))
    pairs = list(zip(items, bad, strict=True))
    weights = _learned(items)
    return {
        "schema": SCHEMA,
        "protocol": {"name": "conditions", "seed": seed, "bad": BAD, **protocol},
        "metrics": _summary([i for i in items if i.method == methods[-1]]),
        "rows": [
            _row([p for p in pairs if (p[0].method, p[0].condition) == (m, c)], seed)
            for m in methods
            for c in dict.fromkeys(i.condition for i in items)
        ],
        "quality": [_areas(items, m, quality, shape, place) for m in methods],
        "halves": [_areas(items, m, crossed, shape, place) for m in methods],
        "learned": None if weights is None else weights._asdict(),
        "items": [_plain(asdict(item) | {"bad": bool(b)}) for item, b in pairs],
    }


def _learned(items: Sequence[ConditionItem]) -> QualityWeights | None:
    try:
        return learn_quality(items)
    except InputError:
        # All fits are good, or all bad: there is nothing to learn.
        return None


def _requalified(item: ConditionItem, weights: QualityWeights) -> float:
    return 0.0 if item.reason else quality_of(np.array(item.features), item.score, weights)


def _summary(items: Sequence[ConditionItem]) -> dict[str, Any]:
    values = np.array([i.now_mm for i in items if not i.reason])
    empty = not len(values)
    return {
        "median": None if empty else float(np.median(values)),
        "mean": None if empty else float(values.mean()),
        "std": None if empty else float(values.std()),
        "count": len(values),
        "missing": len(items) - len(values),
    }


def _row(pairs: Sequence[tuple[ConditionItem, bool]], seed: int) -> dict[str, Any]:
    """One method under one condition."""
    about = {"method": pairs[0][0].method, "condition": pairs[0][0].condition}
    found = [(item, bad) for item, bad in pairs if not item.reason]
    row: dict[str, Any] = about | {"count": len(found), "missing": len(pairs) - len(found)}
    if not found:
        return row
    now = np.array([item.now_mm for item, _ in found])
    mean = np.array([item.mean_face_mm for item, _ in found])
    heads = np.array([item.head for item, _ in found])
    flagged = np.array([item.quality < LOW_QUALITY for item, _ in found])
    ratio = bootstrap_interval(100 * now / mean, groups=heads, statistic="mean", seed=seed)
    kept = 100 * now[~flagged] / mean[~flagged]
    return row | {
        "now_mm": float(now.mean()),
        "mean_face_mm": float(mean.mean()),
        "ratio_percent": ratio.estimate,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "place_mm": float(np.median([item.place_mm for item, _ in found])),
        "quality": float(np.median([item.quality for item, _ in found])),
        "flagged_percent": 100 * float(flagged.mean()),
        "bad_percent": 100 * float(np.mean([bad for _, bad in found])),
        "unflagged_ratio_percent": float(kept.mean()) if len(kept) else None,
    }


def _areas(
    items: Sequence[ConditionItem],
    method: str,
    quality: np.ndarray,
    shape: np.ndarray,
    place: np.ndarray,
) -> dict[str, Any]:
    """Areas under the ROC curve of a method's fits, and how many fits are bad."""
    mine = np.array([i.method == method and not i.reason for i in items])
    condition = np.array([i.condition for i in items])
    judged = mine & np.isin(condition, JUDGED)
    row: dict[str, Any] = {
        "method": method,
        "bad_by_place": int(place[judged].sum()),
        "bad_by_shape": int(shape[judged].sum()),
        "fits": int(judged.sum()),
    }
    bad = shape | place
    groups = {"judged": judged, "all": mine}
    groups |= {name: mine & (condition == name) for name in JUDGED if (condition == name).any()}
    for name, here in groups.items():
        area = roc_area(-quality[here], bad[here])
        row[name] = area if np.isfinite(area) else None
    return row


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in values.items()
    }
