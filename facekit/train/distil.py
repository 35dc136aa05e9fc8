"""Distillation: a small parameter network learns from labels and from a large one.

The student sees the picture that the teacher sees, at its own size. It is drawn to the labels and
to the teacher's answer, in coefficients, in millimetres of the face and in places in the crop, and
to the teacher's idea of which faces of a batch are alike. Where the teacher is far from the label
for how sure it is, it counts less. This is facekit's own choice of terms.

Source of matching which samples are alike: F. Tung, G. Mori, Similarity-preserving knowledge
distillation, 2019, eqs. 1 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from facekit.errors import InputError, UsageError
from facekit.learn.loop import LoopConfig
from facekit.morphable.model import MorphableModel
from facekit.networks.params import ParameterNetwork, ParameterOutput
from facekit.train.params import LabelledFaces, ParamsBatch, ParamsConfig, ParamsTask


@dataclass(frozen=True)
class DistilConfig(ParamsConfig):
    """What a student is, and how it learns.

    Attributes:
        teacher: weight of the losses against the teacher's answer, of those against the label 1.
        likeness: weight of matching which faces are alike.
    """

    teacher: float = 1.0
    likeness: float = 0.5


_PATCH4_S = {
    "size": 128,
    "patch": 4,
    "widths": (32, 64, 128, 256),
    "depths": (1, 2, 3, 1),
    "hidden": 256,
}
STUDENTS: dict[str, dict] = {
    "patch5-s": {
        "size": 160,
        "patch": 5,
        "widths": (32, 64, 128, 192),
        "depths": (1, 2, 4, 2),
        "hidden": 256,
    },
    "patch4-s": _PATCH4_S,
    "patch8-s": {**_PATCH4_S, "patch": 8, "widths": (64, 128, 256), "depths": (3, 3, 1)},
    "patch8-xs": {**_PATCH4_S, "patch": 8, "widths": (48, 96, 192), "depths": (2, 3, 1)},
    "mobilenet-v1-0.5": {**_PATCH4_S, "size": 120, "mobilenet": 0.5},
}


def student_config(name: str, loop: LoopConfig | None = None) -> DistilConfig:
    """Return the configuration of a student by its name.

    Raises:
        UsageError: an unknown name.
    """
    if name not in STUDENTS:
        raise UsageError(f"--student: expected one of {', '.join(STUDENTS)}, got {name!r}")
    return DistilConfig(loop=loop or LoopConfig(), **STUDENTS[name])


class DistilTask(ParamsTask):
    """``ParamsTask`` with a teacher.

    Args:
        config: of the student.
        model: of labels, student and teacher.
        train, validation: labels.
        teacher: a trained network, in evaluation mode.

    Raises:
        InputError: the teacher has another number of coefficients.
    """

    config: DistilConfig

    def __init__(
        self,
        config: DistilConfig,
        model: MorphableModel,
        train: LabelledFaces,
        validation: LabelledFaces,
        teacher: ParameterNetwork,
    ) -> None:
        super().__init__(config, model, train, validation)
        if len(teacher.centre) != self.layout.length:
            raise InputError(
                f"teacher: expected {self.layout.length} coefficients, got {len(teacher.centre)}: "
                "it was trained for another model"
            )
        self.teacher = teacher.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Training crops are those of the larger of the two; the smaller gets them resized.
        self.crop_size = max(config.size, teacher.size)

    def loss(self, model: nn.Module, batch: ParamsBatch) -> dict[str, Tensor]:
        """Return the losses against the labels and, by ``teacher_`` names, the teacher."""
        device = batch.images.device
        half = torch.is_autocast_enabled(device.type)
        dtype = torch.bfloat16 if half else torch.float32
        large, small = (
            resized(batch.images.float(), size).to(dtype, memory_format=torch.channels_last)
            for size in (self.teacher.size, self.config.size)
        )
        self.teacher.to(device)
        with torch.no_grad():
            known = self.teacher.seen(large)
            told = self.teacher.read(known)
        student = cast(ParameterNetwork, model)
        units = student.seen(small)
        output = student.read(units)
        with torch.autocast(device.type, enabled=False):
            values, log_sigma = output.coefficients.float(), output.log_sigma.float()
            losses = self._losses(values, log_sigma, output.presence, batch)
            taught = batch._replace(
                coefficients=told.coefficients.float(),
                weights=batch.weights * self.trust(told, batch),
                certainty=torch.ones_like(batch.certainty),
            )
            others = self._losses(values, log_sigma.detach(), output.presence.detach(), taught)
            likeness = alike(units.float(), known.float())
        total = losses["loss"] + self.config.teacher * others["loss"]
        names = ("identity", "expression", "points", "pose")
        return {
            **losses,
            **{f"teacher_{name}": others[name] for name in names},
            "likeness": likeness,
            "loss": total + self.config.likeness * likeness,
        }

    def trust(self, told: ParameterOutput, batch: ParamsBatch) -> Tensor:
        """Return how much the teacher's answers count (N,), 0 to 1.

        One over one plus the mean square of its distance from the label over its own deviation,
        in identity and expression; as far as the label is known.
        """
        shape = slice(0, self.layout.part("expression").stop)
        away = (told.coefficients - batch.coefficients)[:, shape].float()
        relative = (away * torch.exp(-told.log_sigma[:, shape].float())) ** 2
        return 1 / (1 + batch.certainty * relative.mean(1))


def resized(images: Tensor, size: int) -> Tensor:
    """Return images (N, 3, S, S) at another size; those of that size already as they are."""
    if images.shape[-1] == size:
        return images
    return nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def alike(units: Tensor, others: Tensor) -> Tensor:
    """Return how differently two networks find the samples of a batch alike.

    The mean squared difference of the rows' normalised inner products; independent of the
    networks' numbers of units (N, A) and (N, B).
    """
    first, second = (nn.functional.normalize(u @ u.T, dim=1) for u in (units, others))
    return ((first - second) ** 2).sum() / len(units)
