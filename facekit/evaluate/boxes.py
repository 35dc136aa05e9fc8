"""Face detection: recall by size and pose, false positives, average precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import Detector, open_detector
from facekit.detect.builtin import THRESHOLD, BuiltinDetector
from facekit.detect.pose import estimate_pose_of_five
from facekit.detect.yunet import YuNetDetector
from facekit.errors import InputError, ItemError, UsageError
from facekit.evaluate.scenes import Scene
from facekit.metrics.boxes import UNJUDGED, average_precision, match_boxes

SCHEMA = "facekit.eval/1"
LEAST_OVERLAP = 0.5
# The lowest score that detectors with a threshold are asked for: the curve needs more than what
# they call faces.
LOWEST_SCORE = 0.05
YUNET_THRESHOLD = 0.6
SIZES = (0.0, 24.0, 48.0, 96.0, np.inf)
VISIBLE = (0.0, 55.0, 75.0, 90.0, np.inf)
# A face that shows this share of its outline counts as uncovered.
UNCOVERED = 0.75
ANGLES = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0)


class ScoredDetector(NamedTuple):
    """A detector and the score from which it calls something a face."""

    detector: Detector
    threshold: float


class _Tally(NamedTuple):
    """What one detector did on scenes.

    Attributes:
        scores (D,), hits (D,): of every judged detection.
        best: (F,) score of the detection of every wanted face, -inf when missed.
        five: (H,) error of the five points of every face found, percent of its longer side.
        items: a report a scene.
    """

    scores: np.ndarray
    hits: np.ndarray
    best: np.ndarray
    five: np.ndarray
    items: list[dict[str, Any]]


def open_scored(name: str, *, allow_download: bool = False) -> ScoredDetector:
    """Open a detector so that it also returns what it holds for unlikely, where it can.

    Raises:
        UsageError: ``files``, or an unknown name.
        MissingDependencyError: as ``open_detector``.
    """
    if name == "files":
        raise UsageError("boxes: --landmarks files looks at no picture; choose another detector")
    if name in ("builtin", "auto"):
        return ScoredDetector(BuiltinDetector(threshold=LOWEST_SCORE), THRESHOLD)
    if name == "yunet":
        return ScoredDetector(YuNetDetector(threshold=LOWEST_SCORE), YUNET_THRESHOLD)
    return ScoredDetector(open_detector(name, allow_download=allow_download), 0.0)


def evaluate_boxes(
    scenes: Sequence[Scene],
    scored: ScoredDetector,
    *,
    no_faces: Mapping[str, Sequence[Scene]] | None = None,
    protocol: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score a detector; return the JSON document.

    A detection shows the true face that it overlaps most, when their intersection over union is
    at least 0.5 and no better detection shows it. Recall, false positives and the five points'
    error count detections from the detector's threshold; average precision all of them.

    Args:
        scenes: images with known faces; may be empty.
        scored: the detector and its threshold.
        no_faces: sets of images without faces: every detection is a false positive.
        protocol: what else the document says of the scenes.
        progress: called with images done and in all.

    Raises:
        InputError: no image at all.
    """
    sets = dict(no_faces or {})
    total = len(scenes) + sum(len(one) for one in sets.values())
    if not total:
        raise InputError("boxes: expected images with faces or without, got none")
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    tally = _count(scenes, scored, step)
    empty = {name: _count(one, scored, step) for name, one in sets.items()}
    found = tally.best >= scored.threshold
    false = int(((tally.scores >= scored.threshold) & ~tally.hits).sum())
    return {
        "schema": SCHEMA,
        "protocol": {
            "name": "boxes",
            "least_overlap": LEAST_OVERLAP,
            "threshold": scored.threshold,
            **(protocol or {}),
        },
        "metrics": {
            **_recall(found),
            "images": len(scenes),
            "false_positives": false,
            "false_per_image": false / len(scenes) if len(scenes) else None,
            "average_precision": (
                average_precision(tally.scores, tally.hits, len(found)) if len(found) else None
            ),
            "five_error_percent": float(tally.five.mean()) if len(tally.five) else None,
        },
        "groups": {name: _recall(found[rows]) for name, rows in _groups(scenes).items()},
        "no_faces": {name: _false_alarms(one, scored.threshold) for name, one in empty.items()},
        "items": tally.items,
    }


def compare_boxes(
    scenes: Sequence[Scene],
    detectors: Mapping[str, ScoredDetector],
    *,
    no_faces: Mapping[str, Sequence[Scene]] | None = None,
    protocol: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score several detectors on the same images; ``detectors`` has each one's document.

    Raises:
        UsageError: no detector.
        InputError: no image at all.
    """
    if not detectors:
        raise UsageError("boxes: expected a detector, got none")
    count = len(detectors)

    def part(index: int) -> Callable[[int, int], None] | None:
        if progress is None:
            return None
        return lambda done, total: progress(index * total + done, count * total)

    documents = {
        name: evaluate_boxes(
            scenes, scored, no_faces=no_faces, protocol=protocol, progress=part(index)
        )
        for index, (name, scored) in enumerate(detectors.items())
    }
    shared = {"name": "boxes", "least_overlap": LEAST_OVERLAP, **(protocol or {})}
    return {"schema": SCHEMA, "protocol": shared, "detectors": documents}


def _count(scenes: Sequence[Scene], scored: ScoredDetector, step: Callable[[], None]) -> _Tally:
    scores, hits, best, five = [], [], [], []
    items: list[dict[str, Any]] = []
    for scene in scenes:
        faces, error = [], None
        try:
            faces = scored.detector.detect(scene.pixels())
        except (ItemError, InputError) as problem:
            error = str(problem)
        boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
        score = np.array([face.score for face in faces], np.float64)
        shown = match_boxes(boxes, score, scene.boxes, ignore=scene.ignore, least=LEAST_OVERLAP)
        taken = np.full(len(scene.boxes), -np.inf)
        for face, value, row in zip(faces, score, shown, strict=True):
            if row >= 0:
                taken[row] = value
                if face.five is not None and value >= scored.threshold:
                    distance = np.linalg.norm(face.five - scene.five[row], axis=1).mean()
                    five.append(100 * distance / scene.boxes[row, 2:].max())
        judged = shown != UNJUDGED
        scores.append(score[judged])
        hits.append(shown[judged] >= 0)
        best.append(taken[~scene.ignore])
        seen = score >= scored.threshold
        items.append(
            {
                "image": scene.name,
                "faces": int((~scene.ignore).sum()),
                "found": int((best[-1] >= scored.threshold).sum()),
                "false": int((seen & judged & (shown < 0)).sum()),
            }
            | ({} if error is None else {"error": error})
        )
        step()
    return _Tally(
        np.concatenate([np.zeros(0), *scores]),
        np.concatenate([np.zeros(0, bool), *hits]),
        np.concatenate([np.zeros(0), *best]),
        np.array(five),
        items,
    )


def _recall(found: np.ndarray) -> dict[str, Any]:
    count = len(found)
    return {
        "recall_percent": 100 * float(found.mean()) if count else None,
        "count": count,
        "missing": count - int(found.sum()),
    }


def _groups(scenes: Sequence[Scene]) -> dict[str, np.ndarray]:
    """Return the rows of the wanted faces in each group that has any."""
    wanted = [(s.boxes[~s.ignore], s.five[~s.ignore]) for s in scenes]
    sizes = np.array([box[2:].max() for boxes, _ in wanted for box in boxes])
    poses = [estimate_pose_of_five(five) for _, fives in wanted for five in fives]
    visible = 100 * np.concatenate([np.zeros(0), *(s.visible[~s.ignore] for s in scenes)])
    tables = (
        ("size", " px", SIZES, sizes),
        ("yaw", " deg", ANGLES, np.abs([pose.yaw_deg for pose in poses])),
        ("roll", " deg", ANGLES, np.abs([pose.roll_deg for pose in poses])),
        ("visible", " %", VISIBLE, visible),
    )
    groups = {}
    for name, unit, edges, values in tables:
        for low, high in pairwise(edges):
            rows = np.flatnonzero((values >= low) & (values < high))
            if len(rows):
                groups[f"{name} {_span(low, high)}{unit}"] = rows
    for low, high in pairwise(SIZES):
        rows = np.flatnonzero((sizes >= low) & (sizes < high) & (visible >= 100 * UNCOVERED))
        if len(rows):
            groups[f"uncovered, size {_span(low, high)} px"] = rows
    return groups


def _span(low: float, high: float) -> str:
    return f"{low:g}-{high:g}" if np.isfinite(high) else f"{low:g} and more"


def _false_alarms(tally: _Tally, threshold: float) -> dict[str, Any]:
    count = len(tally.items)
    false = int((tally.scores >= threshold).sum())
    return {
        "images": count,
        "false_positives": false,
        "false_per_100_images": 100 * false / count,
        "highest_score": float(tally.scores.max()) if len(tally.scores) else None,
        "unreadable": sum("error" in item for item in tally.items),
        "items": [item for item in tally.items if item["false"] or "error" in item],
    }
