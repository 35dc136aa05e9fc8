"""Several sources of faces as one, by number."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Generic, TypeVar

import numpy as np

Source = TypeVar("Source", bound=Sized)


class Joined(Generic[Source]):
    """Sources one after the other.

    Args:
        parts: in order; their lengths stay.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> tuple[Source, int]:
        """Return the source that number ``index`` of all belongs to, and its number there."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part], index - int(self._ends[part] - len(self.parts[part]))
