"""Building blocks that train with extra paths and run as plain convolutions.

The fastest shape on a processor without a GPU is a patchify stem and dense 3x3 convolutions with
ReLU, and nothing else; everything that only helps training is folded away at export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facekit.errors import InputError


class ConvBlock(nn.Module):
    """relu(bn(conv3x3(x)) + x): the residual path exists where the shapes agree.

    ``fused`` gives the one equal convolution. Folding a residual path into the kernel follows
    X. Ding et al., RepVGG: Making VGG-style ConvNets Great Again, 2021, section 3.3.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)
        self.residual = channels_in == channels_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.norm(self.conv(x))
        return torch.relu(y + x if self.residual else y)

    def fused(self) -> nn.Module:
        """Return the same function (in evaluation mode) as one convolution and a ReLU."""
        conv = fuse_conv_norm(self.conv, self.norm)
        if self.residual:
            with torch.no_grad():
                index = torch.arange(conv.out_channels)
                conv.weight[index, index, 1, 1] += 1
        return nn.Sequential(conv, nn.ReLU())


class Normalise(nn.Module):
    """Pixels in [0, 255] to about [-2, 2]."""

    MIDDLE, SPREAD = 127.5, 64.0

    def forward(self, images: Tensor) -> Tensor:
        """Return (images - 127.5) / 64."""
        return (images - self.MIDDLE) * (1 / self.SPREAD)


class PatchStem(nn.Module):
    """Non-overlapping patches to channels: a strided convolution, batch norm and ReLU."""

    def __init__(self, channels_out: int, *, patch: int, channels_in: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, patch, patch, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / patch, W / patch)."""
        return torch.relu(self.norm(self.conv(x)))

    def fused(self) -> nn.Module:
        """Return the same function (in evaluation mode) as one convolution and a ReLU."""
        return nn.Sequential(fuse_conv_norm(self.conv, self.norm), nn.ReLU())


def patch_features(patch: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> nn.Sequential:
    """Return a patchify stem and 3x3 convolutions, halving the grid before each further width.

    Args:
        patch: side of the stem's patches: more pixels at the same cost of what follows.
        widths: channels of each stage; depths: its convolutions.
    """
    layers: list[nn.Module] = [PatchStem(widths[0], patch=patch)]
    channels = widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(ConvBlock(channels, width, stride=stride))
            channels = width
    return nn.Sequential(*layers)


def grid_cells(size: int, patch: int, stages: int) -> int:
    """Return how many cells ``patch_features`` leaves of a square crop.

    Raises:
        InputError: the size is no multiple of the last grid's cell.
    """
    cell = patch * 2 ** (stages - 1)
    if size % cell:
        raise InputError(f"size: expected a multiple of {cell} pixels, got {size}")
    return (size // cell) ** 2


def fold_normalisation(conv: nn.Conv2d) -> None:
    """Let a convolution take pixels in [0, 255] that took normalised ones, in place.

    Exact but for rounding, since a stem has no padding: outside the image there is nothing.
    """
    if conv.padding != (0, 0) or conv.bias is None:
        raise ValueError("expected a convolution with a bias and without padding")
    with torch.no_grad():
        conv.weight /= Normalise.SPREAD
        conv.bias -= Normalise.MIDDLE * conv.weight.sum(dim=(1, 2, 3))


def fuse_conv_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution equal to ``norm(conv(x))`` with the norm's running statistics."""
    if norm.running_var is None or norm.running_mean is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    fused = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
    )
    bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    with torch.no_grad():
        fused.weight.copy_(conv.weight * scale[:, None, None, None])
        if fused.bias is not None:
            fused.bias.copy_((bias - norm.running_mean) * scale + norm.bias)
    return fused


def fuse_linear_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> nn.Linear:
    """Return one linear layer equal to ``norm(linear(x))`` with the norm's running statistics."""
    if norm.running_var is None or norm.running_mean is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = torch.zeros_like(norm.running_mean) if linear.bias is None else linear.bias
    fused = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        fused.weight.copy_(linear.weight * scale[:, None])
        fused.bias.copy_((bias - norm.running_mean) * scale + norm.bias)
    return fused


def fuse_blocks(module: nn.Module) -> nn.Module:
    """Replace, in place, every block that has ``fused`` by its plain twin; return the module."""
    for name, child in module.named_children():
        fused = getattr(child, "fused", None)
        if callable(fused):
            setattr(module, name, fused())
        else:
            fuse_blocks(child)
    return module
