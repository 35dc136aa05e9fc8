"""Learning rates over the steps of a run."""

from __future__ import annotations

import math
from typing import Protocol

SCHEDULES = ("cosine", "steps")


class _Schedule(Protocol):
    @property
    def steps(self) -> int: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def decay_every(self) -> int: ...
    @property
    def decay_factor(self) -> float: ...


def learning_rate_factor(step: int, config: _Schedule) -> float:
    """Return the share of the peak learning rate at a step, from 0.

    A linear warm-up; then ``cosine`` falls to 1 % at the last step, and ``steps`` multiplies by
    ``decay_factor`` after every ``decay_every`` steps.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "steps":
        return float(config.decay_factor ** (step // config.decay_every))
    rest = max(1, config.steps - config.warmup_steps)
    phase = min(1.0, (step - config.warmup_steps) / rest)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase))
