"""REALY's files, predictions for them, and key points for any topology."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import RBFInterpolator

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.faces3d import (
    FaceSurface,
    embedded_points,
    landmark_warnings,
    list_predictions,
    read_embedding,
)
from facekit.evaluate.micc import ScanInputs
from facekit.evaluate.pictures import draw_heat_map
from facekit.evaluate.realy import (
    REGIONS,
    SEVEN,
    RealyPrediction,
    Region,
    RegionScore,
    score_realy,
)
from facekit.evaluate.scan_controls import MEAN_FACE, control_faces
from facekit.evaluate.scan_reports import (
    Progress,
    ScanEvaluation,
    ScanItem,
    scan_document,
    strictly,
)
from facekit.geometry.alignment import align_similarity
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.io.meshes import read_mesh
from facekit.io.points3d import read_vertex_mask
from facekit.morphable.model import MorphableModel

_KEY_FOLDER, _SCAN_FOLDER, _SCALE_FILE = (
    "REALY_HIFI3D_keypoints",
    "REALY_scan_region",
    "metrical_scale.txt",
)
_COLUMNS = ("median", "mean", "std", "count", "missing")


class RealyDataset(NamedTuple):
    """The benchmark's folder.

    Attributes:
        root: with the folders of key points and regions, and the scale file.
        scales: (S,) mm in one unit of each person, in the order of the IDs from 1.
        people: the IDs there are.
    """

    root: Path
    scales: np.ndarray
    people: tuple[int, ...]


def open_realy(root: Path) -> RealyDataset:
    """Find the benchmark's files in a folder or its ``data`` folder.

    Raises:
        InputError: something is missing, or the scales do not cover the people.
    """
    for folder in (root, root / "data"):
        if (folder / _SCAN_FOLDER).is_dir():
            break
    else:
        raise InputError(f"{root}: expected REALY's folder with {_SCAN_FOLDER}/, found none")
    try:
        scales = np.loadtxt(folder / _SCALE_FILE, dtype=np.float64, ndmin=1)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / _SCALE_FILE}: expected a number a line ({error})") from error
    names = [p.name for p in (folder / _SCAN_FOLDER).iterdir() if p.is_dir()]
    people = tuple(sorted(int(name) for name in names if name.isdigit()))
    if not people or people[0] < 1 or people[-1] > len(scales):
        raise InputError(
            f"{folder}: expected people 1 to {len(scales)} (one scale each) in {_SCAN_FOLDER}, "
            f"got {len(people)}{f' up to {people[-1]}' if people else ''}"
        )
    return RealyDataset(folder, scales, people)


def read_person(dataset: RealyDataset, person: int) -> tuple[dict[str, Region], np.ndarray]:
    """Read a person's four regions and (85, 3) key points, in the benchmark's unit.

    Raises:
        ItemError: a file is missing or not what it should be.
    """
    try:
        keys = read_mesh(dataset.root / _KEY_FOLDER / f"{person}.obj").vertices
        regions = {}
        for name in REGIONS:
            mesh = read_mesh(dataset.root / _SCAN_FOLDER / str(person) / f"{name}.obj")
            regions[name] = Region(np.asarray(mesh.vertices, np.float64), mesh.faces)
    except InputError as error:
        raise ItemError(str(error)) from error
    if len(keys) != 85:
        raise ItemError(f"{_KEY_FOLDER}/{person}.obj: expected 85 key points, got {len(keys)}")
    return regions, np.asarray(keys, np.float64)


def topology_embedding(
    dataset: RealyDataset, topology: str, model: MorphableModel | None
) -> np.ndarray:
    """Return where the 85 key points lie on the predictions' topology.

    Args:
        dataset: ``TOPOLOGY.txt`` lies in its folder, as the benchmark ships it.
        topology: that name; ``""`` needs a model: the benchmark's key points are then carried
            from the template ``HIFI3D`` (or the first there is) to the model's mean.
        model: of the predictions, or None.

    Raises:
        InputError: no such file, or neither a name nor a model.
    """
    if topology:
        path = dataset.root / f"{topology}.txt"
        if not path.is_file():
            known = sorted(p.stem for p in dataset.root.glob("*.txt") if p.name != _SCALE_FILE)
            raise InputError(
                f"{path}: no key points of topology {topology!r}; there are "
                f"{', '.join(known) or 'none'}. --embedding names a file of your own"
            )
        return _eighty_five(path)
    if model is None:
        raise InputError(
            "realy: the predictions' topology is not known; name the benchmark's with --topology, "
            "a file of 85 key points with --embedding, or the model with --model"
        )
    names = [p.stem for p in sorted(dataset.root.glob("*.obj")) if p.with_suffix(".txt").is_file()]
    names.sort(key=lambda name: (not name.startswith("HIFI3D"), name))
    if not names:
        raise InputError(f"{dataset.root}: no template (T.obj with T.txt) to carry key points from")
    mesh = read_mesh(dataset.root / f"{names[0]}.obj")
    keys = embedded_points(
        _eighty_five(dataset.root / f"{names[0]}.txt"), mesh.vertices, mesh.faces
    )
    return carry_keypoints(keys, model)


def carry_keypoints(keypoints: np.ndarray, model: MorphableModel) -> np.ndarray:
    """Return an embedding (85, 3) of a template's key points on a model's topology.

    The first 68 are iBUG's and lie where the model has them; the others are moved by the
    thin-plate spline that takes the template's 68 to the model's, and then to the closest point
    of its mean.

    Args:
        keypoints: (85, 3) on the template, any unit and pose.
        model: with ``ibug68`` landmarks.

    Raises:
        InputError: the model has no such landmarks.
    """
    marks = model.landmark_map("ibug68")
    target = model.landmark_points("ibug68", model.mean.astype(np.float64))
    first = align_similarity(keypoints[:68], target).apply(keypoints)
    spline = RBFInterpolator(first[:68], target, kernel="thin_plate_spline")
    found = closest_points(build_tree(model.mean, model.faces), spline(first[68:]))
    triangles = np.concatenate([marks.faces, found.triangle])
    weights = np.concatenate([marks.barycentric, found.barycentric]).astype(np.float64)
    return np.column_stack([triangles, weights[:, :2]])


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
    read: tuple[int, Any] = (0, None)
    for done, (name, view, person, path) in enumerate(tasks, start=1):
        if read[0] != person:
            read = (person, _person_or_error(dataset, person))
            if controls and reading.model is not None and not isinstance(read[1], ItemError):
                scale = float(dataset.scales[person - 1])
                _add_controls(others, str(person), scale, read[1], reading.model, embedding)
        item = _item(name, view, path, read[1], dataset.scales[person - 1], embedding, reading,
                     template_mask)  # fmt: skip
        items.append(strictly(item) if reading.strict else item)
        if progress is not None:
            progress(done, len(tasks))
    items += [
        ScanItem(key, error="there is no scan of this ID", unmatched=True) for key in unmatched
    ]
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


def _eighty_five(path: Path) -> np.ndarray:
    table = read_embedding(path)
    if len(table) != 85:
        raise InputError(f"{path}: expected 85 key points, got {len(table)}")
    return table


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
            raise ItemError("no prediction was found")
        face = inputs.prediction(path)
        warnings = face.warnings
        scored = None
        if template_mask is not None:
            keep = np.zeros(len(face.vertices), dtype=bool)
            keep[read_vertex_mask(template_mask, len(face.vertices))] = True
            scored = keep[face.faces].all(axis=1)
        keys = embedded_points(embedding, face.vertices, face.faces)
        regions, marks = person
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
