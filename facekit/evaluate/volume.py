"""Reconstruction NME: VRN's protocol for dense faces in image space.

The error of a face is the mean distance of its truth's vertices to the predicted vertices that
stand for them, over the truth's outer 3D interocular distance, in percent. Where the topologies
differ a rigid ICP finds which predicted vertex stands for which, and is used for nothing else:
faces are compared where they lie. Comparing them after the ICP is a variant (PRNet's).

Source: A. Jackson et al., Large pose 3D face reconstruction from a single image via direct
volumetric CNN regression, ICCV 2017, section 4 and equation 2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from facekit.checks import check_array
from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.estimator import face_axes
from facekit.evaluate.faces3d import (
    NO_PREDICTION,
    FaceSurface,
    list_predictions,
    read_scan,
    surface_warnings,
)
from facekit.evaluate.jobs import counter, run_pieces
from facekit.evaluate.micc import find_scans
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
from facekit.geometry.alignment import SimilarityTransform, align_similarity

_ALIGN = ("none", "rigid", "similarity")
_CORRESPONDENCE = ("auto", "index", "closest")
# Sizes that differ by more are of another unit; a wrong face is off by a fifth at most.
_SIZE_RATIO = 1.6
_UNITS = {1000.0: "metres", 100.0: "decimetres", 10.0: "centimetres", 0.001: "micrometres"}


@dataclass(frozen=True)
class VolumeOptions:
    """How faces are compared.

    Attributes:
        align: ``none`` compares them where they lie (VRN's tables), ``rigid`` and ``similarity``
            after the least-squares motion of the corresponding vertices.
        correspondence: ``index``: vertices of one number correspond; ``closest``: by ICP;
            ``auto``: ``index`` where the topologies agree.
        shape: which mesh of a fit is taken, ``face`` or ``neutral``.
        iterations: of the ICP, at most.
        tolerance: the ICP ends when its mean squared distance changes by this fraction or less.
    """

    align: str = "none"
    correspondence: str = "auto"
    shape: str = "face"
    iterations: int = 100
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        for name, choices in (("align", _ALIGN), ("correspondence", _CORRESPONDENCE)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if self.shape not in ("face", "neutral") or self.iterations < 1:
            raise InputError(
                "volume: expected shape face or neutral and at least one iteration, got "
                f"{self.shape!r} and {self.iterations}"
            )


class ReconstructionScore(NamedTuple):
    """One prediction against one truth.

    Attributes:
        nme: percent of the interocular distance.
        distances: (V,) of each truth vertex, percent.
        partner: (V,) the predicted vertex that stands for it.
        iterations: of the ICP; 0 for corresponding vertices.
    """

    nme: float
    distances: np.ndarray
    partner: np.ndarray
    iterations: int


def reconstruction_nme(
    truth: np.ndarray,
    predicted: np.ndarray,
    eye_distance: float,
    *,
    options: VolumeOptions | None = None,
    same_topology: bool = False,
) -> ReconstructionScore:
    """Compare two sets of vertices.

    Args:
        truth: (V, 3); predicted: (W, 3) in the same unit and frame.
        eye_distance: between the truth's outer eye corners, in 3D.
        options: the variant.
        same_topology: vertices of one number stand for the same place.

    Raises:
        InputError: bad shapes, or a distance that is not positive.
        ItemError: correspondence ``index`` for other topologies.
    """
    chosen = options or VolumeOptions()
    fixed = check_array(truth, "truth", shape=("V", 3)).astype(np.float64)
    moving = check_array(predicted, "prediction", shape=("W", 3)).astype(np.float64)
    if not eye_distance > 0 or not len(fixed) or len(moving) < 3:
        raise InputError(
            f"reconstruction: expected a positive eye distance and vertices, got {eye_distance}, "
            f"{len(fixed)} and {len(moving)}"
        )
    if chosen.correspondence == "index" and not same_topology:
        raise ItemError(
            f"expected the truth's topology ({len(fixed)} vertices), got {len(moving)} vertices; "
            "correspondence=closest compares other topologies"
        )
    if same_topology and chosen.correspondence != "closest":
        partner, iterations = np.arange(len(fixed)), 0
    else:
        partner, iterations = icp_partners(fixed, moving, chosen)
    pairs = moving[partner]
    if chosen.align != "none":
        pairs = align_similarity(pairs, fixed, with_scale=chosen.align == "similarity").apply(pairs)
    distances = 100 * np.linalg.norm(pairs - fixed, axis=1) / eye_distance
    return ReconstructionScore(float(distances.mean()), distances, partner, iterations)


def icp_partners(
    truth: np.ndarray, predicted: np.ndarray, options: VolumeOptions
) -> tuple[np.ndarray, int]:
    """Return which predicted vertex (V,) stands for each truth vertex, and the rounds made.

    A rigid point-to-point ICP from where the faces lie: every truth vertex takes the nearest
    predicted vertex, the prediction moves to them by least squares, until the mean squared
    distance rests.
    """
    transform = SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    tree = cKDTree(predicted)
    before, rounds = np.inf, 0
    while True:
        distance, partner = tree.query(transform.inverse().apply(truth))
        error = float((distance**2).mean())
        rests = rounds > 0 and before - error <= options.tolerance * before
        if rests or rounds == options.iterations:
            return partner, rounds
        before = error
        transform = align_similarity(predicted[partner], truth, with_scale=False)
        rounds += 1


def size_warnings(truth: np.ndarray, predicted: np.ndarray) -> tuple[str, ...]:
    """Say when two faces are of different size, and which unit would explain it."""
    ratio = float(np.linalg.norm(np.ptp(truth, axis=0)) / np.linalg.norm(np.ptp(predicted, axis=0)))
    if 1 / _SIZE_RATIO < ratio < _SIZE_RATIO:
        return ()
    near = [n for f, n in _UNITS.items() if 1 / _SIZE_RATIO < ratio / f < _SIZE_RATIO]
    guess = f": is it in {near[0]}?" if near else ": are they in one unit and frame?"
    return (f"the truth is {ratio:.3g} times as large{guess}",)


def evaluate_volume(
    predictions: Path,
    data: Path,
    options: VolumeOptions | None = None,
    *,
    inputs: ScanInputs | None = None,
    progress: Progress | None = None,
) -> ScanEvaluation:
    """Score dense faces against truth meshes of the same names.

    A truth mesh needs the outer eye corners: iBUG's 68 points or NoW's seven beside it. Both sets
    of meshes are in one unit and frame, e.g. pixels; a group is a folder (a pose, a data set).

    Raises:
        InputError: a folder is missing or empty.
    """
    chosen, reading = options or VolumeOptions(), inputs or ScanInputs()
    truths = find_scans(data, per_folder=False)
    found = list_predictions(predictions)
    pieces = [(key, path, found.get(key)) for key, path in truths.items()]
    done = counter([1] * len(pieces), progress)
    items = run_pieces(_score_piece, (chosen, reading), pieces, jobs=reading.jobs, done=done)
    items += [stranger(key, "truth", truths) for key in found if key not in truths]
    protocol = {
        "name": "volume",
        "unit": "percent of the outer 3D interocular distance",
        **asdict(chosen),
        "strict": reading.strict,
    }
    return ScanEvaluation(items, scan_document(items, protocol=protocol), {})


def _score_piece(
    context: tuple[VolumeOptions, ScanInputs], piece: tuple[str, Path, Path | None]
) -> ScanItem:
    options, inputs = context
    item = _item(*piece, options, inputs)
    return strictly(item) if inputs.strict else item


def _item(
    key: str, path: Path, file: Path | None, options: VolumeOptions, inputs: ScanInputs
) -> ScanItem:
    group = key.rpartition("/")[0]
    warnings: tuple[str, ...] = ()
    try:
        truth = read_scan(path, unit=inputs.data_unit)
        if file is None:
            raise ItemError(NO_PREDICTION)
        face = inputs.prediction(file, shape=options.shape)
        warnings = size_warnings(truth.vertices, face.vertices) + surface_warnings(face.faces)
        score = score_faces(truth, face, options)
    except FacekitError as error:
        return ScanItem(key, group, warnings=warnings, error=str(error))
    if inputs.pictures is not None:
        draw_picture_errors(inputs.pictures / f"{key}.png", truth, score.distances, title=key)
    details = {
        "median": float(np.median(score.distances)),
        "vertices": len(score.distances),
        "iterations": score.iterations,
    }
    distances = score.distances.astype(np.float32)
    return ScanItem(key, group, score.nme, distances, details, warnings)


def score_faces(
    truth: FaceSurface, prediction: FaceSurface, options: VolumeOptions
) -> ReconstructionScore:
    """Compare two meshes; only vertices that faces use count, unless topologies agree."""
    marks = truth.marks("now7")
    same = len(truth.vertices) == len(prediction.vertices)
    same = same and np.array_equal(truth.faces, prediction.faces)
    vertices = prediction.vertices
    if not same or options.correspondence == "closest":
        vertices = vertices[np.unique(prediction.faces)]
    return reconstruction_nme(
        truth.vertices,
        vertices,
        float(np.linalg.norm(marks[0] - marks[3])),
        options=options,
        same_topology=same,
    )


def draw_picture_errors(path: Path, face: FaceSurface, errors: np.ndarray, *, title: str) -> Path:
    """Draw errors (V,) in percent on a face in any frame, a picture's with either sign of depth.

    Where its nose lies behind its eyes and mouth (without landmarks: its middle behind its rim)
    the frame is left-handed, and depth is drawn the other way.

    Args:
        path: the ``.png``.
        face: with landmarks that ``face_axes`` takes; without any its x is taken to go right and
            its y down.
        errors: of its vertices.
        title: over the picture.
    """
    mesh = face.vertices
    if face.landmarks:
        marks, axes = face.marks("now7"), face_axes(face)
        ahead = (marks[4] - marks[[0, 3, 5, 6]].mean(axis=0)) @ axes[1]
    else:
        axes = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, -1.0])
        off = np.linalg.norm(mesh[:, :2] - np.median(mesh[:, :2], axis=0), axis=1)
        ahead = mesh[off > np.median(off), 2].mean() - mesh[off <= np.median(off), 2].mean()
    if ahead < 0:
        flip = np.array([1.0, 1.0, -1.0])
        mesh = mesh * flip
        if face.landmarks:
            flipped = {name: points * flip for name, points in face.landmarks.items()}
            axes = face_axes(replace(face, vertices=mesh, landmarks=flipped))
    return draw_heat_map(
        path, mesh, face.faces, errors, axes=axes, limit=15.0, unit="%", title=title
    )
