"""The parameter network: a face crop to a morphable model's coefficients, and how sure they are."""

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
from facekit.networks.mobilenet import mobilenet_features

# Bounds of the logarithm of a deviation over the coefficient's own: what never varies would be
# surer and surer without end.
_SPREAD = (-5.0, 3.0)


class ParameterOutput(NamedTuple):
    """What the network says of a crop.

    Attributes:
        coefficients: (N, C) in the order of a ``morphable.layout``.
        log_sigma: (N, C) natural logarithm of each one's deviation.
        presence: (N, 1) logit that the crop shows a face about its middle.
    """

    coefficients: Tensor
    log_sigma: Tensor
    presence: Tensor


class ParameterNetwork(nn.Module):
    """Convolutions, a hidden layer, linear outputs.

    Coefficients are those of ``centre`` plus ``scale`` times what the last layer gives, so that
    all of them are of one size there.

    Args:
        length: coefficients C.
        size: side of the crop, a multiple of 8 patches.
        patch, widths, depths: see ``patch_features``.
        hidden: units of the hidden layer.
        mobilenet: width of a MobileNetV1 that takes the place of patches and their convolutions,
            0 for none.

    Raises:
        InputError: the size is no multiple of the last grid's cell.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        length: int,
        *,
        size: int = 160,
        patch: int = 5,
        widths: tuple[int, ...] = (48, 64, 128, 224),
        depths: tuple[int, ...] = (1, 2, 4, 2),
        hidden: int = 384,
        mobilenet: float = 0.0,
    ) -> None:
        super().__init__()
        self.size = size
        self.normalise: nn.Module = Normalise()
        if mobilenet:
            self.features, units = mobilenet_features(mobilenet), round(1024 * mobilenet)
        else:
            self.features = patch_features(patch, widths, depths)
            units = widths[-1] * grid_cells(size, patch, len(widths))
        self.padded = bool(mobilenet)
        self.hidden = nn.Linear(units, hidden, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(hidden)
        self.coefficients = nn.Linear(hidden, length)
        self.spread = nn.Linear(hidden, length)
        self.presence = nn.Linear(hidden, 1)
        for layer in (self.coefficients, self.spread):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("centre", torch.zeros(length))
        self.register_buffer("scale", torch.ones(length))

    def set_scale(self, centre: Tensor, scale: Tensor) -> None:
        """Start from a mean (C,) with deviations (C,): what is learned are departures from it."""
        self.centre.copy_(centre)
        self.scale.copy_(scale)

    def rescaled(self, centre: Tensor, scale: Tensor) -> None:
        """Take another centre and scale (C,) and say the same as before."""
        with torch.no_grad():
            last = self.coefficients
            last.weight.mul_((self.scale / scale)[:, None])
            last.bias.mul_(self.scale).add_(self.centre - centre).div_(scale)
            self.spread.bias.add_(torch.log(self.scale / scale))
        self.set_scale(centre, scale)

    def seen(self, images: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 255], to the hidden layer's units (N, hidden)."""
        x = self.features(self.normalise(images))
        return torch.relu(self.norm(self.hidden(x.flatten(1))))

    def read(self, units: Tensor) -> ParameterOutput:
        """Map the hidden layer's units to coefficients, deviations and presence."""
        x = units.float()
        return ParameterOutput(
            self.centre + self.scale * self.coefficients(x),
            torch.log(self.scale) + self.spread(x).clamp(*_SPREAD),
            self.presence(x),
        )

    def forward(self, images: Tensor) -> ParameterOutput:
        """Map crops (N, 3, S, S), RGB in [0, 255], to coefficients, deviations and presence."""
        return self.read(self.seen(images))


class ParameterExport(nn.Module):
    """The network as it is shipped: uint8 (N, S, S, 3) in, fused, presence as probability."""

    OUTPUTS = ("coefficients", "log_sigma", "presence")

    def __init__(self, network: ParameterNetwork) -> None:
        super().__init__()
        if isinstance(network.norm, nn.BatchNorm1d):
            network.hidden = fuse_linear_norm(network.hidden, network.norm)
            network.norm = nn.Identity()
        with torch.no_grad():
            last = network.coefficients
            last.weight *= network.scale[:, None]
            last.bias.mul_(network.scale).add_(network.centre)
        fuse_blocks(network)
        self.network = network
        # At the border of a padded convolution zeros are not pixels, so nothing can be folded.
        if not network.padded:
            fold_normalisation(network.get_submodule("features.0.0"))  # type: ignore[arg-type]
            network.normalise = nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return coefficients (N, C), log_sigma (N, C) and presence (N, 1) in [0, 1]."""
        network = self.network
        x = network.features(network.normalise(image.permute(0, 3, 1, 2).float()))
        x = torch.relu(network.hidden(x.flatten(1)))
        return (
            network.coefficients(x),
            torch.log(network.scale) + network.spread(x).clamp(*_SPREAD),
            torch.sigmoid(network.presence(x)),
        )
