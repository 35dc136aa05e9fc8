"""The FG2018 challenge on Stirling/ESRC scans, by its own protocol or by NoW's.

Protocol of Z.-H. Feng et al., Evaluation of dense 3D reconstruction from 2D face images in the
wild, FG 2018: a similarity from seven landmarks, no further alignment, the distance of each scan
vertex in a ball about the face to the prediction's surface, and their root mean square (3DRMSE).
RingNet and its successors score the same scans by NoW's protocol instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
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
    list_predictions,
    read_scan,
)
from facekit.evaluate.fg2018_data import find_stirling_scans, match_scan, read_pairs
from facekit.evaluate.interior import looked_through
from facekit.evaluate.jobs import counter, run_pieces
from facekit.evaluate.now import CROP_FACTOR as NOW_CROP_FACTOR
from facekit.evaluate.now import (
    NowItem,
    NowOptions,
    NowPrediction,
    aggregate,
    crop_scan,
    score_scan,
)
from facekit.evaluate.now_alignment import procrustes
from facekit.evaluate.scan_controls import MEAN_FACE, control_faces
from facekit.evaluate.scan_inputs import ScanInputs
from facekit.evaluate.scan_reports import (
    Progress,
    ScanEvaluation,
    ScanItem,
    scan_document,
    strictly,
    summary,
)
from facekit.export.heat import draw_heat_map
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.io.atomic import write_text
from facekit.metrics.distances import root_mean_square

CROP_FACTOR = 1.2
PROTOCOLS = ("fg2018", "now")


@dataclass(frozen=True)
class StirlingOptions:
    """How predictions are scored.

    Attributes:
        protocol: ``fg2018`` (3DRMSE after the landmarks' similarity) or ``now``.
        metrical: with ``now``, hold the prediction's own scale.
    """

    protocol: str = "fg2018"
    metrical: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise InputError(
                f"protocol: expected one of {', '.join(PROTOCOLS)}, got {self.protocol!r}"
            )
        if self.metrical and self.protocol != "now":
            raise InputError("metrical: only protocol now has a metrical variant")


class VertexDistances(NamedTuple):
    """Distances (n,) mm of the scan's vertices ``crop`` (n,)."""

    crop: np.ndarray
    distances: np.ndarray


def score_fg2018(scan: FaceSurface, prediction: FaceSurface) -> VertexDistances:
    """Score one prediction by the challenge's protocol.

    The similarity may mirror, as in the challenge; what its scale was does not matter.

    Args:
        scan: with ``now7`` landmarks; every vertex of the crop counts once.
        prediction: with ``now7`` landmarks.

    Raises:
        InputError: no scan vertex near the landmarks.
        ItemError: landmarks are missing.
    """
    target, source = scan.marks("now7"), prediction.marks("now7")
    crop = crop_scan(scan.vertices, target, factor=CROP_FACTOR)
    fit = procrustes(source, target)
    tree = build_tree(fit.apply(prediction.vertices), prediction.faces)
    found = closest_points(tree, scan.vertices[crop])
    return VertexDistances(crop, np.sqrt(found.squared_distance))


def score_stirling(
    scan: FaceSurface, prediction: FaceSurface, options: StirlingOptions
) -> VertexDistances:
    """Score one prediction by either protocol; surfaces are in mm already."""
    if options.protocol == "fg2018":
        return score_fg2018(scan, prediction)
    face = NowPrediction(prediction.vertices, prediction.faces, prediction.marks("now7"))
    score = score_scan(
        scan.vertices, scan.marks("now7"), face, options=NowOptions(metrical=options.metrical)
    )
    return VertexDistances(score.crop, score.distances)


def evaluate_stirling(
    predictions: Path,
    data: Path,
    options: StirlingOptions | None = None,
    *,
    inputs: ScanInputs | None = None,
    pairs: Path | None = None,
    distances: Path | None = None,
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Score predictions of Stirling's scans.

    A group is a prediction's first folder (``HQ``, ``LQ``). With ``fg2018`` an item's value is
    its 3DRMSE and the summary is over items; with ``now`` it is its mean distance, and the
    summary is over the distances of all items together, as NoW does.

    Args:
        predictions: folder of meshes with seven landmarks, or of fits.
        data: folder of scans with ``.lnd`` landmarks.
        options: the protocol.
        inputs: how files are read.
        pairs: file that says which prediction belongs to which scan (``read_pairs``); without
            one names decide, and a scan without any prediction is missing.
        distances: folder for the challenge's ``NAME_distances.txt``, or None.
        progress: called with items done and their number.

    Raises:
        InputError: a folder or the list is missing or empty.
    """
    chosen, reading = options or StirlingOptions(), inputs or ScanInputs()
    scans = find_stirling_scans(data)
    found = list_predictions(predictions)
    tasks, items = _tasks(found, list(scans), pairs)
    controls: dict[str, list[ScanItem]] = {}
    pieces = [list(group) for _, group in groupby(tasks, key=lambda task: task[1])]
    done = counter([len(piece) for piece in pieces], progress)
    context = _Context(scans, chosen, reading, distances)
    for scored, rows in run_pieces(_score_piece, context, pieces, jobs=reading.jobs, done=done):
        items += scored
        for name, row in rows.items():
            controls.setdefault(name, []).extend(row)
    items.sort(key=lambda item: item.unmatched)
    protocol = {
        "name": "fg2018",
        "protocol": chosen.protocol,
        "metrical": chosen.metrical,
        "crop_factor": _factor(chosen),
        "unit": reading.unit,
        "data_unit": reading.data_unit,
        "strict": reading.strict,
        "model": None if reading.model is None else reading.model.name,
    }
    document = scan_document(items, protocol=protocol, controls=controls)
    if chosen.protocol == "now":
        _pool(document, items, controls)
    return ScanEvaluation(items, document, controls)


def _tasks(
    found: Mapping[str, Path], scans: list[str], pairs: Path | None
) -> tuple[list[tuple[str, str, Path | None]], list[ScanItem]]:
    """Return (key, scan, file or None) sorted by scan, and items of what has no scan."""
    tasks: list[tuple[str, str, Path | None]] = []
    strangers = []
    if pairs is not None:
        for key, scan in read_pairs(pairs):
            if scan in scans:
                tasks.append((key, scan, found.get(key)))
            else:
                text = f"the list names a scan that is not there: {scan}"
                strangers.append(ScanItem(key, error=text, unmatched=True))
    else:
        for key, path in found.items():
            try:
                tasks.append((key, match_scan(key, scans), path))
            except ItemError as error:
                strangers.append(ScanItem(key, error=str(error), unmatched=True))
        seen = {scan for _, scan, _ in tasks}
        tasks += [(scan, scan, None) for scan in scans if scan not in seen]
    return sorted(tasks, key=lambda task: (task[1], task[0])), strangers


class _Context(NamedTuple):
    """What all scans of one evaluation share."""

    scans: Mapping[str, tuple[Path, Path | None]]
    options: StirlingOptions
    inputs: ScanInputs
    distances: Path | None


def _score_piece(
    context: _Context, tasks: list[tuple[str, str, Path | None]]
) -> tuple[list[ScanItem], dict[str, list[ScanItem]]]:
    """Score the predictions of one scan, and its controls."""
    name, inputs = tasks[0][1], context.inputs
    scan = _open(context.scans[name], context.options, inputs)
    rows: dict[str, list[ScanItem]] = {}
    if inputs.model is not None and isinstance(scan, FaceSurface):
        _add_controls(rows, name, scan, context.options, inputs)
    items = []
    for key, _, path in tasks:
        item = _item(key, path, scan, context.options, inputs, context.distances)
        item = replace(item, person=name)
        items.append(strictly(item) if inputs.strict else item)
    return items, rows


def _open(
    files: tuple[Path, Path | None], options: StirlingOptions, inputs: ScanInputs
) -> FaceSurface | ItemError:
    """Read a scan, and look for inner surfaces in what is scored of it."""
    try:
        scan = read_scan(files[0], unit=inputs.data_unit, points=files[1])
    except ItemError as error:
        return error
    try:
        crop = crop_scan(scan.vertices, scan.marks("now7"), factor=_factor(options))
    except FacekitError:
        return scan  # scoring will say what is wrong
    return looked_through(scan, crop)


def _factor(options: StirlingOptions) -> float:
    return CROP_FACTOR if options.protocol == "fg2018" else NOW_CROP_FACTOR


def _item(
    key: str,
    path: Path | None,
    scan: FaceSurface | ItemError,
    options: StirlingOptions,
    inputs: ScanInputs,
    distances: Path | None,
) -> ScanItem:
    group = key.split("/")[0] if "/" in key else ""
    warnings: tuple[str, ...] = ()
    try:
        if isinstance(scan, ItemError):
            raise scan
        if path is None:
            raise ItemError(NO_PREDICTION)
        face = inputs.prediction(path)
        warnings = (*(f"scan: {text}" for text in scan.warnings), *face.warnings)
        check_order(face.marks("now7"), scan.marks("now7"), "now7")
        warnings += landmark_warnings(face.marks("now7"), scan.marks("now7"), "now7")
        result = score_stirling(scan, face, options)
    except FacekitError as error:
        return ScanItem(key, group, warnings=warnings, error=str(error))
    if inputs.pictures is not None:
        errors = np.full(len(scan.vertices), np.nan)
        errors[result.crop] = result.distances
        file = inputs.pictures / f"{key}.png"
        draw_heat_map(file, scan.vertices, scan.faces, errors, axes=face_axes(scan), title=key)
    if distances is not None:
        rows = zip(result.crop, result.distances, strict=True)
        text = "".join(f"{index} {value:.6f}\n" for index, value in rows)
        write_text(distances / f"{key}_distances.txt", text)
    return _scored(key, group, result, options, warnings)


def _scored(
    key: str,
    group: str,
    result: VertexDistances,
    options: StirlingOptions,
    warnings: tuple[str, ...] = (),
) -> ScanItem:
    rmse, mean = root_mean_square(result.distances), float(result.distances.mean())
    details = {
        "rmse": rmse,
        "mean": mean,
        "median": float(np.median(result.distances)),
        "points": len(result.crop),
    }
    value = rmse if options.protocol == "fg2018" else mean
    return ScanItem(key, group, value, result.distances.astype(np.float32), details, warnings)


def _add_controls(
    rows: dict[str, list[ScanItem]],
    name: str,
    scan: FaceSurface,
    options: StirlingOptions,
    inputs: ScanInputs,
) -> None:
    if inputs.model is None:
        return
    try:
        crop = crop_scan(scan.vertices, scan.marks("now7"), factor=_factor(options))
        faces = control_faces(inputs.model, scan, crop, metrical=options.metrical)
        for control, face in faces.items():
            item = _scored(name, "", score_stirling(scan, face, options), options)
            rows.setdefault(control, []).append(item)
    except FacekitError as error:
        rows.setdefault(MEAN_FACE, []).append(ScanItem(name, error=str(error)))


def _pool(
    document: dict[str, Any],
    items: Sequence[ScanItem],
    controls: Mapping[str, Sequence[ScanItem]],
) -> None:
    """Put NoW's summary, over all distances together, in the place of that over items."""

    def pooled(rows: Sequence[ScanItem]) -> dict[str, Any]:
        matched = [row for row in rows if not row.unmatched]
        numbers = aggregate([NowItem(r.name, r.group, r.distances, {}) for r in matched])
        return summary(rows) | numbers

    document["metrics"] = pooled(items)
    document["groups"] = {g: pooled([i for i in items if i.group == g]) for g in document["groups"]}
    document["controls"] = {name: pooled(rows) for name, rows in controls.items()}
