"""Camera files of OpenCV's ``FileStorage``: YAML, XML and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.types import Camera, Rig

_FORMATS = (".yml", ".yaml", ".xml", ".json")


def write_opencv_rig(path: Path, rig: Rig) -> Path:
    """Write a rig; the suffix (.yml, .yaml, .xml or .json) chooses the format.

    ``cameras`` is a list with the names that OpenCV's calibration samples use: ``name``,
    ``image_width``, ``image_height``, ``camera_matrix``, ``distortion_coefficients`` (1, 5),
    ``R`` (3, 3) and ``T`` (3, 1) in mm, world to camera, and ``avg_reprojection_error``.

    Raises:
        InputError: another suffix.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: expected a suffix of {' '.join(_FORMATS)}")
    with atomic_path(path) as temporary:
        storage = cv2.FileStorage(str(temporary), cv2.FILE_STORAGE_WRITE)
        try:
            storage.write("unit", "mm")
            storage.write("frame", rig.frame)
            storage.startWriteStruct("cameras", cv2.FILE_NODE_SEQ)
            for name, camera in rig.cameras.items():
                storage.startWriteStruct("", cv2.FILE_NODE_MAP)
                storage.write("name", name)
                storage.write("image_width", int(camera.width))
                storage.write("image_height", int(camera.height))
                storage.write("camera_matrix", camera.intrinsics)
                storage.write("distortion_coefficients", camera.distortion[None])
                storage.write("R", camera.rotation)
                storage.write("T", camera.translation[:, None])
                if name in rig.rms_px:
                    storage.write("avg_reprojection_error", float(rig.rms_px[name]))
                storage.endWriteStruct()
            storage.endWriteStruct()
        finally:
            storage.release()
    return path


def read_opencv_rig(path: Path, *, mm_per_unit: float = 1.0) -> Rig:
    """Read a list of cameras as ``write_opencv_rig`` makes it, or a file of one camera.

    A file of one camera has ``camera_matrix`` at its top, as OpenCV's calibration sample writes
    it; its name is the file's stem, and without ``R`` and ``T`` it looks along +z from the origin.

    Args:
        path: the file.
        mm_per_unit: lengths are taken times this where the file names no unit.

    Raises:
        InputError: no such file, or it holds no cameras.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a camera file of OpenCV, found none")
    try:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    except (cv2.error, SystemError) as error:
        raise InputError(f"{path}: OpenCV cannot read this file ({error})") from error
    try:
        listed = storage.getNode("cameras")
        nodes = [listed.at(i) for i in range(listed.size())] if listed.isSeq() else []
        if not nodes and not storage.getNode("camera_matrix").empty():
            nodes = [storage.root()]
        if not nodes:
            raise InputError(f"{path}: expected 'cameras' or 'camera_matrix' in OpenCV's file")
        unit = storage.getNode("unit").string() if storage.getNode("unit").isString() else ""
        scale = {"mm": 1.0, "cm": 10.0, "m": 1000.0}.get(unit, mm_per_unit)
        cameras: dict[str, Camera] = {}
        rms: dict[str, float] = {}
        for node in nodes:
            name = node.getNode("name").string() if node.getNode("name").isString() else path.stem
            if name in cameras:
                raise InputError(f"{path}: camera {name!r} is there twice")
            cameras[name] = _camera(path, node, scale)
            error_node = node.getNode("avg_reprojection_error")
            if not error_node.empty():
                rms[name] = error_node.real()
        frame = storage.getNode("frame")
        return Rig(cameras, frame.string() if frame.isString() else "world", rms)
    finally:
        storage.release()


def _camera(path: Path, node: Any, scale: float) -> Camera:
    K = _matrix(path, node, "camera_matrix")
    distortion = np.zeros(5)
    terms = _matrix(path, node, "distortion_coefficients").ravel()
    if np.any(terms[5:]):
        raise InputError(f"{path}: expected at most five distortion terms (k1 k2 p1 p2 k3)")
    distortion[: min(5, len(terms))] = terms[:5]
    rotation = _matrix(path, node, "R", np.eye(3))
    if rotation.size == 3:
        rotation = cv2.Rodrigues(rotation.reshape(3, 1))[0]
    translation = _matrix(path, node, "T", np.zeros(3)).ravel()
    width, height = (node.getNode(f"image_{side}") for side in ("width", "height"))
    if width.empty() or height.empty():
        raise InputError(f"{path}: a camera has no image_width and image_height")
    return Camera(
        K, rotation, scale * translation, int(width.real()), int(height.real()), distortion
    )


def _matrix(path: Path, node: Any, key: str, default: np.ndarray | None = None) -> np.ndarray:
    found = node.getNode(key)
    matrix = None if found.empty() else found.mat()
    if matrix is None:
        if default is None:
            raise InputError(f"{path}: a camera has no {key!r}")
        return default
    return np.asarray(matrix, np.float64)
