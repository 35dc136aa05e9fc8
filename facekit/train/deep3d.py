"""Weakly supervised training of Deep3D's network: no labels but landmarks and a skin mask.

Losses, weights, augmentation and crop are those of Y. Deng et al., Accurate 3D face reconstruction
with weakly-supervised learning, 2019, section 4, with the constants of its PyTorch code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facekit.detect.landmark_sets import FLIP68, ibug68_to_five
from facekit.errors import InputError
from facekit.fit.first_order.face import TorchFace
from facekit.fit.terms.identity import Embedding, identity_loss
from facekit.fit.terms.image import photometric_loss
from facekit.fit.terms.points import deep3d_landmark_weights, five_of_68, landmark_loss
from facekit.fit.terms.surface import albedo_constancy, coefficient_prior, light_whiteness
from facekit.geometry.alignment import SimilarityTransform, compose
from facekit.geometry.crop import warp
from facekit.geometry.deep3d_crop import SIZE, deep3d_crop
from facekit.learn.launch import device_of, moved
from facekit.learn.loop import LoopConfig
from facekit.morphable.model import MorphableModel
from facekit.networks.deep3d import Deep3DNetwork
from facekit.networks.resnet import SHAPES
from facekit.train.deep3d_data import MASKS, WeakFace, WeakFaces, skin_mask
from facekit.train.deep3d_face import Deep3DFace
from facekit.train.params_losses import shape_metric
from facekit.train.previews import SHOWN, Preview, preview_sheet


@dataclass(frozen=True)
class Deep3DConfig:
    """What Deep3D's network is, how its samples are made and what is minimised.

    Attributes:
        loop: see ``LoopConfig``.
        batch_size: crops a step.
        size: side of the crop; focal length and crop scale go with it.
        backbone: ``resnet50`` or ``resnet18``.
        shift, scale, turn_deg, flip: largest move of a crop in pixels of 224 (whole pixels at that
            size), largest change of scale, largest turn, share of mirrored crops.
        mask: what weighs pixels: ``skin`` (its colour, or the file's mask in Deep3D's layout),
            ``label`` (where the label sees the face) or ``both``.
        photometric, landmark, prior, whiteness, constancy, feature: weights of the losses.
        bounds: weight of expressions outside the model's bounds; the published model has none.
        embedding: recognition network of the feature loss: an ``.onnx`` or a TorchScript file;
            empty leaves the loss out.
        renderer: of ``render.differentiable.open_renderer``.
        validation_count: how many validation faces are looked at.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    batch_size: int = 32
    size: int = SIZE
    backbone: str = "resnet50"
    shift: float = 10.0
    scale: float = 0.1
    turn_deg: float = 10.0
    flip: float = 0.5
    mask: str = "skin"
    photometric: float = 1.92
    landmark: float = 1.6e-3
    prior: float = 3e-4
    whiteness: float = 10.0
    constancy: float = 5.0
    feature: float = 0.2
    bounds: float = 1e-2
    embedding: str = ""
    renderer: str = "auto"
    validation_count: int = 512

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise InputError(f"mask: expected one of {', '.join(MASKS)}, got {self.mask!r}")
        if self.backbone not in SHAPES:
            raise InputError(
                f"backbone: expected one of {', '.join(SHAPES)}, got {self.backbone!r}"
            )


class WeakBatch(NamedTuple):
    """Crops (B, 3, S, S) and masks (B, S, S) uint8; landmarks (B, 68, 2); weights (B,)."""

    images: Tensor
    masks: Tensor
    landmarks: Tensor
    weights: Tensor


class Deep3DTask:
    """The learner's view: batches by step, the loss, validation on unmoved crops.

    Args:
        config: what to train.
        model: the morphable model.
        train, validation: faces.
        embedding: recognition network of the feature loss, or None.

    Raises:
        InputError: a split has no faces.
    """

    any_device = True

    def __init__(
        self,
        config: Deep3DConfig,
        model: MorphableModel,
        train: WeakFaces,
        validation: WeakFaces,
        *,
        embedding: Embedding | None = None,
    ) -> None:
        if not len(train) or not len(validation):
            raise InputError("training: expected faces in the train and validation splits")
        self.config, self.model, self.train, self.validation = config, model, train, validation
        self.embedding = embedding
        self._faces: dict[str, Deep3DFace] = {}
        self._metric = torch.from_numpy(shape_metric(model, model.identity_modes)).float()

    def build_model(self) -> nn.Module:
        """Return a network that starts from the mean face."""
        torch.manual_seed(self.config.loop.seed)
        return Deep3DNetwork(self.face().layout.heads, backbone=self.config.backbone)

    def face(self, device: torch.device | str = "cpu") -> Deep3DFace:
        """Return the model before the crop's camera, on a device."""
        key = str(device)
        if key not in self._faces:
            self._faces[key] = Deep3DFace(
                self.model, size=self.config.size, renderer=self.config.renderer, device=key
            )
        return self._faces[key]

    def batch(self, step: int) -> WeakBatch:
        """Return the crops of a step, a function of the seed and the step alone."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.config.loop.seed, 2, step))
        rows = rng.integers(len(self.train), size=self.config.batch_size)
        return stacked([self.sample(self.train.weak_face(int(row)), rng) for row in rows])

    def loss(self, model: nn.Module, batch: WeakBatch) -> dict[str, Tensor]:
        """Return the weighted losses, see ``weak_losses``."""
        return self.losses(model(batch.images.float() / 255).float(), batch)

    def losses(
        self, values: Tensor, batch: WeakBatch, *, shapes: TorchFace | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of coefficients (B, C), in float32."""
        if isinstance(self.embedding, nn.Module):
            self.embedding.to(values.device)
        with torch.autocast(values.device.type, enabled=False):
            return weak_losses(
                self.face(values.device), self.config, values, batch, self.embedding, shapes=shapes
            )

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return figures over the validation split's upright crops.

        The losses; ``landmarks``: mean distance in percent of the outer-eye distance; and of faces
        whose label knows the identity: ``shape_mm``, the mean over faces of its root mean square
        error, and ``mean_face_mm``, that of the mean face. ``score`` is the weighted sum.
        """
        sums: dict[str, float] = {}
        shapes: list[tuple[float, float, float]] = []
        count = 0
        for faces, batch in self.validation_batches(device_of(model)):
            values = self.answer(model, batch)
            found = self.figures(values, batch, model=model)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(faces)
            count += len(faces)
            shapes += self.shape_errors(values.cpu(), faces)
        figures = {name: value / count for name, value in sums.items()}
        figures["score"] = figures.pop("loss")
        if shapes:
            own, mean, weight = np.array(shapes).T
            figures["shape_mm"] = float((own * weight).sum() / weight.sum())
            figures["mean_face_mm"] = float((mean * weight).sum() / weight.sum())
        return figures

    def answer(self, model: nn.Module, batch: WeakBatch) -> Tensor:
        """Return the coefficients (B, C) of a batch without augmentation."""
        return model(batch.images.float() / 255).float()

    def figures(self, values: Tensor, batch: WeakBatch, *, model: nn.Module) -> dict[str, Tensor]:
        """Return the losses and the landmark error of a network's coefficients."""
        del model
        return self.measured(values, batch)

    def measured(
        self, values: Tensor, batch: WeakBatch, *, shapes: TorchFace | None = None
    ) -> dict[str, Tensor]:
        """Return the losses and ``landmarks``, the mean distance in % of the outer-eye distance."""
        found = self.losses(values, batch, shapes=shapes)
        points = self.face(values.device).place(values, shapes=shapes).points
        eyes = (batch.landmarks[:, 36] - batch.landmarks[:, 45]).norm(dim=-1)
        error = (points - batch.landmarks).norm(dim=-1).mean(1)
        return {**found, "landmarks": 100 * (error / eyes.clamp(min=1)).mean()}

    def validation_batches(
        self, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[list[WeakFace], WeakBatch]]:
        """Yield validation faces and their upright crops."""
        rows = range(min(len(self.validation), self.config.validation_count))
        for begin in range(0, len(rows), self.config.batch_size):
            some = rows[begin : begin + self.config.batch_size]
            faces = [self.validation.weak_face(row) for row in some]
            batch = stacked([self.sample(face, None) for face in faces])
            yield faces, moved(batch, torch.device(device))

    def preview(self, model: nn.Module) -> np.ndarray:
        """Return the first validation faces with what the network says drawn over."""
        device = device_of(model)
        shown: list[Preview] = []
        for faces, batch in self.validation_batches(device):
            values = self.answer(model, batch).cpu().numpy()
            images = batch.images.permute(0, 2, 3, 1).cpu().numpy()
            for row in range(min(len(faces), SHOWN - len(shown))):
                shown.append(Preview(images[row], self.face().params(values[row])))
            if len(shown) == SHOWN:
                break
        return preview_sheet(self.shown_model(model), shown)

    def shown_model(self, model: nn.Module) -> MorphableModel:
        """Return the morphable model that a preview draws."""
        del model
        return self.model

    def shape_errors(
        self, values: Tensor, faces: list[WeakFace]
    ) -> list[tuple[float, float, float]]:
        """Return each known face's error, the mean face's (mm), and how well it is known."""
        part = self.face().layout.part("id")
        found = []
        for row, face in zip(values, faces, strict=True):
            if face.params is None or face.certainty <= 0:
                continue
            truth = np.asarray(face.params["identity"], np.float32)
            own = self.shape_error(row[part], truth)
            mean = self.shape_error(torch.zeros(len(truth)), truth)
            found.append((own, mean, face.certainty))
        return found

    def shape_error(self, identity: Tensor, truth: np.ndarray) -> float:
        """Return the root mean square surface error (mm) of an identity (K,), after alignment."""
        difference = identity.cpu() - torch.from_numpy(truth)
        return float((difference @ self._metric @ difference).clamp(min=0).sqrt())

    def sample(self, face: WeakFace, rng: np.random.Generator | None) -> tuple[Any, ...]:
        """Return a face's crop, mask, landmarks and weight; moved when there is a generator."""
        c = self.config
        crop = deep3d_crop(ibug68_to_five(face.landmarks), size=c.size)
        if rng is not None:
            crop = compose(_moved(c, rng), crop)
        image = warp(face.image, crop, size=c.size)
        mask = self._mask(face, crop, image)
        points = crop.apply(face.landmarks)
        # A turn the other way before the mirror is as likely as it is after it.
        if rng is not None and rng.random() < c.flip:
            image, mask = image[:, ::-1], mask[:, ::-1]
            points = (points * [-1, 1] + [c.size - 1, 0])[FLIP68]
        return image.transpose(2, 0, 1), mask, points, face.weight

    def _mask(self, face: WeakFace, crop: SimilarityTransform, image: np.ndarray) -> np.ndarray:
        seen = None
        if face.mask is not None:
            seen = warp(np.ascontiguousarray(face.mask), crop, size=self.config.size)
        if self.config.mask == "label" or face.skin:
            return np.full(image.shape[:2], 255, np.uint8) if seen is None else seen
        skin = skin_mask(image)
        return np.minimum(skin, seen) if self.config.mask == "both" and seen is not None else skin


def weak_losses(
    face: Deep3DFace,
    config: Deep3DConfig,
    values: Tensor,
    batch: WeakBatch,
    embedding: Embedding | None,
    *,
    shapes: TorchFace | None = None,
) -> dict[str, Tensor]:
    """Return every loss of coefficients (B, C), unweighted, and their weighted sum ``loss``.

    ``photometric``, ``landmark`` (in pixels of a 224-px crop), ``prior``, ``whiteness``,
    ``constancy`` (of models with albedo modes), ``feature`` (with an embedding) are those of
    ``fit.terms``; ``bounds`` is the squared excess of expressions over the model's bounds. A
    face's weight multiplies its mask and its squared landmark distances.

    Args:
        face: the model; config: the weights; embedding: recognition network or None.
        batch: pictures, masks, landmarks.
        shapes: mean and modes to take instead of the model's.
    """
    placed = face.place(values, shapes=shapes)
    picture, coverage = face.draw(placed)
    images = batch.images.permute(0, 2, 3, 1).float().contiguous() / 255
    weights = batch.weights.to(values)
    masks = batch.masks.to(values) / 255 * coverage * weights[:, None, None]
    at = face.split(values)
    unit = SIZE / face.size * weights.sqrt()[:, None, None]
    low, high = face.torch.expression_bounds.unbind(1)
    excess = (low - at.expression).relu() + (at.expression - high).relu()
    blocks = {"identity": at.identity, "expression": at.expression, "albedo": at.albedo}
    losses = {
        "photometric": photometric_loss(picture, images, masks),
        "landmark": landmark_loss(
            placed.points * unit,
            batch.landmarks.to(values) * unit,
            deep3d_landmark_weights().to(values),
        ),
        "prior": coefficient_prior({k: v for k, v in blocks.items() if v.shape[1]}),
        "whiteness": light_whiteness(at.gamma.mT),
        "bounds": excess.square().sum() / len(values),
    }
    if at.albedo.shape[1]:
        losses["constancy"] = albedo_constancy(placed.albedo, face.torch.skin)
    if embedding is not None and config.feature:
        losses["feature"] = identity_loss(
            embedding,
            images,
            picture,
            five_of_68(batch.landmarks.to(values)),
            five_of_68(placed.points.detach()),
        )
    total = sum(getattr(config, name) * value for name, value in losses.items())
    return {"loss": total, **losses}  # type: ignore[dict-item]


def _moved(c: Deep3DConfig, rng: np.random.Generator) -> SimilarityTransform:
    """Deep3D's random shift, turn and scale about the crop's middle, in this order."""
    most = round(c.shift * c.size / SIZE)
    shift = rng.integers(-most, most + 1, 2).astype(float)
    scale = 1 + rng.uniform(-c.scale, c.scale)
    angle = np.radians(rng.uniform(-c.turn_deg, c.turn_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (c.size - 1) / 2)
    return SimilarityTransform(scale, turn, middle + scale * turn @ (shift - middle))


def stacked(rows: list[tuple[Any, ...]]) -> WeakBatch:
    """Return samples as a batch."""
    images, masks, points, weights = zip(*rows, strict=True)
    return WeakBatch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(masks)),
        torch.from_numpy(np.stack(points)).float(),
        torch.tensor(weights, dtype=torch.float32),
    )
