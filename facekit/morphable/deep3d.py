"""Deep3DFaceReconstruction's front face of BFM 2009: ``BFM_model_front.mat``.

Y. Deng et al., Accurate 3D face reconstruction with weakly-supervised learning, 2019. Lengths are
decimetres; the bases are already multiplied by their deviations; colours run to 255; faces and
landmark vertices count from 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.io.mat import read_mat
from facekit.morphable.foreign import blocks, foreign_model
from facekit.morphable.model import MorphableModel

_KEYS = ("meanshape", "idBase", "exBase", "meantex", "texBase", "tri", "keypoints")
_LICENCE = (
    "Derived from the Basel Face Model 2009, University of Basel: for non-commercial research"
    " under its own licence agreement; do not redistribute."
)


def read_deep3d(path: Path) -> MorphableModel:
    """Read the model: 80 identity, 64 expression and 80 colour modes in the published file.

    The published code shifts the mean to its centroid, which the alignment to the built-in frame
    makes irrelevant here.

    Raises:
        InputError: no such file, or other contents.
    """
    data = read_mat(path, _KEYS)
    mean = np.asarray(data["meanshape"], np.float64).reshape(-1, 3)
    v = len(mean)
    return foreign_model(
        "deep3d",
        mean,
        np.asarray(data["tri"], np.int64) - 1,
        blocks(data["idBase"], v, "idBase"),
        expression=blocks(data["exBase"], v, "exBase"),
        srgb_mean=np.asarray(data["meantex"], np.float64).reshape(-1, 3) / 255,
        srgb_modes=blocks(data["texBase"], v, "texBase") / 255,
        ibug68=(np.asarray(data["keypoints"], np.int64).ravel() - 1).tolist(),
        millimetres=100.0,
        licence=_LICENCE,
        provenance=f"read from {path.name}",
    )
