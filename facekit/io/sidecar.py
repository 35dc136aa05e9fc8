"""Landmark files that lie beside an image, in the layouts other tools write.

Looked for, for ``DIR/x.jpg`` (and in ``DIR/detections``), the first that exists: ``x.json``
(facekit's landmark file), ``x.npz``, ``x.pts`` (iBUG), ``x.txt`` (five points, Deep3D's layout).
All points are returned in pixels of the upright image file, (0, 0) the CENTRE of its top-left
pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from facekit.errors import InputError
from facekit.io.landmark_files import read_landmarks
from facekit.io.npz import read_npz
from facekit.types import DetectedFace

SUFFIXES = (".json", ".npz", ".pts", ".txt")


def find_sidecar(image: Path) -> Path | None:
    """Return the landmark file of an image, or None."""
    for suffix in SUFFIXES:
        for folder in (image.parent, image.parent / "detections"):
            path = folder / f"{image.stem}{suffix}"
            if path.is_file() and (suffix != ".npz" or _npz_has_points(path)):
                return path
    return None


def read_points(path: Path) -> dict[str, np.ndarray]:
    """Read one face's points from ``.pts``, ``.txt`` or ``.npz``.

    Returns:
        Some of ``ibug68`` (68, 2), ``five`` (5, 2), ``iris`` (2, 2), ``dense478`` (478, 2) and
        ``box`` (4,), float64.

    Raises:
        InputError: not such a file, or a count of points that is no known set.
    """
    try:
        if path.suffix.lower() == ".pts":
            return _named(_read_pts(path), path)
        if path.suffix.lower() == ".npz":
            return _read_npz(path)
        return _named(np.loadtxt(path, dtype=np.float64, ndmin=2), path)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected landmark points ({error})") from error


def read_faces(path: Path) -> list[DetectedFace] | dict[str, np.ndarray]:
    """Read a sidecar: faces of a ``.json``, or the points of one face (``read_points``)."""
    return read_landmarks(path) if path.suffix.lower() == ".json" else read_points(path)


def upright_size(path: Path) -> tuple[int, int]:
    """Return an image file's (width, height) after its EXIF orientation, from the header alone.

    Raises:
        InputError: not a readable image.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            turned = file.getexif().get(0x0112, 1) >= 5
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: expected a readable image ({error})") from error
    return (height, width) if turned else (width, height)


def _read_pts(path: Path) -> np.ndarray:
    text = path.read_text(encoding="utf-8", errors="strict")
    if "{" not in text or "}" not in text:
        raise ValueError("no { points } block")
    body = text[text.index("{") + 1 : text.index("}")].split()
    # The iBUG files were annotated with pixels counted from 1.
    return np.array([float(v) for v in body], dtype=np.float64).reshape(-1, 2) - 1.0


def _named(points: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    names = {68: "ibug68", 5: "five", 478: "dense478"}
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in names:
        raise InputError(f"{path}: expected 5, 68 or 478 points of x y, got shape {points.shape}")
    if not np.isfinite(points).all():
        raise InputError(f"{path}: expected finite coordinates")
    return {names[len(points)]: points}


_NPZ_KEYS = {"ibug68": 68, "landmarks_2d": 68, "five": 5, "iris": 2, "dense478": 478}


def _npz_has_points(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as file:
            return bool(({"ibug68", "landmarks_2d", "five", "dense478"}) & set(file.files))
    except (OSError, ValueError):
        return True  # named like the image, so its damage is reported when it is read


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    file = read_npz(path, what="landmark points")
    for key, count in _NPZ_KEYS.items():
        if key in file:
            points = np.asarray(file[key], np.float64)
            if points.shape != (count, 2) or not np.isfinite(points).all():
                raise InputError(f"{path}: {key}: expected finite ({count}, 2), got {points.shape}")
            found.setdefault("ibug68" if key == "landmarks_2d" else key, points)
    if "box" in file:
        found["box"] = np.asarray(file["box"], np.float64).reshape(4)
    if not set(found) - {"box", "iris"}:
        raise InputError(f"{path}: expected ibug68, landmarks_2d, five or dense478, found none")
    return found
