"""Surrey Face Model and other models in the ``.bin`` layout of the eos library.

P. Huber et al., A multiresolution 3D morphable face model and fitting framework, 2016. The file is
a little-endian cereal archive: class version, shape and colour model, and by version expressions,
landmark definitions, texture coordinates and their triangles. A matrix is int32 rows, int32
columns and column-major float32. Lengths are millimetres, colours sRGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.errors import InputError
from facekit.morphable.foreign import blocks, foreign_model
from facekit.morphable.model import MorphableModel

NEWEST_VERSION = 4
_LICENCE = "See the licence that came with the file (Surrey Face Model: non-commercial)."


class _Pca(NamedTuple):
    mean: np.ndarray
    basis: np.ndarray
    eigenvalues: np.ndarray
    faces: np.ndarray

    def modes(self, num_vertices: int) -> np.ndarray:
        return blocks(self.basis * np.sqrt(self.eigenvalues), num_vertices, "basis")


class _Archive:
    """A cursor over the bytes of an archive."""

    def __init__(self, content: bytes, path: Path) -> None:
        self.content, self.path, self.at = content, path, 0

    def array(self, dtype: str, count: int) -> np.ndarray:
        size = np.dtype(dtype).itemsize * count
        if count < 0 or self.at + size > len(self.content):
            raise InputError(f"{self.path}: ends early or is no eos model (at byte {self.at})")
        values = np.frombuffer(self.content, dtype, count, self.at)
        self.at += size
        return values

    def number(self, dtype: str) -> int:
        return int(self.array(dtype, 1)[0])

    def matrix(self) -> np.ndarray:
        rows, columns = self.number("<i4"), self.number("<i4")
        return self.array("<f4", rows * columns).reshape(columns, rows).T.astype(np.float64)

    def text(self) -> str:
        return self.array("u1", self.number("<u8")).tobytes().decode("utf-8", "replace")

    def table(self, dtype: str, columns: int) -> np.ndarray:
        return self.array(dtype, self.number("<u8") * columns).reshape(-1, columns)

    def pca(self) -> _Pca:
        mean, basis, eigenvalues = self.matrix(), self.matrix(), self.matrix()
        faces = self.table("<i4", 3)
        return _Pca(mean.ravel(), basis, eigenvalues.ravel(), faces)


def read_eos(path: Path, *, now7: Sequence[int] | None = None) -> MorphableModel:
    """Read the model.

    Args:
        path: the ``.bin``.
        now7: vertex numbers of NoW's seven points (``read_bfm2009`` has their order).

    Raises:
        InputError: no such file, another format, or a version other than 1 to 4.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected an eos model file, found none")
    archive = _Archive(path.read_bytes(), path)
    version = archive.number("<u4")
    if not 1 <= version <= NEWEST_VERSION:
        raise InputError(
            f"{path}: expected an eos model of version 1 to {NEWEST_VERSION}, got {version}"
        )
    shape, colour = archive.pca(), archive.pca()
    if len(shape.mean) % 3 or not len(shape.mean):
        raise InputError(f"{path}: expected a mean of x, y, z triples, got {len(shape.mean)}")
    v = len(shape.mean) // 3
    mean = shape.mean.reshape(v, 3)
    expression, names, kind = None, None, "pca"
    if version >= 2 and not archive.number("u1"):
        if archive.number("<i4") == 0:
            pca = archive.pca()
            mean, expression = mean + pca.mean.reshape(v, 3), pca.modes(v)
        else:
            kind = "blendshape"
            found = [(archive.text(), archive.matrix()) for _ in range(archive.number("<u8"))]
            names = [name for name, _ in found]
            expression = np.array([m.reshape(v, 3) for _, m in found]).reshape(-1, v, 3)
    if version >= 3 and not archive.number("u1"):
        for _ in range(archive.number("<u8")):
            archive.text()
            archive.number("<i4")
    uvs = archive.table("<f8", 2)
    face_uvs = archive.table("<i4", 3) if version >= 4 else np.zeros((0, 3), np.int32)
    has_colour = len(colour.mean) == 3 * v
    return foreign_model(
        path.stem,
        mean,
        shape.faces.astype(np.int64),
        shape.modes(v),
        expression=expression,
        expression_names=names,
        expression_kind=kind,
        srgb_mean=colour.mean.reshape(v, 3) if has_colour else None,
        srgb_modes=colour.modes(v) if has_colour else None,
        uvs=uvs.astype(np.float32) if len(face_uvs) else None,
        face_uvs=face_uvs.astype(np.int32) if len(face_uvs) else None,
        now7=now7,
        millimetres=1.0,
        licence=_LICENCE,
        provenance=f"read from {path.name} (eos version {version})",
    )
