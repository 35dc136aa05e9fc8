"""The NoW benchmark's folders: its lists, scans and landmarks, and predictions on disk."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.faces3d import (
    MESH_SUFFIXES,
    check_mesh,
    list_predictions,
    read_prediction,
)
from facekit.evaluate.now import UNIT_MM, NowPrediction
from facekit.io.meshes import read_mesh
from facekit.io.params import read_params
from facekit.io.pp import read_pp
from facekit.morphable.model import MorphableModel
from facekit.types import Mesh

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


class NowScan(NamedTuple):
    """A subject's scan, mm: vertices (N, 3), the seven landmarks (7, 3), faces (F, 3)."""

    vertices: np.ndarray
    landmarks: np.ndarray
    faces: np.ndarray


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


def read_scan(dataset: NowDataset, subject: str) -> NowScan:
    """Read a subject's scan and its landmarks.

    Raises:
        InputError: a file is missing or unreadable, or there are not seven landmarks.
    """
    scan = _first(dataset.root / "scans" / subject, "*.obj")
    marks = _first(dataset.root / "scans_lmks_onlypp" / subject, "*.pp")
    points = read_pp(marks).points
    if len(points) != 7:
        raise InputError(f"{marks}: expected 7 landmarks, got {len(points)}")
    mesh = read_mesh(scan)
    return NowScan(mesh.vertices, points, mesh.faces)


def prediction_file(predictions: Path, image: NowImage) -> Path | None:
    """Return an image's mesh file, or None when there is none.

    Looked for, in this order: ``SUBJECT/CHALLENGE/STEM.obj`` or ``.ply``, the benchmark's layout,
    or as ``.glb``, ``.stl``, ``.npz``; the folder ``SUBJECT/CHALLENGE/STEM/`` (or with the file's
    full name) as ``facekit fit`` writes it, with ``neutral.obj`` and ``params.npz``.
    """
    folder = predictions / image.subject / image.challenge
    stem = Path(image.file).stem
    files = [folder / f"{stem}{suffix}" for suffix in MESH_SUFFIXES]
    files += [folder / name / "neutral.obj" for name in (stem, image.file)]
    return next((path for path in files if path.is_file()), None)


def find_prediction(
    predictions: Path,
    image: NowImage,
    *,
    unit: str = "mm",
    model: MorphableModel | None = None,
) -> NowPrediction | None:
    """Read an image's prediction in its own unit, or return None when there is none.

    Beside a mesh of the benchmark's layout lie the seven landmarks in ``STEM.npy`` (7, 3) or
    ``STEM.txt`` (seven lines of three numbers); else they are looked for as ``read_prediction``
    does, which knows those of a model's topology.

    Args:
        predictions: the folder.
        image: of the list.
        unit: of the predictions; glTF, which has its own, is given in it.
        model: its landmarks are used for meshes of its topology.

    Raises:
        ItemError: a mesh without landmarks, or landmarks that cannot be read.
        InputError: a mesh or params file that is not what it should be.
    """
    path = prediction_file(predictions, image)
    if path is None:
        return None
    if path.name == "neutral.obj" and path.with_name("params.npz").is_file():
        mesh = _read_mesh(path)
        # They are in mm, whatever unit the meshes were written in.
        landmarks = read_params(path.with_name("params.npz"))["now7"] / UNIT_MM[unit]
        return NowPrediction(mesh.vertices, mesh.faces, landmarks)
    own = path.suffix in (".obj", ".ply")
    if own and any(path.with_suffix(suffix).is_file() for suffix in (".npy", ".txt")):
        mesh = _read_mesh(path)
        return NowPrediction(mesh.vertices, mesh.faces, _read_landmarks(path.parent, path.stem))
    face = read_prediction(path, unit=unit, model=model).scaled(1 / UNIT_MM[unit])
    if not {"now7", "ibug68"} & set(face.landmarks):
        raise ItemError(
            f"{path}: the mesh has no landmarks; expected {path.stem}.npy or {path.stem}.txt with "
            "seven 3D points beside it"
        )
    return NowPrediction(face.vertices, face.faces, face.marks("now7"))


def strangers(predictions: Path, dataset: NowDataset) -> tuple[list[str], list[str]]:
    """Return the predictions of no image in the list: those of another list, and of none.

    Raises:
        InputError: another list that is there is no such list.
    """

    def keys(images: tuple[NowImage, ...]) -> set[str]:
        files = {f"{image.subject}/{image.challenge}/{image.file}" for image in images}
        return files | {str(Path(file).with_suffix("")) for file in files}

    try:
        found = set(list_predictions(predictions))
    except InputError:
        return [], []  # nothing is predicted at all: every image is missing
    found -= keys(dataset.images)
    elsewhere: set[str] = set()
    for split, name in SPLITS.items():
        path = dataset.root / name
        if split != dataset.split and path.is_file():
            elsewhere |= found & keys(_read_list(path))
    return sorted(elsewhere), sorted(found - elsewhere)


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


def _read_mesh(path: Path) -> Mesh:
    try:
        mesh = read_mesh(path)
        check_mesh(mesh.vertices, mesh.faces)
    except FacekitError as error:
        text = str(error)
        raise ItemError(text if str(path) in text else f"{path}: {text}") from error
    return mesh


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
