"""REALY's files, and its key points on any topology."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.interpolate import RBFInterpolator

from facekit.errors import InputError, ItemError
from facekit.evaluate.embedding import embedded_points, read_embedding
from facekit.evaluate.realy import (
    REGIONS,
    Region,
)
from facekit.geometry.alignment import align_similarity
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.io.meshes import read_mesh
from facekit.morphable.model import MorphableModel

_KEY_FOLDER, _SCAN_FOLDER, _SCALE_FILE = (
    "REALY_HIFI3D_keypoints",
    "REALY_scan_region",
    "metrical_scale.txt",
)


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


def _eighty_five(path: Path) -> np.ndarray:
    table = read_embedding(path)
    if len(table) != 85:
        raise InputError(f"{path}: expected 85 key points, got {len(table)}")
    return table
