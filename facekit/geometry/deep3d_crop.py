"""Deep3D's crop rule and camera, for its networks alone; facekit's own crop is ``five-v1``.

Source: Y. Deng et al., Accurate 3D face reconstruction with weakly-supervised learning, 2019;
standard points, sizes and the least squares are those of its PyTorch code.
"""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform

CROP_ID = "deep3d-v1"
# Side of the published crop, pixels; its focal length there; the face's distance, decimetres.
SIZE, FOCAL, DISTANCE = 224, 1015.0, 10.0
# How many pixels of the published crop a decimetre of the standard face takes.
_SCALE = 102.0
# The standard face's right eye, left eye, nose tip, right and left mouth corner: x to the person's
# left, y up, z out of the face, decimetres; an eye is the middle of its corners.
STANDARD_FIVE = np.array(
    [
        [-0.3115, 0.2904, 0.13375],
        [0.3098, 0.2897, 0.1318],
        [0.0033, -0.0462, 0.5524],
        [-0.2522, -0.3813, 0.2241],
        [0.2485, -0.3813, 0.2224],
    ]
)


def deep3d_crop(five: np.ndarray, *, size: int = SIZE) -> SimilarityTransform:
    """Return the transform from image pixels to Deep3D's crop: scaled and moved, never turned.

    The affine camera that takes ``STANDARD_FIVE`` to the five points is solved by least squares;
    the mean length s of its two rows gives the scale 102 / s (at 224 px), and the image of the
    standard face's origin becomes the crop's middle.

    Args:
        five: (5, 2) image pixels: right eye, left eye, nose tip, right and left mouth corner.
        size: side of the crop; other sides than 224 scale the crop with it.

    Raises:
        InputError: not five finite points, points on one spot, or a size below 1.
    """
    points = check_array(five, "five points", shape=(5, 2)).astype(np.float64)
    if size < 1:
        raise InputError(f"crop size: expected at least 1 pixel, got {size}")
    design = np.column_stack([STANDARD_FIVE, np.ones(5)])
    camera, *_ = np.linalg.lstsq(design, points, rcond=None)
    mean_length = float(np.linalg.norm(camera[:3], axis=0).mean())
    if not mean_length > 1e-6:
        raise InputError("five points: expected distinct points for a crop, they are all equal")
    scale = _SCALE * size / SIZE / mean_length
    middle = np.full(2, (size - 1) / 2)
    return SimilarityTransform(scale, np.eye(2), middle - scale * camera[3])


def deep3d_intrinsics(size: int = SIZE) -> np.ndarray:
    """Return the crop's camera (3, 3): focal length 1015 at 224 px, centre in the middle.

    The published code counts columns from the left edge and rows from the bottom's lower edge, so
    its centre is (112, 111) in pixel centres; here it is (111.5, 111.5).
    """
    focal, middle = FOCAL * size / SIZE, (size - 1) / 2
    return np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
