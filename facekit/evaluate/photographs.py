"""The photograph that timings are taken on."""

from __future__ import annotations

from functools import cache

import numpy as np

from facekit.io.images import resize


@cache
def photograph(side: int = 512) -> np.ndarray:
    """Return the public-domain portrait that scikit-image ships (side, side, 3), uint8 RGB."""
    from skimage import data

    image = np.ascontiguousarray(data.astronaut())
    return image if side == len(image) else resize(image, side / len(image))
