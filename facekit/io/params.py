"""``params.npz``: the one schema of fits, simulated truth and labels."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facekit import __version__
from facekit.checks import check_array
from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.io.npz import decode_npz
from facekit.types import Camera

SCHEMA = "facekit.params/1"

# Key to shape; letters are free sizes. Writers may add further arrays (truth adds the mesh).
SHAPES: dict[str, tuple[int | str, ...]] = {
    "identity": ("K",),
    "expression": ("E",),
    "albedo": ("A",),
    "rotation": (3, 3),
    "translation_mm": (3,),
    "intrinsics": (3, 3),
    "distortion": (5,),
    "light": (9, 3),
    "image_size": (2,),
    "landmarks_2d": (68, 2),
    "landmarks_3d_mm": (68, 3),
    "now7": (7, 3),
    "scale_std": (),
    "quality": (),
    "vertex_std_mm": ("V",),
    "covariance_factor": ("C", "D"),
}


def write_params(
    path: Path,
    values: Mapping[str, Any],
    *,
    model_name: str,
    model_sha256: str,
    scale_source: str,
    extra_meta: Mapping[str, Any] | None = None,
) -> Path:
    """Write a params file atomically; see ``encode_params``."""
    content = encode_params(
        values,
        model_name=model_name,
        model_sha256=model_sha256,
        scale_source=scale_source,
        extra_meta=extra_meta,
        where=path.name,
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def encode_params(
    values: Mapping[str, Any],
    *,
    model_name: str,
    model_sha256: str,
    scale_source: str,
    extra_meta: Mapping[str, Any] | None = None,
    where: str = "params",
) -> bytes:
    """Return the bytes of a params file.

    Args:
        values: every key of ``SHAPES`` (``image_size`` is width, height in pixels), and any
            further arrays. Floats are stored as float32, cameras as float64.
        model_name, model_sha256: the morphable model that the coefficients belong to.
        scale_source: ``prior``, ``iris``, ``focal`` or ``stage``.
        extra_meta: further JSON values for ``meta``.
        where: the file's name, for messages.

    Raises:
        InputError: a key is missing or has another shape.
    """
    arrays: dict[str, Any] = {}
    for key, shape in SHAPES.items():
        if key not in values:
            raise InputError(f"{where}: params need the key {key!r}")
        arrays[key] = check_array(values[key], key, shape=shape)
    for key, value in values.items():
        if key not in SHAPES:
            arrays[key] = np.asarray(value)
    double = {"rotation", "translation_mm", "intrinsics", "distortion"}
    for key, array in arrays.items():
        if array.dtype.kind == "f" and key not in double:
            arrays[key] = array.astype(np.float32)
    meta = {
        "schema": SCHEMA,
        "units": "mm",
        "frame": "head to OpenCV camera; pixel (0, 0) is the centre of the top-left pixel",
        "model": model_name,
        "model_sha256": model_sha256,
        "facekit_version": __version__,
        "scale_source": scale_source,
        **(extra_meta or {}),
    }
    arrays["meta"] = np.array(json.dumps(meta))
    arrays["scale_source"] = np.array(scale_source)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file: arrays by key, and ``meta`` as a dict.

    Raises:
        InputError: no such file, no ``.npz``, or another schema.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a params file of facekit ({error})") from error
    return decode_params(content, str(path))


def params_camera(params: Mapping[str, Any]) -> Camera:
    """Return the camera of a params file: head frame to the image it was fitted to."""
    width, height = (int(n) for n in params["image_size"])
    return Camera(params["intrinsics"], params["rotation"], params["translation_mm"], width, height)


def decode_params(
    content: bytes, where: str, *, keys: Collection[str] | None = None
) -> dict[str, Any]:
    """Return what ``encode_params`` wrote: arrays by key, and ``meta`` as a dict.

    Args:
        content: the bytes.
        where: the file they come from, for messages.
        keys: read these only (and ``meta``), which is quicker; None reads all.

    Raises:
        InputError: no ``.npz``, another schema, or a key is missing.
    """
    try:
        wanted = None if keys is None else {*keys, "meta"}
        values: dict[str, Any] = {**decode_npz(content, keys=wanted)}
    except KeyError as error:
        raise InputError(f"{where}: expected a params file with {error}") from error
    except ValueError as error:
        raise InputError(f"{where}: expected a params file of facekit ({error})") from error
    try:
        values["meta"] = json.loads(str(values["meta"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: has no readable 'meta'; expected {SCHEMA}") from error
    if values["meta"].get("schema") != SCHEMA:
        raise InputError(f"{where}: expected {SCHEMA}, got {values['meta'].get('schema')}")
    values["scale_source"] = str(values.get("scale_source", ""))
    return values
