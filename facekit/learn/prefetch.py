"""Batches made ahead of time in one background thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from facekit.threads import ahead


def prefetch(make: Callable[[int], Any], start: int, stop: int, *, depth: int = 4) -> Iterator[Any]:
    """Yield ``make(start) ... make(stop - 1)`` in order, computed ahead by one thread.

    A batch is a function of its index alone, so training that resumes at a step sees exactly
    what an uninterrupted run saw. A thread is enough: image kernels release the interpreter
    lock. An exception in ``make`` is raised at the place of its batch.
    """
    yield from ahead((make(index) for index in range(start, stop)), depth=depth)
