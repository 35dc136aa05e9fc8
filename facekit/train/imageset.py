"""Identity from photographs of one person: a confidence network weighs each photograph's say.

The network that reads coefficients (R-Net) is frozen. The confidence network (C-Net) sees its
features; a set's identity is the mean of its photographs' identities weighted by confidence,
coefficient by coefficient; everything else stays each photograph's own. It is trained with the
image losses of ``deep3d``, no label being needed.

Source: Y. Deng et al., Accurate 3D face reconstruction with weakly-supervised learning: from
single image to image set, 2019, section 5. Neither weights nor layers were ever published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facekit.errors import InputError
from facekit.fit.terms.identity import Embedding
from facekit.learn.launch import device_of, moved
from facekit.morphable.model import MorphableModel
from facekit.networks.deep3d import ConfidenceNetwork, Deep3DNetwork, aggregate
from facekit.train.deep3d import Deep3DConfig, Deep3DTask, WeakBatch, stacked
from facekit.train.deep3d_data import WeakFace, WeakFaces
from facekit.train.previews import Preview, preview_sheet


@dataclass(frozen=True)
class ImageSetConfig(Deep3DConfig):
    """What the confidence network is; ``batch_size`` counts crops, ``views`` at most in a set.

    ``size`` and ``backbone`` are those of the network that reads the coefficients.

    Attributes:
        views: photographs of a person in a set, at least 2.
        hidden: units of the confidence network's hidden layer.
    """

    views: int = 4
    hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views < 2 or self.batch_size < self.views:
            raise InputError(
                f"views: expected at least 2 and at most batch_size ({self.batch_size}), "
                f"got {self.views}"
            )


class ImageSetNetwork(nn.Module):
    """A frozen reader and the confidence network on its features.

    Args:
        reader: gives coefficients; identity comes first.
        length: identity coefficients K.
        hidden: see ``ConfidenceNetwork``.
    """

    def __init__(self, reader: Deep3DNetwork, length: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.reader = reader.requires_grad_(False)
        self.confidence = ConfidenceNetwork(reader.backbone.units, length, hidden=hidden)

    def train(self, mode: bool = True) -> ImageSetNetwork:
        """Set the mode of the confidence network alone: the reader's norms are frozen too."""
        super().train(mode)
        self.reader.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map crops (N, 3, S, S) to coefficients (N, C) and confidences (N, K)."""
        with torch.no_grad():
            features = self.reader.seen(images)
            values = self.reader.read(features)
        return values, self.confidence(features)


class SetBatch(NamedTuple):
    """Crops of several people and the number (N,) of each crop's set, from 0, none left out."""

    faces: WeakBatch
    sets: Tensor


class ImageSetTask(Deep3DTask):
    """``Deep3DTask`` on sets of one person's photographs.

    Raises:
        InputError: a split has nobody with two photographs.
    """

    config: ImageSetConfig

    def __init__(
        self,
        config: ImageSetConfig,
        model: MorphableModel,
        train: WeakFaces,
        validation: WeakFaces,
        *,
        embedding: Embedding | None = None,
    ) -> None:
        super().__init__(config, model, train, validation, embedding=embedding)
        self._people = people_of(train.persons(), "train")
        self._validated = people_of(validation.persons(), "validation")

    def build_model(self) -> ImageSetNetwork:
        """Return a network whose reader knows nothing yet and whose confidences are all 1."""
        reader = super().build_model()
        if not isinstance(reader, Deep3DNetwork):
            raise InputError("imageset: expected a network of train deep3d as its reader")
        return ImageSetNetwork(reader, self.model.num_identity, hidden=self.config.hidden)

    def batch(self, step: int) -> SetBatch:  # type: ignore[override]
        """Return the sets of a step, a function of the seed and the step alone."""
        cv2.setNumThreads(1)
        c = self.config
        rng = np.random.default_rng((c.loop.seed, 2, step))
        rows, sets = [], []
        for number in range(c.batch_size // c.views):
            person = self._people[int(rng.integers(len(self._people)))]
            for row in rng.permutation(person)[: c.views]:
                rows.append(self.sample(self.train.weak_face(int(row)), rng))
                sets.append(number)
        return SetBatch(stacked(rows), torch.tensor(sets))

    def loss(self, model: nn.Module, batch: SetBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the image losses of every crop with its set's identity."""
        values, confidence = model(batch.faces.images.float() / 255)
        return self.losses(self._joined(values.float(), confidence, batch.sets), batch.faces)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return figures over the validation split's sets, by confidence and by the plain mean.

        The losses and ``landmarks`` as ``Deep3DTask``; of sets whose identity is known,
        ``shape_mm`` of the weighted and ``plain_shape_mm`` of the plain mean,
        ``single_shape_mm`` of one photograph and ``mean_face_mm``. ``plain_score`` is the score
        with the plain mean. ``spread`` is the deviation of the logarithms of the confidences.
        """
        sums: dict[str, float] = {}
        errors: dict[str, list[float]] = {}
        logs: list[np.ndarray] = []
        count = 0
        for faces, batch in self._validation_sets(device_of(model)):
            values, confidence = model(batch.faces.images.float() / 255)
            values = values.float()
            even = torch.ones_like(confidence)
            found = self.measured(self._joined(values, confidence, batch.sets), batch.faces)
            plain = self.losses(self._joined(values, even, batch.sets), batch.faces)
            found["plain_loss"] = plain["loss"]
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(faces)
            count += len(faces)
            logs.append(confidence.log().cpu().numpy())
            means = {
                "shape_mm": self._identities(values, confidence, batch.sets),
                "plain_shape_mm": self._identities(values, even, batch.sets),
            }
            self._add_errors(errors, values, means, faces, batch.sets)
        figures = {name: value / count for name, value in sums.items()}
        figures["score"] = figures.pop("loss")
        figures["plain_score"] = figures.pop("plain_loss")
        figures["spread"] = float(np.concatenate(logs).std())
        return {**figures, **{name: float(np.mean(values)) for name, values in errors.items()}}

    def preview(self, model: nn.Module) -> np.ndarray:
        """Return two validation sets with each one's identity drawn over its photographs."""
        shown: list[Preview] = []
        for _, batch in self._validation_sets(device_of(model)):
            values, confidence = model(batch.faces.images.float() / 255)
            joined = self._joined(values.float(), confidence, batch.sets).cpu().numpy()
            images = batch.faces.images.permute(0, 2, 3, 1).cpu().numpy()
            first = np.flatnonzero(batch.sets.cpu().numpy() < 2)
            shown += [Preview(images[i], self.face().params(joined[i])) for i in first]
            break
        return preview_sheet(self.model, shown)

    def _identities(self, values: Tensor, confidence: Tensor, sets: Tensor) -> Tensor:
        part = self.face().layout.part("id")
        return aggregate(values[:, part], confidence, sets, int(sets.max()) + 1)

    def _joined(self, values: Tensor, confidence: Tensor, sets: Tensor) -> Tensor:
        """Coefficients (N, C) with every crop's identity replaced by its set's."""
        own = self._identities(values, confidence, sets)[sets]
        return torch.cat([own, values[:, self.face().layout.part("id").stop :]], dim=1)

    def _validation_sets(self, device: torch.device) -> Any:
        c = self.config
        chunks = [
            person[i : i + c.views]
            for person in self._validated
            for i in range(0, len(person) - 1, c.views)
        ]
        chunks = chunks[: max(1, c.validation_count // c.views)]
        each = max(1, c.batch_size // c.views)
        for begin in range(0, len(chunks), each):
            some = chunks[begin : begin + each]
            faces = [self.validation.weak_face(int(row)) for chunk in some for row in chunk]
            batch = stacked([self.sample(face, None) for face in faces])
            sets = np.repeat(np.arange(len(some)), [len(chunk) for chunk in some])
            yield faces, moved(SetBatch(batch, torch.from_numpy(sets)), device)

    def _add_errors(
        self,
        errors: dict[str, list[float]],
        values: Tensor,
        means: dict[str, Tensor],
        faces: list[WeakFace],
        sets: Tensor,
    ) -> None:
        part = self.face().layout.part("id")
        for number in range(int(sets.max()) + 1):
            members = torch.nonzero(sets == number)[:, 0].tolist()
            face = faces[members[0]]
            if face.params is None or face.certainty <= 0:
                continue
            truth = np.asarray(face.params["identity"], np.float32)
            singles = [self.shape_error(values[i, part], truth) for i in members]
            errors.setdefault("single_shape_mm", []).append(float(np.mean(singles)))
            errors.setdefault("mean_face_mm", []).append(
                self.shape_error(torch.zeros(len(truth)), truth)
            )
            for name, found in means.items():
                errors.setdefault(name, []).append(self.shape_error(found[number], truth))


def people_of(persons: list[str], split: str) -> list[np.ndarray]:
    """Return the numbers of the faces of everyone who has at least two, in order of their names.

    Raises:
        InputError: nobody has.
    """
    rows: dict[str, list[int]] = {}
    for row, person in enumerate(persons):
        if person:
            rows.setdefault(person, []).append(row)
    found = [np.array(rows[name]) for name in sorted(rows) if len(rows[name]) > 1]
    if not found:
        raise InputError(
            f"imageset: nobody in the {split} split has two photographs; label with "
            "--persons folders, or render with simulate photos --format shards --views 4"
        )
    return found
