"""Landmark accuracy on images with known points, of one detector or of several side by side.

The error of an image is the mean distance of its scored points over the distance of the outer eye
corners (iBUG 36 and 45) in the truth, in percent; or over the diagonal of the true points' box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import Detector
from facekit.errors import FacekitError, InputError, ItemError, UsageError
from facekit.evaluate.landmark_groups import FaceFacts, face_facts, face_groups, face_tone
from facekit.evaluate.landmark_points import ComparedPoints, common_points
from facekit.evaluate.landmark_truth import LandmarkTruth, read_landmark_truth
from facekit.io.images import read_image
from facekit.io.landmark_files import read_landmarks
from facekit.metrics.boxes import overlaps
from facekit.metrics.landmarks import LandmarkScore, landmark_score
from facekit.metrics.statistics import paired_bootstrap
from facekit.types import DetectedFace

__all__ = [
    "LandmarkTruth",
    "SavedLandmarks",
    "compare_landmarks",
    "evaluate_landmarks",
    "read_landmark_truth",
]

SCHEMA = "facekit.eval/1"
UNITS = {
    "eyes": "percent of the outer-eye distance",
    "box": "percent of the diagonal of the 68 points' box",
}
# From this intersection over union a box shows the true face.
LEAST_OVERLAP = 0.5

Progress = Callable[[int, int], None]


class _Answer(NamedTuple):
    """What one detector said of one image: its faces, or why there are none."""

    faces: list[DetectedFace]
    error: str | None = None


def evaluate_landmarks(
    truth: LandmarkTruth,
    detector: Detector,
    *,
    normalise: str = "eyes",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a detector; return the JSON document.

    Of several faces in an image the one whose box centre is nearest to the true points' centre
    is scored. An image that cannot be read, or without a face with 68 landmarks, is a miss: it
    is counted, is a failure (over 10 %), and is not in the mean. A detector that knows five
    points only is scored on those (see ``common_points``).

    ``boxes`` counts detections. One shows the true face from an intersection over union of 0.5
    with the true points' box, or when it is the nearest, the true points' centre lies in it, and
    its longer side is within a factor of 2: detectors frame a face differently. Every other
    detection is a false positive, also one of a person whose points are not known.

    ``groups`` has the metrics by yaw and size of the true points, and by skin tone in the
    photograph (``skin_tone``), as far as they are known.

    Args:
        truth: see ``read_landmark_truth``.
        detector: what is scored.
        normalise: ``eyes`` or ``box``, see ``LandmarkTruth.length``.
        progress: called with images done and in all.

    Raises:
        InputError: a detector that reads files beside images, on such truth.
        UsageError: a normalisation that the truth does not allow.
    """
    return _documents(truth, [detector], normalise, progress)[0]


def compare_landmarks(
    truth: LandmarkTruth,
    detectors: Sequence[Detector],
    *,
    normalise: str = "eyes",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score several detectors on the points that all of them have; return the JSON document.

    Returns:
        ``detectors``: each one's document as ``evaluate_landmarks`` returns it; ``comparisons``:
        the mean over the images that both found of its error minus the first detector's, with a
        paired 95 % bootstrap interval (None where no image was found by both). An interval below
        zero says that it is better than the first.

    Raises:
        InputError, UsageError: as ``evaluate_landmarks``; or no detector, or one named twice.
    """
    names = [detector.name for detector in detectors]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"landmarks: expected different detectors, got {', '.join(names)}")
    documents = _documents(truth, detectors, normalise, progress)
    first = _percent(documents[0])
    return {
        "schema": SCHEMA,
        "protocol": documents[0]["protocol"],
        "detectors": dict(zip(names, documents, strict=True)),
        "comparisons": {
            name: _difference(_percent(document), first) | {"against": names[0]}
            for name, document in zip(names[1:], documents[1:], strict=True)
        },
    }


class SavedLandmarks:
    """Predictions that ``facekit landmarks`` wrote, as a detector."""

    fingerprint = "saved"

    def __init__(self, folder: Path, *, name: str = "saved") -> None:
        """Use the files ``<stem>.json`` of a folder; ``name`` is the method's in reports.

        Raises:
            InputError: no such folder.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: expected a folder of landmark files, found none")
        self._folder = folder
        self.name = name

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return the faces saved for the image's file name, in a folder named as its own or none.

        Raises:
            ItemError: no path, or no readable file of its stem.
        """
        del image
        if path is None:
            raise ItemError("saved landmarks: expected the image's path")
        file = self._folder / path.parent.name / f"{path.stem}.json"
        if not file.is_file():
            file = self._folder / f"{path.stem}.json"
        try:
            return read_landmarks(file)
        except FacekitError as error:
            raise ItemError(str(error)) from error


def shows_face(boxes: np.ndarray, truth: LandmarkTruth, row: int) -> int | None:
    """Return which of an image's boxes (D, 4) shows its true face, or None.

    See ``evaluate_landmarks`` for the rule.
    """
    if not len(boxes):
        return None
    true_box = None if truth.boxes is None else truth.boxes[row]
    if true_box is not None:
        shared = overlaps(boxes, true_box[None])[:, 0]
        if shared.max() >= LEAST_OVERLAP:
            return int(shared.argmax())
    middle = truth.points[row].mean(axis=0)
    nearest = int(np.linalg.norm(boxes[:, :2] + boxes[:, 2:] / 2 - middle, axis=1).argmin())
    corner, extent = boxes[nearest, :2], boxes[nearest, 2:]
    if not ((middle >= corner) & (middle <= corner + extent)).all():
        return None
    if true_box is not None and not 0.5 <= extent.max() / true_box[2:].max() <= 2:
        return None
    return nearest


def _documents(
    truth: LandmarkTruth,
    detectors: Sequence[Detector],
    normalise: str,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    for detector in detectors:
        if truth.beside_images and detector.name in ("files", "auto"):
            raise InputError(
                f"landmarks {detector.name!r} would read the truth that lies beside the images; "
                "choose a detector that looks at the picture"
            )
    length = truth.length(normalise)
    answers, facts = _look(truth, detectors, progress)
    points = common_points(truth, [[f for a in mine for f in a.faces] for mine in answers])
    return [_document(truth, points, length, normalise, mine, facts) for mine in answers]


def _look(
    truth: LandmarkTruth, detectors: Sequence[Detector], progress: Progress | None
) -> tuple[list[list[_Answer]], FaceFacts]:
    """Show every image to every detector; return each one's answers, and what the faces are."""
    answers: list[list[_Answer]] = [[] for _ in detectors]
    tones = np.full(len(truth.images), np.nan)
    for row, path in enumerate(truth.images):
        try:
            image = read_image(path)
        except (ItemError, InputError) as error:
            for mine in answers:
                mine.append(_Answer([], str(error)))
        else:
            tones[row] = face_tone(truth, row, image)
            for detector, mine in zip(detectors, answers, strict=True):
                try:
                    mine.append(_Answer(detector.detect(image, path=path)))
                except (ItemError, InputError) as error:
                    mine.append(_Answer([], str(error)))
        if progress is not None:
            progress(row + 1, len(truth.images))
    return answers, face_facts(truth, tones)


def _document(
    truth: LandmarkTruth,
    points: ComparedPoints,
    length: np.ndarray,
    normalise: str,
    answers: list[_Answer],
    facts: FaceFacts,
) -> dict[str, Any]:
    predicted = np.full(points.truth.shape, np.nan)
    errors: list[str | None] = []
    for row, answer in enumerate(answers):
        found = None if answer.error else points.nearest(answer.faces, truth.points[row])
        if found is not None:
            predicted[row] = found
            errors.append(None)
        else:
            errors.append(answer.error or _reason(answer.faces, points))
    score = landmark_score(predicted, points.truth, length)
    percent = 100 * score.per_image
    return {
        "schema": SCHEMA,
        "protocol": {
            "name": "landmarks",
            "unit": UNITS[normalise],
            "set": points.set,
            "points": list(points.labels),
        },
        "metrics": _metrics(score),
        "boxes": _boxes(truth, answers),
        "groups": {
            name: _metrics(landmark_score(predicted[rows], points.truth[rows], length[rows]))
            for name, rows in face_groups(facts).items()
        },
        "per_point": {
            str(label): _number(100 * value)
            for label, value in zip(points.labels, score.per_point, strict=True)
        },
        "items": [
            {"image": truth.name(row), "missing": error is not None, "mean": _number(value)}
            | facts.of(row)
            | ({} if error is None else {"error": error})
            for row, (value, error) in enumerate(zip(percent, errors, strict=True))
        ],
    }


def _metrics(score: LandmarkScore) -> dict[str, Any]:
    percent = 100 * score.per_image
    found = np.isfinite(percent)
    return {
        "median": float(np.median(percent[found])) if found.any() else None,
        "mean": _number(100 * score.mean),
        "std": float(percent[found].std()) if found.any() else None,
        "count": int(found.sum()),
        "missing": score.misses,
        "failure_percent": 100 * score.failure_rate,
        "failure_threshold_percent": 100 * score.threshold,
        "auc": score.auc,
    }


def _boxes(truth: LandmarkTruth, answers: list[_Answer]) -> dict[str, Any]:
    found, false = 0, []
    for row, answer in enumerate(answers):
        boxes = np.array([face.box for face in answer.faces], np.float64).reshape(-1, 4)
        shown = shows_face(boxes, truth, row) is not None
        found += shown
        false.append(len(boxes) - shown)
    count = len(answers)
    return {
        "faces": count,
        "recall_percent": 100 * found / count,
        "false_positives": sum(false),
        "false_per_image": sum(false) / count,
        "images_with_false": [truth.name(row) for row, number in enumerate(false) if number],
    }


def _reason(faces: list[DetectedFace], points: ComparedPoints) -> str:
    if not faces:
        return "no face was found"
    wanted = "68 landmarks" if points.set == "ibug68" else "five points"
    return f"the face found has no {wanted}"


def _percent(document: dict[str, Any]) -> np.ndarray:
    """Return an evaluation's errors by image (N,), NaN where it has none."""
    values = [item["mean"] for item in document["items"]]
    return np.array([np.nan if value is None else value for value in values])


def _difference(percent: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    both = np.isfinite(percent) & np.isfinite(first)
    if not both.any():
        return {"images": 0, "mean_difference": None, "low": None, "high": None, "level": None}
    interval = paired_bootstrap(percent[both], first[both], statistic="mean")
    return {
        "images": int(both.sum()),
        "mean_difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
