"""Basel Face Model 2009: ``01_MorphableModel.mat``, with Deep3D's expressions beside it.

P. Paysan et al., A 3D face model for pose and illumination invariant face recognition, 2009.
Lengths are micrometres. ``Exp_Pca.bin`` (Guo et al., 2018, in Deep3DFaceReconstruction's layout:
int32 count, float32 mean (3V), float32 basis (count, 3V)) and ``std_exp.txt`` belong to the
53,215 vertices that ``BFM_exp_idx.mat`` (``trimIndex``, from 1) lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facekit.errors import InputError
from facekit.io.mat import read_mat
from facekit.morphable.foreign import blocks, foreign_model
from facekit.morphable.model import MorphableModel

_KEYS = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
_LICENCE = (
    "Basel Face Model 2009, University of Basel: for non-commercial research under its own"
    " licence agreement; do not redistribute."
)


def read_bfm2009(
    path: Path, *, expressions: Path | None = None, now7: Sequence[int] | None = None
) -> MorphableModel:
    """Read the model.

    Args:
        path: ``01_MorphableModel.mat``.
        expressions: folder with ``Exp_Pca.bin``, ``std_exp.txt`` and ``BFM_exp_idx.mat``; None
            takes the model's own folder when it has them. The model is then cut to their
            vertices.
        now7: vertex numbers (of the 53,490, from 0) of outer and inner corner of the right eye,
            inner and outer corner of the left, the nose's base, right and left mouth corner.

    Raises:
        InputError: a file is missing or has other contents.
    """
    data = read_mat(path, _KEYS)
    mean = np.asarray(data["shapeMU"], np.float64).reshape(-1, 3)
    v = len(mean)
    identity = blocks(data["shapePC"] * data["shapeEV"].ravel(), v, "shapePC")
    colour = np.asarray(data["texMU"], np.float64).reshape(-1, 3) / 255
    colour_modes = blocks(data["texPC"] * data["texEV"].ravel(), v, "texPC") / 255
    faces = np.asarray(data["tl"], np.int64) - 1
    folder = path.parent if expressions is None else expressions
    offsets = None
    if expressions is not None or (folder / "Exp_Pca.bin").is_file():
        keep, offsets = _expressions(folder)
        if keep.min() < 0 or keep.max() >= v:
            raise InputError(f"{folder}: trimIndex names vertices that {path} does not have")
        renumber = np.full(v, -1)
        renumber[keep] = np.arange(len(keep))
        faces = renumber[faces]
        faces = faces[(faces >= 0).all(axis=1)]
        mean, colour = mean[keep], colour[keep]
        identity, colour_modes = identity[:, keep], colour_modes[:, keep]
        now7 = None if now7 is None else renumber[list(now7)].tolist()
    return foreign_model(
        "bfm2009",
        mean,
        faces,
        identity,
        expression=offsets,
        srgb_mean=colour,
        srgb_modes=colour_modes,
        now7=now7,
        millimetres=1e-3,
        licence=_LICENCE,
        provenance=f"read from {path.name}",
    )


def _expressions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the kept vertices (V,) from 0 and the modes (E, V, 3) in micrometres."""
    path = folder / "Exp_Pca.bin"
    for needed in (path, folder / "std_exp.txt", folder / "BFM_exp_idx.mat"):
        if not needed.is_file():
            raise InputError(f"{needed}: expected beside Exp_Pca.bin, found no such file")
    keep = np.asarray(read_mat(folder / "BFM_exp_idx.mat", ("trimIndex",))["trimIndex"]).ravel()
    content = path.read_bytes()
    count = int(np.frombuffer(content, "<i4", 1)[0]) if len(content) >= 4 else -1
    n = 3 * len(keep)
    if count < 1 or len(content) != 4 + 4 * n * (count + 1):
        raise InputError(
            f"{path}: expected a count and {n} x (count + 1) float32, got {len(content)} bytes"
        )
    basis = np.frombuffer(content, "<f4", n * count, 4 + 4 * n).reshape(count, -1, 3)
    deviations = np.loadtxt(folder / "std_exp.txt").ravel()
    if len(deviations) != count:
        raise InputError(
            f"{folder / 'std_exp.txt'}: expected {count} deviations, got {len(deviations)}"
        )
    return keep.astype(np.int64) - 1, basis.astype(np.float64) * deviations[:, None, None]
