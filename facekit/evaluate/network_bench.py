"""Parameter networks side by side: the shapes they see in renders, where they see landmarks.

A network's crop comes from a detector's five points; nothing is fitted to its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from facekit.detect import Detector, open_detector
from facekit.detect.landmark_sets import ibug68_to_five
from facekit.detect.parameters import ParameterReader, open_reader
from facekit.errors import InputError, UsageError
from facekit.evaluate.comparison import compare_items
from facekit.evaluate.heads import (
    HeadScore,
    Picture,
    Predict,
    choose_heads,
    heads_report,
    model_prediction,
    once_each,
    read_heads,
    score_heads,
)
from facekit.evaluate.landmark_truth import LandmarkTruth
from facekit.evaluate.landmarks import compare_landmarks
from facekit.evaluate.now import NowPrediction
from facekit.evaluate.skin_tone import NEEDED, skin_tone, tone_class
from facekit.evaluate.truth import (
    LANDMARK_FIT,
    TruthOptions,
    TruthResult,
    as_scans,
    detected_fit,
    head_renderer,
)
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.network_prior import seen_identity
from facekit.fit.photo import FaceFitter
from facekit.geometry.crop_pose import CropPose, place_in_crop
from facekit.morphable import MorphableModel, load_model
from facekit.simulate.subject import open_foreign_heads
from facekit.types import DetectedFace

# Portraits are taken from about here; 68 points hardly tell.
_DISTANCE_MM = 1000.0


class NetworkDetector:
    """A detector whose 68 landmarks are those of the face that a parameter network sees.

    Args:
        name: in reports.
        reader: the network.
        model: its morphable model.
        detector: finds the faces and the five points of the crop.
    """

    def __init__(
        self, name: str, reader: ParameterReader, model: MorphableModel, detector: Detector
    ) -> None:
        self.name = name
        self.fingerprint = f"{reader.fingerprint[:16]}+{detector.fingerprint}"
        self._reader, self._model, self._detector = reader, model, detector

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return the detector's faces with the network's landmarks, largest first."""
        faces = self._detector.detect(image, path=path)
        return [replace(face, ibug68=self.landmarks(image, face), dense478=None) for face in faces]

    def landmarks(self, image: np.ndarray, face: DetectedFace) -> np.ndarray:
        """Return the 68 landmarks (68, 2) of a face, pixels of the image."""
        reading = self._reader.read(image, five_points(face))
        parts = reading.parts
        shape = self._model.shape(parts["identity"], parts["expression"])
        points = self._model.landmark_points("ibug68", shape.astype(np.float64))
        pose = CropPose(parts["rotation"], parts["translation"])
        size = self._reader.size
        placed = place_in_crop(points, pose, distance_mm=_DISTANCE_MM, size=size)
        return reading.crop.inverse().apply(placed)


def five_points(face: DetectedFace) -> np.ndarray:
    """Return the five points (5, 2) that a face's crop is cut by.

    Raises:
        InputError: the face has neither five nor 68 points.
    """
    if face.ibug68 is not None:
        return ibug68_to_five(face.ibug68)
    if face.five is not None:
        return face.five
    raise InputError("face: expected five points or 68 landmarks, got a box alone")


def open_networks(files: Sequence[str], model: MorphableModel) -> dict[str, ParameterReader]:
    """Open networks by name: ``NAME=FILE``, a file (its folder's and own name), or ``auto``.

    Raises:
        InputError: a file is no network of this model.
        UsageError: none given, one named twice, or no network ships for this model.
    """
    readers: dict[str, ParameterReader] = {}
    for given in files:
        name, _, source = given.rpartition("=")
        path = Path(source)
        name = name or (source if source == "auto" else f"{path.parent.name}/{path.stem}")
        reader = open_reader(source, model)
        if reader is None:
            raise UsageError(f"networks: none ships for the model {model.name}; give a file")
        if name in readers:
            raise UsageError(f"networks: two are called {name!r}; name them, NAME=FILE")
        readers[name] = reader
    if not readers:
        raise UsageError("networks: expected at least one file")
    return readers


def evaluate_network_shapes(
    heads_file: Path,
    readers: Mapping[str, ParameterReader],
    options: TruthOptions,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> TruthResult:
    """Score the neutral shapes that networks see in renders of heads of known shape.

    A network's person is that of ``fit.network_prior.seen_identity``: what it saw, under the
    model's own expectations, which the fits start from too. Beside them the mean face, the fit of
    the detected landmarks and the best projections, as in ``evaluate.truth``. The document's
    ``compared`` has each network's paired difference to the first, and ``groups`` each network's
    mean by the strength of the expression (root mean square of its displacements) and by the
    skin's tone in the picture.

    Args:
        heads_file, options, progress: as ``truth.evaluate_truth``; ``network`` and
            ``photometric`` are not used.
        readers: by name.

    Raises:
        InputError: the heads cannot be read, or a network has the name of another row.
    """
    heads = read_heads(heads_file)
    model = load_model(options.model)
    detector = open_detector(options.landmarks, allow_download=options.allow_download)
    seen = _Once(detector)
    fitter = FaceFitter(model, LandmarkFitConfig())
    methods: dict[str, Predict] = {LANDMARK_FIT: detected_fit(fitter, seen)}
    for name, reader in readers.items():
        if name in methods:
            raise InputError(f"networks: {name!r} is the name of a row of this bench")
        methods[name] = _predictor(reader, model, seen)
    chosen = choose_heads(options.count, len(heads), options.seed)
    tones: dict[tuple[int, float], str | None] = {}
    draw = head_renderer(heads_file, options)

    def render(head: int, yaw_deg: float) -> Picture:
        picture = draw(head, yaw_deg)
        if picture.ibug68 is not None:
            points = {index: picture.ibug68[index] for index in NEEDED}
            tones[head, yaw_deg] = tone_class(skin_tone(picture.image, points))
        return picture

    scores = score_heads(
        heads,
        model,
        render=render,
        methods=methods,
        chosen=chosen,
        yaws_deg=options.yaws_deg,
        progress=progress,
    )
    names = list(readers)
    protocol = {
        **asdict(options),
        "heads": heads_file.name,
        "model_sha256": model.sha256,
        "detector": detector.fingerprint,
        "networks": {name: reader.fingerprint for name, reader in readers.items()},
    }
    document = heads_report(scores, main=names[0], seed=options.seed, protocol=protocol)
    everything = as_scans(scores)
    first = everything[names[0]].items
    typical = float(np.mean([item.value for item in first if item.value is not None]))
    document["compared"] = {}
    for name in [*names[1:], LANDMARK_FIT]:
        found = compare_items(first, everything[name].items, seed=options.seed)
        said = {"than": names[0], "ratio": None, **(found or {"items": 0})}
        if found is not None:
            said["ratio"] = 1 + found["mean_difference"] / typical
        document["compared"][name] = said
    expressions = _expression_groups(heads_file, chosen)
    document["groups"] = {
        name: _group_means([s for s in scores if s.method == name], expressions, tones)
        for name in names
    }
    distances = [s.distances for s in scores if s.method == names[0] and s.distances is not None]
    return TruthResult(scores, document, distances)


def evaluate_network_landmarks(
    truth: LandmarkTruth,
    readers: Mapping[str, ParameterReader],
    model: MorphableModel,
    *,
    detector: str = "builtin",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score the landmarks of the faces that networks see on photographs with known points.

    Args:
        truth: see ``landmark_truth.read_landmark_truth``.
        readers: by name.
        model: of the networks.
        detector: finds the faces; its own landmarks are a further row.
        progress: called with images done and in all.

    Returns:
        The document of ``landmarks.compare_landmarks``: each network against the first.
    """
    base = open_detector(detector)
    seen = _Once(base)
    detectors: list[Detector] = [
        NetworkDetector(name, reader, model, seen) for name, reader in readers.items()
    ]
    return compare_landmarks(truth, [*detectors, seen], progress=progress)


class _Once:
    """A detector that keeps its last image's faces: every network asks for the same."""

    def __init__(self, detector: Detector) -> None:
        self.name, self.fingerprint = detector.name, detector.fingerprint
        self._faces = once_each(detector.detect)

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        return self._faces(image, path=path)


def _predictor(reader: ParameterReader, model: MorphableModel, detector: Detector) -> Predict:
    def predict(picture: Picture) -> NowPrediction | None:
        faces = detector.detect(picture.image)
        if not faces:
            return None
        reading = reader.read(picture.image, five_points(faces[0]))
        identity = seen_identity(model, reading, spread=reader.identity_spread)
        return model_prediction(model, model.shape(identity))

    return predict


def _expression_groups(heads_file: Path, chosen: Sequence[int]) -> dict[int, str]:
    """Return each head's third by the strength of its expression."""
    heads = open_foreign_heads(heads_file)
    strength = {}
    for head in chosen:
        subject = heads.subject(head)
        moved = subject.truth_vertices - subject.truth_neutral
        strength[head] = float(np.sqrt((moved**2).sum(1).mean()))
    low, high = np.quantile(list(strength.values()), [1 / 3, 2 / 3])
    named = {"slight": -np.inf, "middling": low, "strong": high}
    return {
        head: [f"expression {name}" for name, least in named.items() if value >= least][-1]
        for head, value in strength.items()
    }


def _group_means(
    scores: Sequence[HeadScore],
    expressions: Mapping[int, str],
    tones: Mapping[tuple[int, float], str | None],
) -> dict[str, dict[str, float]]:
    values: dict[str, list[float]] = {}
    for score in scores:
        if score.distances is None:
            continue
        tone = tones.get((score.head, score.yaw_deg))
        groups = [f"yaw {score.yaw_deg:g}", expressions[score.head]]
        for group in [*groups, *([f"skin {tone}"] if tone else [])]:
            values.setdefault(group, []).append(float(score.details["median"]))
    return {
        group: {"mean": float(np.mean(found)), "count": len(found)}
        for group, found in sorted(values.items())
    }
