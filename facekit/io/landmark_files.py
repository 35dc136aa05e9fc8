"""The landmark file of an image: every face found in it, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.io.atomic import read_json, write_json
from facekit.types import DetectedFace

_ARRAYS = ("five", "ibug68", "iris", "confidence", "visible")
_ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


def write_landmarks(
    path: Path, faces: Sequence[DetectedFace], *, image: str, width: int, height: int
) -> Path:
    """Write all faces of an image, largest first; what a labeller does not give is null.

    Args:
        path: the ``.json``.
        faces: points in pixels of the upright image, (0, 0) the centre of the top-left pixel.
        image: the image's name as recorded in the file.
        width, height: the upright image's size in pixels.
    """
    document = {
        "image": image,
        "width": int(width),
        "height": int(height),
        "faces": [face_document(face) for face in faces],
    }
    return write_json(path, document)


def face_document(face: DetectedFace) -> dict[str, Any]:
    """Return one face as JSON values, pixels rounded to 1/1000."""
    document: dict[str, Any] = {"box": _rounded(face.box), "score": round(float(face.score), 4)}
    for name in _ARRAYS:
        value = getattr(face, name)
        document[name] = None if value is None else _rounded(value)
    for name in _ANGLES:
        angle = float(getattr(face, name))
        document[name] = None if math.isnan(angle) else round(angle, 2)
    document["jaw_on_outline"] = face.jaw_on_outline
    return document


def read_landmarks(path: Path) -> list[DetectedFace]:
    """Read the faces of a landmark file.

    Raises:
        InputError: not such a file.
    """
    document = read_json(path)
    try:
        return [_face(entry) for entry in document["faces"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a landmark file with 'faces' ({error})") from error


def _face(entry: dict[str, Any]) -> DetectedFace:
    values: dict[str, Any] = {}
    for name in _ARRAYS:
        if entry.get(name) is not None:
            values[name] = np.asarray(entry[name], bool if name == "visible" else float)
    for name in _ANGLES:
        if entry.get(name) is not None:
            values[name] = float(entry[name])
    score = float(entry.get("score", 1.0))
    # 68 points of unknown origin are mostly annotations of single images.
    values["jaw_on_outline"] = bool(entry.get("jaw_on_outline", True))
    return DetectedFace(box=np.asarray(entry["box"], float), score=score, **values)


def _rounded(array: np.ndarray) -> list[Any]:
    array = np.asarray(array)
    if array.dtype.kind == "b":
        return array.tolist()
    return np.round(array.astype(float), 3).tolist()
