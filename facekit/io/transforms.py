"""NeRF's ``transforms.json``: camera-to-world matrices with OpenGL's axes.

A frame's ``transform_matrix`` takes camera coordinates (+x right, +y up, +z backward) to the world;
its pixels have the top-left pixel's centre at (0.5, 0.5). Lengths are in the scene's unit.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.geometry.cameras import pixel_convention
from facekit.io.atomic import read_json, write_json
from facekit.types import Camera, Rig

# OpenCV's camera axes in OpenGL's: y and z turned round.
_AXES = np.diag([1.0, -1.0, -1.0])
_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


def write_transforms(path: Path, rig: Rig, *, image_name: str = "{}.png", unit: str = "m") -> Path:
    """Write a rig as ``transforms.json`` with intrinsics and distortion in every frame.

    Args:
        path: the file.
        rig: the cameras; the world frame stays as it is.
        image_name: ``file_path`` made from the camera's name.
        unit: mm, cm or m (NeRF programs expect a scene a few units wide); kept under ``unit``.
    """
    frames = []
    for name, camera in rig.cameras.items():
        pose = np.eye(4)
        pose[:3, :3] = camera.rotation.T @ _AXES
        pose[:3, 3] = -camera.rotation.T @ camera.translation / _unit(unit)
        K = camera.intrinsics
        cx, cy = pixel_convention(K[:2, 2], "facekit", "nerf")
        k1, k2, p1, p2, k3 = camera.distortion.tolist()
        frames.append(
            {
                "file_path": image_name.format(name),
                "w": int(camera.width),
                "h": int(camera.height),
                "fl_x": float(K[0, 0]),
                "fl_y": float(K[1, 1]),
                "cx": float(cx),
                "cy": float(cy),
                **dict(zip(("k1", "k2", "p1", "p2", "k3"), (k1, k2, p1, p2, k3), strict=True)),
                "transform_matrix": pose.tolist(),
            }
        )
    document = {"camera_model": "OPENCV", "unit": unit, "frame": rig.frame, "frames": frames}
    return write_json(path, document)


def read_transforms(path: Path, *, mm_per_unit: float | None = None) -> Rig:
    """Read ``transforms.json``; cameras are named by ``file_path`` without folder and suffix.

    Intrinsics stand in a frame or, for all, at the top: ``fl_x``, ``fl_y``, or ``camera_angle_x``
    with the width; a missing ``cx``, ``cy`` is the image's middle.

    Args:
        path: the file.
        mm_per_unit: lengths are taken times this; None takes the file's ``unit``, and 1 where it
            names none.

    Raises:
        InputError: no such file, or a frame lacks its pose, size or focal length.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        raise InputError(f"{path}: expected a transforms.json with 'frames'")
    scale = mm_per_unit if mm_per_unit is not None else _MM.get(str(document.get("unit")), 1.0)
    cameras: dict[str, Camera] = {}
    for entry in document["frames"]:
        try:
            name = PurePosixPath(str(entry["file_path"])).stem
            camera = _camera({**document, **entry}, scale)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: a frame is damaged ({error!r})") from error
        if name in cameras:
            raise InputError(f"{path}: frame {name!r} is there twice")
        cameras[name] = camera
    return Rig(cameras, str(document.get("frame", "world")))


def _camera(values: dict[str, Any], scale: float) -> Camera:
    pose = np.asarray(values["transform_matrix"], np.float64)
    if pose.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"transform_matrix: expected 4x4, got {pose.shape}")
    width, height = int(values["w"]), int(values["h"])
    if "fl_x" in values:
        fx = float(values["fl_x"])
    else:
        fx = width / (2 * np.tan(float(values["camera_angle_x"]) / 2))
    fy = float(values.get("fl_y", fx))
    centre = (float(values.get("cx", width / 2)), float(values.get("cy", height / 2)))
    cx, cy = pixel_convention(np.array(centre), "nerf", "facekit")
    rotation = (pose[:3, :3] @ _AXES).T
    return Camera(
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]),
        rotation,
        -rotation @ pose[:3, 3] * scale,
        width,
        height,
        np.array([float(values.get(k, 0)) for k in ("k1", "k2", "p1", "p2", "k3")]),
    )


def _unit(unit: str) -> float:
    if unit not in _MM:
        raise InputError(f"unit: expected mm, cm or m, got {unit!r}")
    return _MM[unit]
