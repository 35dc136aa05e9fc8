"""A folder of predictions against the NoW benchmark: every image, in one process or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.estimator import face_axes
from facekit.evaluate.faces3d import (
    NO_PREDICTION,
    FaceSurface,
    check_order,
    landmark_warnings,
    read_prediction,
    surface_warnings,
    unit_warnings,
)
from facekit.evaluate.interior import interior_warnings
from facekit.evaluate.jobs import counter, run_pieces
from facekit.evaluate.now import (
    UNIT_MM,
    NowItem,
    NowOptions,
    NowPrediction,
    ScanScore,
    aggregate,
    crop_scan,
    item_details,
    report,
    score_scan,
)
from facekit.evaluate.now_dataset import (
    NowDataset,
    NowImage,
    NowScan,
    find_prediction,
    prediction_file,
    read_scan,
    strangers,
)
from facekit.evaluate.scan_controls import MEAN_FACE, control_faces, model_of_faces
from facekit.evaluate.scan_reports import ScanEvaluation, ScanItem
from facekit.export.heat import draw_heat_map
from facekit.morphable.model import MorphableModel

# A scan is read again by each piece of work, so images of one subject stay together unless there
# are too few subjects to go round.
_PIECES_A_JOB = 3


@dataclass(frozen=True)
class NowRun:
    """How a folder is scored besides the protocol.

    Attributes:
        model: of the controls, or None for none.
        jobs: processes; 0 takes as many as there are cores.
        pictures: folder for heat maps, or None.
        strict: an item with a warning has no valid result.
    """

    model: MorphableModel | None = None
    jobs: int = 1
    pictures: Path | None = None
    strict: bool = False


class NowTiming(NamedTuple):
    """Seconds spent, summed over processes: reading files, scoring, looking through and drawing.

    Attributes:
        read: parsing scans, predictions and landmarks.
        score: crop, alignment and distances of the predictions.
        other: search for inner surfaces, controls, heat maps.
    """

    read: float = 0.0
    score: float = 0.0
    other: float = 0.0

    def plus(self, *, read: float = 0.0, score: float = 0.0, other: float = 0.0) -> NowTiming:
        """Return the sums."""
        return NowTiming(self.read + read, self.score + score, self.other + other)


class NowEvaluation(NamedTuple):
    """An evaluation.

    Attributes:
        items: of the list's images.
        document: the JSON document, the same whatever the number of processes.
        controls: their items, one a subject, by name.
        timing: the time taken; no part of the document.
        unmatched: predictions of no image in any list of the data.
        elsewhere: predictions of images in the data's other list.
    """

    items: list[NowItem]
    document: dict[str, Any]
    controls: dict[str, list[NowItem]]
    timing: NowTiming
    unmatched: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def as_scans(self) -> ScanEvaluation:
        """Return it in the shape that reports and comparisons of scan benchmarks take.

        An item's value is its median distance, and its person is the subject.
        """
        controls = {name: [_scan_item(i) for i in rows] for name, rows in self.controls.items()}
        items = [_scan_item(i) for i in self.items]
        items += [
            ScanItem(key, error="no list of the data has an image of this name", unmatched=True)
            for key in self.unmatched
        ]
        return ScanEvaluation(items, self.document, controls)


class _Context(NamedTuple):
    predictions: Path
    dataset: NowDataset
    options: NowOptions
    run: NowRun


class _Piece(NamedTuple):
    subject: str
    indices: tuple[int, ...]
    controls: bool


class _Result(NamedTuple):
    items: list[NowItem]
    controls: dict[str, NowItem]
    timing: NowTiming
    scan_error: str = ""


def evaluate_now(
    predictions: Path,
    dataset: NowDataset,
    *,
    options: NowOptions | None = None,
    run: NowRun | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NowEvaluation:
    """Score every image of the dataset's list.

    A prediction or scan that is missing or unusable never stops the rest: the item counts as
    missing and has the reason in ``error``. What is doubtful about one (its unit, landmarks that
    fit only mirrored, inner surfaces of the scan) is in its ``warnings``. The items are in the
    list's order. Controls have one item a subject.

    Raises:
        InputError: the predictions' folder is missing, or no scan can be read.
    """
    chosen, how = options or NowOptions(), run or NowRun()
    if not predictions.is_dir():
        raise InputError(f"{predictions}: expected a folder of predictions, found none")
    pieces = _pieces(dataset, how)
    done = counter([len(piece.indices) for piece in pieces], progress)
    context = _Context(predictions, dataset, chosen, how)
    results = run_pieces(_score_piece, context, pieces, jobs=how.jobs, done=done)
    found: dict[int, NowItem] = {}
    controls: dict[str, list[NowItem]] = {}
    timing = NowTiming()
    for piece, result in zip(pieces, results, strict=True):
        found.update(zip(piece.indices, result.items, strict=True))
        for name, item in result.controls.items():
            controls.setdefault(name, []).append(item)
        timing = timing.plus(**result.timing._asdict())
    items = [found[index] for index in range(len(dataset.images))]
    if all(result.scan_error for result in results):
        raise InputError(results[0].scan_error)
    elsewhere, unmatched = strangers(predictions, dataset)
    protocol = {
        "name": "now",
        "split": dataset.split,
        "metrical": chosen.metrical,
        "unit": chosen.unit,
        "reference_quirks": chosen.reference_quirks,
        "strict": how.strict,
        "model": None if how.model is None else how.model.name,
    }
    document = report(items, protocol=protocol)
    document["controls"] = {name: aggregate(rows) for name, rows in controls.items()}
    document["metrics"]["unmatched"] = len(unmatched)
    return NowEvaluation(items, document, controls, timing, tuple(unmatched), tuple(elsewhere))


def predictions_model(
    name: str, predictions: Path, dataset: NowDataset, *, tries: int = 5
) -> MorphableModel | None:
    """Return the model that predictions were made with (``scan_controls.known_model``)."""
    paths = (prediction_file(predictions, image) for image in dataset.images)
    files = islice((path for path in paths if path is not None), tries)
    return model_of_faces(name, _readable(files))


def _readable(files: Iterable[Path]) -> Iterator[np.ndarray]:
    for path in files:
        try:
            yield read_prediction(path).faces
        except FacekitError:
            continue


def _pieces(dataset: NowDataset, run: NowRun) -> list[_Piece]:
    by_subject: dict[str, list[int]] = {}
    for index, image in enumerate(dataset.images):
        by_subject.setdefault(image.subject, []).append(index)
    parts = 1
    if run.jobs != 1:
        parts = -(-_PIECES_A_JOB * max(run.jobs, 2) // len(by_subject))
    pieces = []
    for subject, indices in by_subject.items():
        size = -(-len(indices) // parts)
        for start in range(0, len(indices), size):
            wanted = run.model is not None and start == 0
            pieces.append(_Piece(subject, tuple(indices[start : start + size]), wanted))
    return pieces


def _score_piece(context: _Context, piece: _Piece) -> _Result:
    timing = NowTiming()
    start = time.perf_counter()
    try:
        scan = read_scan(context.dataset, piece.subject)
    except FacekitError as error:
        return _without_scan(context, piece, str(error))
    timing = timing.plus(read=time.perf_counter() - start)
    start = time.perf_counter()
    doubts = tuple(f"scan: {text}" for text in scan_warnings(scan))
    controls = _controls(context, piece.subject, scan) if piece.controls else {}
    timing = timing.plus(other=time.perf_counter() - start)
    items = []
    for index in piece.indices:
        item, spent = _score_image(context, context.dataset.images[index], scan, doubts)
        items.append(item)
        timing = timing.plus(**spent._asdict())
    return _Result(items, controls, timing)


def _without_scan(context: _Context, piece: _Piece, reason: str) -> _Result:
    images = [context.dataset.images[index] for index in piece.indices]
    items = [
        NowItem(image.line, image.challenge, None, {"error": f"scan: {reason}"}) for image in images
    ]
    return _Result(items, {}, NowTiming(), reason)


def scan_warnings(scan: NowScan) -> tuple[str, ...]:
    """Say what is doubtful about a scan: its unit, and inner surfaces inside the crop."""
    warnings = unit_warnings(scan.vertices, {"now7": scan.landmarks}, unit="mm")
    try:
        crop = crop_scan(scan.vertices, scan.landmarks)
        _, outwards = face_axes(_surface(scan))
    except InputError:
        return warnings  # scoring will say what is wrong
    return warnings + interior_warnings(scan.vertices, scan.faces, crop, outwards=outwards)


def _score_image(
    context: _Context, image: NowImage, scan: NowScan, doubts: tuple[str, ...]
) -> tuple[NowItem, NowTiming]:
    timing = NowTiming()
    start = time.perf_counter()
    try:
        prediction = find_prediction(
            context.predictions, image, unit=context.options.unit, model=context.run.model
        )
        timing = timing.plus(read=time.perf_counter() - start)
        if prediction is None:
            raise ItemError(NO_PREDICTION)
        start = time.perf_counter()
        if not context.options.reference_quirks:
            check_order(np.asarray(prediction.landmarks, np.float64), scan.landmarks, "seven")
        score = score_scan(
            scan.vertices, scan.landmarks, prediction, options=context.options, warn=False
        )
        timing = timing.plus(score=time.perf_counter() - start)
    except FacekitError as error:
        return NowItem(image.line, image.challenge, None, {"error": str(error)}), timing
    start = time.perf_counter()
    warnings = (*doubts, *_prediction_warnings(prediction, scan, context.options))
    if warnings and context.run.strict:
        reason = f"refused by --strict: {'; '.join(warnings)}"
        return NowItem(image.line, image.challenge, None, {"error": reason}), timing
    details = item_details(score)
    if warnings:
        details["warnings"] = list(warnings)
    if context.run.pictures is not None:
        name = f"{image.subject}/{image.challenge}/{Path(image.file).stem}"
        _picture(context.run.pictures / f"{name}.png", name, scan, score)
    timing = timing.plus(other=time.perf_counter() - start)
    item = NowItem(image.line, image.challenge, score.distances.astype(np.float32), details)
    return item, timing


def _prediction_warnings(
    prediction: NowPrediction, scan: NowScan, options: NowOptions
) -> tuple[str, ...]:
    unit = UNIT_MM[options.unit]
    marks = np.asarray(prediction.landmarks, np.float64)
    vertices = unit * np.asarray(prediction.vertices, np.float64)
    return (
        *unit_warnings(vertices, {"now7": unit * marks}, unit=options.unit, option="--unit"),
        *surface_warnings(prediction.faces),
        *landmark_warnings(marks, scan.landmarks, "seven"),
    )


def _controls(context: _Context, subject: str, scan: NowScan) -> dict[str, NowItem]:
    model = context.run.model
    if model is None:
        return {}
    options = NowOptions(metrical=context.options.metrical)
    found = {}
    try:
        crop = crop_scan(scan.vertices, scan.landmarks)
        faces = control_faces(model, _surface(scan), crop, metrical=options.metrical)
    except FacekitError as error:
        return {MEAN_FACE: NowItem(subject, "", None, {"error": str(error)})}
    for name, face in faces.items():
        prediction = NowPrediction(face.vertices, face.faces, face.marks("now7"))
        try:
            score = score_scan(scan.vertices, scan.landmarks, prediction, options=options)
            distances = score.distances.astype(np.float32)
            found[name] = NowItem(subject, "", distances, item_details(score))
        except FacekitError as error:
            found[name] = NowItem(subject, "", None, {"error": str(error)})
    return found


def _surface(scan: NowScan) -> FaceSurface:
    return FaceSurface(
        np.asarray(scan.vertices, np.float64), scan.faces, {"now7": scan.landmarks}, "scan"
    )


def _picture(path: Path, title: str, scan: NowScan, score: ScanScore) -> None:
    if not len(scan.faces):
        return
    errors = np.full(len(scan.vertices), np.nan)
    errors[score.crop] = score.distances
    axes = face_axes(_surface(scan))
    draw_heat_map(path, scan.vertices, scan.faces, errors, axes=axes, title=title)


def _scan_item(item: NowItem) -> ScanItem:
    details = dict(item.details)
    error, warnings = details.pop("error", None), details.pop("warnings", ())
    value = None if item.distances is None else float(details["median"])
    parts = item.image.replace("\\", "/").split("/")
    return ScanItem(
        item.image,
        item.group,
        value,
        item.distances,
        details,
        tuple(warnings),
        error,
        person=parts[-3] if len(parts) > 2 else item.image,
    )
