"""The face detector: anchor-free, three strides, box and five points at every cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facekit.networks.blocks import (
    ConvBlock,
    Normalise,
    PatchStem,
    fold_normalisation,
    fuse_blocks,
)

STRIDES = (8, 16, 32)
# Channels of a head: score logit, box (4), five points (10).
NUM_CHANNELS = 15


class DetectorNetwork(nn.Module):
    """Patchify-4 stem, 3x3 convolutions to stride 32, one top-down path, a shared head.

    A cell (column, row) of a level with stride s looks from pixel (s * column + (s - 1) / 2,
    ...), the middle of its patch. Its outputs, with u = 4 s: logit; (cx, cy) of the box as an
    offset in u; log(w / u), log(h / u); five points as offsets in u.

    Args:
        widths: channels at strides 4, 8, 16 and 32.
        depths: convolutions at each.
        neck: channels of the top-down path and the head.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (16, 32, 64, 80),
        depths: tuple[int, ...] = (1, 2, 3, 3),
        neck: int = 40,
    ) -> None:
        super().__init__()
        self.normalise: nn.Module = Normalise()
        self.stem = PatchStem(widths[0], patch=4)
        stages, channels = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            layers = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(ConvBlock(channels, width, stride=stride))
                channels = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[1:])
        self.heads = nn.ModuleList(ConvBlock(neck, neck) for _ in STRIDES)
        outputs = [nn.Conv2d(neck, NUM_CHANNELS, 1) for _ in STRIDES]
        self.outputs = nn.ModuleList(outputs)
        for output in outputs:
            nn.init.normal_(output.weight, std=0.01)
            nn.init.zeros_(output.bias)  # type: ignore[arg-type]
            # Rare positives: start from a probability of 1 %, so that cells of background do
            # not swamp the first steps (T.-Y. Lin et al., Focal loss, 2017, section 4.1).
            nn.init.constant_(output.bias[:1], -4.6)  # type: ignore[index]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) RGB in [0, 255], H and W multiples of 32, to a map per stride.

        Returns:
            (N, 15, H / s, W / s) for s in ``STRIDES``.
        """
        x = self.stages[0](self.stem(self.normalise(images)))
        features = []
        for stage in self.stages[1:]:
            x = stage(x)
            features.append(x)
        path = self.laterals[-1](features[-1])
        maps = [self.outputs[-1](self.heads[-1](torch.relu(path)))]
        for level in (1, 0):
            up = nn.functional.interpolate(path, scale_factor=2.0, mode="nearest")
            path = self.laterals[level](features[level]) + up
            maps.append(self.outputs[level](self.heads[level](torch.relu(path))))
        return maps[::-1]


class DetectorExport(nn.Module):
    """The detector as it is shipped: uint8 (1, H, W, 3) in, fused, scores as probabilities.

    Args:
        network: trained.
        slope, offset: calibration: probability = sigmoid(slope * logit + offset).
    """

    def __init__(self, network: DetectorNetwork, *, slope: float, offset: float) -> None:
        super().__init__()
        self.network = fuse_blocks(network)
        fold_normalisation(network.get_submodule("stem.0"))  # type: ignore[arg-type]
        network.normalise = nn.Identity()
        with torch.no_grad():
            for output in network.outputs:
                weight, bias = output.get_parameter("weight"), output.get_parameter("bias")
                weight[0] *= slope
                bias[0] = slope * bias[0] + offset

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the map of each stride, (1, 15, H / s, W / s), logits calibrated."""
        return self.network(image.permute(0, 3, 1, 2).float())
