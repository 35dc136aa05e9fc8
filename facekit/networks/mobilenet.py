"""MobileNetV1: the published baseline that small face networks are compared with.

Source: A. Howard et al., MobileNets: Efficient convolutional neural networks for mobile vision
applications, 2017, table 1; at half width and 120 pixels it is the network of J. Guo et al.,
Towards fast, accurate and stable 3D dense face alignment, 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facekit.networks.blocks import fuse_conv_norm

# Channels at full width and stride of each pair of convolutions.
_PAIRS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class ConvNormRelu(nn.Module):
    """relu(bn(conv(x))); ``fused`` gives the one equal convolution and its ReLU."""

    def __init__(self, channels_in: int, channels_out: int, **convolution: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, bias=False, **convolution)  # type: ignore[arg-type]
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W')."""
        return torch.relu(self.norm(self.conv(x)))

    def fused(self) -> nn.Module:
        """Return the same function (in evaluation mode) as one convolution and a ReLU."""
        return nn.Sequential(fuse_conv_norm(self.conv, self.norm), nn.ReLU())


def mobilenet_features(width: float) -> nn.Sequential:
    """Return the layers up to the pooled features, (N, 1024 * width, 1, 1).

    Args:
        width: factor on all channels.
    """
    channels = round(32 * width)
    layers: list[nn.Module] = [ConvNormRelu(3, channels, kernel_size=3, stride=2, padding=1)]
    for full, stride in _PAIRS:
        out = round(full * width)
        layers.append(
            ConvNormRelu(
                channels, channels, kernel_size=3, stride=stride, padding=1, groups=channels
            )
        )
        layers.append(ConvNormRelu(channels, out, kernel_size=1))
        channels = out
    layers.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers)
