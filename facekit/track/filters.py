"""The 1-euro filter, for vectors whose parts move together.

Source: G. Casiez, N. Roussel, D. Vogel, 1 Euro filter: a simple speed-based low-pass filter for
noisy input in interactive systems, 2012. A low-pass filter whose cutoff rises with the speed:
still values come out calm, fast ones come out late by a fraction of a frame.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError


class OneEuroSettings(NamedTuple):
    """How much is filtered.

    Attributes:
        least_hz: cutoff of a value that does not move.
        gain: hertz by which the cutoff rises per unit and second of speed.
        speed_hz: cutoff of the speed itself.
    """

    least_hz: float
    gain: float
    speed_hz: float = 1.0


class SpeedShare:
    """How much of a new value counts, by how fast values have been changing.

    Args:
        settings: the filter's.
        together: take the length of the whole speed for every entry's, so that all of them lag
            alike; otherwise each entry has its own.

    Raises:
        InputError: a cutoff that is not positive, or a negative gain.
    """

    def __init__(self, settings: OneEuroSettings, *, together: bool = False) -> None:
        if not (settings.least_hz > 0 and settings.speed_hz > 0 and settings.gain >= 0):
            raise InputError(f"1-euro filter: expected positive cutoffs, got {settings}")
        self._settings, self._together = settings, together
        self._speed: np.ndarray | None = None

    def __call__(self, slope: np.ndarray, seconds: float) -> np.ndarray:
        """Return the share in (0, 1) of each entry, or one for all.

        Args:
            slope: (N,) change per second since the value before.
            seconds: since then, > 0.
        """
        s = self._settings
        before = np.zeros_like(slope) if self._speed is None else self._speed
        self._speed = before + _share(s.speed_hz, seconds) * (slope - before)
        size = np.linalg.norm(self._speed) if self._together else np.abs(self._speed)
        return _share(s.least_hz + s.gain * size, seconds)

    def reset(self) -> None:
        """Forget the speed."""
        self._speed = None


class OneEuro:
    """A 1-euro filter of a vector, each entry by itself.

    Args:
        settings: of every entry.
    """

    def __init__(self, settings: OneEuroSettings) -> None:
        self._share = SpeedShare(settings)
        self._seen: np.ndarray | None = None
        self._value = np.zeros(0)

    def __call__(self, value: np.ndarray, seconds: float) -> np.ndarray:
        """Return the filtered value.

        Args:
            value: (N,) what was measured.
            seconds: since the value before; what is not positive starts anew.
        """
        value = np.asarray(value, np.float64)
        if self._seen is None or seconds <= 0:
            self._share.reset()
            self._value = value
        else:
            share = self._share((value - self._seen) / seconds, seconds)
            self._value = self._value + share * (value - self._value)
        self._seen = value
        return self._value

    def reset(self) -> None:
        """Forget everything: the next value comes out as it is."""
        self._seen = None


def _share(cutoff_hz: Any, seconds: float) -> np.ndarray:
    """The part of a new value that a first-order low-pass filter takes over."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff_hz) * seconds)))
