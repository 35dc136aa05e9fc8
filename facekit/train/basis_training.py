"""``train basis``: the model's mean and identity modes learned along with the network.

Pictures alone shape the modes, through the image losses of ``deep3d``; what no picture asks for
stays as it was: corrections are smooth fields (``learned_modes``) whose size and roughness cost.

Source of learning a model's modes with the network that reads them: L. Tran, X. Liu, Nonlinear
3D face morphable model, 2018; A. Tewari et al., FML: Face model learning from videos, 2019 (there
with a smoothness term on linear modes, as here).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facekit.errors import InputError
from facekit.fit.first_order.face import TorchFace
from facekit.fit.terms.identity import Embedding
from facekit.morphable.model import MorphableModel
from facekit.networks.deep3d import Deep3DNetwork
from facekit.train.deep3d import Deep3DConfig, Deep3DTask, WeakBatch
from facekit.train.deep3d_data import WeakFace, WeakFaces
from facekit.train.learned_modes import LearnedModes, SmoothFields, smooth_fields, with_new_modes


@dataclass(frozen=True)
class BasisConfig(Deep3DConfig):
    """What is learned of the model, beside the network of ``Deep3DConfig``.

    Attributes:
        fields: how many smooth fields a correction is made of.
        new_modes: identity modes that are added, small and random at first.
        rate: how much faster corrections are learned than other weights, mm per unit.
        departure: weight of the corrections' mean square, mm^2.
        roughness: weight of the same, each field times its roughness.
    """

    fields: int = 200
    new_modes: int = 0
    rate: float = 30.0
    departure: float = 1e-3
    roughness: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.new_modes < 0 or min(self.rate, self.departure, self.roughness) < 0:
            raise InputError("new_modes, rate, departure, roughness: expected nothing below 0")


class BasisNetwork(nn.Module):
    """A network that reads coefficients and the corrections of the modes they belong to."""

    def __init__(self, reader: Deep3DNetwork, modes: LearnedModes) -> None:
        super().__init__()
        self.reader, self.modes = reader, modes

    def forward(self, images: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], to coefficients (N, C)."""
        return self.reader(images)


class BasisTask(Deep3DTask):
    """``Deep3DTask`` whose model is learned too.

    Args:
        config, train, validation, embedding: as ``Deep3DTask``.
        model: what training starts from, before new modes.
    """

    config: BasisConfig

    def __init__(
        self,
        config: BasisConfig,
        model: MorphableModel,
        train: WeakFaces,
        validation: WeakFaces,
        *,
        embedding: Embedding | None = None,
    ) -> None:
        self._fields: SmoothFields = smooth_fields(model, config.fields)
        grown = with_new_modes(model, config.new_modes, self._fields, seed=config.loop.seed)
        super().__init__(config, grown, train, validation, embedding=embedding)

    def build_model(self) -> BasisNetwork:
        """Return a network that starts from the mean face, and no corrections."""
        reader = super().build_model()
        if not isinstance(reader, Deep3DNetwork):
            raise InputError("basis: expected a network of train deep3d as its reader")
        return BasisNetwork(reader, LearnedModes(self.model, self._fields, rate=self.config.rate))

    def loss(self, model: nn.Module, batch: WeakBatch) -> dict[str, Tensor]:
        """Return the image losses with the corrected model, and the corrections' cost."""
        network = _basis_network(model)
        values = network(batch.images.float() / 255).float()
        return self._with_penalties(network, self.losses(values, batch, shapes=self._now(network)))

    def figures(self, values: Tensor, batch: WeakBatch, *, model: nn.Module) -> dict[str, Tensor]:
        """Return the losses and the landmark error of coefficients, by the corrected model."""
        network = _basis_network(model)
        shapes = self._now(network)
        found = self.measured(values, batch, shapes=shapes)
        return self._with_penalties(network, found)

    def shown_model(self, model: nn.Module) -> MorphableModel:
        """Return the corrected model."""
        return _basis_network(model).modes.model(self.model)

    def shape_errors(
        self, values: Tensor, faces: list[WeakFace]
    ) -> list[tuple[float, float, float]]:
        """Return nothing: labels' coefficients belong to the modes as they were."""
        del values, faces
        return []

    def _now(self, network: BasisNetwork) -> TorchFace:
        device = network.modes.fields.device
        with torch.autocast(device.type, enabled=False):
            return network.modes.shapes(self.face(device).torch)

    def _with_penalties(
        self, network: BasisNetwork, losses: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        costs = network.modes.penalties()
        added = sum(getattr(self.config, name) * value for name, value in costs.items())
        return {**losses, **costs, "loss": losses["loss"] + added}


def _basis_network(model: nn.Module) -> BasisNetwork:
    if not isinstance(model, BasisNetwork):
        raise InputError("basis: expected a network with corrections of its model")
    return model
