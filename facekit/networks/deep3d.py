"""Deep3D's networks: a face crop to a morphable model's coefficients, and to their confidence.

Source: Y. Deng et al., Accurate 3D face reconstruction with weakly-supervised learning: from
single image to image set, 2019, sections 3 and 5; heads and their start as in its PyTorch code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facekit.networks.resnet import ResNet


class Deep3DNetwork(nn.Module):
    """Residual features and seven parallel linear heads that start at zero: the mean face.

    Args:
        sizes: lengths of identity, expression, albedo, angles (3), light (27), place (2) and
            depth (1), in this order; an empty block has no head.
        backbone: of ``resnet.SHAPES``.
    """

    def __init__(self, sizes: Sequence[int], *, backbone: str = "resnet50") -> None:
        super().__init__()
        self.backbone = ResNet(backbone)
        self.heads = nn.ModuleList(
            nn.Conv2d(self.backbone.units, size, 1) for size in sizes if size
        )
        for head in self.heads:
            for weights in head.parameters():
                nn.init.zeros_(weights)

    def seen(self, images: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], to features (N, units, 1, 1)."""
        return self.backbone(images)

    def read(self, features: Tensor) -> Tensor:
        """Map features to coefficients (N, C), the heads one after the other."""
        return torch.cat([head(features).flatten(1) for head in self.heads], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], to coefficients (N, C)."""
        return self.read(self.seen(images))


class ConfidenceNetwork(nn.Module):
    """How much each identity coefficient of a crop is worth beside those of other crops.

    The published description gives its input (the features of the network that reads the
    coefficients, which is frozen) and its positive output; layers were never published. Here: one
    hidden layer and the exponential of what it gives, which starts at 1 for every crop, so that
    training starts from the plain mean.

    Args:
        units: length of the features.
        length: identity coefficients K.
        hidden: units of the hidden layer.
    """

    # e^3 on either side: one crop never counts over 400 times another.
    LIMIT = 3.0

    def __init__(self, units: int, length: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(units, hidden)
        self.confidence = nn.Linear(hidden, length)
        nn.init.zeros_(self.confidence.weight)
        nn.init.zeros_(self.confidence.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, units, 1, 1) or (N, units) to confidences (N, K), all positive."""
        x = torch.relu(self.hidden(features.flatten(1)))
        return torch.exp(self.LIMIT * torch.tanh(self.confidence(x) / self.LIMIT))


def aggregate(identity: Tensor, confidence: Tensor, sets: Tensor, count: int) -> Tensor:
    """Return each set's identity (count, K): the mean weighted by confidence, coefficient-wise.

    Args:
        identity, confidence: (N, K) of N crops; confidences are positive.
        sets: (N,) int64 number of each crop's set; each of ``count`` sets has a crop.

    Source: Deng et al., 2019, eq. 7: sum_j c_j * a_j / sum_j c_j, elementwise.
    """
    rows = sets[:, None].expand_as(identity)
    zeros = identity.new_zeros(count, identity.shape[1])
    total = zeros.scatter_add(0, rows, confidence.to(identity))
    return zeros.scatter_add(0, rows, confidence.to(identity) * identity) / total
