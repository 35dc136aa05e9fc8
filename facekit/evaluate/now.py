"""The NoW benchmark: one prediction against one scan, and the aggregation over a dataset.

Protocol of S. Sanyal et al., Learning to regress 3D face shape and expression from an image
without 3D supervision, CVPR 2019 (https://now.is.tue.mpg.de), non-metrical and metrical:
crop the scan round the face, fit the prediction's seven landmarks to the scan's by a similarity,
refine by the distances of the scan's vertices to the prediction's surface, and report those
distances. facekit's results agree with the reference code's to 1e-4 mm; this is an independent
implementation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError, ItemError
from facekit.evaluate.now_alignment import (
    Procrustes,
    Refinement,
    metrical_start,
    procrustes,
    refine,
)
from facekit.metrics.distances import summarise

log = logging.getLogger("facekit.evaluate.now")

SCHEMA = "facekit.eval/1"
CROP_FACTOR = 1.4
NOW7 = (
    "right eye outer corner",
    "right eye inner corner",
    "left eye inner corner",
    "left eye outer corner",
    "nose bottom",
    "right mouth corner",
    "left mouth corner",
)
UNIT_MM = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0, "um": 0.001, "in": 25.4}


@dataclass(frozen=True)
class NowOptions:
    """How a prediction is scored.

    Attributes:
        metrical: hold the prediction's own scale (the MICA variant) instead of fitting it.
        unit: unit of the predictions, of ``UNIT_MM``; matters to ``metrical`` only.
        reference_quirks: start the metrical refinement where the reference code does, which
            depends on where the prediction's origin lies.
    """

    metrical: bool = False
    unit: str = "mm"
    reference_quirks: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNIT_MM:
            raise InputError(f"unit: expected one of {', '.join(UNIT_MM)}, got {self.unit!r}")


@dataclass(frozen=True, eq=False)
class NowPrediction:
    """A predicted neutral face.

    Attributes:
        vertices: (V, 3) in the unit of the predictions; pose and origin do not matter.
        faces: (F, 3).
        landmarks: (7, 3), in the order of ``NOW7``; right is the person's right.
    """

    vertices: np.ndarray
    faces: np.ndarray
    landmarks: np.ndarray


class ScanScore(NamedTuple):
    """The result for one scan and prediction.

    Attributes:
        crop: (n,) indices of the scan's vertices that were scored.
        distances: (n,) float64 mm.
        start: the landmark similarity.
        refinement: the refinement on top of it.
    """

    crop: np.ndarray
    distances: np.ndarray
    start: Procrustes
    refinement: Refinement

    def align(self, points: np.ndarray) -> np.ndarray:
        """Take points (..., 3) of the prediction to the scan's frame."""
        return self.refinement.transform.apply(self.start.apply(points))


@dataclass(frozen=True, eq=False)
class NowItem:
    """The outcome of one image.

    Attributes:
        image: its name in the benchmark's list.
        group: its challenge, or another name to summarise by.
        distances: (n,) float32 mm, or None when there is no valid prediction.
        details: further values for the report.
    """

    image: str
    group: str
    distances: np.ndarray | None
    details: dict[str, Any]


def crop_scan(
    vertices: np.ndarray, landmarks: np.ndarray, *, factor: float = CROP_FACTOR
) -> np.ndarray:
    """Return the indices (n,) of the scan's vertices in the protocol's ball round the face.

    With b the middle of the inner eye corners and n the nose bottom, the centre is
    n + 0.3 (b - n) and the radius ``factor`` (|outer eye corners| + |b - n|) / 2.

    Args:
        vertices: (N, 3) mm.
        landmarks: (7, 3) in the order of ``NOW7``; used in float32, as the benchmark does.
        factor: 1.4 for NoW; the FG2018 challenge uses 1.2.

    Raises:
        InputError: bad shapes, or no vertex inside (the landmarks are of another scan or unit).
    """
    scan = check_array(vertices, "scan vertices", shape=("N", 3))
    marks = check_array(landmarks, "scan landmarks", shape=(7, 3)).astype(np.float32)
    bridge = (marks[1] + marks[2]) / 2
    centre = marks[4] + 0.3 * (bridge - marks[4])
    eyes, nose = np.linalg.norm(marks[0] - marks[3]), np.linalg.norm(bridge - marks[4])
    radius = factor * (eyes + nose) / 2
    inside = np.flatnonzero(np.linalg.norm(scan - centre, axis=1) <= radius)
    if not len(inside):
        raise InputError(
            f"scan: no vertex within {radius:.1f} of the face centre {np.round(centre, 1)}; "
            "the landmarks belong to another scan or unit"
        )
    return inside


def score_scan(
    scan_vertices: np.ndarray,
    scan_landmarks: np.ndarray,
    prediction: NowPrediction,
    *,
    options: NowOptions | None = None,
    warn: bool = True,
) -> ScanScore:
    """Score one prediction against one scan.

    Args:
        scan_vertices: (N, 3) mm; each vertex inside the crop counts once, whatever its area.
        scan_landmarks: (7, 3) mm, in the order of ``NOW7``.
        prediction: the predicted neutral face. All of its surface is used, nothing is cropped;
            where it has a hole the distance to the hole's border counts.
        options: the variant.
        warn: log when the landmarks fit only mirrored; the score says so in any case.

    Raises:
        InputError: arrays of a wrong shape, no faces, or no scan vertex near the landmarks.
        ItemError: the refinement shrank the prediction to nothing.
    """
    chosen = options or NowOptions()
    crop = crop_scan(scan_vertices, scan_landmarks)
    target = np.asarray(scan_landmarks, np.float32).astype(np.float64)
    source = check_array(prediction.landmarks, "prediction landmarks", shape=(7, 3))
    source = source.astype(np.float64)
    start = procrustes(source, target)
    if warn and start.reflected:
        log.warning(
            "the landmark fit mirrors the prediction, as the protocol allows: are left and right "
            "swapped in its seven landmarks?"
        )
    if chosen.metrical:
        start = metrical_start(
            start,
            source,
            target,
            unit_mm=UNIT_MM[chosen.unit],
            quirk=chosen.reference_quirks,
        )
    vertices = check_array(prediction.vertices, "prediction vertices", shape=("V", 3))
    refinement = refine(
        np.asarray(scan_vertices)[crop],
        start.apply(vertices.astype(np.float64)),
        prediction.faces,
        with_scale=not chosen.metrical,
    )
    return ScanScore(crop, refinement.distances, start, refinement)


def item_details(score: ScanScore) -> dict[str, Any]:
    """Return a score's summary for a report: numbers that JSON can hold."""
    summary = summarise(score.distances)
    return {
        "median": summary.median,
        "mean": summary.mean,
        "std": summary.std,
        "points": summary.count,
        "steps": score.refinement.steps,
        "scale": score.start.scale * score.refinement.transform.scale,
        "reflected": score.start.reflected,
    }


def aggregate(items: Sequence[NowItem]) -> dict[str, Any]:
    """Return the benchmark's numbers: ``median, mean, std, count, missing, points`` in mm.

    As in the benchmark, the distances of ALL images are put in one list (images with more scan
    vertices count more) and a missing prediction is counted but does not worsen the numbers;
    ``count`` is the number of images scored. With nothing scored the three numbers are None.
    """
    scored = [item.distances for item in items if item.distances is not None]
    summary = summarise(np.concatenate(scored) if scored else np.zeros(0, np.float32))
    empty = summary.count == 0
    return {
        "median": None if empty else summary.median,
        "mean": None if empty else summary.mean,
        "std": None if empty else summary.std,
        "count": len(scored),
        "missing": len(items) - len(scored),
        "points": summary.count,
    }


def report(items: Sequence[NowItem], *, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON document of an evaluation: all images, each group, each item.

    Raises:
        ItemError: there are no items at all.
    """
    if not items:
        raise ItemError("evaluation: no image was listed")
    groups = list(dict.fromkeys(item.group for item in items))
    return {
        "schema": SCHEMA,
        "protocol": protocol,
        "metrics": aggregate(items),
        "groups": {g: aggregate([i for i in items if i.group == g]) for g in groups},
        "items": [
            {"image": i.image, "group": i.group, "missing": i.distances is None, **i.details}
            for i in items
        ],
    }
