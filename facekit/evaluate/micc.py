"""MICC Florence and FaceWarehouse: folders of scans and predictions for the estimator."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.estimator import (
    EstimatorConfig,
    EstimatorScore,
    average_shape,
    crop_face,
    face_axes,
    score_estimator,
)
from facekit.evaluate.faces3d import (
    MESH_SUFFIXES,
    NO_PREDICTION,
    FaceSurface,
    list_predictions,
    read_scan,
)
from facekit.evaluate.interior import looked_through
from facekit.evaluate.jobs import counter, run_pieces
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


class _Task(NamedTuple):
    """One item to score: its name, group, scan's key, files (none: missing) and person."""

    name: str
    group: str
    scan: str
    files: tuple[Path, ...]
    person: str


def find_scans(data: Path, *, per_folder: bool) -> dict[str, Path]:
    """Find scans: key to mesh file.

    Args:
        data: the folder.
        per_folder: True: each folder or mesh directly in ``data`` is a subject; of a folder's
            meshes one whose path names ``frontal1`` is taken, then ``frontal``, then the first.
            False: every mesh is a scan, by its path without suffix.

    Raises:
        InputError: no such folder, or no scan in it.
    """
    if not data.is_dir():
        raise InputError(f"{data}: expected a folder of scans, found none")
    meshes = sorted(
        p
        for p in data.rglob("*")
        if p.suffix.lower() in MESH_SUFFIXES and p.is_file() and not p.name.startswith(".")
    )
    found: dict[str, Path] = {}
    if not per_folder:
        found = {p.relative_to(data).with_suffix("").as_posix(): p for p in meshes}
    else:
        by_subject: dict[str, list[Path]] = {}
        for path in meshes:
            parts = path.relative_to(data).parts
            key = parts[0] if len(parts) > 1 else path.stem
            by_subject.setdefault(key, []).append(path)
        for key, paths in by_subject.items():
            rank = [
                (0 if "frontal1" in str(p) else 1 if "frontal" in str(p) else 2, p) for p in paths
            ]
            found[key] = min(rank)[1]
    if not found:
        raise InputError(f"{data}: expected scans as {' '.join(MESH_SUFFIXES)}, found none")
    return found


def evaluate_micc(
    predictions: Path,
    data: Path,
    config: EstimatorConfig,
    *,
    inputs: ScanInputs | None = None,
    preset: str = "",
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Score predictions of MICC Florence's subjects.

    Predictions are ``SUBJECT.obj``, ``SUBJECT/VIDEO.obj`` or ``SUBJECT/VIDEO/FRAME.obj`` (or
    folders of ``facekit fit`` in their place); a group is a video. A subject that lacks a video
    which others have is missing there. ``subject_1`` and ``subject_01`` are one subject.

    Raises:
        InputError: a folder is missing or empty.
    """
    scans = find_scans(data, per_folder=True)
    found = list_predictions(predictions)
    names = _same_subject(scans)
    by_video: dict[tuple[str, str], list[str]] = {}
    unmatched = []
    for key in found:
        parts = key.split("/")
        subject = names(parts[0])
        if subject is None:
            unmatched.append(key)
        else:
            video = parts[1] if len(parts) > 1 else ""
            by_video.setdefault((subject, video), []).append(key)
    videos = list(dict.fromkeys(video for _, video in by_video)) or [""]
    tasks = []
    for subject in scans:
        for video in videos:
            keys = by_video.get((subject, video), [])
            if not keys or config.per_video != "each":
                name = f"{subject}/{video}".rstrip("/")
                tasks.append(_Task(name, video, subject, tuple(found[k] for k in keys), subject))
            else:
                tasks += [_Task(k, video, subject, (found[k],), subject) for k in keys]
    return _evaluate("micc", tasks, unmatched, scans, config, inputs, preset, None, progress)


def evaluate_facewarehouse(
    predictions: Path,
    data: Path,
    config: EstimatorConfig,
    *,
    inputs: ScanInputs | None = None,
    preset: str = "",
    mask: Path | None = None,
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Score predictions of FaceWarehouse's meshes (or of any folder of meshes).

    A prediction has its scan's path: ``ID/EXPRESSION.obj`` or that folder of ``facekit fit``; a
    group is an identity.

    Args:
        predictions, data: the two folders.
        config: the estimator.
        inputs: how files are read.
        preset: the configuration's name, for the report.
        mask: file of the scans' vertices that are scored (``read_vertex_mask``), or None.
        progress: called with items done and their number.

    Raises:
        InputError: a folder is missing or empty, or the mask cannot be read.
    """
    if mask is not None and not mask.is_file():
        raise InputError(f"{mask}: expected a file of vertex indices, found none")
    scans = find_scans(data, per_folder=False)
    found = list_predictions(predictions)
    unmatched = [key for key in found if key not in scans]
    tasks = [
        _Task(
            key,
            key.rpartition("/")[0],
            key,
            (found[key],) if key in found else (),
            key.rpartition("/")[0],
        )
        for key in scans
    ]
    return _evaluate(
        "facewarehouse", tasks, unmatched, scans, config, inputs, preset, mask, progress
    )


def _evaluate(
    benchmark: str,
    tasks: Sequence[_Task],
    unmatched: Sequence[str],
    scans: Mapping[str, Path],
    config: EstimatorConfig,
    inputs: ScanInputs | None,
    preset: str,
    mask_file: Path | None,
    progress: Progress | None,
) -> ScanEvaluation:
    reading = inputs or ScanInputs()
    scale: float | None = None
    if config.scale == "global":
        free = replace(config, scale="per-mesh")
        plain = replace(reading, pictures=None, strict=False)
        items, _ = _score(tasks, scans, free, plain, None, mask_file, None, controls=False)
        sizes = [i.details["scale"] for i in items if i.value is not None]
        scale = float(np.median(sizes)) if sizes else None
    items, controls = _score(tasks, scans, config, reading, scale, mask_file, progress)
    items += [stranger(key, "scan", scans) for key in unmatched]
    protocol = {
        "name": benchmark,
        "preset": preset,
        **asdict(config),
        "unit": reading.unit,
        "data_unit": reading.data_unit,
        "global_scale": scale,
        "mask": None if mask_file is None else mask_file.name,
        "strict": reading.strict,
        "model": None if reading.model is None else reading.model.name,
    }
    document = scan_document(items, protocol=protocol, controls=controls)
    return ScanEvaluation(items, document, controls)


class _Context(NamedTuple):
    """What all scans of one evaluation share."""

    scans: Mapping[str, Path]
    config: EstimatorConfig
    inputs: ScanInputs
    scale: float | None
    mask_file: Path | None
    controls: bool


def _score(
    tasks: Sequence[_Task],
    scans: Mapping[str, Path],
    config: EstimatorConfig,
    inputs: ScanInputs,
    scale: float | None,
    mask_file: Path | None,
    progress: Progress | None,
    *,
    controls: bool = True,
) -> tuple[list[ScanItem], dict[str, list[ScanItem]]]:
    """Score tasks, those of one scan together, in as many processes as ``inputs`` says."""
    pieces = [list(group) for _, group in groupby(tasks, key=lambda task: task.scan)]
    done = counter([len(piece) for piece in pieces], progress)
    context = _Context(scans, config, inputs, scale, mask_file, controls)
    items: list[ScanItem] = []
    rows: dict[str, list[ScanItem]] = {}
    for found, others in run_pieces(_score_piece, context, pieces, jobs=inputs.jobs, done=done):
        items += found
        for name, control in others.items():
            rows.setdefault(name, []).extend(control)
    return items, rows


def _score_piece(
    context: _Context, tasks: list[_Task]
) -> tuple[list[ScanItem], dict[str, list[ScanItem]]]:
    name, inputs = tasks[0].scan, context.inputs
    scan = _open(context.scans[name], inputs)
    mask: np.ndarray | None = None
    rows: dict[str, list[ScanItem]] = {}
    if isinstance(scan, FaceSurface):
        if context.mask_file is not None:
            mask = read_vertex_mask(context.mask_file, len(scan.vertices))
        scan = _checked(scan, context.config, mask)
        if context.controls and inputs.model is not None:
            _add_controls(rows, name, scan, context.config, inputs.model, mask)
    items = [_score_task(task, scan, context.config, inputs, context.scale, mask) for task in tasks]
    return [strictly(item) if inputs.strict else item for item in items], rows


def _checked(
    face: FaceSurface, config: EstimatorConfig, mask: np.ndarray | None = None
) -> FaceSurface:
    """Return a face with a warning when much of what is scored of it lies behind the skin."""
    try:
        crop = crop_face(face, config)
    except FacekitError:
        return face  # no landmarks, or scoring will say what is wrong
    return looked_through(face, crop if mask is None else np.intersect1d(crop, mask))


def _open(path: Path, inputs: ScanInputs) -> FaceSurface | ItemError:
    try:
        return read_scan(path, unit=inputs.data_unit)
    except ItemError as error:
        return error


def _score_task(
    task: _Task,
    scan: FaceSurface | ItemError,
    config: EstimatorConfig,
    inputs: ScanInputs,
    scale: float | None,
    mask: np.ndarray | None,
) -> ScanItem:
    warnings: tuple[str, ...] = ()
    try:
        if isinstance(scan, ItemError):
            raise scan
        if not task.files:
            raise ItemError(NO_PREDICTION)
        faces = [inputs.prediction(path, shape=config.shape) for path in task.files]
        if config.direction == "symmetric":  # then the prediction's points count as the scan's do
            faces = [_checked(face, config) for face in faces]
        if config.per_video == "average-shape":
            faces = [average_shape(faces, config.landmarks)]
        warnings = tuple(f"scan: {text}" for text in scan.warnings)
        warnings += tuple(dict.fromkeys(text for face in faces for text in face.warnings))
        scores = [score_estimator(scan, f, config, fixed_scale=scale, mask=mask) for f in faces]
    except FacekitError as error:
        return ScanItem(
            task.name, task.group, warnings=warnings, error=str(error), person=task.person
        )
    warnings += tuple(dict.fromkeys(text for score in scores for text in score.warnings))
    if inputs.pictures is not None:
        path = inputs.pictures / f"{task.name}.png"
        _picture(path, task.name, scan, scores[0])
    return ScanItem(
        task.name,
        task.group,
        float(np.mean([score.value for score in scores])),
        np.concatenate([score.distances for score in scores]).astype(np.float32),
        _details(scores, len(task.files)),
        warnings,
        person=task.person,
    )


def _details(scores: Sequence[EstimatorScore], files: int) -> dict[str, object]:
    distances = np.concatenate([score.distances for score in scores])
    steps = [score.icp.iterations for score in scores if score.icp is not None]
    return {
        "median": float(np.median(distances)),
        "mean": float(distances.mean()),
        "rmse": float(np.sqrt(np.mean(distances**2))),
        "points": len(distances),
        "scale": float(np.median([score.transform.scale for score in scores])),
        "iterations": max(steps) if steps else 0,
        "converged": all(score.icp is None or score.icp.converged for score in scores),
        "predictions": files,
    }


def _add_controls(
    rows: dict[str, list[ScanItem]],
    name: str,
    scan: FaceSurface,
    config: EstimatorConfig,
    model: MorphableModel,
    mask: np.ndarray | None,
) -> None:
    """Score the model's controls on a scan; one that cannot be scored says why."""
    # A control has the model's topology and its own scale.
    plain = replace(config, correspondence="closest")
    try:
        crop = crop_face(scan, plain)
        seen = crop if mask is None else np.intersect1d(crop, mask)
        faces = control_faces(model, scan, seen, metrical=config.scale == "none")
    except FacekitError as error:
        rows.setdefault(MEAN_FACE, []).append(ScanItem(name, error=str(error)))
        return
    for control, face in faces.items():
        try:
            result = score_estimator(scan, face, plain, mask=mask)
            distances = result.distances.astype(np.float32)
            item = ScanItem(name, value=result.value, distances=distances)
        except FacekitError as error:
            item = ScanItem(name, error=str(error))
        rows.setdefault(control, []).append(item)


def _picture(path: Path, title: str, scan: FaceSurface, score: EstimatorScore) -> None:
    errors = np.full(len(scan.vertices), np.nan)
    errors[score.crop] = score.distances
    axes = face_axes(scan) if scan.landmarks else (np.array([0, 1, 0]), np.array([0, 0, 1]))
    draw_heat_map(path, scan.vertices, scan.faces, errors, axes=axes, title=title)


def _same_subject(scans: Mapping[str, Path]) -> Callable[[str], str | None]:
    """Return a function from a prediction's subject to the scan's key, or None."""
    numbers: dict[int, list[str]] = {}
    for key in scans:
        match = re.search(r"(\d+)$", key)
        if match:
            numbers.setdefault(int(match[1]), []).append(key)

    def find(name: str) -> str | None:
        if name in scans:
            return name
        match = re.fullmatch(r"(?:subject_?)?(\d+)", name, flags=re.IGNORECASE)
        same = numbers.get(int(match[1]), []) if match else []
        return same[0] if len(same) == 1 else None

    return find
