"""The NoW benchmark's folders: its lists, scans and landmarks, and predictions on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.now import (
    NowItem,
    NowOptions,
    NowPrediction,
    item_details,
    report,
    score_scan,
)
from facekit.io.meshes import read_mesh
from facekit.io.params import read_params
from facekit.io.pp import read_pp

SPLITS = {"validation": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}


class NowImage(NamedTuple):
    """One line of a list: ``.../subject/challenge/file``."""

    line: str
    subject: str
    challenge: str
    file: str


class NowDataset(NamedTuple):
    """A folder with ``scans/SUBJECT/*.obj``, ``scans_lmks_onlypp/SUBJECT/*.pp`` and a list.

    Attributes:
        root: the folder.
        split: ``validation`` or ``test``.
        images: the list's images, in its order.
    """

    root: Path
    split: str
    images: tuple[NowImage, ...]


class NowEvaluation(NamedTuple):
    """The items of an evaluation and its JSON document."""

    items: list[NowItem]
    document: dict[str, Any]


def open_dataset(root: Path, *, split: str | None = None) -> NowDataset:
    """Read the benchmark's list.

    Args:
        root: the folder of the benchmark; its list may lie in ``root`` or ``root/dataset``.
        split: ``validation`` or ``test``; None takes the one that is there, validation first.

    Raises:
        InputError: no such folder or list, an unknown split, or a line that is no image path.
    """
    if split is not None and split not in SPLITS:
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if not root.is_dir():
        raise InputError(f"{root}: expected the NoW benchmark's folder, found none")
    for name in SPLITS if split is None else (split,):
        for folder in (root, root / "dataset"):
            path = folder / SPLITS[name]
            if path.is_file():
                return NowDataset(folder, name, _read_list(path))
    wanted = " or ".join(SPLITS.values() if split is None else [SPLITS[split]])
    raise InputError(f"{root}: expected {wanted} there; is this the NoW benchmark's folder?")


def read_scan(dataset: NowDataset, subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a subject's scan: vertices (N, 3) and landmarks (7, 3), both mm.

    Raises:
        InputError: a file is missing or unreadable, or there are not seven landmarks.
    """
    scan = _first(dataset.root / "scans" / subject, "*.obj")
    marks = _first(dataset.root / "scans_lmks_onlypp" / subject, "*.pp")
    points = read_pp(marks).points
    if len(points) != 7:
        raise InputError(f"{marks}: expected 7 landmarks, got {len(points)}")
    return read_mesh(scan).vertices, points


def find_prediction(predictions: Path, image: NowImage) -> NowPrediction | None:
    """Read an image's prediction, or return None when there is none.

    Looked for, in this order: ``SUBJECT/CHALLENGE/STEM.obj`` or ``.ply`` with the seven
    landmarks in ``STEM.npy`` (7, 3) or ``STEM.txt`` (seven lines of three numbers), the
    benchmark's layout; the folder ``SUBJECT/CHALLENGE/STEM/`` (or with the file's full name) as
    ``facekit fit`` writes it, with ``neutral.obj`` and ``params.npz``.

    Raises:
        ItemError: a mesh without landmarks, or landmarks that cannot be read.
        InputError: a mesh or params file that is not what it should be.
    """
    folder = predictions / image.subject / image.challenge
    stem = Path(image.file).stem
    for suffix in (".obj", ".ply"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            mesh = read_mesh(path)
            return NowPrediction(mesh.vertices, mesh.faces, _read_landmarks(folder, stem))
    for name in (stem, image.file):
        neutral = folder / name / "neutral.obj"
        if neutral.is_file():
            mesh = read_mesh(neutral)
            landmarks = read_params(neutral.with_name("params.npz"))["now7"]
            return NowPrediction(mesh.vertices, mesh.faces, landmarks)
    return None


def evaluate_now(
    predictions: Path,
    dataset: NowDataset,
    *,
    options: NowOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NowEvaluation:
    """Score every image of the dataset's list.

    A missing or unusable prediction never stops the rest: it counts as missing, and its item
    has the reason in ``error``. Images of one subject are scored together, since reading a scan
    takes longer than scoring it; the items are in the list's order.

    Raises:
        InputError: the predictions' folder or a scan is missing: then no number would be of the
            whole benchmark.
    """
    chosen = options or NowOptions()
    if not predictions.is_dir():
        raise InputError(f"{predictions}: expected a folder of predictions, found none")
    by_subject: dict[str, list[int]] = {}
    for index, image in enumerate(dataset.images):
        by_subject.setdefault(image.subject, []).append(index)
    found: dict[int, NowItem] = {}
    for subject, indices in by_subject.items():
        scan = read_scan(dataset, subject)
        for index in indices:
            found[index] = _score_image(predictions, dataset.images[index], scan, chosen)
            if progress is not None:
                progress(len(found), len(dataset.images))
    items = [found[index] for index in range(len(dataset.images))]
    protocol = {
        "name": "now",
        "split": dataset.split,
        "metrical": chosen.metrical,
        "unit": chosen.unit,
        "reference_quirks": chosen.reference_quirks,
    }
    return NowEvaluation(items, report(items, protocol=protocol))


def _score_image(
    predictions: Path,
    image: NowImage,
    scan: tuple[np.ndarray, np.ndarray],
    options: NowOptions,
) -> NowItem:
    try:
        prediction = find_prediction(predictions, image)
        if prediction is None:
            raise ItemError("no prediction was found")
        score = score_scan(scan[0], scan[1], prediction, options=options)
    except FacekitError as error:
        return NowItem(image.line, image.challenge, None, {"error": str(error)})
    return NowItem(
        image.line, image.challenge, score.distances.astype(np.float32), item_details(score)
    )


def _read_list(path: Path) -> tuple[NowImage, ...]:
    images = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        parts = text.replace("\\", "/").split("/")
        if len(parts) < 3 or not all(parts[-3:]):
            raise InputError(
                f"{path}: line {number}: expected .../subject/challenge/image, got {text!r}"
            )
        images.append(NowImage(text, *parts[-3:]))
    if not images:
        raise InputError(f"{path}: expected image paths, found none")
    return tuple(images)


def _first(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if not files:
        raise InputError(f"{folder}: expected a file {pattern} of the NoW benchmark, found none")
    return files[0]


def _read_landmarks(folder: Path, stem: str) -> np.ndarray:
    """Read (7, 3) landmarks of the benchmark's prediction layout."""
    binary, text = folder / f"{stem}.npy", folder / f"{stem}.txt"
    try:
        if binary.is_file():
            table = np.load(binary, allow_pickle=False)
        elif text.is_file():
            rows = text.read_text(encoding="utf-8").replace(",", " ").splitlines()
            table = np.array([row.split() for row in rows if row.strip()], dtype=np.float64)
        else:
            raise ItemError(
                f"{folder / stem}: the mesh has no landmarks; expected {binary.name} or "
                f"{text.name} with seven 3D points"
            )
    except (ValueError, EOFError, OSError) as error:
        raise ItemError(f"{folder / stem}: its landmarks cannot be read ({error})") from error
    if table.shape == (1, 7, 3):
        table = table[0]
    if table.shape != (7, 3):
        raise ItemError(f"{folder / stem}: expected landmarks of shape (7, 3), got {table.shape}")
    return table
