"""How alike two pictures are: PSNR and SSIM, where a mask says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import minimum_filter
from skimage.metrics import structural_similarity

from facekit.checks import check_array
from facekit.errors import InputError

# The window of the published SSIM: a Gaussian of 1.5 px, 11 px wide.
_SIGMA, _WINDOW = 1.5, 11
# Identical pictures have an infinite PSNR, which no table or mean can hold.
MOST_DB = 100.0


class Likeness(NamedTuple):
    """PSNR in dB, SSIM in [-1, 1], and how many pixels each is over."""

    psnr: float
    ssim: float
    pixels: int
    ssim_pixels: int


def picture_likeness(
    picture: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None
) -> Likeness:
    """Compare two pictures where a mask says.

    PSNR is 10 log10(255^2 / MSE), the MSE over the mask's pixels and the three channels, at most
    100 dB. SSIM is the mean over the channels and over those pixels whose whole 11 x 11 window
    lies in the mask, so that nothing outside has a part in it.

    Args:
        picture, reference: (H, W, 3) uint8.
        mask: (H, W) bool, None for everything.

    Raises:
        InputError: shapes differ, or the mask leaves no pixel, or no whole window.

    Source: Z. Wang et al., Image quality assessment: from error visibility to structural
    similarity, 2004, with its constants 0.01 and 0.03 and population covariances.
    """
    first = check_array(picture, "picture", shape=("H", "W", 3), dtype="int")
    second = check_array(reference, "reference", shape=first.shape, dtype="int")
    where = np.ones(first.shape[:2], bool)
    if mask is not None:
        where = check_array(mask, "mask", shape=first.shape[:2]).astype(bool)
    if min(where.shape) < _WINDOW:
        raise InputError(f"pictures: expected at least {_WINDOW} pixels a side, got {where.shape}")
    whole = minimum_filter(where, size=_WINDOW, mode="constant", cval=False)
    if not whole.any():
        raise InputError(
            f"mask: expected {_WINDOW} x {_WINDOW} pixels together somewhere, got {where.sum()} "
            "pixels without"
        )
    difference = first[where].astype(np.float64) - second[where]
    mse = float(np.mean(difference**2))
    psnr = MOST_DB if mse == 0 else min(MOST_DB, float(10 * np.log10(255**2 / mse)))
    _, similarity = structural_similarity(
        first,
        second,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    ssim = float(similarity.mean(axis=-1)[whole].mean())
    return Likeness(psnr, ssim, int(where.sum()), int(whole.sum()))
