"""The skin-colour mask of Deep3D: the posterior of two Gaussian mixtures in YCbCr."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError

# Rows of BT.601's RGB in [0, 255] to Y, Cb, Cr, times 255; Y starts at 16, chroma centres at 128.
_TO_YCBCR = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
)
_OFFSET = np.array([16.0, 128.0, 128.0])


class Mixture(NamedTuple):
    """A Gaussian mixture: weights (K,), means (K, 3), inverse covariances (K, 3, 3)."""

    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray

    def density(self, colours: np.ndarray) -> np.ndarray:
        """Return the density (...) at colours (..., 3)."""
        # The exponents are quadratic polynomials of the colour: ten monomials, one product.
        first, second = np.triu_indices(3)
        twice = np.where(first == second, 1.0, 2.0)
        towards = np.einsum("kcd,kd->kc", self.precisions, self.means)
        constant = np.einsum("kc,kc->k", towards, self.means)
        polynomial = np.concatenate(
            [self.precisions[:, first, second] * twice, -2 * towards, constant[:, None]], axis=1
        )
        flat = colours.reshape(-1, 3)
        monomials = [flat[:, first] * flat[:, second], flat, np.ones((len(flat), 1))]
        power = np.concatenate(monomials, axis=1) @ polynomial.T
        scale = np.sqrt(np.linalg.det(self.precisions)) / (2 * np.pi) ** 1.5
        return (np.exp(-0.5 * power) @ (self.weights * scale)).reshape(colours.shape[:-1])


def _mixture(*rows: tuple[float, ...]) -> Mixture:
    """Rows of weight, mean (3), and the precision's xx, xy, xz, yy, yz, zz."""
    table = np.array(rows)
    order = np.array([[4, 5, 6], [5, 7, 8], [6, 8, 9]])
    return Mixture(table[:, 0], table[:, 1:4], table[:, order])


SKIN = _mixture(
    (0.24063933, 113.71862, 103.39613, 164.08226,
     0.0019472069, 0.0020450759, -0.00060243998, 0.017700525, 0.0051420014, 0.0081308950),
    (0.16365987, 150.19858, 105.18467, 155.51428,
     0.0027110141, 0.0011036990, 0.0023122299, 0.010707724, 0.010742856, 0.017481629),
    (0.26034665, 183.92976, 107.62468, 152.71820,
     0.0048026871, 0.00022935172, 0.0077668377, 0.011729696, 0.0081661865, 0.025374353),
    (0.33535415, 114.90524, 113.59782, 151.38217,
     0.0011989699, 0.0022453172, -0.0010748957, 0.047758564, 0.020332102, 0.024502251),
)  # fmt: skip
OTHER = _mixture(
    (0.12791070, 99.200851, 112.07533, 140.20602,
     0.00085371657, 0.00071197288, 0.00023958916, 0.0025935620, 0.00076557708, 0.0015042332),
    (0.31130761, 110.91392, 125.52969, 130.19237,
     0.00024650150, 0.00045542428, 0.00015019422, 0.026412144, 0.018419769, 0.037497383),
    (0.34245777, 129.75864, 129.96107, 126.96808,
     0.00037054974, 0.00038146760, 0.00040408765, 0.0085505722, 0.0079136286, 0.010982352),
    (0.21832393, 112.29587, 128.85121, 129.05431,
     0.00013709733, 0.00051228428, 0.00012777430, 0.28237113, 0.10528370, 0.23468947),
)  # fmt: skip
PRIOR = 0.8


def skin_probability(image: np.ndarray, *, prior: float = PRIOR) -> np.ndarray:
    """Return the probability that each pixel is skin, by its colour alone, (H, W) float32.

    Computes P s(c) / (P s(c) + (1 - P) o(c)) with the mixtures s of skin and o of other colours
    at c = (Y, Cb, Cr) by BT.601.

    Args:
        image: (H, W, 3) uint8 sRGB.
        prior: P, how much of a face crop is skin.

    Raises:
        InputError: another shape or dtype, or a prior outside (0, 1).

    Degenerate: far from both mixtures, where both densities vanish, the prior is returned.

    Limits: colour alone takes skin-coloured walls for skin, and its parameters were estimated on
    few dark faces: give a mask from a segmentation network where you have one.

    Source: Deng et al., 2019, section 4.1 (skin attention), after Jones and Rehg, 1999; the
    parameters are those of its PyTorch code.
    """
    picture = check_array(image, "image", shape=("H", "W", 3), dtype="uint8")
    if not 0 < prior < 1:
        raise InputError(f"prior: expected a probability in (0, 1), got {prior}")
    colours = picture @ (_TO_YCBCR.T / 255) + _OFFSET
    skin, other = prior * SKIN.density(colours), (1 - prior) * OTHER.density(colours)
    total = skin + other
    vanished = total == 0
    share = np.where(vanished, prior, skin / np.where(vanished, 1, total))
    return share.astype(np.float32)
