"""A folder of predictions against REALY's scans, and what a report has of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import FacekitError, ItemError
from facekit.evaluate.embedding import embedded_points
from facekit.evaluate.faces3d import (
    NO_PREDICTION,
    FaceSurface,
    check_order,
    landmark_warnings,
    list_predictions,
)
from facekit.evaluate.jobs import counter, run_pieces
from facekit.evaluate.realy import (
    REGIONS,
    SEVEN,
    RealyPrediction,
    Region,
    RegionScore,
    score_realy,
)
from facekit.evaluate.realy_dataset import RealyDataset, read_person
from facekit.evaluate.scan_controls import MEAN_FACE, control_faces
from facekit.evaluate.scan_inputs import ScanInputs
from facekit.evaluate.scan_reports import (
    Progress,
    ScanEvaluation,
    ScanItem,
    scan_document,
    stranger,
    strictly,
)
from facekit.export.heat import draw_heat_map
from facekit.io.points3d import read_vertex_mask
from facekit.morphable.model import MorphableModel

_COLUMNS = ("median", "mean", "std", "count", "missing")


def evaluate_realy(
    predictions: Path,
    dataset: RealyDataset,
    embedding: np.ndarray,
    *,
    inputs: ScanInputs | None = None,
    template_mask: Path | None = None,
    controls: bool = True,
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Score predictions ``ID`` or ``ID_VIEW`` (mesh files or fit folders).

    An item's value is the mean of its four regions in mm, so that the mean over items is the
    benchmark's "all"; ``regions`` of the document has each region's median, mean and standard
    deviation (ddof 1) over items.

    Args:
        predictions: the folder.
        dataset: of ``open_realy``.
        embedding: (85, 3) key points of the predictions' topology.
        inputs: how files are read.
        template_mask: file of the prediction's vertices that errors are measured to, or None.
        controls: also score what ``inputs.model`` gives without a photograph.
        progress: called with items done and their number.

    Raises:
        InputError: no predictions, or the mask cannot be read.
    """
    reading = inputs or ScanInputs()
    tasks, unmatched = _tasks(list_predictions(predictions), dataset)
    items: list[ScanItem] = []
    others: dict[str, list[ScanItem]] = {}
    pieces = [list(group) for _, group in groupby(tasks, key=lambda task: task[2])]
    done = counter([len(piece) for piece in pieces], progress)
    context = _Context(dataset, embedding, reading, template_mask, controls)
    for scored, rows in run_pieces(_score_piece, context, pieces, jobs=reading.jobs, done=done):
        items += scored
        for name, row in rows.items():
            others.setdefault(name, []).extend(row)
    items += [stranger(key, "scan", map(str, dataset.people)) for key in unmatched]
    protocol = {
        "name": "realy",
        "version": 1,
        "unit": reading.unit,
        "template_mask": None if template_mask is None else template_mask.name,
        "strict": reading.strict,
        "model": None if reading.model is None else reading.model.name,
    }
    regions = {name: _region_summary(items, name) for name in REGIONS}
    document = scan_document(items, protocol=protocol, controls=others, extra={"regions": regions})
    return ScanEvaluation(items, document, others)


class _Context(NamedTuple):
    """What all people of one evaluation share."""

    dataset: RealyDataset
    embedding: np.ndarray
    inputs: ScanInputs
    template_mask: Path | None
    controls: bool


def _score_piece(
    context: _Context, tasks: list[tuple[str, str, int, Path | None]]
) -> tuple[list[ScanItem], dict[str, list[ScanItem]]]:
    """Score the predictions of one person, and the controls."""
    person, inputs = tasks[0][2], context.inputs
    scale = float(context.dataset.scales[person - 1])
    data = _person_or_error(context.dataset, person)
    rows: dict[str, list[ScanItem]] = {}
    if context.controls and inputs.model is not None and not isinstance(data, ItemError):
        _add_controls(rows, str(person), scale, data, inputs.model, context.embedding)
    items = []
    for name, view, _, path in tasks:
        item = _item(name, view, path, data, scale, context.embedding, inputs,
                     context.template_mask)  # fmt: skip
        item = replace(item, person=str(person))
        items.append(strictly(item) if inputs.strict else item)
    return items, rows


def _tasks(
    found: Mapping[str, Path], dataset: RealyDataset
) -> tuple[list[tuple[str, str, int, Path | None]], list[str]]:
    """Return (name, view, person, file or None) in the order of IDs, and what has no scan."""
    by_view: dict[tuple[int, str], tuple[str, Path]] = {}
    unmatched = []
    for key, path in found.items():
        match = re.fullmatch(r"(\d+)(?:_(.+))?", key)
        if match and int(match[1]) in dataset.people:
            by_view[int(match[1]), match[2] or ""] = (key, path)
        else:
            unmatched.append(key)
    views = sorted({view for _, view in by_view}) or [""]
    tasks: list[tuple[str, str, int, Path | None]] = []
    for person in dataset.people:
        for view in views:
            name = f"{person}_{view}" if view else str(person)
            key, file = by_view.get((person, view), (name, None))
            tasks.append((key, view, person, file))
    return tasks, unmatched


def _person_or_error(
    dataset: RealyDataset, person: int
) -> tuple[dict[str, Region], np.ndarray] | ItemError:
    try:
        return read_person(dataset, person)
    except ItemError as error:
        return error


def _item(
    name: str,
    view: str,
    path: Path | None,
    person: tuple[dict[str, Region], np.ndarray] | ItemError,
    scale: float,
    embedding: np.ndarray,
    inputs: ScanInputs,
    template_mask: Path | None,
) -> ScanItem:
    warnings: tuple[str, ...] = ()
    try:
        if isinstance(person, ItemError):
            raise person
        if path is None:
            raise ItemError(NO_PREDICTION)
        face = inputs.prediction(path)
        warnings = face.warnings
        scored = None
        if template_mask is not None:
            keep = np.zeros(len(face.vertices), dtype=bool)
            keep[read_vertex_mask(template_mask, len(face.vertices))] = True
            scored = keep[face.faces].all(axis=1)
        keys = embedded_points(embedding, face.vertices, face.faces)
        regions, marks = person
        check_order(keys[list(SEVEN)], marks[list(SEVEN)], "key point")
        warnings += landmark_warnings(keys[list(SEVEN)], marks[list(SEVEN)], "key point")
        scores, fit = score_realy(
            RealyPrediction(face.vertices, face.faces, keys, scored), regions, marks
        )
    except FacekitError as error:
        return ScanItem(name, view, warnings=warnings, error=str(error))
    if inputs.pictures is not None:
        _picture(inputs.pictures / f"{name}.png", name, scores, marks, scale)
    details = {region: scale * score.error for region, score in scores.items()}
    return ScanItem(
        name,
        view,
        float(np.mean(list(details.values()))),
        _distances(scores, scale),
        details | {"scale": fit.scale * scale},
        warnings,
    )


def _add_controls(
    rows: dict[str, list[ScanItem]],
    name: str,
    scale: float,
    data: tuple[dict[str, Region], np.ndarray],
    model: MorphableModel,
    embedding: np.ndarray,
) -> None:
    regions, marks = data
    points = scale * np.concatenate([regions[region].vertices for region in REGIONS])
    scan = FaceSurface(points, np.zeros((1, 3), np.int32), {"ibug68": scale * marks[:68]}, name)
    try:
        faces = control_faces(model, scan, np.arange(len(points)))
    except FacekitError as error:
        rows.setdefault(MEAN_FACE, []).append(ScanItem(name, error=str(error)))
        return
    for control, face in faces.items():
        try:
            keys = embedded_points(embedding, face.vertices, face.faces)
            scores, _ = score_realy(
                RealyPrediction(face.vertices, face.faces, keys), regions, marks
            )
            value = scale * float(np.mean([score.error for score in scores.values()]))
            item = ScanItem(name, value=value, distances=_distances(scores, scale))
        except FacekitError as error:
            item = ScanItem(name, error=str(error))
        rows.setdefault(control, []).append(item)


def _distances(scores: Mapping[str, RegionScore], scale: float) -> np.ndarray:
    parts = [scores[region].distances for region in REGIONS]
    return (scale * np.concatenate(parts)).astype(np.float32)


def _region_summary(items: list[ScanItem], region: str) -> dict[str, Any]:
    values = np.array([item.details[region] for item in items if item.value is not None])
    missing = sum(item.value is None and not item.unmatched for item in items)
    if not len(values):
        return dict.fromkeys(_COLUMNS) | {"count": 0, "missing": missing}
    return {
        "median": float(np.median(values)),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "count": len(values),
        "missing": missing,
    }


def _picture(
    path: Path, title: str, scores: Mapping[str, RegionScore], marks: np.ndarray, scale: float
) -> None:
    vertices, faces, errors = [], [], []
    count = 0
    for region in REGIONS:
        score = scores[region]
        vertices.append(scale * score.vertices)
        faces.append(score.faces + count)
        errors.append(scale * score.distances)
        count += len(score.vertices)
    right, left = marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)
    across = (left - right) / np.linalg.norm(left - right)
    up = (right + left) / 2 - marks[48:60].mean(axis=0)
    up = up - (up @ across) * across
    up /= np.linalg.norm(up)
    draw_heat_map(
        path,
        np.concatenate(vertices),
        np.concatenate(faces),
        np.concatenate(errors),
        axes=(up, np.cross(across, up)),
        title=title,
    )
