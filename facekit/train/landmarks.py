"""Training of the landmark network on portraits and, where given, renders."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facekit.detect.faces import CROP_MARGIN, dense_crop
from facekit.detect.landmark_sets import FLIP478, dense_weights68
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import square_crop, warp
from facekit.learn.checkpoint import load_checkpoint
from facekit.learn.loop import LoopConfig
from facekit.networks.landmarks import LandmarkExport, LandmarkNetwork
from facekit.train.augment import (
    TurnMesh,
    build_turn_mesh,
    deformed_points,
    degrade,
    occlude,
    photometric,
    to_grey,
    turned_points,
    warp_turned,
)
from facekit.train.backgrounds import (
    TRAINING_PICTURES,
    background,
    load_pictures,
    shuffled,
)
from facekit.train.landmark_crops import (
    box_error,
    draw_shares,
    eye_error,
    jittered_crop,
    mean_shapes,
)
from facekit.train.morph import SAME_VIEW, blended_shape, mix_faces, view_angle
from facekit.train.onnx import export_crop_network
from facekit.train.portraits import Portraits


@dataclass(frozen=True)
class LandmarkConfig:
    """What the landmark network is and how its samples are made.

    Attributes:
        loop: see ``LoopConfig``.
        batch_size: crops a step.
        size: crop side, pixels; margin: over the points' bounding square.
        patch, widths, depths, hidden: see ``LandmarkNetwork``.
        wing_width, wing_curvature: of the wing loss, fractions of the crop's side.
        tight: share of crops that are nearly aligned, as all passes but the first see them. A
            network that knows nothing else is the most exact, and finds its way from a box.
        morph: share of portraits that take on another's shape, and often some of its skin.
        turn: share of portraits that are turned in depth; turn_deg their largest yaw added.
        deform: share of faces that are smoothly deformed; deform_amount by how much, face widths.
        balance: how far rare smiles, or their absence, are drawn more often: 0 as they come, 1
            all kinds alike.
        occlusion: share of crops with something in front.
        negatives: share of crops without a face in their middle.
        renders: share of crops that are rendered heads, where the data has some.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    batch_size: int = 64
    size: int = 160
    margin: float = 1.2
    patch: int = 5
    widths: tuple[int, ...] = (48, 64, 128, 224)
    depths: tuple[int, ...] = (1, 2, 4, 2)
    hidden: int = 192
    wing_width: float = 0.03
    wing_curvature: float = 0.006
    tight: float = 1.0
    morph: float = 0.35
    turn: float = 0.3
    turn_deg: float = 40.0
    deform: float = 0.4
    deform_amount: float = 0.025
    balance: float = 0.7
    occlusion: float = 0.2
    negatives: float = 0.05
    renders: float = 0.4


class LandmarkBatch(NamedTuple):
    """Crops (N, 3, S, S) uint8, targets (N, 478, 2) in crop fractions, weights, presence."""

    images: Tensor
    points: Tensor
    weights: Tensor
    presence: Tensor


class LandmarkTask:
    """The learner's view: batches by step, the loss, validation in two passes."""

    def __init__(self, config: LandmarkConfig, train: Portraits, validation: Portraits) -> None:
        if not len(train) or not len(validation):
            raise InputError("training: expected portraits in the train and validation splits")
        self.config = config
        self._train = train
        self._validation = validation
        self._pictures = load_pictures(TRAINING_PICTURES)
        real = ~train.rendered if not train.rendered.all() else train.rendered
        self._real = np.flatnonzero(real & (train.weights > 0.9))
        points = train.points[self._real]
        self.mean_shape, mesh_shape = mean_shapes(points, margin=config.margin)
        self._mesh: TurnMesh = build_turn_mesh(mesh_shape)
        self._to_ibug = torch.from_numpy(dense_weights68()).float()
        # Points that the 68 are made of, the irises and the eyelids matter most to users.
        used = dense_weights68().sum(0) > 0
        used[468:] = True
        weight = np.where(used, 2.0, 0.8)
        self._point_weight = torch.from_numpy(weight / weight.mean()).float()
        share = draw_shares(train, config.renders, config.balance)
        self._choice = np.cumsum(share) / share.sum()

    def build_model(self) -> LandmarkNetwork:
        """Return a network with the configured shape that starts from the mean shape."""
        c = self.config
        torch.manual_seed(c.loop.seed)
        model = LandmarkNetwork(
            size=c.size, patch=c.patch, widths=c.widths, depths=c.depths, hidden=c.hidden
        )
        model.set_mean_shape(torch.from_numpy(self.mean_shape).float())
        return model

    def batch(self, step: int) -> LandmarkBatch:
        """Return the crops of a step, a function of the seed and the step alone."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.config.loop.seed, step))
        n, size = self.config.batch_size, self.config.size
        images = np.empty((n, size, size, 3), np.uint8)
        points = np.zeros((n, 478, 2), np.float32)
        weights = np.zeros(n, np.float32)
        presence = np.ones((n, 1), np.float32)
        for i in range(n):
            row = int(np.searchsorted(self._choice, rng.random()))
            if rng.random() < self.config.negatives:
                images[i] = self._negative(row, rng)
                presence[i] = 0
            else:
                images[i], points[i] = self._sample(row, rng)
                weights[i] = self._train.weights[row]
        tensor = torch.from_numpy(images.transpose(0, 3, 1, 2))
        return LandmarkBatch(
            tensor, torch.from_numpy(points), torch.from_numpy(weights), torch.from_numpy(presence)
        )

    def loss(self, model: nn.Module, batch: LandmarkBatch) -> dict[str, Tensor]:
        """Return the wing loss of the points, the likelihood of the spreads, and presence."""
        c = self.config
        # Pixels and what the network makes of them first are exact in bfloat16.
        half = torch.is_autocast_enabled("cpu")
        dtype = torch.bfloat16 if half else torch.float32
        images = batch.images.to(dtype, memory_format=torch.channels_last)
        points, log_sigma, presence = model(images)
        points, log_sigma = points.float(), log_sigma.float()
        total = batch.weights.sum().clamp(min=1e-6)
        error = points - batch.points
        wing = wing_loss(error, c.wing_width, c.wing_curvature).mean(-1)
        point_loss = ((wing * self._point_weight).mean(1) * batch.weights).sum() / total
        # The spread learns from the residuals and must not pull on the points themselves.
        distance = (self._to_ibug @ error.detach()).norm(dim=-1)
        likelihood = log_sigma + distance * torch.exp(-log_sigma)
        spread_loss = (likelihood.mean(1) * batch.weights).sum() / total
        presence_loss = nn.functional.binary_cross_entropy_with_logits(
            presence.float(), batch.presence
        )
        loss = 20 * point_loss + 0.02 * spread_loss + 0.05 * presence_loss
        return {
            "loss": loss,
            "points": point_loss,
            "spread": spread_loss,
            "presence": presence_loss,
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return mean errors over the validation split, percent of the outer-eye distance.

        The first pass sees the label's box moved and scaled by a fixed draw (a network that
        knows aligned crops alone: such a crop); the second the crop of the first's points.
        ``score`` is the second's error over the 68 points and irises of the photographs;
        ``renders`` that of rendered heads, percent of their box's diagonal.
        """
        c, data = self.config, self._validation
        rng = np.random.default_rng(1)
        first, second, rendered = [], [], []
        for begin in range(0, len(data), 64):
            rows = range(begin, min(begin + 64, len(data)))
            crops = []
            for i in rows:
                truth = data.points[i, :, :2]
                crops.append(self._start(truth, rng))
            guess = self._predict(model, data, rows, crops)
            crops = [dense_crop(points, size=c.size, margin=c.margin) for points in guess]
            refined = self._predict(model, data, rows, crops)
            for k, i in enumerate(rows):
                truth = data.points[i, :, :2]
                if data.rendered[i]:
                    rendered.append(box_error(refined[k], truth))
                elif data.weights[i] > 0:
                    first.append(eye_error(guess[k], truth))
                    second.append(eye_error(refined[k], truth))
        figures = {
            "score": float(np.mean(second)),
            "first_pass": float(np.mean(first)),
            "median": float(np.median(second)),
            "over_10_percent": float(np.mean(np.array(second) > 10)) * 100,
        }
        if rendered:
            figures["renders"] = float(np.mean(rendered))
            figures["renders_over_10_percent"] = float(np.mean(np.array(rendered) > 10)) * 100
        return figures

    def _start(self, truth: np.ndarray, rng: np.random.Generator) -> SimilarityTransform:
        c = self.config
        aligned = c.tight == 1
        margin = c.margin * float(np.exp(rng.normal(0, 0.02 if aligned else 0.06)))
        low, high = truth.min(0), truth.max(0)
        side = margin * float((high - low).max())
        shift = rng.normal(0, 0.01 if aligned else 0.03, 2) * side
        if aligned:
            return dense_crop(truth + shift, size=c.size, margin=margin)
        return square_crop((low + high) / 2 + shift, side, size=c.size)

    def _predict(
        self, model: nn.Module, data: Portraits, rows: range, crops: list[Any]
    ) -> list[np.ndarray]:
        size = self.config.size
        images = [
            warp(data.images[i], crop, size=size) for i, crop in zip(rows, crops, strict=True)
        ]
        batch = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float()
        with torch.no_grad():
            output = model(batch.contiguous(memory_format=torch.channels_last))
        points = output[0].double().numpy()
        pixels = (points + 0.5) * size - 0.5
        return [c.inverse().apply(p) for c, p in zip(crops, pixels, strict=True)]

    def _sample(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        c = self.config
        image, labels = self._train.images[row], self._train.points[row]
        border = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT)
        mode = border[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
        moved, partner, shape = None, None, None
        target = labels[:, :2].astype(np.float64)
        # Rendered heads come in every shape and pose already.
        rendered = self._train.rendered[row]
        if rng.random() < c.morph and not rendered:
            partner = int(self._real[rng.integers(len(self._real))])
            shape = blended_shape(labels, self._train.points[partner], rng.uniform(0.2, 1.1))
        turn = rng.random() < c.turn and not rendered
        deform = rng.random() < c.deform
        if shape is not None or turn or deform:
            yaw = np.radians(rng.uniform(-c.turn_deg, c.turn_deg)) if turn else 0.0
            pitch = np.radians(np.clip(rng.normal(0, 10), -25, 25)) if turn else 0.0
            moved = turned_points(labels, self._mesh, yaw, pitch, shape=shape)
            if deform:
                bent = deformed_points(*moved, rng, amount=c.deform_amount)
                moved = (moved[0], bent)
            target = moved[1][:478, :2]
        tight = rng.random() < c.tight
        matrix = jittered_crop(target, rng, size=c.size, margin=c.margin, tight=tight)
        points = target @ matrix[:, :2].T + matrix[:, 2]
        if moved is None:
            crop = cv2.warpAffine(
                image, matrix, (c.size, c.size), flags=cv2.INTER_LINEAR, borderMode=mode
            )
        else:
            crop = self._warped(image, moved, matrix, mode)
            if partner is not None and rng.random() < 0.6:
                crop = self._mixed(crop, labels, partner, (moved[1], matrix), points, rng)
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
            points = points[FLIP478]
            points[:, 0] = c.size - 1 - points[:, 0]
        if rng.random() < c.occlusion:
            other = self._train.images[int(rng.integers(len(self._train)))]
            crop = occlude(crop, rng, other)
        crop = finish(crop, rng)
        return crop, ((points + 0.5) / c.size - 0.5).astype(np.float32)

    def _warped(
        self, image: np.ndarray, moved: tuple[np.ndarray, np.ndarray], matrix: np.ndarray, mode: int
    ) -> np.ndarray:
        size = (self.config.size, self.config.size)
        return warp_turned(image, *moved, self._mesh.triangles, matrix, size=size, border=mode)

    def _mixed(
        self,
        crop: np.ndarray,
        labels: np.ndarray,
        partner: int,
        place: tuple[np.ndarray, np.ndarray],
        points: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        other = self._train.points[partner]
        if view_angle(labels, other) > SAME_VIEW:
            return crop
        source = turned_points(other, self._mesh, 0.0, 0.0)[0]
        target, matrix = place
        image = self._train.images[partner]
        face = self._warped(image, (source, target), matrix, cv2.BORDER_REPLICATE)
        return mix_faces(crop, face, points, rng.uniform(0.3, 1.0))

    def _negative(self, row: int, rng: np.random.Generator) -> np.ndarray:
        size = self.config.size
        image, points = self._train.images[row], self._train.points[row, :, :2]
        if rng.random() < 0.4:
            return finish(background(size, rng, self._pictures), rng)
        if rng.random() < 0.2:
            piece = shuffled(image, points, rng)
            if piece is not None:
                return finish(cv2.resize(piece, (size, size)), rng)
        low, high = points.min(0), points.max(0)
        middle, side = (low + high) / 2, float((high - low).max())
        kind = rng.random()
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        if kind < 0.6:  # beside the face
            side *= np.exp(rng.uniform(np.log(0.4), np.log(1.5)))
            centre = middle + direction * rng.uniform(1.0, 1.8) * max(side, float(np.ptp(low)))
        elif kind < 0.8:  # a piece of it
            centre = middle + direction * rng.uniform(0, 0.4) * side
            side *= rng.uniform(0.1, 0.3)
        else:  # far too small
            centre = middle + direction * rng.uniform(0, 1.5) * side
            side *= rng.uniform(4.5, 9)
        crop = square_crop(centre, side, size=size, roll=rng.uniform(-0.6, 0.6))
        mode = (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT)[int(rng.integers(2))]
        piece = cv2.warpAffine(image, crop.matrix(), (size, size), borderMode=mode)
        return finish(piece, rng)


def finish(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply light, quality and grey to a crop."""
    crop = photometric(crop, rng)
    crop = degrade(crop, rng)
    return to_grey(crop) if rng.random() < 0.1 else crop


def wing_loss(error: Tensor, width: float, curvature: float) -> Tensor:
    """Return w ln(1 + |e| / c) below w and |e| - const above: small errors still pull.

    Source: Z.-H. Feng et al., Wing loss for robust facial landmark localisation with
    convolutional neural networks, 2018, eq. 5.
    """
    size = error.abs()
    constant = width - width * float(np.log1p(width / curvature))
    return torch.where(size < width, width * torch.log1p(size / curvature), size - constant)


def run_config(config: LandmarkConfig) -> dict[str, Any]:
    """Return the configuration as plain values for a checkpoint."""
    return asdict(config)


def export_landmarks(checkpoint: Path, path: Path) -> dict[str, float]:
    """Write a checkpoint's averaged weights as ``landmarks.onnx``; see ``export_crop_network``.

    Input ``image`` uint8 (N, S, S, 3) RGB; outputs ``points`` (N, 478, 2) in crop fractions from
    the middle, ``log_sigma`` (N, 68), ``presence`` (N, 1) in [0, 1].
    """
    contents = load_checkpoint(checkpoint, kind="landmarks")
    config = contents["config"]
    # Checkpoints from before patches and margins could be chosen have the first defaults.
    config = {"patch": 4, "margin": CROP_MARGIN, **config}
    names = ("size", "patch", "widths", "depths", "hidden")
    model = LandmarkNetwork(**{name: config[name] for name in names})
    model.load_state_dict(contents["ema"]["values"])
    return export_crop_network(
        LandmarkExport(model.eval()),
        config["size"],
        path,
        outputs=("points", "log_sigma", "presence"),
        metadata={
            "facekit.schema": "facekit.landmarks-network/1",
            "facekit.margin": str(config["margin"]),
            "facekit.set": "mediapipe478",
        },
        tolerance=1e-3,
    )
