"""Basel Face Model 2017 and 2019: ``model2017-1_….h5``, ``model2019_….h5`` (statismo layout).

T. Gerig et al., Morphable face models: an open framework, 2018. Lengths are millimetres; bases
are orthonormal with variances beside them; colours are sRGB in [0, 1]; landmarks are named points.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError, MissingDependencyError
from facekit.morphable.foreign import blocks, foreign_model
from facekit.morphable.model import MorphableModel

NOW7_NAMES = (
    "right.eye.corner_outer",
    "right.eye.corner_inner",
    "left.eye.corner_inner",
    "left.eye.corner_outer",
    "center.nose.attachement_to_philtrum",
    "right.lips.corner",
    "left.lips.corner",
)
_LICENCE = (
    "Basel Face Model, University of Basel: for non-commercial research under its own licence"
    " agreement; do not redistribute."
)


def read_bfm2017(path: Path) -> MorphableModel:
    """Read shape, expression and colour models; landmarks named as in ``NOW7_NAMES``.

    The mean is that of shape plus expression, as the published code adds them.

    Raises:
        MissingDependencyError: h5py is not installed.
        InputError: no such file, or other contents.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "BFM 2017/2019 files need h5py: pip install 'facekit[formats]'"
        ) from error
    if not path.is_file():
        raise InputError(f"{path}: expected an HDF5 file, found none")
    try:
        with h5py.File(path, "r") as file:
            return _decode(file, path)
    except OSError as error:
        raise InputError(f"{path}: expected an HDF5 file ({error})") from error
    except KeyError as error:
        raise InputError(f"{path}: expected a Basel Face Model 2017 or 2019 ({error})") from error


def _decode(file: Any, path: Path) -> MorphableModel:
    mean, identity = _pca(file["shape/model"], "shape")
    cells = np.asarray(file["shape/representer/cells"])
    faces = cells.T if cells.shape[0] == 3 and cells.shape[1] != 3 else cells
    expression = None
    if "expression/model" in file:
        offset, expression = _pca(file["expression/model"], "expression")
        mean = mean + offset
    colour = colour_modes = None
    if "color/model" in file:
        colour, colour_modes = _pca(file["color/model"], "color")
    return foreign_model(
        path.stem,
        mean,
        faces.astype(np.int64),
        identity,
        expression=expression,
        srgb_mean=colour,
        srgb_modes=colour_modes,
        now7=_now7(file, mean),
        millimetres=1.0,
        licence=_LICENCE,
        provenance=f"read from {path.name}",
    )


def _pca(group: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    mean = np.asarray(group["mean"], np.float64).reshape(-1, 3)
    basis = np.asarray(group["pcaBasis"], np.float64)
    variance = np.asarray(group["pcaVariance"], np.float64).ravel()
    return mean, blocks(basis * np.sqrt(np.maximum(variance, 0)), len(mean), f"{name}/pcaBasis")


def _now7(file: Any, mean: np.ndarray) -> list[int] | None:
    """Return the vertices nearest to the seven named landmarks, or None when one is missing."""
    if "metadata/landmarks/json" not in file:
        return None
    text = np.asarray(file["metadata/landmarks/json"]).ravel()[0]
    text = text.decode() if isinstance(text, bytes) else str(text)
    points = {item["id"]: item["coordinates"] for item in json.loads(text)}
    if any(name not in points for name in NOW7_NAMES):
        return None
    wanted = np.array([points[name] for name in NOW7_NAMES])
    distance = np.linalg.norm(mean[:, None] - wanted, axis=2)
    return distance.argmin(axis=0).tolist()
