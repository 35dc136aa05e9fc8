"""A training run's network as a method: the shapes that it sees in pictures, as predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from facekit.detect import open_detector
from facekit.detect.parameters import ParameterReader, open_reader
from facekit.errors import FacekitError, InputError, ItemError
from facekit.evaluate.network_bench import five_points
from facekit.evaluate.speed_networks import RUN_FILES, network_file
from facekit.fit.network_prior import seen_identity
from facekit.io.atomic import atomic_path
from facekit.io.discover import find_images
from facekit.io.images import read_photo
from facekit.morphable import MorphableModel, load_model

# Larger pictures are looked at at this longest side.
_SIDE = 2048
_SETS = ("now7", "five", "ibug68")


def is_network(path: Path) -> bool:
    """Say whether predictions are a network: its ONNX file, or the folder of its run."""
    if path.is_dir():
        return any((path / name).is_file() for name in RUN_FILES)
    return path.suffix.lower() == ".onnx" and path.is_file()


def write_network_meshes(
    network: Path,
    images: Path,
    folder: Path,
    *,
    model: str = "builtin",
    expression: bool = False,
    landmarks: str = "builtin",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Write what a network sees in the largest face of each picture; nothing is fitted.

    Args:
        network: an ONNX file or a run's folder.
        images: folder of pictures; its tree is mirrored.
        folder: where ``KEY.npz`` are written: ``vertices`` in mm, ``faces`` and landmark sets.
        model: that the network's coefficients belong to.
        expression: the face with its expression instead of the neutral one.
        landmarks: the detector that finds faces.
        progress: called with pictures done and their number.

    Returns:
        Why a picture has no result, by its key.

    Raises:
        InputError: no pictures, or the file is no network of the model.
    """
    found = find_images([images])
    morphable = load_model(model)
    reader = open_reader(network_file(network), morphable)
    if reader is None:
        raise InputError(f"{network}: expected a parameter network")
    detector = open_detector(landmarks)
    failures = {}
    for number, item in enumerate(found, start=1):
        try:
            image = read_photo(item.path, max_side=_SIDE).image
            faces = detector.detect(image, path=item.path)
            if not faces:
                raise ItemError("no face was found")
            five = five_points(faces[0])
            _write(folder / f"{item.key}.npz", reader, morphable, image, five, expression)
        except FacekitError as error:
            failures[item.key] = str(error)
        if progress is not None:
            progress(number, len(found))
    return failures


def _write(
    path: Path,
    reader: ParameterReader,
    model: MorphableModel,
    image: np.ndarray,
    five: np.ndarray,
    expression: bool,
) -> None:
    reading = reader.read(image, five)
    identity = seen_identity(model, reading, spread=reader.identity_spread)
    shape = model.shape(identity, reading.parts["expression"] if expression else None)
    arrays: dict[str, Any] = {"vertices": shape, "faces": model.faces}
    for name in _SETS:
        if name in model.landmarks:
            arrays[name] = model.landmark_points(name, shape.astype(np.float64))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
