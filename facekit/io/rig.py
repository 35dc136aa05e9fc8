"""``cameras.json``: the calibrated cameras of a stage; and reading a rig of any known format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from facekit import __version__
from facekit.errors import InputError
from facekit.io.atomic import read_json, write_json
from facekit.io.colmap import read_colmap
from facekit.io.opencv_rig import read_opencv_rig
from facekit.io.transforms import read_transforms
from facekit.types import RIG_PARAMETERS, Camera, Rig

SCHEMA = "facekit.cameras/1"


def write_rig(path: Path, rig: Rig) -> Path:
    """Write ``cameras.json`` atomically.

    A camera is of COLMAP's model ``OPENCV`` (distortion k1 k2 p1 p2), or ``FULL_OPENCV`` with k3
    behind them where that is not zero. Pixel (0, 0) is the centre of the top-left pixel, and a
    world point x is R x + t in the camera's frame (OpenCV axes), mm.
    """
    return write_json(path, rig_document(rig))


def rig_document(rig: Rig) -> dict[str, Any]:
    """Return a rig as the JSON values of ``cameras.json``."""
    cameras = []
    for name, camera in rig.cameras.items():
        full = camera.distortion[4] != 0
        entry: dict[str, Any] = {
            "name": name,
            "model": "FULL_OPENCV" if full else "OPENCV",
            "width": int(camera.width),
            "height": int(camera.height),
            "K": camera.intrinsics.tolist(),
            "distortion": camera.distortion[: 5 if full else 4].tolist(),
            "R": camera.rotation.tolist(),
            "t": camera.translation.tolist(),
        }
        if name in rig.rms_px:
            entry["rms_px"] = float(rig.rms_px[name])
        if name in rig.covariance:
            entry["covariance"] = rig.covariance[name].tolist()
        cameras.append(entry)
    return {
        "schema": SCHEMA,
        "facekit_version": __version__,
        "unit": "mm",
        "frame": rig.frame,
        "convention": "x_camera = R x + t, OpenCV axes; pixel (0, 0) is the centre of the "
        "top-left pixel",
        "covariance_of": list(RIG_PARAMETERS),
        "cameras": cameras,
    }


def read_cameras_json(path: Path) -> Rig:
    """Read ``cameras.json``.

    Raises:
        InputError: no such file, another schema or unit, a damaged or repeated camera.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"{path}: expected a cameras file of schema {SCHEMA}")
    if document.get("unit") != "mm":
        raise InputError(f"{path}: expected the unit mm, got {document.get('unit')!r}")
    cameras: dict[str, Camera] = {}
    rms: dict[str, float] = {}
    covariance: dict[str, np.ndarray] = {}
    try:
        for entry in document["cameras"]:
            name = str(entry["name"])
            if name in cameras:
                raise InputError(f"{path}: camera {name!r} is there twice")
            cameras[name] = _camera(entry)
            if entry.get("rms_px") is not None:
                rms[name] = float(entry["rms_px"])
            if entry.get("covariance") is not None:
                covariance[name] = np.asarray(entry["covariance"], np.float64)
        return Rig(cameras, str(document.get("frame", "world")), rms, covariance)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: a camera is damaged ({error!r})") from error


def read_rig(path: Path) -> Rig:
    """Read cameras of any known format, told by what the path is.

    ``cameras.json``; a folder with COLMAP's ``cameras.txt`` and ``images.txt``; NeRF's
    ``transforms.json``; OpenCV's ``.yml``, ``.yaml``, ``.xml`` or JSON; a folder that holds one
    of the first three, at its top or in ``sparse``.

    Raises:
        InputError: none of these is there, or it cannot be read.
    """
    if path.is_dir():
        for inner in ("cameras.json", "transforms.json"):
            if (path / inner).is_file():
                return read_rig(path / inner)
        for folder in (path, path / "sparse", path / "sparse" / "0"):
            if (folder / "cameras.txt").is_file():
                return read_colmap(folder)
    elif path.name == "cameras.txt":
        return read_colmap(path.parent)
    elif path.suffix.lower() == ".json":
        document = read_json(path)
        if isinstance(document, dict) and "frames" in document:
            return read_transforms(path)
        if isinstance(document, dict) and str(document.get("schema", "")).startswith("facekit."):
            return read_cameras_json(path)
        return read_opencv_rig(path)
    elif path.suffix.lower() in (".yml", ".yaml", ".xml"):
        return read_opencv_rig(path)
    raise InputError(
        f"{path}: expected cameras: cameras.json, transforms.json, a COLMAP text model "
        "(cameras.txt and images.txt) or OpenCV's .yml, .yaml, .xml or .json"
    )


def _camera(entry: dict[str, Any]) -> Camera:
    model = entry.get("model", "OPENCV")
    terms = {"OPENCV": 4, "FULL_OPENCV": 5}.get(model)
    if terms is None:
        raise InputError(f"camera model: expected OPENCV or FULL_OPENCV, got {model!r}")
    distortion = np.zeros(5)
    values = np.asarray(entry["distortion"], np.float64)
    if values.shape != (terms,):
        raise InputError(f"camera distortion: expected {terms} terms, got shape {values.shape}")
    distortion[:terms] = values
    return Camera(
        intrinsics=np.asarray(entry["K"], np.float64),
        rotation=np.asarray(entry["R"], np.float64),
        translation=np.asarray(entry["t"], np.float64),
        width=int(entry["width"]),
        height=int(entry["height"]),
        distortion=distortion,
    )
