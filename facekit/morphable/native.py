"""facekit's own model file: one .npz of plain arrays, versioned, quantised, no pickles.

Layout of format 1: ``meta`` holds a JSON text (format, name, names of everything, licence,
provenance, priors). Shapes and modes are whole numbers times a quantum: ``mean`` int32,
``identity`` and ``expression`` int16. A mode that is exactly symmetric or antisymmetric under
``mirror`` is stored by its left half alone. Colours are int16 steps of linear RGB. Integers are
stored as differences along the vertices in two byte planes, which deflate packs well.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.io.npz import read_npz
from facekit.morphable.model import MorphableModel
from facekit.types import LandmarkMap

FORMAT = 1
MEAN_QUANTUM_MM = 1e-4
MODE_QUANTUM_MM = 4e-4
COLOUR_QUANTUM = 1.0 / 16384
# Modes must reproduce their mirror image to this share of a quantum to be stored by half.
_PARITY_TOLERANCE = 0.5


def write_native(
    model: MorphableModel, path: Path, *, mode_quantum_mm: float = MODE_QUANTUM_MM
) -> Path:
    """Write a model and return the path.

    Shapes are rounded: the mean to 0.0001 mm, each mode to ``mode_quantum_mm`` (coarser where a
    mode is too large for 16 bits), colours to 1/16384.
    """
    arrays: dict[str, np.ndarray] = {
        "mean": _quantise(model.mean, MEAN_QUANTUM_MM).astype(np.int32),
        "faces": model.faces,
    }
    meta: dict[str, Any] = {
        "format": FORMAT,
        "name": model.name,
        "unit": "mm",
        "mean_quantum": MEAN_QUANTUM_MM,
        "colour_quantum": COLOUR_QUANTUM,
        "expression_names": list(model.expression_names),
        "expression_kind": list(model.expression_kind),
        "licence": model.licence,
        "provenance": model.provenance,
        "landmarks": sorted(model.landmarks),
        "regions": sorted(model.regions),
    }
    for name, modes in (("identity", model.identity_modes), ("expression", model.expression_modes)):
        quantum, parity = _pack_modes(arrays, name, modes, model.mirror, mode_quantum_mm)
        meta[f"{name}_quantum"], meta[f"{name}_parity"] = quantum, parity
    arrays["expression_bounds"] = model.expression_bounds.astype(np.float32)
    arrays["expression_mean"] = model.expression_mean.astype(np.float32)
    arrays["expression_std"] = model.expression_std.astype(np.float32)
    arrays["albedo_mean"] = _quantise(model.albedo_mean, COLOUR_QUANTUM).astype(np.int16)
    arrays["albedo_modes"] = _planes(_quantise(model.albedo_modes, COLOUR_QUANTUM).astype(np.int16))
    if model.uvs is not None:
        arrays["uvs"] = np.round(model.uvs * 65535).astype(np.uint16)
        arrays["face_uvs"] = model.face_uvs if model.face_uvs is not None else model.faces
    if model.mirror is not None:
        arrays["mirror"] = model.mirror.astype(np.int32)
    for name, marks in model.landmarks.items():
        arrays[f"landmark.{name}.faces"] = marks.faces.astype(np.int32)
        arrays[f"landmark.{name}.barycentric"] = marks.barycentric.astype(np.float32)
        if marks.covariance_mm2 is not None:
            arrays[f"landmark.{name}.covariance"] = marks.covariance_mm2.astype(np.float32)
    for name, mask in model.regions.items():
        arrays[f"region.{name}"] = np.packbits(mask)
    arrays["meta"] = np.array(json.dumps(meta, ensure_ascii=False, sort_keys=True))
    with atomic_path(path) as temporary:
        _write_reproducibly(temporary, arrays)
    return path


def read_native(path: Path) -> MorphableModel:
    """Read a model that ``write_native`` wrote.

    Raises:
        InputError: no such file, not a facekit model, or one of a newer format.
    """
    data = read_npz(path, what="a facekit model")
    try:
        meta = json.loads(str(data["meta"]))
        version = meta["format"]
        if version > FORMAT:
            raise InputError(
                f"{path}: has model format {version}, this facekit reads up to {FORMAT}; update"
                " facekit"
            )
        return _decode(data, meta)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a whole facekit model ({error!r})") from error


def is_native(path: Path) -> bool:
    """Say whether a file is a .npz with facekit's model layout."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"meta.npy", "mean.npy", "faces.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _decode(data: dict[str, np.ndarray], meta: dict[str, Any]) -> MorphableModel:
    mean = (data["mean"] * float(meta["mean_quantum"])).astype(np.float32)
    mirror = data.get("mirror")
    colour = np.float32(meta["colour_quantum"])
    landmarks = {}
    for name in meta["landmarks"]:
        landmarks[name] = LandmarkMap(
            data[f"landmark.{name}.faces"],
            data[f"landmark.{name}.barycentric"],
            data.get(f"landmark.{name}.covariance"),
        )
    return MorphableModel(
        name=meta["name"],
        mean=mean,
        faces=data["faces"],
        identity_modes=_unpack_modes(data, meta, "identity", mirror, len(mean)),
        expression_modes=_unpack_modes(data, meta, "expression", mirror, len(mean)),
        expression_names=tuple(meta["expression_names"]),
        expression_kind=tuple(meta["expression_kind"]),
        expression_bounds=data["expression_bounds"],
        expression_mean=data["expression_mean"],
        expression_std=data["expression_std"],
        albedo_mean=data["albedo_mean"] * colour,
        albedo_modes=_from_planes(data["albedo_modes"]) * colour,
        uvs=data["uvs"].astype(np.float32) / 65535 if "uvs" in data else None,
        face_uvs=data.get("face_uvs"),
        landmarks=landmarks,
        regions={
            name: np.unpackbits(data[f"region.{name}"], count=len(mean)).astype(bool)
            for name in meta["regions"]
        },
        mirror=mirror,
        licence=meta["licence"],
        provenance=meta["provenance"],
    )


def _pack_modes(
    arrays: dict[str, np.ndarray],
    name: str,
    modes: np.ndarray,
    mirror: np.ndarray | None,
    quantum: float,
) -> tuple[list[float], list[int]]:
    """Add a block of modes to ``arrays``; return each mode's quantum and its parity.

    Parity 1 and -1 mean symmetric and antisymmetric, stored by half; 0 means stored whole.
    """
    quanta, parity, halves, wholes = [], [], [], []
    left = _left(mirror) if mirror is not None else None
    for mode in modes:
        step = max(quantum, float(np.abs(mode).max(initial=0.0)) / 32000)
        values = _quantise(mode, step).astype(np.int16)
        sign = 0
        if left is not None and mirror is not None:
            image = mode[mirror] * np.array([-1, 1, 1], np.float32)
            for candidate in (1, -1):
                if np.abs(mode - candidate * image).max(initial=0.0) < _PARITY_TOLERANCE * step:
                    sign = candidate
                    break
        quanta.append(step)
        parity.append(sign)
        if sign:
            halves.append(values[left])
        else:
            wholes.append(values)
    shape = (0, int(left.sum()) if left is not None else 0, 3)
    arrays[f"{name}_halves"] = _planes(np.array(halves, np.int16) if halves else np.zeros(shape))
    shape = (0, modes.shape[1], 3)
    arrays[f"{name}_wholes"] = _planes(np.array(wholes, np.int16) if wholes else np.zeros(shape))
    return quanta, parity


def _unpack_modes(
    data: dict[str, np.ndarray],
    meta: dict[str, Any],
    name: str,
    mirror: np.ndarray | None,
    num_vertices: int,
) -> np.ndarray:
    quanta, parity = meta[f"{name}_quantum"], meta[f"{name}_parity"]
    halves = _from_planes(data[f"{name}_halves"])
    wholes = _from_planes(data[f"{name}_wholes"])
    modes = np.empty((len(parity), num_vertices, 3), np.float32)
    next_half = next_whole = 0
    for k, sign in enumerate(parity):
        if sign and mirror is not None:
            left = _left(mirror)
            half = halves[next_half]
            next_half += 1
            modes[k, mirror[left]] = half * np.array([-sign, sign, sign], np.int16)
            modes[k, left] = half
        else:
            modes[k] = wholes[next_whole]
            next_whole += 1
        modes[k] *= np.float32(quanta[k])
    return modes


def _left(mirror: np.ndarray) -> np.ndarray:
    return np.arange(len(mirror)) <= mirror


def _quantise(values: np.ndarray, quantum: float) -> np.ndarray:
    return np.round(np.asarray(values, np.float64) / quantum)


def _planes(values: np.ndarray) -> np.ndarray:
    """Return int16 (N, V, C) as bytes (2, N, C, V): low and high of differences along V."""
    turned = np.ascontiguousarray(np.swapaxes(values.astype(np.int16), 1, 2))
    # Differences wrap around in 16 bits, and so does the sum that undoes them.
    steps = np.diff(turned, axis=-1, prepend=np.int16(0)).astype(np.int16)
    folded = ((steps << 1) ^ (steps >> 15)).astype(np.uint16)
    return np.stack([(folded & 255).astype(np.uint8), (folded >> 8).astype(np.uint8)])


def _from_planes(planes: np.ndarray) -> np.ndarray:
    folded = planes[0].astype(np.uint16) | (planes[1].astype(np.uint16) << 8)
    steps = ((folded >> 1) ^ (0 - (folded & 1)).astype(np.uint16)).astype(np.uint16).view(np.int16)
    return np.swapaxes(np.cumsum(steps, axis=-1, dtype=np.int16), 1, 2)


def _write_reproducibly(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz whose bytes depend on the arrays alone (no time stamps)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(
                    stream, np.asarray(arrays[name], order="C"), allow_pickle=False
                )
