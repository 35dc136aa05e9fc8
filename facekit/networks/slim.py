"""A narrower parameter network that begins with a wider one's strongest channels.

Source of choosing channels by the size of the weights: H. Li et al., Pruning filters for efficient
convnets, 2017, section 3.1 (there of the filters that make a channel; here of those that read it,
over what it usually holds).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facekit.errors import InputError
from facekit.networks.blocks import ConvBlock, PatchStem
from facekit.networks.params import ParameterNetwork


def slim(target: ParameterNetwork, source: ParameterNetwork) -> None:
    """Give a network the strongest channels of a wider one of the same depth.

    What a network says changes where channels go, unless nobody read them; training mends it.
    With equal widths this is ``load_state_dict``.

    Args:
        target: takes the weights; its ``centre`` and ``scale`` become the source's.
        source: at least as wide everywhere, with the same stem, depths and coefficients.

    Raises:
        InputError: the networks' layers differ, or the target is wider somewhere.
    """
    small, large = _blocks(target), _blocks(source)
    if [_kind(block) for block in small] != [_kind(block) for block in large]:
        raise InputError("slimming: expected networks with the same stem, depths and strides")
    if len(target.centre) != len(source.centre):
        raise InputError(
            f"slimming: expected {len(target.centre)} coefficients, got {len(source.centre)}"
        )
    kept = torch.arange(3)
    for index, (block, wide) in enumerate(zip(small, large, strict=True)):
        before = kept
        if not _residual(wide):
            strength = _strength(source, large, index)
            kept = _strongest(strength, block.conv.out_channels, f"features.{index}")
        with torch.no_grad():
            block.conv.weight.copy_(wide.conv.weight[kept][:, before])
        _take(block.norm, wide.norm, kept)
    cells = source.hidden.in_features // large[-1].conv.out_channels
    if target.hidden.in_features != cells * len(kept):
        raise InputError("slimming: expected crops and patches of the same grid")
    columns = (kept[:, None] * cells + torch.arange(cells)).flatten()
    last = torch.cat([source.coefficients.weight, source.spread.weight, source.presence.weight])
    units = _strongest(
        (last**2).sum(0) * _moment(source.norm), target.hidden.out_features, "hidden"
    )
    with torch.no_grad():
        target.hidden.weight.copy_(source.hidden.weight[units][:, columns])
        for layer, wide_layer in (
            (target.coefficients, source.coefficients),
            (target.spread, source.spread),
            (target.presence, source.presence),
        ):
            layer.weight.copy_(wide_layer.weight[:, units])
            layer.bias.copy_(wide_layer.bias)
    _take(target.norm, source.norm, units)
    target.set_scale(source.centre, source.scale)


def _blocks(network: ParameterNetwork) -> list[PatchStem | ConvBlock]:
    found = [m for m in network.features if isinstance(m, PatchStem | ConvBlock)]  # type: ignore[union-attr]
    if len(found) != len(network.features):  # type: ignore[arg-type]
        raise InputError("slimming: expected networks of patches and 3x3 convolutions")
    return found


def _kind(block: PatchStem | ConvBlock) -> tuple[object, ...]:
    return type(block).__name__, block.conv.kernel_size, block.conv.stride, _residual(block)


def _residual(block: PatchStem | ConvBlock) -> bool:
    return isinstance(block, ConvBlock) and block.residual


def _strength(network: ParameterNetwork, blocks: list[PatchStem | ConvBlock], index: int) -> Tensor:
    """What is read of the channels (C,) that a block begins: squares of weights times values."""
    values = _moment(blocks[index].norm)
    read = torch.zeros_like(values)
    for block in blocks[index + 1 :]:
        read += (block.conv.weight**2).sum((0, 2, 3)).detach()
        if not _residual(block):
            return read * values
        values = values + _moment(block.norm)
    cells = network.hidden.in_features // len(read)
    read += (network.hidden.weight**2).sum(0).detach().view(len(read), cells).sum(1)
    return read * values


def _moment(norm: nn.Module) -> Tensor:
    """The mean square (C,) of what a batch norm gives."""
    return (norm.weight**2 + norm.bias**2).detach()  # type: ignore[operator, return-value]


def _strongest(strength: Tensor, count: int, where: str) -> Tensor:
    if count > len(strength):
        raise InputError(
            f"slimming: {where}: expected at most {len(strength)} channels, got {count}"
        )
    return torch.sort(torch.topk(strength, count).indices).values


def _take(target: nn.Module, source: nn.Module, rows: Tensor) -> None:
    state = source.state_dict()
    target.load_state_dict({k: v[rows] if v.ndim else v for k, v in state.items()})
