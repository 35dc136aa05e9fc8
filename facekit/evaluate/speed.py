"""Measure how long things take: interleaved rounds, thread counts set on purpose.

Rounds run every case once in turn, so that a slow minute of a shared machine falls on all of them
alike and ratios within one run can be trusted.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facekit import threads
from facekit.errors import FacekitError, UsageError

SCHEMA = "facekit.eval/1"
_PACKAGES = ("numpy", "scipy", "numba", "onnxruntime", "opencv-python-headless")

Work = Callable[[], object]


@dataclass(frozen=True)
class SpeedCase:
    """One thing to measure.

    Attributes:
        key: its name, e.g. ``rasterise.224.1t``.
        what: one line that says what is inside the time.
        prepare: makes the work: a function without arguments. Not measured; called with the
            threads set.
        threads: threads of the kernels and networks; 0 takes what the machine has.
        batch: items in one call.
        per_call: what the time of a call is divided by, e.g. its frames.
        calls: calls a round; their mean is one sample. More than one for work under a
            millisecond, whose timing the clock and the caches would blur.
        rounds: at most so many rounds; None follows the run's.
        warm_up: unmeasured calls before the first round; 0 for work that is cold on purpose.
        on_request: left out unless named, because it is slow or needs what is not there.
        peer_of: of another project's code: the key of facekit's own case that does the same.
        device: where the work is done.
    """

    key: str
    what: str
    prepare: Callable[[], Work]
    threads: int = 1
    batch: int = 1
    per_call: int = 1
    calls: int = 1
    rounds: int | None = None
    warm_up: int = 2
    on_request: bool = False
    peer_of: str = ""
    device: str = "cpu"


def select_cases(cases: Sequence[SpeedCase], wanted: Sequence[str]) -> list[SpeedCase]:
    """Return the cases named (a key, or the part before a dot), or all but those on request.

    A peer brings the case it is compared with.

    Raises:
        UsageError: a name that is no case.
    """
    if not wanted:
        return [case for case in cases if not case.on_request]
    chosen = []
    for name in wanted:
        found = [c for c in cases if c.key == name or c.key.startswith(f"{name}.")]
        if not found:
            known = ", ".join(case.key for case in cases)
            raise UsageError(f"speed: expected some of {known}, got {name!r}")
        wanted_too = {case.peer_of for case in found}
        found += [case for case in cases if case.key in wanted_too]
        chosen += [case for case in dict.fromkeys(found) if case not in chosen]
    return chosen


def measure(
    cases: Sequence[SpeedCase],
    *,
    rounds: int = 30,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    processor: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Run the cases in turn; return the JSON document.

    ``cpu_ms`` of a case is the median processor time of this process, all its threads together:
    other programs on a busy machine hardly change it.

    A peer's ``ratio`` is its median over that of the case it is compared with, in the same run:
    above 1, facekit's own takes less time.

    Args:
        cases: what to run.
        rounds: samples of each.
        strict: raise when a case cannot be prepared because a model, network or package is
            missing or damaged; otherwise it is listed in ``unavailable`` with the reason.
        progress: called with rounds done and their number.
        clock, processor: seconds; tests give their own.

    Raises:
        FacekitError: ``strict`` and a case cannot be prepared.
        UsageError: fewer than one round.
    """
    if rounds < 1:
        raise UsageError(f"speed: expected at least 1 round, got {rounds}")
    ready: list[tuple[SpeedCase, Work]] = []
    unavailable: dict[str, str] = {}
    for case in cases:
        with _limited(case.threads):
            try:
                work = case.prepare()
            except FacekitError as error:
                if strict:
                    raise
                unavailable[case.key] = str(error)
                continue
            for _ in range(case.warm_up):
                work()
        ready.append((case, work))
    samples: dict[str, list[float]] = {case.key: [] for case, _ in ready}
    spent: dict[str, list[float]] = {case.key: [] for case, _ in ready}
    for number in range(rounds):
        for case, work in ready:
            if case.rounds is not None and number >= case.rounds:
                continue
            with _limited(case.threads):
                items = case.calls * case.per_call
                start, cpu = clock(), processor()
                for _ in range(case.calls):
                    work()
                samples[case.key].append((clock() - start) / items)
                spent[case.key].append((processor() - cpu) / items)
        if progress is not None:
            progress(number + 1, rounds)
    metrics = {case.key: _summary(case, samples[case.key]) for case, _ in ready}
    for key, seconds in spent.items():
        metrics[key]["cpu_ms"] = 1000 * float(np.median(seconds))
    for case, _ in ready:
        if case.peer_of:
            ours = metrics.get(case.peer_of)
            ratio = None if ours is None else metrics[case.key]["median_ms"] / ours["median_ms"]
            metrics[case.key] |= {"peer_of": case.peer_of, "ratio": ratio}
    return {
        "schema": SCHEMA,
        "metrics": metrics,
        "unavailable": unavailable,
        "machine": describe_machine(),
    }


def describe_machine() -> dict[str, Any]:
    """Return what a timing depends on: processor, cores, load, versions."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "usable_cores": threads.num_threads(),
        "load_1min": load,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


@contextmanager
def _limited(count: int) -> Iterator[None]:
    """Fix the threads of facekit and of OpenCV; 0 takes what the machine has."""
    before = cv2.getNumThreads()
    with threads.limit_threads(count or None):
        cv2.setNumThreads(threads.num_threads())
        try:
            yield
        finally:
            cv2.setNumThreads(before)


def _summary(case: SpeedCase, seconds: Sequence[float]) -> dict[str, Any]:
    milliseconds = 1000 * np.asarray(seconds)
    return {
        "median_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "min_ms": float(milliseconds.min()),
        "threads": case.threads or threads.num_threads(),
        "batch": case.batch,
        "device": case.device,
        "per_second": case.batch / float(np.median(seconds)) if np.median(seconds) else None,
        "samples": len(milliseconds),
        "what": case.what,
    }


def _processor_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
