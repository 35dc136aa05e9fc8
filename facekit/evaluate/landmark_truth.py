"""Folders of images with known landmarks, in the layouts that exist."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facekit.checks import check_array
from facekit.detect.faces import box_of_points
from facekit.detect.landmark_sets import dense_to_ibug68
from facekit.errors import InputError, UsageError
from facekit.io.images import SUFFIXES
from facekit.io.npz import read_npz
from facekit.io.sidecar import find_sidecar, read_faces, read_points
from facekit.train.portraits import SPLITS, Portraits, join_portraits, load_portraits

RIGHT_EYE, LEFT_EYE = 36, 45
EVERY_SPLIT = "all"


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
        boxes: (N, 4) x, y, width, height about the true points; None when the points known do
            not span the face.
        names: N names for reports; empty takes the files' own.
    """

    images: tuple[Path, ...]
    points: np.ndarray
    ibug68: tuple[int, ...]
    eye_distance: np.ndarray
    beside_images: bool = False
    boxes: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def name(self, row: int) -> str:
        """Return how a report calls an image."""
        return self.names[row] if self.names else self.images[row].name

    @property
    def complete(self) -> bool:
        """Whether all 68 points are known."""
        return self.ibug68 == tuple(range(68))

    def subset(self, rows: np.ndarray) -> LandmarkTruth:
        """Return the images of some rows (M,), in that order."""
        return replace(
            self,
            images=tuple(self.images[i] for i in rows),
            points=self.points[rows],
            eye_distance=self.eye_distance[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
            names=tuple(self.names[i] for i in rows) if self.names else (),
        )

    def length(self, normalise: str) -> np.ndarray:
        """Return what errors are divided by, (N,) pixels.

        Args:
            normalise: ``eyes``, the distance of the outer eye corners, or ``box``, the diagonal
                of the 68 points' bounding box, which keeps its size in profile.

        Raises:
            UsageError: another name, or ``box`` on truth without the 68 points.
        """
        if normalise == "eyes":
            return self.eye_distance
        if normalise != "box":
            raise UsageError(f"normalise: expected eyes or box, got {normalise!r}")
        if not self.complete:
            raise UsageError(
                f"normalise box needs all 68 true points, this set has {len(self.ibug68)}; "
                "use --normalise eyes"
            )
        return np.linalg.norm(np.ptp(self.points, axis=1), axis=1)


def read_landmark_truth(
    folder: Path, *, labels: Path | None = None, split: str | None = None
) -> LandmarkTruth:
    """Read a folder of images with known points.

    One of four layouts. The Face Research Lab London set's: ``images/``, ``landmarks.npz`` with
    ``points`` (N, 189, 2) and ``names`` (N,), and ``frl189_to_ibug68.json`` whose ``exact`` maps
    iBUG indices to the set's own (only those are scored). Portraits or rendered heads:
    ``labels_<set>.npz`` and folders ``<set>/`` (see ``train.portraits``). ``facekit simulate
    photos``': ``images/`` and ``truth/<stem>.npz``. Or images with 68 points beside them
    (``.pts``, ``.json``, ``.npz``; of several faces the first).

    Args:
        folder: the images and their truth.
        labels: portraits only: a folder of better labels; None takes those in ``folder``.
        split: portraits only: ``held_out`` (also for None), ``validation``, ``train`` or ``all``.

    Raises:
        InputError: no such folder, no truth in it, or truth of a wrong shape.
        UsageError: ``labels`` or ``split`` for another layout than portraits.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of images with known landmarks, found none")
    if labels is not None or any(folder.glob("labels_*.npz")):
        return _of_portraits(folder, read_portraits([folder], labels=labels, split=split))
    if split is not None:
        raise UsageError(
            f"--split {split} is for portraits; {folder} has no labels_<set>.npz with persons"
        )
    if (folder / "landmarks.npz").is_file():
        return _read_frl(folder)
    simulated = (folder / "truth").is_dir() and (folder / "images").is_dir()
    return _read_sidecars(folder, folder / "truth" if simulated else None)


def read_portraits(
    folders: list[Path], *, labels: Path | None = None, split: str | None = None
) -> Portraits:
    """Read the trusted portraits (weight over 0) of a split, of one or several folders.

    Args:
        folders: portraits or rendered sets.
        labels: better labels, for the folders that have the images of one of its sets.
        split: ``held_out`` (also for None), ``validation``, ``train`` or ``all``.

    Raises:
        InputError: a folder without labels, labels for none of the folders, or none trusted.
        UsageError: an unknown split.
    """
    wanted = split or SPLITS[0]
    if wanted not in (*SPLITS, EVERY_SPLIT):
        known = ", ".join((*SPLITS, EVERY_SPLIT))
        raise UsageError(f"split: expected one of {known}, got {wanted!r}")
    better = [] if labels is None else [folder for folder in folders if _has_sets(folder, labels)]
    if labels is not None and not better:
        raise InputError(
            f"{labels}: expected labels_<set>.npz for a folder <set>/ of {folders[0]}, found none"
        )
    splits = SPLITS if wanted == EVERY_SPLIT else (wanted,)
    found = join_portraits(
        [
            load_portraits(folder, labels=labels if folder in better else None, splits=splits)
            for folder in folders
        ]
    )
    trusted = np.flatnonzero(found.weights > 0)
    if not len(trusted):
        raise InputError(
            f"{folders[0]}: no trusted portrait in split {wanted}; --split all takes every one"
        )
    return Portraits(
        tuple(found.names[i] for i in trusted),
        tuple(found.images[i] for i in trusted),
        found.points[trusted],
        found.boxes[trusted],
        found.weights[trusted],
        tuple(found.split[i] for i in trusted),
        found.rendered[trusted],
        found.smile[trusted],
    )


def _has_sets(folder: Path, labels: Path) -> bool:
    sets = [file.stem.removeprefix("labels_") for file in labels.glob("labels_*.npz")]
    return any((folder / name).is_dir() for name in sets)


def _of_portraits(folder: Path, portraits: Portraits) -> LandmarkTruth:
    dense = portraits.points[:, :, :2].astype(np.float64)
    points = dense_to_ibug68(dense)
    return LandmarkTruth(
        tuple(folder / name for name in portraits.names),
        points,
        tuple(range(68)),
        np.linalg.norm(points[:, RIGHT_EYE] - points[:, LEFT_EYE], axis=1),
        boxes=np.stack([box_of_points(face) for face in dense]),
        names=portraits.names,
    )


def _read_frl(folder: Path) -> LandmarkTruth:
    file = read_npz(folder / "landmarks.npz", what="landmarks with points and names")
    try:
        points, names = file["points"], [str(name) for name in file["names"]]
        table = json.loads((folder / "frl189_to_ibug68.json").read_text(encoding="utf-8"))
        exact = {int(ibug): int(own) for ibug, own in table["exact"].items()}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{folder}: expected landmarks.npz with points and names, and frl189_to_ibug68.json "
            f"with exact ({error})"
        ) from error
    points = check_array(points, "landmarks.npz points", shape=(len(names), "P", 2))
    if not {RIGHT_EYE, LEFT_EYE} <= set(exact) or not all(
        0 <= own < points.shape[1] for own in exact.values()
    ):
        raise InputError(
            f"{folder}: frl189_to_ibug68.json must name the outer eye corners 36 and 45, and "
            f"points in [0, {points.shape[1]})"
        )
    images = tuple(folder / "images" / name for name in names)
    eyes = points[:, exact[RIGHT_EYE]] - points[:, exact[LEFT_EYE]]
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
            f"{folder}: expected landmarks.npz, labels_<set>.npz, or images with 68 points beside "
            "them (.pts, .json, .npz) or in truth/; found neither"
        )
    table = np.stack(points)
    eyes = np.linalg.norm(table[:, RIGHT_EYE] - table[:, LEFT_EYE], axis=1)
    if eyes.min() <= 0:
        raise InputError(f"{images[int(eyes.argmin())]}: both eye corners of its truth are equal")
    beside = truth_folder is None
    boxes = np.stack([box_of_points(face) for face in table])
    return LandmarkTruth(tuple(images), table, tuple(range(68)), eyes, beside, boxes)


def _ibug68(file: Path) -> np.ndarray | None:
    """Return the truth (68, 2) in a file, or None when it has only other points."""
    found = read_faces(file) if file.suffix.lower() == ".json" else read_points(file)
    if isinstance(found, dict):
        return found.get("ibug68")
    points = found[0].ibug68 if found else None
    return None if points is None else np.asarray(points, np.float64)
