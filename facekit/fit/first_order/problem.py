"""The energy of a published first-order fit: one photographed face and its weighted terms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facekit.errors import ItemError
from facekit.fit.first_order.config import FirstOrderConfig
from facekit.fit.first_order.drawing import Drawn
from facekit.fit.first_order.face import Parameters, TorchFace, rotation
from facekit.fit.first_order.shading import encode_srgb, published_light
from facekit.fit.landmark import LandmarkFit
from facekit.fit.terms.identity import Embedding, identity_loss
from facekit.fit.terms.points import (
    adam_landmark_weights,
    deep3d_landmark_weights,
    five_of_68,
    landmark_loss,
)
from facekit.fit.terms.skin import skin_probability
from facekit.fit.terms.surface import albedo_constancy, light_whiteness
from facekit.geometry.crop import box_crop, crop_camera, warp
from facekit.geometry.rotations import HEAD_TO_CAMERA, matrix_to_euler
from facekit.types import DetectedFace


class FirstOrderProblem:
    """One photograph's crop, landmarks and the terms of a config.

    Args:
        face: of the model; config: what is minimised; drawn: the renderer.
        image: (H, W, 3) uint8 sRGB.
        detection: with box and 68 landmarks.
        intrinsics: (3, 3) of the photograph, one focal length.
        mask: (H, W) weights of pixels in [0, 1], or None.
        embedding: recognition network for the feature term, or None.

    Raises:
        ItemError: the landmarks are all equal.
    """

    def __init__(
        self,
        face: TorchFace,
        config: FirstOrderConfig,
        drawn: Drawn,
        image: np.ndarray,
        detection: DetectedFace,
        intrinsics: np.ndarray,
        *,
        mask: np.ndarray | None = None,
        embedding: Embedding | None = None,
    ) -> None:
        self.face, self.config, self.drawn, self.embedding = face, config, drawn, embedding
        size = config.size
        crop = box_crop(detection.box, size=size, margin=config.margin)
        lens = crop_camera(intrinsics, crop).intrinsics
        observed = crop.apply(np.asarray(detection.ibug68, np.float64))
        inside = np.full(image.shape[:2], 255, np.uint8) if mask is None else _to_uint8(mask)
        picture = warp(image, crop, size=size)
        weight = warp(inside, crop, size=size).astype(np.float32) / 255
        if config.skin_mask:
            weight = weight * skin_probability(picture)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(array, np.float32))[None].to(face.device)

        self.image, self.mask = tensor(picture) / 255, tensor(weight)
        self.observed, self.intrinsics = tensor(observed), tensor(lens)
        self.flip = tensor(np.diag(HEAD_TO_CAMERA))[0]
        self.place = self._place(observed, lens)
        self._place_tensor = tensor(self.place)
        deep3d = config.landmark_weights == "deep3d"
        weights = deep3d_landmark_weights() if deep3d else adam_landmark_weights()
        self._landmark_weights = weights.float().to(face.device)
        self._unit, self._average = (1.0, True) if deep3d else (float(size), False)

    def _place(self, observed: np.ndarray, lens: np.ndarray) -> np.ndarray:
        """The face's centre where its landmarks have the observed size and mean."""
        marks = self.face.marks_mean.cpu().numpy()[:, :2] * (1, -1)
        spread = np.sqrt(((observed - observed.mean(0)) ** 2).sum())
        if spread < 1e-3:
            raise ItemError("first-order fit: all landmarks lie on one point")
        depth = lens[0, 0] * np.sqrt(((marks - marks.mean(0)) ** 2).sum()) / spread
        middle = (observed.mean(0) - lens[:2, 2]) / lens[0, 0] * depth - marks.mean(0)
        return np.append(middle, depth)

    def parameters(self, fit: LandmarkFit) -> Parameters:
        """Return another fit's shape and pose as parameters, under an even light."""
        at = self.face.start()
        centre = fit.rotation @ self.face.centre + fit.translation
        yaw, pitch, roll = matrix_to_euler(HEAD_TO_CAMERA @ fit.rotation)
        weights = torch.as_tensor(fit.expression, dtype=torch.float32, device=self.face.device)
        with torch.no_grad():
            at.identity[0] = torch.as_tensor(fit.identity)
            at.expression[0] = (weights - self.face.expression_mean) / self.face.expression_std
            at.angles[0] = torch.tensor([-pitch, yaw, -roll])
            at.shift[0] = torch.as_tensor((centre - self.place) / (self.place[2] / 10))
        return at

    def turn(self, at: Parameters) -> Tensor:
        """Head to camera, (1, 3, 3)."""
        return self.flip[:, None] * rotation(at.angles)

    def shift(self, at: Parameters) -> Tensor:
        """The face's centre in the camera frame, (1, 3) mm."""
        return self._place_tensor + at.shift * (self._place_tensor[:, 2:] / 10)

    def landmarks(self, at: Parameters, coefficients: Tensor, turn: Tensor) -> Tensor:
        """Projected landmarks (1, 68, 2), pixels of the crop."""
        placed = self.face.marks(coefficients) @ turn.mT + self.shift(at)[:, None]
        focal, centre = self.intrinsics[:, 0, 0, None, None], self.intrinsics[:, None, :2, 2]
        return focal * placed[..., :2] / placed[..., 2:] + centre

    def rigid(self, at: Parameters) -> Tensor:
        """The first stage's energy: the weighted landmark term."""
        return self.config.landmark * self._landmark_loss(
            self.landmarks(at, self.face.coefficients(at), self.turn(at))
        )

    def _landmark_loss(self, points: Tensor) -> Tensor:
        return landmark_loss(
            points / self._unit,
            self.observed / self._unit,
            self._landmark_weights,
            average=self._average,
        )

    def terms(self, at: Parameters) -> dict[str, Tensor]:
        """The second stage's terms by name, weighted; their sum is the energy."""
        config, face = self.config, self.face
        coefficients, turn = face.coefficients(at), self.turn(at)
        points = self.landmarks(at, coefficients, turn)
        found = {
            "landmark": config.landmark * self._landmark_loss(points),
            "identity": config.identity * at.identity.square().sum(),
            "expression": config.expression * at.expression.square().sum(),
        }
        vertices = face.vertices(coefficients) @ turn.mT + self.shift(at)[:, None]
        albedo = encode_srgb(face.albedo(at))
        light = published_light(at.gamma)
        scene = (vertices, albedo, light, self.intrinsics)
        found["photometric"] = config.photometric * self.drawn.residual(
            *scene, self.image, self.mask
        )
        if face.num_albedo:
            found["albedo"] = config.albedo * at.albedo.square().sum()
            found["constancy"] = config.constancy * albedo_constancy(albedo, face.skin)
        if config.whiteness:
            found["whiteness"] = config.whiteness * light_whiteness(at.gamma.mT)
        if config.feature and self.embedding is not None:
            found["feature"] = config.feature * identity_loss(
                self.embedding,
                self.image,
                self.drawn.picture(*scene, config.size),
                five_of_68(self.observed),
                five_of_68(points.detach()),
            )
        return found

    def energy(self, at: Parameters) -> float:
        """The second stage's energy, one number."""
        with torch.no_grad():
            return float(sum(float(value) for value in self.terms(at).values()))

    def fit_appearance(self, at: Parameters, *, steps: int) -> None:
        """Lower the energy by light and albedo alone, in place; shape and pose are held."""
        blocks = [block for block in (at.gamma, at.albedo) if block.numel()]
        solver = torch.optim.LBFGS(blocks, max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            solver.zero_grad()
            value = torch.stack(list(self.terms(at).values())).sum()
            value.backward()
            return value

        solver.step(closure)


def _to_uint8(mask: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8)
