"""Batches made ahead of time in one background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any


def prefetch(make: Callable[[int], Any], start: int, stop: int, *, depth: int = 4) -> Iterator[Any]:
    """Yield ``make(start) ... make(stop - 1)`` in order, computed ahead by one thread.

    A batch is a function of its index alone, so training that resumes at a step sees exactly
    what an uninterrupted run saw. A thread is enough: image kernels release the interpreter
    lock. An exception in ``make`` is raised at the place of its batch.
    """
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stopping = threading.Event()

    def put(entry: tuple[Any, BaseException | None]) -> None:
        while not stopping.is_set():
            try:
                waiting.put(entry, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        for index in range(start, stop):
            if stopping.is_set():
                return
            try:
                put((make(index), None))
            except BaseException as error:  # noqa: BLE001 - handed to the consumer
                put((None, error))
                return

    thread = threading.Thread(target=work, name="facekit-prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item, error = waiting.get()
            if error is not None:
                raise error
            yield item
    finally:
        stopping.set()
        thread.join()
