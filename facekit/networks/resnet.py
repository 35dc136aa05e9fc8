"""Residual networks, with the layer names that public weight files use.

Source: K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, 2016,
table 1; the stride lies on the 3x3 convolution, as in torchvision's networks, so that their
ImageNet weights (``resnet50-*.pth``) load by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from facekit.errors import InputError

# Convolution blocks of each stage, and channels out of a block over its inner ones.
SHAPES: dict[str, tuple[tuple[int, int, int, int], int]] = {
    "resnet18": ((2, 2, 2, 2), 1),
    "resnet50": ((3, 4, 6, 3), 4),
}


class _Block(nn.Module):
    """relu(f(x) + x): two 3x3 convolutions, or 1x1, 3x3 (strided) and 1x1."""

    def __init__(self, channels_in: int, inner: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        out = inner * expansion
        if expansion == 1:
            self.conv1 = nn.Conv2d(channels_in, inner, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(inner, inner, 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out)
        self.bn1, self.bn2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
        self.wide = expansion > 1
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, inner * expansion, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.wide:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + self.downsample(x))


class ResNet(nn.Module):
    """Pooled features of a residual network.

    Args:
        name: of ``SHAPES``.

    Attributes:
        units: length of the features: 512 (``resnet18``) or 2048 (``resnet50``).

    Raises:
        InputError: an unknown name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in SHAPES:
            raise InputError(f"network: expected one of {', '.join(SHAPES)}, got {name!r}")
        counts, expansion = SHAPES[name]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        stages: list[nn.Sequential] = []
        for stage, count in enumerate(counts):
            inner = 64 << stage
            blocks = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                blocks.append(_Block(channels, inner, stride=stride, expansion=expansion))
                channels = inner * expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.units = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, units, 1, 1)."""
        x = torch.relu(self.bn1(self.conv1(images)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return nn.functional.adaptive_avg_pool2d(x, 1)

    def load_classifier(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a classifier of this shape; its last layer ``fc`` is left out.

        Raises:
            InputError: the layers differ.
        """
        own = self.state_dict()
        given = {k: v for k, v in weights.items() if not k.startswith("fc.")}
        # Older files do not count a norm's batches.
        given = {**{k: v for k, v in own.items() if k.endswith("num_batches_tracked")}, **given}
        differing = sorted(own.keys() ^ given.keys())
        differing += [k for k in own.keys() & given.keys() if own[k].shape != given[k].shape]
        if differing:
            raise InputError(
                f"expected the weights of a residual network of this depth; {differing[0]} differs"
            )
        self.load_state_dict(given)
