"""Where a person's brows and lips are painted against the bones beneath them."""

from __future__ import annotations

import numpy as np

_BROWS = (slice(17, 22), slice(22, 27))
_LIPS = slice(48, 68)
# Shares of the brows' shift that other departures have.
_TILT, _ACROSS, _LIP = 0.4, 0.3, 0.25


def placement_offsets(rng: np.random.Generator, marks: np.ndarray, amount_mm: float) -> np.ndarray:
    """Return how far each of the 68 points lies from where paint usually goes, (68, 3) mm.

    People's brows sit higher or lower on the same ridge, steeper or flatter, and lips are painted
    fuller or thinner than they stand out. Eyes and nostrils stay where the surface has them.

    Args:
        rng: source of every draw.
        marks: (68, 3) of the neutral head, standard millimetres.
        amount_mm: deviation of the brows' height; the others are shares of it.
    """
    offsets = np.zeros((68, 3))
    height, tilt, apart = rng.standard_normal(3) * amount_mm * [1.0, _TILT, _ACROSS]
    for rows in _BROWS:
        across = marks[rows, 0]
        outward = np.sign(across.mean())
        reach = np.linspace(-1, 1, 5) * (1 if abs(across[-1]) > abs(across[0]) else -1)
        offsets[rows, 1] = height + tilt * reach
        offsets[rows, 0] = outward * apart
    drop, fuller, wider = rng.standard_normal(3) * amount_mm * _LIP
    lips = marks[_LIPS] - marks[_LIPS].mean(0)
    span = np.ptp(lips, axis=0)
    offsets[_LIPS, 1] = drop + fuller * lips[:, 1] / max(span[1] / 2, 1e-6)
    offsets[_LIPS, 0] = wider * lips[:, 0] / max(span[0] / 2, 1e-6)
    return offsets
