"""The landmark network: a face crop to 478 points, the spread of 68 of them, and presence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facekit.networks.blocks import (
    Normalise,
    fold_normalisation,
    fuse_blocks,
    fuse_linear_norm,
    grid_cells,
    patch_features,
)

NUM_DENSE, NUM_IBUG = 478, 68


class LandmarkOutput(NamedTuple):
    """What the network says of a crop.

    Attributes:
        points: (N, 478, 2) fractions of the crop's side from its centre; pixel
            p = (point + 0.5) * size - 0.5.
        log_sigma: (N, 68) natural logarithm of the expected distance of each iBUG point from the
            truth, in fractions of the crop's side.
        presence: (N, 1) logit that the crop shows a face about its middle.
    """

    points: Tensor
    log_sigma: Tensor
    presence: Tensor


class LandmarkNetwork(nn.Module):
    """Patchify stem, 3x3 convolutions over four halvings, a narrow hidden layer, linear outputs.

    Args:
        size: side of the crop, a multiple of 8 patches.
        patch: side of the stem's patches: more pixels at the same cost of what follows.
        widths: channels at strides 1, 2, 4 and 8 patches.
        depths: convolutions at each stride.
        hidden: units of the hidden layer.

    Raises:
        InputError: the size is no multiple of 8 patches.
    """

    def __init__(
        self,
        *,
        size: int = 128,
        patch: int = 4,
        widths: tuple[int, ...] = (32, 64, 128, 192),
        depths: tuple[int, ...] = (1, 2, 3, 2),
        hidden: int = 160,
    ) -> None:
        super().__init__()
        self.size = size
        self.normalise: nn.Module = Normalise()
        self.features = patch_features(patch, widths, depths)
        cells = grid_cells(size, patch, len(widths))
        self.hidden = nn.Linear(widths[-1] * cells, hidden, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(hidden)
        self.points = nn.Linear(hidden, NUM_DENSE * 2)
        self.spread = nn.Linear(hidden, NUM_IBUG)
        self.presence = nn.Linear(hidden, 1)
        nn.init.zeros_(self.points.weight)
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, -4.0)

    def set_mean_shape(self, mean: Tensor) -> None:
        """Start from a mean shape (478, 2), so that training learns deviations only."""
        with torch.no_grad():
            self.points.bias.copy_(mean.reshape(-1))

    def forward(self, images: Tensor) -> LandmarkOutput:
        """Map crops (N, 3, S, S), RGB in [0, 255], to points, spreads and presence."""
        x = self.features(self.normalise(images))
        x = torch.relu(self.norm(self.hidden(x.flatten(1))))
        return LandmarkOutput(
            self.points(x).unflatten(1, (NUM_DENSE, 2)), self.spread(x), self.presence(x)
        )


class LandmarkExport(nn.Module):
    """The network as it is shipped: uint8 (N, S, S, 3) in, fused, presence as probability."""

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__()
        if isinstance(network.norm, nn.BatchNorm1d):
            network.hidden = fuse_linear_norm(network.hidden, network.norm)
            network.norm = nn.Identity()
        self.network = fuse_blocks(network)
        fold_normalisation(network.get_submodule("features.0.0"))  # type: ignore[arg-type]
        network.normalise = nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points (N, 478, 2), log_sigma (N, 68) and presence (N, 1) in [0, 1]."""
        points, log_sigma, presence = self.network(image.permute(0, 3, 1, 2).float())
        return points, log_sigma, torch.sigmoid(presence)
