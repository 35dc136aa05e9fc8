"""A wider network that begins where a narrower one ended."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from facekit.errors import InputError


def grow(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of a network with the same layers and at most the same widths.

    Channels that the narrower network has read nothing from the new ones at first, so the wider
    one computes the same until it is trained; the new ones keep their random weights and are read
    by nobody yet. With equal widths this is ``load_state_dict``.

    Args:
        model: the wider network; dense layers after flattened maps keep the maps' size.
        weights: state of the narrower one.

    Raises:
        InputError: the layers differ, or one of ``weights`` is wider.

    Source: T. Chen, I. Goodfellow, J. Shlens, Net2Net: accelerating learning via knowledge
    transfer, 2016 (growth that preserves the function; here by zeros instead of copies).
    """
    state = model.state_dict()
    if state.keys() != weights.keys():
        name = sorted(state.keys() ^ weights.keys())[0]
        raise InputError(f"expected weights of the same layers; {name} is in one network only")
    grown = {}
    for name, target in state.items():
        source = weights[name]
        fits = source.ndim == target.ndim
        if not fits or any(a > b for a, b in zip(source.shape, target.shape, strict=True)):
            raise InputError(
                f"{name}: expected at most {tuple(target.shape)}, got {tuple(source.shape)}; a "
                "network can only grow"
            )
        grown[name] = _pasted(target, source)
    model.load_state_dict(grown)


def _pasted(target: Tensor, source: Tensor) -> Tensor:
    result = target.clone()
    if source.ndim > 1:
        result[: source.shape[0], source.shape[1] :] = 0
    result[tuple(slice(size) for size in source.shape)] = source.to(torch.result_type(target, 0))
    return result
