"""The training loop: mixed precision, a moving average of the weights, exact resume, logs.

A run folder holds ``config.toml``, ``metrics.jsonl`` (one line per report), ``last.pth``,
``best.pth`` (lowest validation score, the moving average's) and ``tb/`` where TensorBoard is
installed.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from facekit.errors import InputError, ItemError, OutputExistsError
from facekit.io.atomic import make_folder
from facekit.learn.checkpoint import load_checkpoint, save_checkpoint
from facekit.learn.ema import MovingAverage
from facekit.learn.prefetch import prefetch

# Called with steps done and in all.
Progress = Callable[[int, int], None]


class Task(Protocol):
    """What is learned: batches, their loss and a validation score."""

    def batch(self, step: int) -> Any:
        """Return the batch of a step: a function of the step (and the seed) alone."""

    def loss(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return scalars; ``loss`` is minimised, the others are logged."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return validation figures; the lowest ``score`` is the best."""


@dataclass(frozen=True)
class LoopConfig:
    """How long and how to train.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: peak of the schedule: linear warm-up, then a cosine to 1 % of it.
        warmup_steps: length of the warm-up.
        weight_decay: decoupled decay of weights (not of biases and norms).
        ema_decay: decay per step of the weights' moving average.
        clip_norm: largest gradient norm.
        precision: ``bf16`` (autocast) or ``fp32``.
        threads: torch's threads.
        report_every, evaluate_every, save_every: in steps.
        seed: of weights and batches.
    """

    steps: int = 20_000
    learning_rate: float = 2e-3
    warmup_steps: int = 500
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    clip_norm: float = 5.0
    precision: str = "bf16"
    threads: int = 2
    report_every: int = 100
    evaluate_every: int = 1000
    save_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise InputError(f"precision: expected bf16 or fp32, got {self.precision!r}")
        if self.steps < 1 or self.threads < 1:
            raise InputError("steps and threads: expected at least 1")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay: expected a number in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True)
class RunInfo:
    """What a checkpoint says of its outputs: see ``checkpoint.KEYS``."""

    kind: str
    config: dict[str, Any]
    layout: dict[str, Any] | None = None
    crop: str | None = None
    model_sha256: str | None = None


def train(
    task: Task,
    model: nn.Module,
    config: LoopConfig,
    run: Path,
    info: RunInfo,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a model and return the best validation figures.

    Args:
        task: batches, loss, evaluation.
        model: trained in place; ends with the last step's weights.
        config: how long and how.
        run: run folder, made when absent.
        info: what the checkpoint records.
        resume: go on from ``last.pth``; the result equals an uninterrupted run's.
        progress: called with steps done and in all.

    Raises:
        OutputExistsError: the folder holds a run and ``resume`` is not asked for.
        InputError: nothing to resume, or the run was begun with another configuration.
        ItemError: the loss is no longer finite.
    """
    torch.set_num_threads(config.threads)
    last, best = make_folder(run) / "last.pth", run / "best.pth"
    if last.exists() and not resume:
        raise OutputExistsError(f"{run}: holds a run; pass --resume to go on, or choose another")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _schedule(s, config))
    average = MovingAverage(model, config.ema_decay)
    start, record = 0, dict[str, Any]()
    if resume:
        start, record = _restore(last, info, model, optimizer, scheduler, average)

    def save(path: Path, step: int, metrics: dict[str, Any]) -> None:
        save_checkpoint(
            path,
            {
                "kind": info.kind,
                "config": info.config,
                "layout": info.layout,
                "crop": info.crop,
                "model_sha256": info.model_sha256,
                "state_dict": model.state_dict(),
                "ema": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "sampler": {"seed": config.seed, "next_step": step},
                "rng": torch.get_rng_state(),
                "step": step,
                "metrics": metrics,
            },
        )

    logs = _Logs(run, start)
    batches = prefetch(task.batch, start, config.steps)
    with contextlib.closing(batches), contextlib.closing(logs):  # type: ignore[type-var]
        for step, batch in enumerate(batches, start + 1):
            model.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
                losses = task.loss(model, batch)
            _check_finite(losses["loss"], step)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            scheduler.step()
            average.update(model)
            logs.add({name: float(value.detach()) for name, value in losses.items()})
            if step % config.report_every == 0:
                logs.report(step, {"learning_rate": float(scheduler.get_last_lr()[0])})
            done = step == config.steps
            if step % config.evaluate_every == 0 or done:
                with average.applied(model), torch.no_grad():
                    model.eval()
                    figures = task.evaluate(model)
                logs.write(step, {f"val_{name}": value for name, value in figures.items()})
                if not record or figures["score"] < record["score"]:
                    record = {**figures, "step": float(step)}
                    save(best, step, record)
            if step % config.save_every == 0 or done:
                save(last, step, record)
            if progress is not None:
                progress(step, config.steps)
    return record


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _schedule(step: int, config: LoopConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    rest = max(1, config.steps - config.warmup_steps)
    phase = min(1.0, (step - config.warmup_steps) / rest)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase))


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise ItemError(
            f"training diverged: the loss is {float(loss.detach())} at step {step}; "
            "lower the learning rate and resume from last.pth"
        )


def _restore(
    path: Path,
    info: RunInfo,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    average: MovingAverage,
) -> tuple[int, dict[str, float]]:
    contents = load_checkpoint(path, kind=info.kind)
    for name in ("config", "layout", "crop", "model_sha256"):
        if _essential(contents[name]) != _essential(getattr(info, name)):
            raise InputError(
                f"{path}: was begun with another {name}; resume with the same options, or choose "
                "another run folder"
            )
    model.load_state_dict(contents["state_dict"])
    average.load_state_dict(contents["ema"])
    optimizer.load_state_dict(contents["optimizer"])
    scheduler.load_state_dict(contents["scheduler"])
    torch.set_rng_state(contents["rng"])
    return int(contents["step"]), dict(contents["metrics"])


# What may differ when a run goes on: it changes how fast and how often, not what is learned.
_FREE = ("threads", "report_every", "evaluate_every", "save_every")


def _essential(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _essential(v) for k, v in value.items() if k not in _FREE}
    return list(value) if isinstance(value, tuple) else value


class _Logs:
    """``metrics.jsonl`` and, where installed, TensorBoard."""

    def __init__(self, run: Path, start: int) -> None:
        path = run / "metrics.jsonl"
        kept = []
        if start and path.exists():
            # Lines past the checkpoint belong to steps that are done again.
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= start]
        self._file = path.open("w", encoding="utf-8")
        self._file.writelines(f"{line}\n" for line in kept)
        self._sums: dict[str, float] = {}
        self._count = 0
        self._since = time.monotonic()
        self._board = _open_board(run / "tb")

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def report(self, step: int, extra: dict[str, float]) -> None:
        now = time.monotonic()
        means = {name: value / self._count for name, value in self._sums.items()}
        speed = {"steps_per_second": self._count / max(1e-9, now - self._since)}
        self.write(step, {**means, **extra, **speed})
        self._sums, self._count, self._since = {}, 0, now

    def write(self, step: int, values: dict[str, float]) -> None:
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **rounded}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None  # optional: metrics.jsonl has the same figures
    return SummaryWriter(str(folder))
