"""Faces from landmark files beside the image; and ``auto``, which prefers them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from facekit.detect.builtin import BuiltinDetector
from facekit.detect.faces import (
    box_of_five,
    face_from_dense,
    face_from_ibug68,
    largest_first,
    roll_of_five,
)
from facekit.errors import FacekitError, ItemError
from facekit.io.sidecar import find_sidecar, read_faces, upright_size
from facekit.types import DetectedFace


class FileDetector:
    """Reads points that lie beside the image (see ``facekit.io.sidecar``)."""

    name = "files"
    fingerprint = "files"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return the faces of the image's sidecar, in pixels of ``image``, largest first.

        Raises:
            ItemError: no path, no sidecar, or one that cannot be read.
        """
        sidecar = None if path is None else find_sidecar(path)
        if path is None or sidecar is None:
            where = "the image has no file" if path is None else f"{path}: no points beside it"
            raise ItemError(
                f"{where}; --landmarks files expects NAME.json, .npz, .pts or detections/NAME.txt"
            )
        return read_sidecar(image, path, sidecar)


class AutoDetector:
    """Points beside the image where they lie, else facekit's own networks.

    Args:
        least_face: see ``BuiltinDetector``.
    """

    name = "auto"

    def __init__(self, *, least_face: float | None = None) -> None:
        self._least_face = least_face

    @cached_property
    def _builtin(self) -> BuiltinDetector:
        return BuiltinDetector(least_face=self._least_face)

    @property
    def fingerprint(self) -> str:
        """The networks' hashes: they are used where no file lies."""
        return f"auto:{self._builtin.fingerprint}"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return faces, largest first; of one given by five points the network places the rest.

        Raises:
            ItemError: a sidecar is there but cannot be read.
        """
        sidecar = None if path is None else find_sidecar(path)
        if path is None or sidecar is None:
            return self._builtin.detect(image, path=path)
        return [
            face if face.ibug68 is not None else self._builtin.complete(image, face)
            for face in read_sidecar(image, path, sidecar)
        ]


def read_sidecar(image: np.ndarray, path: Path, sidecar: Path) -> list[DetectedFace]:
    """Return a sidecar's faces in the pixels of an image that may be a reduced copy of its file.

    Raises:
        ItemError: the sidecar or the image's header cannot be read.
    """
    try:
        width, _ = upright_size(path)
        scale = image.shape[1] / width
        content = read_faces(sidecar)
        found = content if isinstance(content, list) else [_face(content)]
    except ItemError:
        raise
    except FacekitError as error:
        raise ItemError(str(error)) from error
    return largest_first([face if scale == 1 else face.rescaled(scale) for face in found])


def _face(points: dict[str, np.ndarray]) -> DetectedFace:
    box, iris = points.get("box"), points.get("iris")
    if "dense478" in points:
        return face_from_dense(points["dense478"], score=1.0)
    if "ibug68" in points:
        return face_from_ibug68(points["ibug68"], box=box, iris=iris)
    five = points["five"]
    return DetectedFace(
        box=box_of_five(five) if box is None else box,
        score=1.0,
        five=five,
        iris=iris,
        roll_deg=float(np.degrees(roll_of_five(five))),
    )
