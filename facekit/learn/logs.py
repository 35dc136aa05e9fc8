"""What a training run writes as it goes: figures, pictures, TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from facekit.io.atomic import make_folder
from facekit.io.images import write_image


class RunLogs:
    """``metrics.jsonl``, ``previews/`` and, where installed, TensorBoard.

    Args:
        run: the run folder.
        start: steps that are done already; later lines belong to steps that are done again.

    Attributes:
        waited: seconds since the last report in which there was no batch to train on.
    """

    def __init__(self, run: Path, start: int) -> None:
        self._run = run
        path = run / "metrics.jsonl"
        kept = []
        if start and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= start]
        self._file = path.open("w", encoding="utf-8")
        self._file.writelines(f"{line}\n" for line in kept)
        self._sums: dict[str, float] = {}
        self._count = 0
        self.waited = 0.0
        self._since = time.monotonic()
        self._board = _open_board(run / "tb")

    def add(self, values: dict[str, float]) -> None:
        """Take one step's figures in."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def report(self, step: int, extra: dict[str, float]) -> None:
        """Write the means since the last report, how fast it went, and the share of waiting."""
        now = time.monotonic()
        means = {name: value / self._count for name, value in self._sums.items()}
        seconds = max(1e-9, now - self._since)
        speed = {"steps_per_second": self._count / seconds, "waiting": self.waited / seconds}
        self.write(step, {**means, **extra, **speed})
        self._sums, self._count, self._since, self.waited = {}, 0, now, 0.0

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write figures."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **rounded}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        """Write a picture (H, W, 3) uint8 as ``previews/step-NNNNNNNN.jpg``."""
        write_image(make_folder(self._run / "previews") / f"step-{step:08d}.jpg", image)
        if self._board is not None:
            self._board.add_image("preview", image, step, dataformats="HWC")

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None  # optional: metrics.jsonl has the same figures
    return SummaryWriter(str(folder))
