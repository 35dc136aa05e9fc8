"""COLMAP's text model: ``cameras.txt``, ``images.txt`` and an empty ``points3D.txt``.

COLMAP's pixels have the top-left pixel's centre at (0.5, 0.5). Its images are the rig's cameras:
their names are the image names without suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from facekit.errors import InputError
from facekit.geometry.cameras import pixel_convention
from facekit.io.atomic import write_text
from facekit.types import Camera, Rig


def write_colmap(folder: Path, rig: Rig, *, image_name: str = "{}.png") -> Path:
    """Write a rig as a COLMAP text model, one camera and one image for each; lengths in mm.

    Args:
        folder: gets the three files.
        rig: the cameras; those with k3 become ``FULL_OPENCV``, others ``OPENCV``.
        image_name: the image's name made from the camera's.

    Raises:
        InputError: intrinsics with skew, which no COLMAP model has.
    """
    cameras = ["# Camera list: CAMERA_ID MODEL WIDTH HEIGHT PARAMS"]
    images = ["# Image list: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its 2D points"]
    for number, (name, camera) in enumerate(rig.cameras.items(), start=1):
        K = camera.intrinsics
        if K[0, 1] != 0:
            raise InputError(f"camera {name}: COLMAP's models have no skew, got {K[0, 1]:g}")
        centre = pixel_convention(K[:2, 2], "facekit", "colmap")
        k1, k2, p1, p2, k3 = camera.distortion
        values = [K[0, 0], K[1, 1], *centre, k1, k2, p1, p2]
        model = "OPENCV"
        if k3 != 0:
            model = "FULL_OPENCV"
            values += [k3, 0, 0, 0]
        cameras.append(f"{number} {model} {camera.width} {camera.height} {_numbers(values)}")
        x, y, z, w = Rotation.from_matrix(camera.rotation).as_quat(canonical=True)
        pose = _numbers([w, x, y, z, *camera.translation])
        images += [f"{number} {pose} {number} {image_name.format(name)}", ""]
    for name, lines in (("cameras.txt", cameras), ("images.txt", images)):
        write_text(folder / name, "\n".join(lines) + "\n")
    write_text(folder / "points3D.txt", "")
    return folder


def read_colmap(folder: Path, *, mm_per_unit: float = 1.0) -> Rig:
    """Read the images of a COLMAP text model as a rig's cameras, by image name without suffix.

    Args:
        folder: holds ``cameras.txt`` and ``images.txt``.
        mm_per_unit: a COLMAP model has no unit; its lengths are taken times this.

    Raises:
        InputError: a file is missing or damaged, or a camera model has terms that OpenCV's five
            do not express.
    """
    lenses: dict[str, tuple[np.ndarray, np.ndarray, int, int]] = {}
    for line in _lines(folder / "cameras.txt"):
        fields = line.split()
        try:
            number, model, width, height = fields[0], fields[1], int(fields[2]), int(fields[3])
            values = [float(f) for f in fields[4:]]
        except (IndexError, ValueError) as error:
            raise InputError(f"{folder / 'cameras.txt'}: damaged line {line!r}") from error
        lenses[number] = (*_lens(model, values), width, height)
    cameras: dict[str, Camera] = {}
    # An image has two lines, and the second, its points, may be empty.
    rows = list(_lines(folder / "images.txt", keep_empty=True))
    for line in rows[::2]:
        fields = line.split(maxsplit=9)
        try:
            w, x, y, z, *translation = (float(f) for f in fields[1:8])
            K, distortion, width, height = lenses[fields[8]]
            name = PurePosixPath(fields[9].strip()).with_suffix("").as_posix()
            rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
        except (IndexError, KeyError, ValueError) as error:
            raise InputError(f"{folder / 'images.txt'}: damaged line {line!r}") from error
        if name in cameras:
            raise InputError(f"{folder / 'images.txt'}: image {name!r} is there twice")
        cameras[name] = Camera(
            K, rotation, mm_per_unit * np.array(translation), width, height, distortion
        )
    return Rig(cameras, frame="COLMAP model")


def _lens(model: str, values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return intrinsics and five distortion terms of a COLMAP camera model."""
    # fx, fy, cx, cy, and the five terms, from each model's own list.
    readers: dict[str, tuple[int, Callable[..., list[float]]]] = {
        "SIMPLE_PINHOLE": (3, lambda f, x, y: [f, f, x, y]),
        "PINHOLE": (4, lambda fx, fy, x, y: [fx, fy, x, y]),
        "SIMPLE_RADIAL": (4, lambda f, x, y, k: [f, f, x, y, k]),
        "RADIAL": (5, lambda f, x, y, k1, k2: [f, f, x, y, k1, k2]),
        "OPENCV": (8, lambda *v: list(v)),
        "FULL_OPENCV": (12, lambda *v: list(v)),
    }
    if model not in readers:
        known = ", ".join(readers)
        raise InputError(f"COLMAP camera model: expected one of {known}, got {model}")
    count, reader = readers[model]
    if len(values) != count:
        raise InputError(
            f"COLMAP camera model {model}: expected {count} numbers, got {len(values)}"
        )
    full = np.zeros(12)
    given = reader(*values)
    full[: len(given)] = given
    if np.any(full[9:]):
        raise InputError("COLMAP model FULL_OPENCV: k4, k5 and k6 must be 0 here")
    cx, cy = pixel_convention(full[2:4], "colmap", "facekit")
    return np.array([[full[0], 0, cx], [0, full[1], cy], [0, 0, 1.0]]), full[4:9]


def _lines(path: Path, *, keep_empty: bool = False) -> Iterable[str]:
    if not path.is_file():
        raise InputError(f"{path}: expected a file of a COLMAP text model, found none")
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return lines if keep_empty else [line for line in lines if line.strip()]


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(v)) for v in values)
