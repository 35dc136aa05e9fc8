"""The training loop: mixed precision, a moving average of the weights, exact resume, logs.

A run folder holds ``config.toml``, ``metrics.jsonl`` (one line per report), ``last.pth``,
``best.pth`` (lowest validation score, the moving average's), ``previews/`` of tasks that draw them,
and ``tb/`` where TensorBoard is installed.

Several processes (``learn.launch``) and accumulated batches see the same samples: an optimiser
step takes batches ``step * n`` to ``step * n + n - 1``, n being processes times accumulation.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from facekit.errors import InputError, ItemError, OutputExistsError
from facekit.io.atomic import make_folder
from facekit.learn import launch
from facekit.learn.checkpoint import load_checkpoint, save_checkpoint
from facekit.learn.ema import MovingAverage
from facekit.learn.logs import RunLogs
from facekit.learn.prefetch import prefetch
from facekit.learn.schedule import SCHEDULES, learning_rate_factor

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
        learning_rate: peak of the schedule.
        schedule: after a linear warm-up, ``cosine`` falls to 1 % of the peak; ``steps`` multiplies
            by ``decay_factor`` after every ``decay_every`` steps.
        warmup_steps: length of the warm-up.
        decay_every, decay_factor: of the schedule ``steps``.
        weight_decay: decoupled decay of weights (not of biases and norms); 0 is plain Adam.
        ema_decay: decay per step of the weights' moving average.
        clip_norm: largest gradient norm, 0 for any.
        accumulate: batches whose gradients are averaged for a step.
        precision: ``bf16`` (autocast) or ``fp32``.
        device: ``cpu``, ``cuda`` or ``auto``: a GPU where there is one.
        threads: torch's threads.
        data_threads: how many make batches ahead of time.
        report_every, evaluate_every, save_every: in steps.
        seed: of weights and batches.
    """

    steps: int = 20_000
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    warmup_steps: int = 500
    decay_every: int = 100_000
    decay_factor: float = 0.2
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    clip_norm: float = 5.0
    accumulate: int = 1
    precision: str = "bf16"
    device: str = "cpu"
    threads: int = 2
    data_threads: int = 2
    report_every: int = 100
    evaluate_every: int = 1000
    save_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise InputError(f"precision: expected bf16 or fp32, got {self.precision!r}")
        if self.schedule not in SCHEDULES or self.device not in launch.DEVICES:
            raise InputError(
                f"schedule and device: expected one of {', '.join(SCHEDULES)} and of "
                f"{', '.join(launch.DEVICES)}, got {self.schedule!r} and {self.device!r}"
            )
        counts = ("steps", "threads", "data_threads", "accumulate", "decay_every")
        if min(getattr(self, name) for name in counts) < 1:
            raise InputError(f"{', '.join(counts)}: expected at least 1")
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

    A task with a method ``preview(model)`` that returns a picture (H, W, 3) uint8 has one written
    at every validation. One whose tensors follow those of its batches says so by ``any_device``;
    others train on a CPU.

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
    if (make_folder(run) / "last.pth").exists() and not resume:
        raise OutputExistsError(f"{run}: holds a run; pass --resume to go on, or choose another")
    device = launch.choose_device(config.device)
    if device.type != "cpu" and not getattr(task, "any_device", False):
        raise InputError(f"{info.kind}: trains on a CPU only; set loop.device=cpu")
    with launch.together(device) as rank:
        return _Training(task, model, config, run, info, device, rank, resume=resume).go(progress)


class _LossOf(nn.Module):
    """A task's losses as a module, so that whatever a task calls is seen by the processes' join."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self.task.loss(self.model, batch)


class _Training:
    """One run: its model, optimiser and files."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        config: LoopConfig,
        run: Path,
        info: RunInfo,
        device: torch.device,
        rank: launch.Rank,
        *,
        resume: bool,
    ) -> None:
        self.task, self.config, self.run, self.info = task, config, run, info
        self.device, self.rank = device, rank
        self.model = model.to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            _groups(model, config.weight_decay), lr=config.learning_rate
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda s: learning_rate_factor(s, config)
        )
        self.average = MovingAverage(model, config.ema_decay)
        self.start, self.record = 0, dict[str, Any]()
        if resume:
            self._restore(run / "last.pth")
        self.losses: nn.Module = _LossOf(task, model)
        if rank.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.losses = nn.parallel.DistributedDataParallel(self.losses, device_ids=ids)

    def go(self, progress: Progress | None) -> dict[str, float]:
        config, first = self.config, self.rank.number == 0
        each = config.accumulate * self.rank.size

        def of_step(step: int) -> list[Any]:
            mine = step * each + self.rank.number
            return [self.task.batch(mine + k * self.rank.size) for k in range(config.accumulate)]

        logs = RunLogs(self.run, self.start) if first else None
        batches = prefetch(of_step, self.start, config.steps, threads=config.data_threads)
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(batches))
            if logs is not None:
                stack.enter_context(contextlib.closing(logs))
            for step in range(self.start + 1, config.steps + 1):
                asked = time.monotonic()
                batch = next(batches)
                waited = time.monotonic() - asked
                values = self._step(batch, step)
                if logs is not None:
                    logs.waited += waited
                    logs.add(values)
                    if step % config.report_every == 0:
                        rate = float(self.scheduler.get_last_lr()[0])
                        logs.report(step, {"learning_rate": rate})
                done = step == config.steps
                if step % config.evaluate_every == 0 or done:
                    if logs is not None:
                        self._evaluate(step, logs)
                    self.record = launch.shared(self.record, self.rank)
                if logs is not None and (step % config.save_every == 0 or done):
                    self._save(self.run / "last.pth", step)
                if progress is not None and first:
                    progress(step, config.steps)
        return self.record

    def _step(self, batches: list[Any], step: int) -> dict[str, float]:
        """Take one optimiser step and return the mean losses of this process."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for number, batch in enumerate(batches, start=1):
            with self._joined(number == len(batches)):
                half = self.config.precision == "bf16"
                with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                    losses = self.losses(launch.moved(batch, self.device))
                _check_finite(losses["loss"], step)
                (losses["loss"] / len(batches)).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.average.update(self.model)
        return sums

    @contextlib.contextmanager
    def _joined(self, last: bool) -> Iterator[None]:
        """Exchange gradients with the other processes after the last batch of a step alone."""
        if self.rank.size == 1 or last:
            yield
        else:
            with self.losses.no_sync():  # type: ignore[operator]
                yield

    def _evaluate(self, step: int, logs: RunLogs) -> None:
        preview = getattr(self.task, "preview", None)
        with self.average.applied(self.model), torch.no_grad():
            self.model.eval()
            figures = self.task.evaluate(self.model)
            picture = None if preview is None else preview(self.model)
        logs.write(step, {f"val_{name}": value for name, value in figures.items()})
        if picture is not None:
            logs.picture(step, picture)
        if not self.record or figures["score"] < self.record["score"]:
            self.record = {**figures, "step": float(step)}
            self._save(self.run / "best.pth", step)

    def _save(self, path: Path, step: int) -> None:
        info = self.info
        save_checkpoint(
            path,
            {
                "kind": info.kind,
                "config": info.config,
                "layout": info.layout,
                "crop": info.crop,
                "model_sha256": info.model_sha256,
                "state_dict": self.model.state_dict(),
                "ema": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "sampler": {"seed": self.config.seed, "next_step": step},
                "rng": torch.get_rng_state(),
                "step": step,
                "metrics": self.record,
            },
        )

    def _restore(self, path: Path) -> None:
        contents = load_checkpoint(path, kind=self.info.kind)
        for name in ("config", "layout", "crop", "model_sha256"):
            if _essential(contents[name]) != _essential(getattr(self.info, name)):
                raise InputError(
                    f"{path}: was begun with another {name}; resume with the same options, or "
                    "choose another run folder"
                )
        self.model.load_state_dict(contents["state_dict"])
        self.average.load_state_dict(contents["ema"])
        self.optimizer.load_state_dict(contents["optimizer"])
        self.scheduler.load_state_dict(contents["scheduler"])
        torch.set_rng_state(contents["rng"])
        self.start, self.record = int(contents["step"]), dict(contents["metrics"])


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise ItemError(
            f"training diverged: the loss is {float(loss.detach())} at step {step}; "
            "lower the learning rate and resume from last.pth"
        )


# What may differ when a run goes on: it changes how fast and how often, not what is learned.
_FREE = ("threads", "data_threads", "report_every", "evaluate_every", "save_every", "device")


def _essential(value: Any, where: str = "") -> Any:
    if isinstance(value, dict):
        # A run that was begun before a setting existed was begun with its default.
        whole = {**asdict(LoopConfig()), **value} if where == "loop" else value
        return {k: _essential(v, k) for k, v in whole.items() if k not in _FREE}
    return list(value) if isinstance(value, tuple) else value
