"""The part of a morphable model that a first-order fit draws, as torch tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facekit.fit.landmark_basis import LandmarkBasis
from facekit.morphable.model import MorphableModel
from facekit.render.differentiable.topology import Topology

_NOT_SKIN = ("eyes", "mouth_inside", "nostrils", "lips", "brows")


class Parameters(NamedTuple):
    """What the steps of a fit move, in batches of one, or what a network says of B faces.

    Attributes:
        identity: (B, K); albedo: (B, A), both in standard deviations.
        expression: (B, E) deviations from the prior's mean.
        gamma: (B, 3, 9) light; see ``shading.published_light``.
        angles: (B, 3) about x, y and z, radians: R = Rz Ry Rx; x right, y up, z to the viewer.
        shift: (B, 3) x right, y down, z away, tenths of the distance at the start.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    gamma: Tensor
    angles: Tensor
    shift: Tensor


class TorchFace:
    """The face region of a model: vertices, faces, modes and landmarks on one device.

    The region is ``face`` (the whole mesh without one), as the published fits draw the front of
    the head alone.
    """

    def __init__(self, model: MorphableModel, basis: LandmarkBasis, device: str) -> None:
        region = model.regions.get("face", np.ones(model.num_vertices, bool))
        kept = model.faces[region[model.faces].all(axis=1)]
        vertices, flat = np.unique(kept, return_inverse=True)
        self.topology = Topology(flat.reshape(-1, 3).astype(np.int32), len(vertices))
        self.device = device

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        modes = np.concatenate([model.identity_modes, model.expression_modes])
        self.centre = model.mean[vertices].astype(np.float64).mean(axis=0)
        self.mean = tensor(model.mean[vertices] - self.centre)
        self.modes = tensor(modes[:, vertices].reshape(len(modes), -1))
        self.marks_mean = tensor(basis.mean[:68] - self.centre)
        self.marks_modes = tensor(basis.modes[:68].reshape(-1, len(modes)).T)
        self.albedo_mean = tensor(model.albedo_mean[vertices])
        self.albedo_modes = tensor(model.albedo_modes[:, vertices].reshape(-1, 3 * len(vertices)))
        self.expression_mean = tensor(model.expression_mean)
        self.expression_std = tensor(np.maximum(model.expression_std, 1e-6))
        bounds = (model.expression_bounds - model.expression_mean[:, None]) / np.maximum(
            model.expression_std, 1e-6
        )[:, None]
        self.expression_bounds = tensor(bounds)
        skin = np.ones(len(vertices), bool)
        for name in _NOT_SKIN:
            if name in model.regions:
                skin &= ~model.regions[name][vertices]
        self.skin = tensor(skin)
        self.num_identity, self.num_expression = model.num_identity, model.num_expression
        self.num_albedo = model.num_albedo

    def start(self) -> Parameters:
        """The mean face, unturned, under even light, as leaves."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(1, *shape, device=self.device, requires_grad=True)

        found = Parameters(
            zeros(self.num_identity), zeros(self.num_expression), zeros(self.num_albedo),
            zeros(3, 9), zeros(3), zeros(3),
        )  # fmt: skip
        self.keep_bounds(found)
        return found

    def keep_bounds(self, at: Parameters) -> None:
        """Put expressions back into the model's bounds, in place."""
        with torch.no_grad():
            low, high = self.expression_bounds.unbind(1)
            at.expression.copy_(torch.minimum(torch.maximum(at.expression, low), high))

    def coefficients(self, at: Parameters) -> Tensor:
        """Identity and expression weights (B, K + E) as the model takes them."""
        weights = self.expression_mean + self.expression_std * at.expression
        return torch.cat([at.identity, weights], dim=1)

    def vertices(self, coefficients: Tensor) -> Tensor:
        """The region's vertices (B, V, 3) about its centre, head frame, mm."""
        return (coefficients @ self.modes).view(len(coefficients), -1, 3) + self.mean

    def marks(self, coefficients: Tensor) -> Tensor:
        """The 68 landmarks (B, 68, 3) about the centre, head frame, mm."""
        return (coefficients @ self.marks_modes).view(len(coefficients), -1, 3) + self.marks_mean

    def albedo(self, at: Parameters) -> Tensor:
        """Linear albedo (B, V, 3), or (1, V, 3) of a model without modes."""
        if not self.num_albedo:
            return self.albedo_mean[None]
        return (at.albedo @ self.albedo_modes).view(len(at.albedo), -1, 3) + self.albedo_mean


def rotation(angles: Tensor) -> Tensor:
    """Return Rz Ry Rx, (B, 3, 3), of angles (B, 3) about x, y and z in radians."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
        sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx,
        -sy, cy * sx, cy * cx,
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).view(-1, 3, 3)
