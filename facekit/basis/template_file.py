"""The template's file: topology, texture chart, regions, landmarks, colour and its source map."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from facekit.basis.remesh import SurfacePoints
from facekit.checks import check_array, check_faces
from facekit.errors import InputError
from facekit.io.atomic import atomic_path
from facekit.io.npz import read_npz
from facekit.types import LandmarkMap

FORMAT = 1
_ARRAYS = ("vertices", "faces", "mirror", "uvs", "face_uvs", "part", "rim", "albedo")


@dataclass(frozen=True, eq=False)
class HeadTemplate:
    """A head to register scans to and to build models on.

    Attributes:
        vertices: (V, 3) float64 its own neutral head, mm, symmetric about x = 0.
        faces: (F, 3) int32; mirror: (V,) int32 partner across x = 0.
        uvs: (T, 2); face_uvs: (F, 3) int32.
        part: (V,) int8: 0 skin, 1 mouth bag, 2 eye socket, 3 left eyeball, 4 right eyeball.
        rim: (V,) int8: 1 lip rim, 2 eyelid rim, 3 neck border, 0 elsewhere.
        albedo: (V, 3) linear RGB.
        skin: where skin vertices lie on the source head.
        regions: named (V,) bool masks; landmarks: named maps to the surface.
        licence, provenance: texts that a model built on it repeats.
    """

    vertices: np.ndarray
    faces: np.ndarray
    mirror: np.ndarray
    uvs: np.ndarray
    face_uvs: np.ndarray
    part: np.ndarray
    rim: np.ndarray
    albedo: np.ndarray
    skin: SurfacePoints
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    landmarks: dict[str, LandmarkMap] = field(default_factory=dict)
    licence: str = ""
    provenance: str = ""

    def __post_init__(self) -> None:
        v = len(check_array(self.vertices, "template vertices", shape=("V", 3)))
        object.__setattr__(self, "faces", check_faces(self.faces, v, "template faces"))
        check_array(self.mirror, "template mirror", shape=(v,), dtype="int")
        check_array(self.part, "template part", shape=(v,), dtype="int")
        check_array(self.rim, "template rim", shape=(v,), dtype="int")
        check_array(self.albedo, "template albedo", shape=(v, 3))

    @property
    def sha256(self) -> str:
        """Content hash of the topology: registered heads of equal hash belong together."""
        digest = hashlib.sha256(np.ascontiguousarray(self.faces, np.int32).tobytes())
        digest.update(np.ascontiguousarray(self.mirror, np.int32).tobytes())
        return digest.hexdigest()

    def with_landmarks(self, landmarks: dict[str, LandmarkMap]) -> HeadTemplate:
        """Return a copy with these landmark sets added or replaced."""
        return replace(self, landmarks={**self.landmarks, **landmarks})


def write_template(template: HeadTemplate, path: Path) -> Path:
    """Write a template as one .npz and return the path."""
    arrays = {name: getattr(template, name) for name in _ARRAYS}
    arrays["skin_corners"], arrays["skin_weights"] = template.skin
    for name, mask in template.regions.items():
        arrays[f"region.{name}"] = mask
    for name, marks in template.landmarks.items():
        arrays[f"landmark.{name}.faces"] = marks.faces
        arrays[f"landmark.{name}.barycentric"] = marks.barycentric
        if marks.covariance_mm2 is not None:
            arrays[f"landmark.{name}.covariance"] = marks.covariance_mm2
    meta = {
        "format": FORMAT,
        "kind": "facekit.template",
        "sha256": template.sha256,
        "licence": template.licence,
        "provenance": template.provenance,
    }
    arrays["meta"] = np.array(json.dumps(meta))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def read_template(path: Path) -> HeadTemplate:
    """Read a template that ``write_template`` wrote.

    Raises:
        InputError: no such file, or not a facekit template of a known format.
    """
    files = read_npz(path, what="a template file (facekit basis template makes one)")
    try:
        meta = json.loads(str(files["meta"]))
        if meta["kind"] != "facekit.template" or meta["format"] > FORMAT:
            raise InputError(f"{path}: expected a facekit template of format <= {FORMAT}")
        return _decode(files, meta)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a facekit template file ({error!r})") from error


def _decode(files: dict[str, np.ndarray], meta: dict[str, Any]) -> HeadTemplate:
    names = {n.split(".")[1] for n in files if n.startswith("landmark.")}
    return HeadTemplate(
        **{name: files[name] for name in _ARRAYS},
        skin=SurfacePoints(files["skin_corners"], files["skin_weights"]),
        regions={n.split(".")[1]: a for n, a in files.items() if n.startswith("region.")},
        landmarks={
            name: LandmarkMap(
                files[f"landmark.{name}.faces"],
                files[f"landmark.{name}.barycentric"],
                files.get(f"landmark.{name}.covariance"),
            )
            for name in sorted(names)
        },
        licence=meta["licence"],
        provenance=meta["provenance"],
    )
