"""Independent pieces of work on several processes, with results in the order of the pieces."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from facekit import threads

Context = TypeVar("Context")
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def run_pieces(
    work: Callable[[Context, Piece], Result],
    context: Context,
    pieces: Sequence[Piece],
    *,
    jobs: int = 1,
    done: Callable[[int], None] | None = None,
) -> list[Result]:
    """Return ``work(context, piece)`` of each piece, in their order, whatever ``jobs`` is.

    Args:
        work: a function of a module (workers import it); an exception ends everything.
        context: what all pieces share; sent once to each process.
        pieces: the work.
        jobs: processes; 0 takes as many as there are cores. The cores are shared out among them.
        done: called with a piece's number when it is finished.
    """
    count = min(jobs or threads.num_threads(), len(pieces))
    if count <= 1:
        results = []
        for number, piece in enumerate(pieces):
            results.append(work(context, piece))
            if done is not None:
                done(number)
        return results
    found: dict[int, Result] = {}
    each = max(1, threads.num_threads() // count)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawn, _start, (work, context, each)) as pool:
        futures = {pool.submit(_run, piece): number for number, piece in enumerate(pieces)}
        try:
            for future in as_completed(futures):
                number = futures[future]
                found[number] = future.result()
                if done is not None:
                    done(number)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[number] for number in range(len(pieces))]


def counter(
    sizes: Sequence[int], progress: Callable[[int, int], None] | None
) -> Callable[[int], None]:
    """Return a ``done`` that tells ``progress`` how many items of how many are finished.

    Args:
        sizes: items in each piece.
        progress: called with items done and their number, or None.
    """
    finished = 0

    def done(number: int) -> None:
        nonlocal finished
        finished += sizes[number]
        if progress is not None:
            progress(finished, sum(sizes))

    return done


_worker: tuple[Callable[[Any, Any], Any], Any] | None = None


def _start(work: Callable[[Any, Any], Any], context: Any, num_threads: int) -> None:
    global _worker
    threads.set_num_threads(num_threads)
    # What is doubtful travels with the results; a worker has no console of its own.
    logging.getLogger("facekit").addHandler(logging.NullHandler())
    logging.getLogger("facekit").propagate = False
    _worker = work, context


def _run(piece: Any) -> Any:
    if _worker is None:
        raise RuntimeError("a worker was used before it was started")
    work, context = _worker
    return work(context, piece)
