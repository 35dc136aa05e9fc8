"""Training of the face detector on collages of portraits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from facekit.detect.builtin import BuiltinDetector, decode, suppress
from facekit.errors import InputError
from facekit.learn.checkpoint import load_checkpoint
from facekit.learn.loop import LoopConfig
from facekit.metrics.boxes import FALSE, UNJUDGED, average_precision, match_boxes
from facekit.networks.detector import NUM_CHANNELS, STRIDES, DetectorExport, DetectorNetwork
from facekit.train.augment import build_turn_mesh
from facekit.train.backgrounds import TRAINING_PICTURES, load_pictures
from facekit.train.collage import Collage, CollageConfig, CollageFace, CollageMaker
from facekit.train.landmark_crops import mean_shapes
from facekit.train.negatives import mine_negatives
from facekit.train.onnx import export_onnx
from facekit.train.portraits import Portraits

# Scores from which a face-free piece counts as a hard negative.
MINING_THRESHOLD = 0.1
# Longer box side (pixels) that each stride learns; they overlap, suppression merges.
LEVEL_RANGES = ((0.0, 48.0), (34.0, 110.0), (80.0, 1e9))


@dataclass(frozen=True)
class DetectorConfig:
    """What the detector is and what it learns from.

    Attributes:
        loop: see ``LoopConfig``.
        collage: see ``CollageConfig``.
        batch_size: collages a step.
        widths, depths, neck: see ``DetectorNetwork``.
        mined: face-free images that the shipped detector searches for hard negatives.
        five_weight: of the five points' loss against the box's.
        validation_count: collages of validation persons that the score is taken on.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    collage: CollageConfig = field(default_factory=lambda: CollageConfig(covers=0.25))
    batch_size: int = 32
    widths: tuple[int, ...] = (16, 32, 64, 80)
    depths: tuple[int, ...] = (1, 2, 3, 3)
    neck: int = 40
    mined: int = 4000
    five_weight: float = 0.6
    validation_count: int = 240


class DetectorBatch(NamedTuple):
    """Collages (N, 3, S, S) uint8, and targets over all cells of all levels in order.

    ``kind`` (N, C): 1 face, 0 background, -1 not judged; ``values`` (N, C, 14).
    """

    images: Tensor
    kind: Tensor
    values: Tensor


class DetectorTask:
    """The learner's view: batches by step, the loss, validation on fixed collages."""

    def __init__(self, config: DetectorConfig, train: Portraits, validation: Portraits) -> None:
        if not len(train) or not len(validation):
            raise InputError("training: expected portraits in the train and validation splits")
        self.config = config
        real = ~train.rendered if not train.rendered.all() else train.rendered
        _, mesh_shape = mean_shapes(train.points[real & (train.weights > 0.9)])
        mesh = build_turn_mesh(mesh_shape)
        pictures = load_pictures(TRAINING_PICTURES)
        hard: list[np.ndarray] = []
        if config.mined:
            search = BuiltinDetector(threads=1, threshold=MINING_THRESHOLD).boxes
            seed = config.loop.seed
            hard = mine_negatives(search, train, pictures, count=config.mined, seed=seed)
        self._maker = CollageMaker(train, config.collage, mesh, pictures, hard)
        held = CollageMaker(validation, config.collage, mesh, pictures)
        rng = np.random.default_rng(12345)
        self.validation = [held.draw(rng) for _ in range(config.validation_count)]

    def build_model(self) -> DetectorNetwork:
        """Return a network of the configured shape."""
        c = self.config
        torch.manual_seed(c.loop.seed)
        return DetectorNetwork(widths=c.widths, depths=c.depths, neck=c.neck)

    def batch(self, step: int) -> DetectorBatch:
        """Return the collages of a step, a function of the seed and the step alone."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.config.loop.seed, step))
        images, kinds, values = [], [], []
        for _ in range(self.config.batch_size):
            collage = self._maker.draw(rng)
            kind, value = cell_targets(collage.faces, self.config.collage.size)
            images.append(collage.image)
            kinds.append(kind)
            values.append(value)
        return DetectorBatch(
            torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)),
            torch.from_numpy(np.stack(kinds)),
            torch.from_numpy(np.stack(values)),
        )

    def loss(self, model: nn.Module, batch: DetectorBatch) -> dict[str, Tensor]:
        """Return the focal loss of the scores and the smooth losses of box and points."""
        images = batch.images.to(torch.float32, memory_format=torch.channels_last)
        found = torch.cat([m.float().flatten(2) for m in model(images)], dim=2).transpose(1, 2)
        positive = batch.kind == 1
        count = positive.sum().clamp(min=1)
        logit = found[..., 0]
        target = positive.float()
        entropy = nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
        # T.-Y. Lin et al., Focal loss for dense object detection, 2017, eq. 4, gamma 2.
        miss = (target - torch.sigmoid(logit)).abs().square()
        score_loss = (entropy * miss * (batch.kind >= 0)).sum() / count
        error = nn.functional.smooth_l1_loss(
            found[positive][:, 1:], batch.values[positive], reduction="none", beta=0.05
        )
        box_loss = error[:, :4].sum() / count
        five_loss = error[:, 4:].sum() / count
        loss = 2 * score_loss + box_loss + self.config.five_weight * five_loss
        return {"loss": loss, "score": score_loss, "box": box_loss, "five": five_loss}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return figures over the validation collages; ``score`` is 1 - average precision."""
        matches = match_collages(model, self.validation)
        precision = average_precision(matches.scores, matches.hit, len(matches.sizes))
        result = {"score": 1 - precision}
        for name, low, high in (("small", 24.0, 48.0), ("large", 48.0, 1e9)):
            wanted = (matches.sizes >= low) & (matches.sizes < high)
            hits = matches.best[wanted] > 0.5
            result[f"recall_{name}"] = float(hits.mean()) if wanted.any() else 1.0
        result["false_per_image"] = float(
            ((matches.scores > 0.5) & ~matches.hit).sum() / len(self.validation)
        )
        result["five_percent"] = matches.five_error
        return result


class Matches(NamedTuple):
    """Detections against the truth.

    Attributes:
        scores (D,), hit (D,): of every judged detection.
        sizes (F,), best (F,): longer box side of every wanted face, and the score of its
            detection (0 when missed).
        five_error: mean distance of the five points, percent of the box's longer side.
    """

    scores: np.ndarray
    hit: np.ndarray
    sizes: np.ndarray
    best: np.ndarray
    five_error: float


def cell_targets(faces: list[CollageFace], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what every cell should say.

    Cells near a face's middle are faces on the levels that learn its size; cells further out on
    the face, on neighbouring levels, or on ignored faces are not judged.

    Returns:
        kind (C,) int8 and values (C, 14) float32, C over the levels in order, rows first.
    """
    kinds, values = [], []
    for stride, (low, high) in zip(STRIDES, LEVEL_RANGES, strict=True):
        n = size // stride
        middle = np.arange(n) * stride + (stride - 1) / 2
        x, y = np.meshgrid(middle, middle)
        kind = np.zeros((n, n), np.int8)
        value = np.zeros((n, n, NUM_CHANNELS - 1), np.float32)
        nearest = np.full((n, n), np.inf)
        for face in faces:
            centre, extent = face.box[:2] + face.box[2:] / 2, face.box[2:]
            side = float(extent.max())
            distance = np.hypot(x - centre[0], y - centre[1])
            if face.ignore:
                box = (np.abs(x - centre[0]) < extent[0] / 2 + stride / 2) & (
                    np.abs(y - centre[1]) < extent[1] / 2 + stride / 2
                )
                kind[box & (kind == 0)] = -1
                continue
            around = distance < max(0.35 * side, 1.2 * stride)
            if not low / 1.25 <= side < high * 1.25:
                continue
            kind[around & (kind == 0)] = -1
            if not low <= side < high:
                continue
            radius = max(0.14 * side, 0.71 * stride)
            mine = (distance < radius) & (distance < nearest)
            kind[mine] = 1
            nearest[mine] = distance[mine]
            unit = 4.0 * stride
            cells = np.column_stack([x[mine], y[mine]])
            value[mine, 0:2] = (centre - cells) / unit
            value[mine, 2:4] = np.log(extent / unit)
            value[mine, 4:] = ((face.five[None] - cells[:, None]) / unit).reshape(-1, 10)
        kinds.append(kind.reshape(-1))
        values.append(value.reshape(n * n, -1))
    return np.concatenate(kinds), np.concatenate(values)


def match_collages(
    model: nn.Module, collages: list[Collage], *, threshold: float = 0.02
) -> Matches:
    """Detect on collages and match by overlap (intersection over union of at least 0.5)."""
    scores, hits, sizes, best, errors = [], [], [], [], []
    for begin in range(0, len(collages), 16):
        part = collages[begin : begin + 16]
        images = torch.from_numpy(np.stack([c.image for c in part]).transpose(0, 3, 1, 2)).float()
        with torch.no_grad():
            maps = model(images.contiguous(memory_format=torch.channels_last))
        for k, collage in enumerate(part):
            boxes, score, five = decode([m[k].float().numpy() for m in maps], threshold=threshold)
            keep = suppress(boxes, score)
            truth = np.array([f.box for f in collage.faces], np.float64).reshape(-1, 4)
            hidden = np.array([f.ignore for f in collage.faces], bool)
            shown = match_boxes(boxes[keep], score[keep], truth, ignore=hidden)
            found = np.zeros(len(collage.faces))
            for i, row in zip(keep, shown, strict=True):
                if row == UNJUDGED:
                    continue
                if row != FALSE:
                    found[row] = score[i]
                    face = collage.faces[row]
                    distance = np.linalg.norm(five[i] - face.five, axis=1).mean()
                    errors.append(100 * distance / face.box[2:].max())
                scores.append(score[i])
                hits.append(row != FALSE)
            for face, value in zip(collage.faces, found, strict=True):
                if not face.ignore:
                    sizes.append(float(face.box[2:].max()))
                    best.append(value)
    return Matches(
        np.array(scores),
        np.array(hits, bool),
        np.array(sizes),
        np.array(best),
        float(np.mean(errors)) if errors else 100.0,
    )


def calibrate(matches: Matches) -> tuple[float, float]:
    """Return (slope, offset) that make sigmoid(slope * logit + offset) the hit probability.

    Source: J. Platt, Probabilistic outputs for support vector machines, 1999, section 2.2
    (targets pulled off 0 and 1 by the counts).
    """
    logit = np.log(matches.scores / (1 - matches.scores))
    positives, negatives = matches.hit.sum(), (~matches.hit).sum()
    target = np.where(matches.hit, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def cost(p: np.ndarray) -> float:
        z = p[0] * logit + p[1]
        return float(np.mean(np.logaddexp(0, z) - target * z))

    result = minimize(cost, np.array([1.0, 0.0]), method="Nelder-Mead")
    if not result.success or result.x[0] <= 0:
        raise InputError("detector: scores do not rise with being right; train longer")
    return float(result.x[0]), float(result.x[1])


def export_detector(checkpoint: Path, path: Path, task: DetectorTask) -> dict[str, float]:
    """Calibrate a checkpoint's averaged weights on the validation collages and write the ONNX.

    Input ``image`` uint8 (N, H, W, 3) RGB, H and W multiples of 32; outputs ``stride8``,
    ``stride16``, ``stride32`` (N, 15, H / s, W / s), see ``networks.detector``.
    """
    contents = load_checkpoint(checkpoint, kind="detector")
    config = contents["config"]
    model = DetectorNetwork(**{name: config[name] for name in ("widths", "depths", "neck")})
    model.load_state_dict(contents["ema"]["values"])
    slope, offset = calibrate(match_collages(model.eval(), task.validation))
    return export_onnx(
        DetectorExport(model.eval(), slope=slope, offset=offset),
        torch.full((1, 64, 96, 3), 127, dtype=torch.uint8),
        path,
        input_name="image",
        outputs={f"stride{s}": {0: "N", 2: f"rows{s}", 3: f"columns{s}"} for s in STRIDES},
        dynamic={0: "N", 1: "H", 2: "W"},
        metadata={
            "facekit.schema": "facekit.detector-network/1",
            "facekit.calibration": [slope, offset],
        },
        tolerance=5e-3,
    )
