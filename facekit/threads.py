"""The one thread pool: compiled kernels are split over it by ranges.

Kernels release the interpreter lock and take a half-open range of rows or faces. numba's own
``parallel=True`` is not used: its OpenMP pool makes forked workers die and small kernels pay for
it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_requested: int | None = None


def num_threads() -> int:
    """Return how many threads kernels may use: ``set_num_threads``, FACEKIT_THREADS, or all."""
    if _requested is not None:
        return _requested
    from_environment = os.environ.get("FACEKIT_THREADS", "")
    if from_environment.isdigit() and int(from_environment) > 0:
        return int(from_environment)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def set_num_threads(count: int | None) -> None:
    """Fix the number of threads for this process; None goes back to the default."""
    global _requested
    _requested = None if count is None else max(1, int(count))


@contextmanager
def limit_threads(count: int | None) -> Iterator[None]:
    """Fix the number of threads inside a ``with`` block; None takes the default there."""
    before = _requested
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


def run_ranges(kernel: Callable[[int, int], None], size: int, *, min_chunk: int = 1) -> None:
    """Call ``kernel(start, stop)`` over ranges that cover ``[0, size)``, on the pool.

    With one thread, or fewer than two chunks of ``min_chunk``, the call is made in place: small
    jobs pay no hand-over. An exception in any range is raised here.
    """
    chunks = min(num_threads(), size // max(1, min_chunk))
    if chunks <= 1:
        kernel(0, size)
        return
    bounds = [size * i // chunks for i in range(chunks + 1)]
    pool = _get_pool(num_threads())
    futures = [pool.submit(kernel, bounds[i], bounds[i + 1]) for i in range(1, chunks)]
    kernel(bounds[0], bounds[1])
    for future in futures:
        future.result()


def ahead(items: Iterable[T], *, depth: int = 4) -> Generator[T]:
    """Yield the items in order, made ahead of time by one background thread.

    An exception while an item is made is raised at its place. Closing the generator stops the
    thread, and closes ``items`` where it is a generator.

    Args:
        items: used in the thread alone.
        depth: at most so many items wait.
    """
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stopping = threading.Event()
    end = StopIteration()

    def put(entry: tuple[Any, BaseException | None]) -> bool:
        while not stopping.is_set():
            try:
                waiting.put(entry, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((None, end))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer
            put((None, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="facekit-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is end:
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopping.set()
        thread.join()


def _get_pool(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < size:
            _pool = ThreadPoolExecutor(max_workers=size, thread_name_prefix="facekit")
            _pool_size = size
        return _pool
