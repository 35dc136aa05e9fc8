"""Exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class MovingAverage:
    """average <- d average + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) at step n.

    The smaller decay of the first steps lets the average forget the initial weights. Buffers
    (batch statistics) are averaged too where they are floating, else copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step's weights in."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self._values[name].lerp_(value, 1 - decay)
            else:
                self._values[name].copy_(value)

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights inside the block."""
        saved = {k: v.detach().clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self._values)
        try:
            yield
        finally:
            model.load_state_dict(saved)

    def state_dict(self) -> dict[str, Tensor | dict[str, Tensor]]:
        """Return the averaged weights and the number of updates."""
        return {"values": self._values, "updates": torch.tensor(self._updates)}

    def load_state_dict(self, state: dict) -> None:
        """Take up a saved average."""
        self._updates = int(state["updates"])
        for name, value in state["values"].items():
            self._values[name].copy_(value)
