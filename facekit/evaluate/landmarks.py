"""Landmark accuracy on images with known points.

The error of an image is the mean distance of its scored points over the distance of the outer eye
corners (iBUG 36 and 45) in the truth, in percent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facekit.checks import check_array
from facekit.detect import Detector
from facekit.errors import FacekitError, InputError, ItemError
from facekit.io.images import SUFFIXES, read_image
from facekit.io.landmark_files import read_landmarks
from facekit.io.sidecar import find_sidecar, read_faces, read_points
from facekit.metrics.landmarks import landmark_score
from facekit.types import DetectedFace

SCHEMA = "facekit.eval/1"
_RIGHT_EYE, _LEFT_EYE = 36, 45


@dataclass(frozen=True, eq=False)
class LandmarkTruth:
    """Images with known landmarks, one face each.

    Attributes:
        images: N files.
        points: (N, P, 2) pixels, (0, 0) the centre of the top-left pixel.
        ibug68: (P,) the iBUG index of each point.
        eye_distance: (N,) pixels between the outer eye corners.
        beside_images: the truth lies where a detector of files would look, and must not be
            scored against itself.
    """

    images: tuple[Path, ...]
    points: np.ndarray
    ibug68: tuple[int, ...]
    eye_distance: np.ndarray
    beside_images: bool = False


def read_landmark_truth(folder: Path) -> LandmarkTruth:
    """Read a folder of images with known points.

    One of three layouts. The Face Research Lab London set's: ``images/``, ``landmarks.npz`` with
    ``points`` (N, 189, 2) and ``names`` (N,), and ``frl189_to_ibug68.json`` whose ``exact`` maps
    iBUG indices to the set's own (only those are scored). ``facekit simulate photos``':
    ``images/`` and ``truth/<stem>.npz``. Or images with 68 points beside them (``.pts``,
    ``.json``, ``.npz``; of several faces the first).

    Raises:
        InputError: no such folder, no truth in it, or truth of a wrong shape.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images with known landmarks, found none")
    if (folder / "landmarks.npz").is_file():
        return _read_frl(folder)
    simulated = (folder / "truth").is_dir() and (folder / "images").is_dir()
    return _read_sidecars(folder, folder / "truth" if simulated else None)


def evaluate_landmarks(
    truth: LandmarkTruth,
    detector: Detector,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score a detector; return the JSON document.

    Of several faces in an image the one whose box centre is nearest to the true points' centre
    is scored. An image that cannot be read, or without a face with 68 landmarks, is a miss: it
    is counted, is a failure (over 10 %), and is not in the mean.

    Raises:
        InputError: a detector that reads files beside images, on such truth.
    """
    if truth.beside_images and detector.name in ("files", "auto"):
        raise InputError(
            f"landmarks {detector.name!r} would read the truth that lies beside the images; "
            "choose a detector that looks at the picture"
        )
    indices = list(truth.ibug68)
    predicted = np.full(truth.points.shape, np.nan)
    errors: list[str | None] = []
    for row, path in enumerate(truth.images):
        try:
            points = _nearest_face(detector.detect(read_image(path), path=path), truth.points[row])
            predicted[row] = points[indices]
            errors.append(None)
        except (ItemError, InputError) as error:
            errors.append(str(error))
        if progress is not None:
            progress(row + 1, len(truth.images))
    score = landmark_score(predicted, truth.points, truth.eye_distance)
    percent = 100 * score.per_image
    found = np.isfinite(percent)

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "schema": SCHEMA,
        "protocol": {
            "name": "landmarks",
            "unit": "percent of the outer-eye distance",
            "points": indices,
        },
        "metrics": {
            "median": number(float(np.median(percent[found]))) if found.any() else None,
            "mean": number(100 * score.mean),
            "std": number(float(percent[found].std())) if found.any() else None,
            "count": int(found.sum()),
            "missing": score.misses,
            "failure_percent": 100 * score.failure_rate,
            "failure_threshold_percent": 100 * score.threshold,
            "auc": score.auc,
        },
        "per_point": {
            str(index): number(100 * value)
            for index, value in zip(indices, score.per_point, strict=True)
        },
        "items": [
            {"image": path.name, "missing": error is not None, "mean": number(value)}
            | ({} if error is None else {"error": error})
            for path, value, error in zip(truth.images, percent, errors, strict=True)
        ],
    }


class SavedLandmarks:
    """Predictions that ``facekit landmarks`` wrote, as a detector."""

    name = "saved"
    fingerprint = "saved"

    def __init__(self, folder: Path) -> None:
        """Use the files ``<stem>.json`` of a folder.

        Raises:
            InputError: no such folder.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: expected a folder of landmark files, found none")
        self._folder = folder

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return the faces saved for the image's file name.

        Raises:
            ItemError: no path, or no readable file of its stem.
        """
        del image
        if path is None:
            raise ItemError("saved landmarks: expected the image's path")
        try:
            return read_landmarks(self._folder / f"{path.stem}.json")
        except FacekitError as error:
            raise ItemError(str(error)) from error


def _nearest_face(faces: list[DetectedFace], truth: np.ndarray) -> np.ndarray:
    candidates = [face for face in faces if face.ibug68 is not None]
    if not candidates:
        raise ItemError("no face was found" if not faces else "the face found has no 68 landmarks")
    middle = truth.mean(axis=0)

    def distance(face: DetectedFace) -> float:
        return float(np.linalg.norm(face.box[:2] + face.box[2:] / 2 - middle))

    points = min(candidates, key=distance).ibug68
    return np.asarray(points, np.float64)


def _read_frl(folder: Path) -> LandmarkTruth:
    try:
        with np.load(folder / "landmarks.npz", allow_pickle=False) as file:
            points, names = file["points"], [str(name) for name in file["names"]]
        table = json.loads((folder / "frl189_to_ibug68.json").read_text(encoding="utf-8"))
        exact = {int(ibug): int(own) for ibug, own in table["exact"].items()}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{folder}: expected landmarks.npz with points and names, and frl189_to_ibug68.json "
            f"with exact ({error})"
        ) from error
    points = check_array(points, "landmarks.npz points", shape=(len(names), "P", 2))
    if not {_RIGHT_EYE, _LEFT_EYE} <= set(exact) or not all(
        0 <= own < points.shape[1] for own in exact.values()
    ):
        raise InputError(
            f"{folder}: frl189_to_ibug68.json must name the outer eye corners 36 and 45, and "
            f"points in [0, {points.shape[1]})"
        )
    images = tuple(folder / "images" / name for name in names)
    eyes = points[:, exact[_RIGHT_EYE]] - points[:, exact[_LEFT_EYE]]
    indices = tuple(sorted(exact))
    scored = points[:, [exact[i] for i in indices]].astype(np.float64)
    return LandmarkTruth(images, scored, indices, np.linalg.norm(eyes, axis=1))


def _read_sidecars(folder: Path, truth_folder: Path | None) -> LandmarkTruth:
    images, points = [], []
    root = folder if truth_folder is None else folder / "images"
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES):
        file = find_sidecar(path) if truth_folder is None else truth_folder / f"{path.stem}.npz"
        truth = None if file is None or not file.is_file() else _ibug68(file)
        if truth is not None:
            images.append(path)
            points.append(truth)
    if not images:
        raise InputError(
            f"{folder}: expected landmarks.npz, or images with 68 points beside them (.pts, "
            ".json, .npz) or in truth/; found neither"
        )
    table = np.stack(points)
    eyes = np.linalg.norm(table[:, _RIGHT_EYE] - table[:, _LEFT_EYE], axis=1)
    if eyes.min() <= 0:
        raise InputError(f"{images[int(eyes.argmin())]}: both eye corners of its truth are equal")
    beside = truth_folder is None
    return LandmarkTruth(tuple(images), table, tuple(range(68)), eyes, beside)


def _ibug68(file: Path) -> np.ndarray | None:
    """Return the truth (68, 2) in a file, or None when it has only other points."""
    found = read_faces(file) if file.suffix.lower() == ".json" else read_points(file)
    if isinstance(found, dict):
        return found.get("ibug68")
    points = found[0].ibug68 if found else None
    return None if points is None else np.asarray(points, np.float64)
