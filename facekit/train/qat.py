"""A parameter network trained on as it will run in 8 bits.

The layers are folded as they are exported; then weights and activations are rounded to the grids of
``quantise_onnx`` in every pass, and gradients go through the rounding as if it were not there.

Source: B. Jacob et al., Quantization and training of neural networks for efficient
integer-arithmetic-only inference, 2018, section 3 (moving averages of the ranges included).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from facekit.errors import InputError, ItemError
from facekit.learn.prefetch import prefetch
from facekit.networks.blocks import Normalise, fuse_blocks, fuse_linear_norm
from facekit.networks.params import ParameterNetwork
from facekit.train.quantise import LARGEST_WEIGHT, REACH

_LARGEST_ACTIVATION = 255
# Share of a batch's range that the moving range takes over, and batches that it starts from.
_RANGE_SHARE, _FIRST_BATCHES = 0.01, 8
_CLIP_NORM = 5.0


class QuantisedTask(Protocol):
    """What is learned; see ``learn.loop.Task``."""

    def batch(self, step: int) -> Any:
        """Return a batch with ``images`` (N, 3, S, S) uint8."""

    def loss(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return scalars; ``loss`` is minimised."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return validation figures with a ``score``."""


class QuantisedTraining(NamedTuple):
    """What ``train_quantised`` made.

    Attributes:
        network: with folded layers, its weights on their grids.
        ranges: the largest value of each rounded activation, in the order of the layers; for
            ``quantise_onnx``.
        before, after: validation figures of the rounded network before and after training.
    """

    network: ParameterNetwork
    ranges: tuple[float, ...]
    before: dict[str, float]
    after: dict[str, float]


def on_grid(weight: Tensor, factor: float = 1.0) -> Tensor:
    """Return weights (O, ...) rounded to 7-bit multiples of a step per output.

    The gradient is that of the weights themselves.

    Args:
        weight: of a layer.
        factor: that the export divides weights by before it stores them in half precision.
    """
    most = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-6)
    step = (_stored(most / factor) * factor / LARGEST_WEIGHT).reshape(-1, *[1] * (weight.ndim - 1))
    levels = torch.round(weight / step).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return weight + (levels * step - weight).detach()


def _stored(values: Tensor) -> Tensor:
    """Return values as a file in half precision gives them back, with their own gradient."""
    return values + (values.half().float() - values).detach()


class RoundedRelu(nn.Module):
    """A ReLU whose values lie on 256 steps up to a moving range.

    What lies above the range is cut off and has no gradient.
    """

    range: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("range", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map any tensor to rounded values of its size; in training, move the range along."""
        if self.training:
            self._watch(_reached(x))
        most = self.range.clamp(min=1e-6)
        step = most / _LARGEST_ACTIVATION
        cut = torch.minimum(torch.relu(x), most)
        return cut + (torch.round(cut / step) * step - cut).detach()

    def widen(self, most: float) -> None:
        """Let the range hold a value."""
        self.range.clamp_(min=most)

    def _watch(self, most: float) -> None:
        if self.range == 0:
            self.range.fill_(most)
        self.range += _RANGE_SHARE * (max(most, 1e-6) - self.range)


def _reached(x: Tensor) -> float:
    """Return what most of a batch's images (N, ...) lie within whole; see ``quantise.REACH``."""
    return float(torch.quantile(x.detach().flatten(1).amax(1).float(), REACH))


class _RoundedConv(nn.Module):
    """A convolution as exported; ``first`` takes normalised pixels, which the export folds in."""

    def __init__(self, conv: nn.Conv2d, *, first: bool) -> None:
        super().__init__()
        self.conv, self.first = conv, first

    def rounded(self) -> tuple[Tensor, Tensor]:
        """Return weights and biases."""
        weight, bias = on_grid(self.conv.weight, self._factor), cast(Tensor, self.conv.bias)
        shift = weight.sum((1, 2, 3)) * (Normalise.MIDDLE / Normalise.SPREAD) if self.first else 0
        return weight, _stored(bias - shift) + shift

    @property
    def _factor(self) -> float:
        return Normalise.SPREAD if self.first else 1.0

    def forward(self, x: Tensor) -> Tensor:
        c = self.conv
        return nn.functional.conv2d(x, *self.rounded(), c.stride, c.padding)  # type: ignore[arg-type]


class _RoundedLinear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, on_grid(self.linear.weight), _stored(self.linear.bias))


def rounded_network(network: ParameterNetwork) -> ParameterNetwork:
    """Return a copy that computes as its 8-bit export will, but for the ranges, which are 0.

    Raises:
        InputError: a network that is not patches and convolutions alone.
    """
    if network.padded:
        raise InputError("8-bit training: expected a network of patches, got a MobileNet")
    copied = _folded(network)
    blocks: list[nn.Module] = []
    for block in copied.features:
        conv, _ = cast(Any, block)
        blocks.append(nn.Sequential(_RoundedConv(conv, first=not blocks), RoundedRelu()))
    copied.features = nn.Sequential(*blocks)
    copied.hidden = _RoundedLinear(copied.hidden)  # type: ignore[assignment]
    return copied


def plain_network(rounded: ParameterNetwork) -> tuple[ParameterNetwork, tuple[float, ...]]:
    """Return a rounded network as a plain one with weights on their grids, and its ranges."""
    network = copy.deepcopy(rounded)
    blocks, ranges = [], []
    with torch.no_grad():
        for block in network.features:
            conv, relu = cast(Any, block)
            plain = conv.conv
            plain.weight.copy_(conv.rounded()[0])
            blocks.append(nn.Sequential(plain, nn.ReLU()))
            ranges.append(float(relu.range))
        hidden = cast(Any, network.hidden).linear
        hidden.weight.copy_(on_grid(hidden.weight))
    network.features, network.hidden = nn.Sequential(*blocks), hidden
    return network.eval(), tuple(ranges)


def train_quantised(
    task: QuantisedTask,
    network: ParameterNetwork,
    *,
    steps: int,
    first: int,
    learning_rate: float = 1e-4,
    progress: Callable[[int, int], None] | None = None,
) -> QuantisedTraining:
    """Train a trained network on as it runs in 8 bits; deterministic.

    Should that not lower the validation score, the network comes out as it was, rounded.

    Args:
        task: batches, loss and validation.
        network: trained in float; left as it is.
        steps: optimiser steps; the rate falls along a cosine to nothing.
        first: number of the first batch: of those that training has not used.
        learning_rate: at the beginning; a tenth or less of the peak before.
        progress: called with steps done and in all.

    Raises:
        InputError: no steps, or a network of another kind.
        ItemError: the loss is no longer finite.
    """
    if steps < 1:
        raise InputError(f"8-bit training: expected at least 1 step, got {steps}")
    rounded = rounded_network(network)
    relus = [m for m in rounded.modules() if isinstance(m, RoundedRelu)]
    _find_ranges(task, rounded, relus, [task.batch(first + k) for k in range(_FIRST_BATCHES)])
    start = copy.deepcopy(rounded)
    before = _figures(task, start)
    optimizer = torch.optim.AdamW(rounded.parameters(), lr=learning_rate, weight_decay=0.0)
    with closing(prefetch(task.batch, first, first + steps)) as batches:
        for step, batch in enumerate(batches):
            rounded.train()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            loss = task.loss(rounded, batch)["loss"]
            if not torch.isfinite(loss):
                raise ItemError(
                    f"8-bit training diverged: the loss is {float(loss.detach())} at step {step}"
                )
            loss.backward()
            nn.utils.clip_grad_norm_(rounded.parameters(), _CLIP_NORM)
            optimizer.step()
            if progress is not None:
                progress(step + 1, steps)
    after = _figures(task, rounded)
    chosen = rounded if after["score"] < before["score"] else start
    return QuantisedTraining(*plain_network(chosen), before, after)


def _folded(network: ParameterNetwork) -> ParameterNetwork:
    copied = copy.deepcopy(network).eval()
    if isinstance(copied.norm, nn.BatchNorm1d):
        copied.hidden = fuse_linear_norm(copied.hidden, copied.norm)
        copied.norm = nn.Identity()
    fuse_blocks(copied)
    return copied


def _find_ranges(
    task: QuantisedTask, network: ParameterNetwork, relus: list[RoundedRelu], batches: list[Any]
) -> None:
    """Let each range hold what the batches reach, layer by layer."""
    network.eval()
    handles = [
        relu.register_forward_pre_hook(lambda one, x: one.widen(_reached(x[0]))) for relu in relus
    ]
    with torch.no_grad():
        for batch in batches:
            task.loss(network, batch)
    for handle in handles:
        handle.remove()


def _figures(task: QuantisedTask, network: ParameterNetwork) -> dict[str, float]:
    network.eval()
    with torch.no_grad():
        return task.evaluate(network)
