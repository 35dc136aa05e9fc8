"""The FG2018 challenge on Stirling/ESRC scans, by its own protocol or by NoW's.

Protocol of Z.-H. Feng et al., Evaluation of dense 3D reconstruction from 2D face images in the
wild, FG 2018: a similarity from seven landmarks, no further alignment, the distance of each scan
vertex in a ball about the face to the prediction's surface, and their root mean square (3DRMSE).
RingNet and its successors score the same scans by NoW's protocol instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.estimator import face_axes
from facekit.evaluate.faces3d import (
    MESH_SUFFIXES,
    FaceSurface,
    landmark_warnings,
    list_predictions,
    read_scan,
)
from facekit.evaluate.micc import ScanInputs
from facekit.evaluate.now import (
    NowItem,
    NowOptions,
    NowPrediction,
    aggregate,
    crop_scan,
    score_scan,
)
from facekit.evaluate.now_alignment import procrustes
from facekit.evaluate.pictures import draw_heat_map
from facekit.evaluate.scan_controls import MEAN_FACE, control_faces
from facekit.evaluate.scan_reports import (
    Progress,
    ScanEvaluation,
    ScanItem,
    scan_document,
    strictly,
    summary,
)
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


def find_stirling_scans(data: Path) -> dict[str, tuple[Path, Path | None]]:
    """Find scans anywhere under a folder: stem to mesh and its ``.lnd`` (or None).

    The landmarks lie beside the scan, or in a tree of their own under the same stem, as the
    challenge's annotations do.

    Raises:
        InputError: no such folder, no scan, or two scans of one name.
    """
    if not data.is_dir():
        raise InputError(f"{data}: expected the folder of Stirling scans, found none")
    files = [p for p in sorted(data.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    marks = {p.stem.casefold(): p for p in files if p.suffix.lower() == ".lnd"}
    scans: dict[str, tuple[Path, Path | None]] = {}
    for path in files:
        if path.suffix.lower() in MESH_SUFFIXES:
            if path.stem in scans:
                raise InputError(f"{path}: a second scan named {path.stem}")
            scans[path.stem] = (path, marks.get(path.stem.casefold()))
    if not scans:
        raise InputError(f"{data}: expected scans as {' '.join(MESH_SUFFIXES)}, found none")
    return scans


def match_scan(key: str, scans: Sequence[str]) -> str:
    """Return the scan that a prediction's key belongs to.

    The key's last part, or one of its folders, is a scan's name; or its subject (what stands
    before the first underscore, in any case) is that of one scan, or of one neutral one (``_N``).

    Raises:
        ItemError: none fits, or several do.
    """
    parts = [*reversed(key.split("/"))]
    exact = next((part for part in parts if part in scans), None)
    if exact is not None:
        return exact
    for part in parts:
        subject = part.split("_")[0].casefold()
        same = [name for name in scans if name.split("_")[0].casefold() == subject]
        neutral = [name for name in same if name.casefold().endswith("_n")]
        for choice in (same, neutral):
            if len(choice) == 1:
                return choice[0]
        if same:
            raise ItemError(
                f"several scans may be meant: {', '.join(same)}; --list says which belongs to which"
            )
    raise ItemError("there is no scan of this name")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a list of pairs: prediction and scan in each line, with a blank or comma between.

    Raises:
        InputError: no such file, or a line that is no pair.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a list of pairs ({error})") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if words and len(words) != 2:
            raise InputError(f"{path}: line {number}: expected prediction and scan, got {line!r}")
        if words:
            pairs.append((words[0], words[1]))
    if not pairs:
        raise InputError(f"{path}: expected pairs of prediction and scan, found none")
    return pairs


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
    name = ""
    current: FaceSurface | ItemError = ItemError("no scan was read")
    for done, (key, owner, path) in enumerate(tasks, start=1):
        if owner != name:
            name, current = owner, _open(scans[owner], reading)
            if reading.model is not None and isinstance(current, FaceSurface):
                _add_controls(controls, name, current, chosen, reading)
        item = _item(key, path, current, chosen, reading, distances)
        items.append(strictly(item) if reading.strict else item)
        if progress is not None:
            progress(done, len(tasks))
    items.sort(key=lambda item: item.unmatched)
    protocol = {
        "name": "fg2018",
        "protocol": chosen.protocol,
        "metrical": chosen.metrical,
        "crop_factor": CROP_FACTOR if chosen.protocol == "fg2018" else 1.4,
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


def _open(files: tuple[Path, Path | None], inputs: ScanInputs) -> FaceSurface | ItemError:
    try:
        return read_scan(files[0], unit=inputs.data_unit, points=files[1])
    except ItemError as error:
        return error


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
            raise ItemError("no prediction was found")
        face = inputs.prediction(path)
        warnings = (*(f"scan: {text}" for text in scan.warnings), *face.warnings)
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
        factor = CROP_FACTOR if options.protocol == "fg2018" else 1.4
        crop = crop_scan(scan.vertices, scan.marks("now7"), factor=factor)
        faces = control_faces(inputs.model, scan, crop)
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
