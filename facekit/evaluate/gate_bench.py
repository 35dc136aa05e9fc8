"""``facekit eval gates``: the photometric fit against the landmark fit on one gate's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.detect import Detector, open_detector
from facekit.evaluate.gates import gate_pictures
from facekit.evaluate.heads import (
    MEAN_FACE,
    HeadScore,
    HeadSet,
    Picture,
    Predict,
    heads_report,
    model_prediction,
    score_heads,
)
from facekit.evaluate.now import NowPrediction
from facekit.evaluate.truth import LANDMARK_FIT, PHOTOMETRIC_FIT, TruthOptions
from facekit.fit.colour_noise import ColourNoise
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.patch import build_patch
from facekit.fit.photo import FaceFit, FaceFitter
from facekit.fit.photometric import PhotometricFitter
from facekit.fit.photometric_problem import PhotometricConfig
from facekit.metrics.statistics import paired_bootstrap
from facekit.morphable import load_model
from facekit.types import DetectedFace

# Gate (a)'s pictures are what the fit assumes, so hardly anything is left to noise.
EXACT_PICTURES = PhotometricConfig(
    noise=ColourNoise(broad=0.02, fine=0.01, white=0.01, edge_mm=0.5, relief=((0.02, 4.0),)),
    red=0.5,
    blur_mm=(2.0, 1.0),
    robust_dof=8.0,
    outlier=6.0,
    hollows=(0.0, 0.02),
    rounds=4,
    steps=12,
)


class GateResult(NamedTuple):
    """The scores, the JSON document and the heads of a gate."""

    scores: list[HeadScore]
    document: dict[str, Any]
    heads: HeadSet


def evaluate_gate(
    gate: str,
    options: TruthOptions,
    *,
    heads_file: Path | None = None,
    samples: int = 800,
    config: PhotometricConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GateResult:
    """Run one gate.

    The document is that of ``eval truth`` with the methods ``landmark_fit`` and
    ``photometric_fit`` and, under ``against_landmarks``, the paired difference of the photometric
    fit to the landmark fit with its 95 % interval.

    Args:
        gate: ``a`` to ``d``; see ``evaluate.gates``.
        options: what decides the pictures.
        heads_file: of gates (c) and (d).
        samples: points of the face that are compared.
        config: of the photometric fit; None takes ``EXACT_PICTURES`` for gate (a), else the
            defaults.
        progress: called with pictures done and their number.

    Raises:
        UsageError: an unknown gate, or no heads file where one is needed.
        InputError: the heads cannot be read, or the model has no 'now7' landmarks.
        MissingDependencyError: the model or the detector is missing.
    """
    model = load_model(options.model)
    heads, chosen, render = gate_pictures(gate, model, options, heads_file)
    detector = open_detector(options.landmarks, allow_download=options.allow_download)
    fitter = FaceFitter(model, LandmarkFitConfig())
    photometric = PhotometricFitter(
        model,
        fitter.basis,
        build_patch(model, count=samples),
        fitter.config,
        config or (EXACT_PICTURES if gate == "a" else PhotometricConfig()),
    )
    scores = score_heads(
        heads,
        model,
        render=render,
        methods=gate_methods(fitter, photometric, detector),
        chosen=chosen,
        yaws_deg=options.yaws_deg,
        progress=progress,
    )
    protocol = {
        **asdict(options),
        "gate": gate,
        "heads": heads_file.name if heads_file is not None and gate in ("c", "d") else None,
        "model": model.name,
        "model_sha256": model.sha256,
        "detector": detector.fingerprint,
        "samples": samples,
        "photometric": asdict(photometric.config),
    }
    document = heads_report(scores, main=PHOTOMETRIC_FIT, seed=options.seed, protocol=protocol)
    document["against_landmarks"] = paired_difference(
        scores, PHOTOMETRIC_FIT, LANDMARK_FIT, seed=options.seed
    )
    return GateResult(scores, document, heads)


def gate_methods(
    fitter: FaceFitter, photometric: PhotometricFitter, detector: Detector
) -> dict[str, Predict]:
    """Return the landmark fit and the photometric fit of the same detection, as methods."""
    last: list[tuple[Picture, tuple[DetectedFace, FaceFit] | None]] = []

    def start(picture: Picture) -> tuple[DetectedFace, FaceFit] | None:
        if not last or last[0][0] is not picture:
            faces = detector.detect(picture.image)
            found = (faces[0], fitter.fit(picture.image, faces[0])) if faces else None
            last[:] = [(picture, found)]
        return last[0][1]

    def landmarks(picture: Picture) -> NowPrediction | None:
        found = start(picture)
        return None if found is None else model_prediction(fitter.model, found[1].neutral)

    def pixels(picture: Picture) -> NowPrediction | None:
        found = start(picture)
        if found is None:
            return None
        face, first = found
        result = photometric.fit(picture.image, face, first.fit, first.camera.intrinsics)
        return model_prediction(fitter.model, fitter.model.shape(result.fit.identity))

    return {LANDMARK_FIT: landmarks, PHOTOMETRIC_FIT: pixels}


def paired_difference(
    scores: Sequence[HeadScore], method: str, other: str, *, seed: int
) -> dict[str, Any] | None:
    """Compare two methods' NoW medians on the pictures that both have, drawing whole heads.

    Returns:
        ``than``, ``mean_difference_mm`` with ``low_mm`` and ``high_mm`` (95 %),
        ``relative_percent`` of the means, ``pictures``, ``better_on_percent``; None when no
        picture has both.
    """
    medians = {
        (s.head, s.yaw_deg, s.method): s.details["median"]
        for s in scores
        if s.distances is not None
    }
    keys = [
        (head, yaw)
        for head, yaw, name in medians
        if name == method and (head, yaw, other) in medians
    ]
    if not keys:
        return None
    mine = np.array([medians[head, yaw, method] for head, yaw in keys])
    base = np.array([medians[head, yaw, other] for head, yaw in keys])
    groups = np.array([head for head, _ in keys])
    interval = paired_bootstrap(mine, base, groups=groups, statistic="mean", seed=seed)
    return {
        "than": other,
        "mean_difference_mm": interval.estimate,
        "low_mm": interval.low,
        "high_mm": interval.high,
        "level": interval.level,
        "relative_percent": 100 * float(mine.mean() / base.mean() - 1),
        "pictures": len(keys),
        "better_on_percent": 100 * float((mine < base).mean()),
    }


def gate_rows(document: dict[str, Any]) -> list[list[object]]:
    """Return one row per method: median, mean, standard deviation, pictures, missing."""
    names = [MEAN_FACE, LANDMARK_FIT, PHOTOMETRIC_FIT]
    names += [name for name in document["methods"] if name not in names]
    columns = ("median", "mean", "std", "count", "missing")
    return [[name, *(_shown(document["methods"][name][c]) for c in columns)] for name in names]


def _shown(value: object) -> object:
    return "-" if value is None else value
