"""Training of the parameter network: crops to a model's coefficients, with their deviations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.detect.parameters import mirrored_vector, mirrors
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform, compose
from facekit.geometry.crop import crop_camera, five_crop, warp
from facekit.geometry.crop_pose import REFERENCE_MM, CropPose, decode_pose, encode_pose
from facekit.learn.launch import device_of, moved
from facekit.learn.loop import LoopConfig
from facekit.morphable.layout import CoefficientLayout, model_layout
from facekit.morphable.model import MorphableModel
from facekit.networks.params import ParameterNetwork
from facekit.render.shade import roll_light
from facekit.train.augment import occlude
from facekit.train.landmarks import finish, wing_loss
from facekit.train.params_losses import FaceGeometry
from facekit.train.previews import SHOWN, Preview, preview_sheet

# Degrees of freedom of the Student-t distribution that the spreads are learned with: a single
# coefficient far beyond its deviation must not drown everything else.
_SPREAD_DOF = 4.0


@dataclass(frozen=True)
class ParamsConfig:
    """What the parameter network is and how its samples are made.

    Attributes:
        loop: see ``LoopConfig``.
        batch_size: crops a step.
        size, patch, widths, depths, hidden, mobilenet: see ``ParameterNetwork``.
        shift, scale, turn_deg: deviations of the crop from ``five-v1``: fractions of its side, of
            its logarithm, degrees; one crop in five varies two and a half times as much.
        occlusion: share of crops with something in front.
        negatives: share of crops without a face in their middle.
        identity, expression, points, pose, albedo, light, spread, plain: weights of the losses.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    batch_size: int = 64
    size: int = 160
    patch: int = 5
    widths: tuple[int, ...] = (48, 64, 128, 224)
    depths: tuple[int, ...] = (1, 2, 4, 2)
    hidden: int = 384
    mobilenet: float = 0.0
    shift: float = 0.012
    scale: float = 0.025
    turn_deg: float = 2.0
    occlusion: float = 0.1
    negatives: float = 0.03
    identity: float = 1.0
    expression: float = 0.5
    points: float = 20.0
    pose: float = 1.0
    albedo: float = 0.3
    light: float = 0.02
    spread: float = 0.02
    plain: float = 0.1


class LabelledFace(NamedTuple):
    """A crop of a photograph with what is known of its face.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        crop: photograph to this image's pixels.
        params: the keys of ``params.npz``.
        weight: how much the sample counts, 0 to 1.
        certainty: of its identity coefficients, 1 known, 0 nothing but the prior.
    """

    image: np.ndarray
    crop: SimilarityTransform
    params: Mapping[str, np.ndarray]
    weight: float = 1.0
    certainty: float = 1.0


class LabelledFaces(Protocol):
    """Samples by number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def face(self, index: int) -> LabelledFace:
        """Return sample ``index``."""


class ParamsBatch(NamedTuple):
    """Crops (N, 3, S, S) uint8; coefficients (N, C); distances (N,) mm; weights, presence."""

    images: Tensor
    coefficients: Tensor
    distance_mm: Tensor
    weights: Tensor
    certainty: Tensor
    presence: Tensor


class ParamsTask:
    """The learner's view: batches by step, the loss, validation on unmoved crops."""

    any_device = True

    def __init__(
        self,
        config: ParamsConfig,
        model: MorphableModel,
        train: LabelledFaces,
        validation: LabelledFaces,
    ) -> None:
        if not len(train) or not len(validation):
            raise InputError("training: expected faces in the train and validation splits")
        self.config, self.train, self.validation = config, train, validation
        self.model = model
        self.layout: CoefficientLayout = model_layout(model)
        self.geometry = FaceGeometry(model)
        self._mirror = mirrors(model)
        self.crop_size = config.size

    @cached_property
    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (C,) of the coefficients of a thousand training crops."""
        rng = np.random.default_rng((self.config.loop.seed, 1))
        rows = rng.integers(len(self.train), size=min(1000, 4 * len(self.train)))
        values = np.stack([self._sample(self.train, int(r), rng, self.crop_size)[1] for r in rows])
        return values.mean(0), np.maximum(values.std(0), 1e-2)

    def build_model(self) -> ParameterNetwork:
        """Return a network with the configured shape that starts from the mean coefficients."""
        c = self.config
        torch.manual_seed(c.loop.seed)
        network = ParameterNetwork(
            self.layout.length,
            size=c.size,
            patch=c.patch,
            widths=c.widths,
            depths=c.depths,
            hidden=c.hidden,
            mobilenet=c.mobilenet,
        )
        centre, scale = (torch.from_numpy(v).float() for v in self._statistics)
        network.set_scale(centre, scale)
        return network

    def spread(self) -> np.ndarray:
        """Return the deviation (K,) of the identity coefficients of the training faces."""
        return self._statistics[1][self.layout.part("identity")]

    def batch(self, step: int) -> ParamsBatch:
        """Return the crops of a step, a function of the seed and the step alone."""
        cv2.setNumThreads(1)
        c = self.config
        rng = np.random.default_rng((c.loop.seed, 2, step))
        images, rows = [], []
        for _ in range(c.batch_size):
            row = int(rng.integers(len(self.train)))
            if rng.random() < c.negatives:
                images.append(self._negative(row, rng))
                rows.append((np.zeros(self.layout.length), 1e3, 0.0, 0.0, 0.0))
                continue
            image, values, distance, face = self._sample(self.train, row, rng, self.crop_size)
            if rng.random() < c.occlusion:
                other = self.train.face(int(rng.integers(len(self.train)))).image
                image = occlude(image, rng, other)
            images.append(finish(image, rng))
            rows.append((values, distance, face.weight, face.certainty, 1.0))
        return _batch(images, rows)

    def loss(self, model: nn.Module, batch: ParamsBatch) -> dict[str, Tensor]:
        """Return the weighted losses; those in millimetres as shares of a face's variance."""
        device = batch.images.device.type
        half = torch.is_autocast_enabled(device)
        dtype = torch.bfloat16 if half else torch.float32
        images = batch.images.to(dtype, memory_format=torch.channels_last)
        output = model(images)
        with torch.autocast(device, enabled=False):
            return self._losses(
                output.coefficients.float(), output.log_sigma.float(), output.presence, batch
            )

    def _losses(
        self, values: Tensor, log_sigma: Tensor, presence: Tensor, batch: ParamsBatch
    ) -> dict[str, Tensor]:
        c, geometry = self.config, self.geometry.to(values.device)
        total = batch.weights.sum().clamp(min=1e-6)
        scale = torch.from_numpy(self._statistics[1]).float().to(values.device)

        def mean(each: Tensor) -> Tensor:
            return (each * batch.weights).sum() / total

        difference = values - batch.coefficients
        relative = difference / scale
        parts = {name: difference[:, self.layout.part(name)] for name in ("identity", "expression")}
        sure = batch.certainty
        identity = geometry.squared_mm(parts["identity"], "identity") * sure
        expression = geometry.squared_mm(parts["expression"], "expression")
        seen = geometry.places(values, batch.distance_mm)
        truth = geometry.places(batch.coefficients, batch.distance_mm)
        wing = wing_loss(seen - truth, 0.03, 0.006).mean((1, 2))
        losses = {
            "identity": mean(identity) / self._variance("identity"),
            "expression": mean(expression) / self._variance("expression"),
            "points": mean(wing),
            "pose": mean(self._plain(relative, "rotation") + self._plain(relative, "translation")),
            "plain": mean(sure * self._plain(relative, "identity")),
            "light": mean(self._plain(relative, "light")),
        }
        if self.layout.part("albedo").stop > self.layout.part("albedo").start:
            losses["albedo"] = mean(self._plain(relative, "albedo"))
        # The spread learns from the residuals and must not pull on the coefficients themselves.
        residual = (difference.detach() * torch.exp(-log_sigma)) ** 2
        tails = 0.5 * (_SPREAD_DOF + 1) * torch.log1p(residual / _SPREAD_DOF)
        cost = tails + log_sigma - torch.log(scale)
        # How near it comes to a fit says nothing of how near it comes to the person.
        known = torch.ones_like(cost)
        known[:, self.layout.part("identity")] = (sure >= 1).to(cost.dtype)[:, None]
        losses["spread"] = mean((cost * known).mean(1))
        weighted = sum(getattr(c, name) * value for name, value in losses.items())
        losses["presence"] = nn.functional.binary_cross_entropy_with_logits(
            presence.float(), batch.presence
        )
        return {"loss": weighted + 0.05 * losses["presence"], **losses}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return figures over the validation split.

        ``identity`` and ``expression`` are squared vertex errors over the variance (0 exact, 1
        the mean face); ``shape_mm`` the mean over faces of the identity's root mean square;
        ``points`` the mean distance in percent of the crop's side; ``score`` the weighted sum
        that training minimises.
        """
        sums: dict[str, list[float]] = {}
        shapes: list[np.ndarray] = []
        for on_cpu in self.validation_batches():
            batch = moved(on_cpu, device_of(model))
            with torch.no_grad():
                output = model(batch.images.float().contiguous(memory_format=torch.channels_last))
                values, log_sigma, presence = output
                losses = self._losses(values, log_sigma, presence, batch)
                difference = output.coefficients - batch.coefficients
                mm = self.geometry.squared_mm(
                    difference[:, self.layout.part("identity")], "identity"
                )
                seen, truth = (
                    self.geometry.places(v, batch.distance_mm)
                    for v in (output.coefficients, batch.coefficients)
                )
            losses["points"] = 100 * (seen - truth).norm(dim=-1).mean()
            shapes.append(mm.sqrt().cpu().numpy())
            for name, value in losses.items():
                sums.setdefault(name, []).append(float(value) * len(batch.images))
        figures = {name: sum(values) / len(self.validation) for name, values in sums.items()}
        figures["score"] = figures.pop("loss")
        figures["shape_mm"] = float(np.concatenate(shapes).mean())
        return figures

    def preview(self, model: nn.Module) -> np.ndarray:
        """Return the first validation faces with what the network says drawn over."""
        rng = np.random.default_rng(1)
        shown: list[Preview] = []
        whole = SimilarityTransform(1.0, np.eye(2), np.zeros(2))
        for row in range(min(SHOWN, len(self.validation))):
            size = self.config.size
            image, _, _, face = self._sample(self.validation, row, rng, size, moved=False)
            pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
            said = model(pixels.to(device_of(model))).coefficients[0].float().cpu().numpy()
            parts = self.layout.unpack(said)
            five = face.crop.apply(ibug68_to_five(np.asarray(face.params["landmarks_2d"], float)))
            crop = compose(five_crop(five, size=size), face.crop)
            lens = crop_camera(face.params["intrinsics"], crop).intrinsics
            pose = CropPose(parts["rotation"], parts["translation"])
            rotation, place = decode_pose(pose, lens, whole, size=size)
            camera = {"rotation": rotation, "translation_mm": place, "intrinsics": lens}
            shown.append(Preview(image, {**parts, **camera}))
        return preview_sheet(self.model, shown)

    def validation_batches(self) -> Iterator[ParamsBatch]:
        """Yield the validation split's upright crops."""
        rng = np.random.default_rng(1)
        for begin in range(0, len(self.validation), 64):
            images, rows = [], []
            for row in range(begin, min(begin + 64, len(self.validation))):
                image, values, distance, face = self._sample(
                    self.validation, row, rng, self.config.size, moved=False
                )
                images.append(image)
                rows.append((values, distance, face.weight, face.certainty, 1.0))
            yield _batch(images, rows)

    def _plain(self, relative: Tensor, part: str) -> Tensor:
        return (relative[:, self.layout.part(part)] ** 2).mean(1)

    def _variance(self, part: str) -> Tensor:
        metric = self.geometry.get_buffer(f"{part}_metric")
        deviation = torch.from_numpy(self._statistics[1][self.layout.part(part)]).float()
        return (torch.diagonal(metric) * deviation.to(metric.device) ** 2).sum()

    def _sample(
        self,
        faces: LabelledFaces,
        row: int,
        rng: np.random.Generator,
        size: int,
        *,
        moved: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, float, LabelledFace]:
        face = faces.face(row)
        five = face.crop.apply(ibug68_to_five(np.asarray(face.params["landmarks_2d"], float)))
        upright = five_crop(five, size=size)
        to_crop = self._moved(upright, rng, size) if moved else upright
        image = warp(face.image, to_crop, size=size)
        values, distance = coefficients_in_crop(
            self.layout, face.params, compose(to_crop, face.crop), size=size
        )
        if moved and rng.random() < 0.5:
            image = np.asarray(cv2.flip(image, 1))
            values = mirrored_vector(self.layout, values, self._mirror)
        return image, values, distance, face

    def _moved(
        self, crop: SimilarityTransform, rng: np.random.Generator, size: int
    ) -> SimilarityTransform:
        c = self.config
        poor = 2.5 if rng.random() < 0.2 else 1.0
        scale = float(np.exp(rng.normal(0, c.scale * poor)))
        angle = np.radians(rng.normal(0, c.turn_deg * poor))
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        middle = np.full(2, (size - 1) / 2)
        shift = rng.normal(0, c.shift * poor, 2) * size
        return compose(
            SimilarityTransform(scale, turn, middle + shift - scale * turn @ middle), crop
        )

    def _negative(self, row: int, rng: np.random.Generator) -> np.ndarray:
        size = self.crop_size
        face = self.train.face(row)
        five = face.crop.apply(ibug68_to_five(np.asarray(face.params["landmarks_2d"], float)))
        crop = five_crop(five, size=size)
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.1) * size
        shift = away * np.array([np.cos(angle), np.sin(angle)])
        other = SimilarityTransform(crop.scale, crop.rotation, crop.translation + shift)
        return finish(warp(face.image, other, size=size), rng)


def coefficients_in_crop(
    layout: CoefficientLayout,
    params: Mapping[str, np.ndarray],
    crop: SimilarityTransform,
    *,
    size: int,
) -> tuple[np.ndarray, float]:
    """Return a face's coefficient vector (C,) as a crop shows it, and its distance in mm.

    Args:
        layout: of the vector.
        params: the keys of ``params.npz``, of the photograph.
        crop: photograph to crop pixels.
        size: side of the crop.
    """
    rotation, translation = params["rotation"], params["translation_mm"]
    pose = encode_pose(rotation, translation, params["intrinsics"], crop, size=size)
    distance = float((np.asarray(rotation) @ REFERENCE_MM + translation)[2])
    parts: dict[str, Any] = {
        **{name: params[name] for name in ("identity", "expression", "albedo")},
        "rotation": pose.rotation,
        "translation": pose.translation,
        "light": roll_light(params["light"], crop.rotation),
    }
    return layout.pack(parts), distance


def _batch(images: list[np.ndarray], rows: list[tuple[Any, ...]]) -> ParamsBatch:
    pixels = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2))
    columns = zip(*rows, strict=True)
    values, *numbers = (torch.from_numpy(np.array(column, np.float32)) for column in columns)
    distance, weights, certainty, presence = numbers
    return ParamsBatch(pixels, values, distance, weights, certainty, presence[:, None])
