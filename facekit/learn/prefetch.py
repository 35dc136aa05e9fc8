"""Batches made ahead of time in background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(
    make: Callable[[int], T], start: int, stop: int, *, threads: int = 1, depth: int = 4
) -> Generator[T]:
    """Yield ``make(start) ... make(stop - 1)`` in order, computed ahead.

    A batch is a function of its index alone, so training that resumes at a step sees exactly
    what an uninterrupted run saw, whatever the number of threads. Threads are enough: decoding
    and image kernels release the interpreter lock. An exception in ``make`` is raised at the
    place of its batch.

    Args:
        make: called from any of the threads, for several numbers at a time.
        start, stop: the numbers.
        threads: how many make batches, each one of its own.
        depth: at most so many batches (or twice the threads) are begun and not yet taken.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="facekit-prefetch")
    waiting: deque[Future[T]] = deque()
    try:
        for index in range(start, stop):
            waiting.append(pool.submit(make, index))
            if len(waiting) >= max(depth, 2 * threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
