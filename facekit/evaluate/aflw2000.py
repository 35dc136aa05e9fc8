"""AFLW2000-3D: normalised mean error of 68 points or of dense faces, by bins of yaw.

Protocol of X. Zhu et al., Face alignment across large poses: a 3D solution, CVPR 2016, as 3DDFA's
evaluation has it: the mean distance over sqrt(w h), w and h the extent of the truth's 68 points;
bins |yaw| <= 30, 30 to 60 and above 60 degrees; the overall number is the mean of the three bins'
means, and its deviation that of the three. Dense variants after Y. Feng et al. (PRNet), ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facekit.checks import check_array
from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.aflw2000_data import TRUTHS, AflwPredictions, AflwTruth
from facekit.evaluate.faces3d import NO_PREDICTION, list_predictions, read_prediction, read_scan
from facekit.evaluate.micc import find_scans
from facekit.evaluate.scan_reports import (
    Progress,
    ScanEvaluation,
    ScanItem,
    scan_document,
    stranger,
    strictly,
)
from facekit.evaluate.volume import VolumeOptions, draw_picture_errors, reconstruction_nme

VARIANTS = ("2d", "3d", "dense-2d", "dense-3d", "reconstruction")
BINS = ("0-30", "30-60", "60-90")
_CROP_PX = 120.0
# Left and right partner of each of iBUG's 68 points.
_MIRROR = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
# Points that miss by more of the face's size than any detector does.
_FAR_PERCENT = 20.0


@dataclass(frozen=True)
class AflwOptions:
    """How predictions are scored.

    Attributes:
        truth: ``original`` or ``reannotated``.
        variant: ``2d`` (x and y of 68 points), ``3d`` (x, y, z; both depths about their mean),
            ``dense-2d`` and ``dense-3d`` (all vertices of meshes of one topology, likewise), or
            ``reconstruction`` (meshes after a similarity, over the outer 3D interocular distance).
        crop: predictions are in pixels of a 120 px crop: x goes to x (right - left) / 120 + left.
        offset_px: added to predicted x and y, for another origin of pixels.
    """

    truth: str = "original"
    variant: str = "2d"
    crop: bool = False
    offset_px: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("truth", TRUTHS), ("variant", VARIANTS)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )


def box_size(points: np.ndarray) -> float:
    """Return sqrt(w h) of the tight box about points (P, 2 or more) in x and y.

    Raises:
        InputError: the box has no area.
    """
    extent = np.ptp(check_array(points, "points", shape=("P", None))[:, :2], axis=0)
    size = float(np.sqrt(extent[0] * extent[1]))
    if not size > 0:
        raise InputError("truth: the box of its points has no area")
    return size


def point_errors(
    predicted: np.ndarray, truth: np.ndarray, size: float, *, depth: bool = False
) -> np.ndarray:
    """Return each point's error (P,) in percent of ``size``.

    Args:
        predicted, truth: (P, 2 or 3) pixels.
        size: the normaliser, pixels.
        depth: also compare z; where z begins is arbitrary, so both are taken about their mean.

    Raises:
        ItemError: depth is wanted and one of them has none.
    """
    if not depth:
        return 100 * np.linalg.norm(predicted[:, :2] - truth[:, :2], axis=1) / size
    if predicted.shape[1] < 3 or truth.shape[1] < 3:
        which = "prediction" if predicted.shape[1] < 3 else "truth"
        raise ItemError(f"the 3D variant needs depth, but the {which} has x and y only")
    difference = predicted - truth
    difference[:, 2] -= difference[:, 2].mean()
    return 100 * np.linalg.norm(difference, axis=1) / size


def bin_of(yaw_deg: float) -> str:
    """Return the bin of a yaw."""
    turn = abs(yaw_deg)
    return BINS[0] if turn <= 30 else BINS[1] if turn <= 60 else BINS[2]


def bin_summary(values: np.ndarray, bins: Sequence[str]) -> dict[str, Any]:
    """Return the benchmark's numbers, percent, of values (N,) with their bins.

    ``mean`` and ``std`` are those of the bins' means, ``bins`` has each bin's mean, deviation
    (both ddof 0) and count. A bin without images is left out of the mean and None in ``bins``.
    """
    table: dict[str, Any] = {}
    for name in BINS:
        chosen = np.array([v for v, b in zip(values, bins, strict=True) if b == name])
        table[name] = (
            {"mean": float(chosen.mean()), "std": float(chosen.std()), "count": len(chosen)}
            if len(chosen)
            else None
        )
    means = [row["mean"] for row in table.values() if row is not None]
    return {
        "mean": float(np.mean(means)) if means else None,
        "std": float(np.std(means)) if means else None,
        "bins": table,
    }


def evaluate_aflw(
    predictions: Path,
    truth: AflwTruth,
    options: AflwOptions | None = None,
    *,
    dense: Path | None = None,
    strict: bool = False,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Score predictions of AFLW2000-3D; values are percent.

    Args:
        predictions: see ``AflwPredictions``; for dense variants a folder of meshes or fits.
        truth: of ``read_aflw``.
        options: the variant.
        dense: folder of truth meshes by image name, in pixels (x right, y down, any depth); only
            for the dense variants.
        strict: an item with a warning has no valid result.
        pictures: folder for the dense variants' heat maps, or None.
        progress: called with images done and their number.

    Raises:
        InputError: a folder or a truth is missing, or there are no crops where they are needed.
    """
    chosen = options or AflwOptions()
    if chosen.truth not in truth.points:
        raise InputError(f"the data has no {chosen.truth} truth; it has {', '.join(truth.points)}")
    if chosen.crop and truth.roi is None:
        raise InputError("predictions in crops need AFLW2000-3D_crop.roi_box.npy in the data")
    strangers: Sequence[str]
    if chosen.variant in ("2d", "3d"):
        sparse = AflwPredictions(predictions, truth.names)
        strangers = sparse.strangers
        meshes: tuple[Mapping[str, Path], Mapping[str, Path]] = ({}, {})
    else:
        if dense is None:
            raise InputError(f"variant {chosen.variant}: needs a folder of truth meshes (--dense)")
        sparse = None
        meshes = (list_predictions(predictions), find_scans(dense, per_folder=False))
        strangers = [key for key in meshes[0] if key not in truth.names]
    items = []
    for row, name in enumerate(truth.names):
        try:
            if sparse is not None:
                errors, warnings = _sparse(sparse.points(name), truth, row, chosen)
            else:
                errors, warnings = _dense(name, meshes, truth, row, chosen, pictures)
            value = float(errors.mean())
            item = ScanItem(
                name,
                bin_of(truth.yaw_deg[row]),
                value,
                errors.astype(np.float32),
                {"yaw_deg": float(truth.yaw_deg[row])},
                warnings,
            )
        except FacekitError as error:
            item = ScanItem(name, bin_of(truth.yaw_deg[row]), error=str(error))
        items.append(strictly(item) if strict else item)
        if progress is not None:
            progress(row + 1, len(truth))
    items += [stranger(key, "image", truth.names) for key in strangers]
    return ScanEvaluation(items, _document(items, truth, chosen, strict), {})


def _document(
    items: Sequence[ScanItem], truth: AflwTruth, options: AflwOptions, strict: bool
) -> dict[str, Any]:
    unit = (
        "percent of the outer 3D interocular distance"
        if options.variant == "reconstruction"
        else "percent of sqrt(w h) of the truth's box"
    )
    protocol = {"name": "aflw2000", "unit": unit, **asdict(options), "strict": strict}
    document = scan_document(items, protocol=protocol)
    scored = [item for item in items if item.value is not None]
    values = np.array([item.value for item in scored], np.float64)
    result = bin_summary(values, [item.group for item in scored])
    document["metrics"] |= {
        "mean": result["mean"],
        "std": result["std"],
        "mean_of_all": float(values.mean()) if len(values) else None,
    }
    document["bins"] = result["bins"]
    document["images"] = {name: int(n) for name, n in _counts(truth.yaw_deg).items()}
    order = [name for name in BINS if name in document["groups"]]
    document["groups"] = {name: document["groups"][name] for name in order}
    return document


def _counts(yaw_deg: np.ndarray) -> dict[str, int]:
    names = [bin_of(float(yaw)) for yaw in yaw_deg]
    return {name: names.count(name) for name in BINS}


def _sparse(
    points: np.ndarray, truth: AflwTruth, row: int, options: AflwOptions
) -> tuple[np.ndarray, tuple[str, ...]]:
    target = truth.points[options.truth][row]
    moved = points.copy()
    if options.crop and truth.roi is not None:
        left, top, right, bottom = truth.roi[row]
        scale = np.array([right - left, bottom - top]) / _CROP_PX
        moved[:, :2] = moved[:, :2] * scale + [left, top]
        if moved.shape[1] > 2:
            moved[:, 2] *= scale.mean()
    moved[:, :2] += options.offset_px
    errors = point_errors(moved, target, box_size(target), depth=options.variant == "3d")
    return errors, _doubts(moved, target, errors)


def _doubts(points: np.ndarray, target: np.ndarray, errors: np.ndarray) -> tuple[str, ...]:
    """Say when the points look mirrored in their numbering, or of another image or scale."""
    if errors.mean() < _FAR_PERCENT:
        return ()
    size = box_size(target)
    swapped = point_errors(points[list(_MIRROR)], target, size)
    if swapped.mean() < 0.5 * errors.mean():
        return ("its points fit when left and right are swapped: are they in the viewer's order?",)
    extent = float(np.linalg.norm(np.ptp(points[:, :2], axis=0)))
    ratio = float(np.linalg.norm(np.ptp(target[:, :2], axis=0))) / max(extent, 1e-9)
    if not 0.6 < ratio < 1.7:
        return (
            f"the truth's box is {ratio:.3g} times as large: are the points in pixels of a crop "
            "(--crop), or between 0 and 1?",
        )
    return ("its points are far from the truth: are they of this image, in iBUG's order?",)


def _dense(
    name: str,
    meshes: tuple[Mapping[str, Path], Mapping[str, Path]],
    truth: AflwTruth,
    row: int,
    options: AflwOptions,
    pictures: Path | None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    predicted, truths = meshes
    if name not in truths:
        raise ItemError("there is no truth mesh of this image")
    if name not in predicted:
        raise ItemError(NO_PREDICTION)
    target = read_scan(truths[name])
    face = read_prediction(predicted[name], shape="face")
    marks = truth.points[options.truth][row]
    same = np.array_equal(face.faces, target.faces) and len(face.vertices) == len(target.vertices)
    moved = face.vertices + [options.offset_px, options.offset_px, 0]
    if options.variant == "reconstruction":
        if marks.shape[1] < 3:
            marks = target.marks("ibug68")
        eyes = float(np.linalg.norm(marks[36] - marks[45]))
        chosen = VolumeOptions(align="similarity")
        score = reconstruction_nme(target.vertices, moved, eyes, options=chosen, same_topology=same)
        errors = score.distances
    elif not same:
        raise ItemError(
            f"dense variants need one topology: the truth has {len(target.vertices)} vertices, "
            f"the prediction {len(face.vertices)}; variant reconstruction compares others"
        )
    else:
        depth = options.variant == "dense-3d"
        errors = point_errors(moved, target.vertices, box_size(marks), depth=depth)
    if pictures is not None:
        path = pictures / f"{name}.png"
        draw_picture_errors(path, replace(target, landmarks={}), errors, title=name)
    return errors, ()
