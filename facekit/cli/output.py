"""The one console: data to stdout; progress, warnings and errors to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Output:
    """What a command says. Verbosity: -1 quiet, 0 normal, 1 verbose."""

    def __init__(self) -> None:
        self.verbosity = 0

    def data(self, text: object) -> None:
        """Write one line of data to stdout."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def json(self, document: dict[str, Any]) -> None:
        """Write the command's one JSON document to stdout."""
        self.data(json.dumps(document, indent=2, ensure_ascii=False))

    def table(self, headers: list[str], rows: list[list[object]]) -> None:
        """Write an aligned plain-text table to stdout."""
        cells = [headers, *[[_cell(value) for value in row] for row in rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
        for row in cells:
            self.data("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())

    def info(self, text: str) -> None:
        """Say something on stderr unless quiet."""
        if self.verbosity >= 0:
            self._stderr(text)

    def warn(self, text: str) -> None:
        """Warn on stderr."""
        self._stderr(f"warning: {text}")

    def error(self, text: str) -> None:
        """Report an error on stderr."""
        self._stderr(f"error: {text}")

    def _stderr(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Yield ``callback(done, total)``: a bar on a terminal, sparse lines elsewhere."""
        if self.verbosity < 0:
            yield lambda _done, _total: None
        elif sys.stderr.isatty():
            yield from self._bar(label)
        else:
            yield self._lines(label)

    def _bar(self, label: str) -> Iterator[Callable[[int, int], None]]:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def _lines(self, label: str) -> Callable[[int, int], None]:
        last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            if done < total and time.monotonic() - last > 10:
                last = time.monotonic()
                self._stderr(f"{label}: {done} of {total}")

        return report


class _StderrHandler(logging.Handler):
    """Hands library log records to the console."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record the way the console prints its own warnings."""
        if record.levelno >= logging.WARNING:
            out.warn(record.getMessage())
        else:
            out.info(record.getMessage())


def install_logging(verbosity: int) -> None:
    """Route ``facekit.*`` loggers to stderr: warnings, or more with ``-v``."""
    out.verbosity = verbosity
    logger = logging.getLogger("facekit")
    logger.handlers = [_StderrHandler()]
    logger.propagate = False
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    logger.setLevel(levels.get(verbosity, logging.DEBUG))


def finish(metrics: dict[str, Any], noun: str, start: float, output: Path | None) -> int:
    """Say how many items a bench scored, in what time and where; return its exit code.

    Args:
        metrics: ``count`` and ``missing``.
        noun: what was scored, plural.
        start: ``time.monotonic()`` when it began.
        output: folder of the report, or None.
    """
    where = f" -> {output}" if output is not None else ""
    missing = f", {metrics['missing']} missing" if metrics["missing"] else ""
    out.info(f"{metrics['count']} {noun}{missing} in {time.monotonic() - start:.1f} s{where}")
    return 5 if metrics["missing"] else 0


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


out = Output()
