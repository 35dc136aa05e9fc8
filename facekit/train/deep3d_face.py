"""A morphable model as Deep3D's networks see it: coefficients to vertices, points and pictures.

Coefficients come in Deep3D's order, ``id | exp | tex | angle | gamma | trans``; the blocks' lengths
are the model's (BFM: 80, 64, 80, 3, 27, 3). Angles turn about x, y and z in radians; ``gamma`` is
(3, 9); ``trans`` is in decimetres, x to the right, y up, z towards the camera, which stands
10 decimetres before the origin. ``exp`` counts deviations from the expressions' prior mean.

Source: Y. Deng et al., 2019, section 3; units and constants of its PyTorch code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from facekit.errors import InputError
from facekit.fit.first_order.face import Parameters, TorchFace, rotation
from facekit.fit.first_order.shading import encode_srgb, published_light
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.terms.points import five_of_68
from facekit.geometry.deep3d_crop import DISTANCE, SIZE, STANDARD_FIVE, deep3d_intrinsics
from facekit.geometry.rotations import HEAD_TO_CAMERA
from facekit.morphable.layout import part_of
from facekit.morphable.model import MorphableModel
from facekit.render.differentiable import plain
from facekit.render.differentiable.renderer import Renderer, open_renderer

SCHEMA = "facekit.deep3d-layout/1"
NAMES = ("id", "exp", "tex", "angle", "gamma", "trans")
_DECIMETRE = 100.0


class Deep3DLayout(NamedTuple):
    """Where each block of Deep3D's vector lies.

    Attributes:
        sizes: lengths of ``NAMES``.
    """

    sizes: tuple[int, ...]

    @property
    def length(self) -> int:
        """Length of the whole vector."""
        return sum(self.sizes)

    @property
    def heads(self) -> tuple[int, ...]:
        """Lengths of the network's heads: ``trans`` has two, (x, y) and z."""
        return (*self.sizes[:5], 2, 1)

    def part(self, name: str) -> slice:
        """Return a block's slice.

        Raises:
            InputError: an unknown name.
        """
        return part_of(name, NAMES, self.sizes)

    def document(self) -> dict[str, Any]:
        """Return plain values for checkpoints and ONNX files."""
        parts = {name: [self.part(name).start, self.part(name).stop] for name in NAMES}
        return {"schema": SCHEMA, "parts": parts}


def deep3d_layout(model: MorphableModel) -> Deep3DLayout:
    """Return the layout of a model's coefficients."""
    return Deep3DLayout((model.num_identity, model.num_expression, model.num_albedo, 3, 27, 3))


class Placed(NamedTuple):
    """Faces before the crop's camera.

    Attributes:
        vertices: (B, V, 3) of the face region, OpenCV camera frame, mm.
        albedo: (B, V, 3) sRGB in [0, 1].
        colours: (B, V, 3) shaded at the vertices, as the published code does.
        points: (B, 68, 2) landmarks, pixels of the crop.
    """

    vertices: Tensor
    albedo: Tensor
    colours: Tensor
    points: Tensor


class Deep3DFace:
    """The face region of a model before Deep3D's camera.

    The origin is where the mean's five points lie best on the standard face's, so that a network
    that says nothing yet draws the mean face where the crop has faces.

    Args:
        model: with an ``ibug68`` landmark map.
        size: side of the crop, pixels.
        renderer: of ``render.differentiable.open_renderer``.
        device: of the tensors.
    """

    def __init__(
        self,
        model: MorphableModel,
        *,
        size: int = SIZE,
        renderer: str = "auto",
        device: str = "cpu",
    ) -> None:
        self.model, self.size = model, size
        self.layout = deep3d_layout(model)
        self.torch = TorchFace(model, build_landmark_basis(model), device)
        mean_five = five_of_68(self.torch.marks_mean[None].cpu())[0].numpy()
        offset = -(mean_five - _DECIMETRE * STANDARD_FIVE).mean(0)
        self.origin = self.torch.centre - offset
        lens = torch.from_numpy(deep3d_intrinsics(size)).float()
        self.intrinsics = lens.to(device)
        self._offset = torch.from_numpy(offset).float().to(device)
        self._flip = torch.from_numpy(np.diag(HEAD_TO_CAMERA).copy()).float().to(device)
        self._renderer: Renderer = open_renderer(renderer)

    def split(self, values: Tensor) -> Parameters:
        """Return the blocks of coefficients (B, C); ``shift`` is ``trans`` as it is."""
        block = {name: values[:, self.layout.part(name)] for name in NAMES}
        gamma = block["gamma"].reshape(-1, 3, 9)
        return Parameters(
            block["id"], block["exp"], block["tex"], gamma, block["angle"], block["trans"]
        )

    def place(self, values: Tensor, *, shapes: TorchFace | None = None) -> Placed:
        """Return the faces of coefficients (B, C).

        Args:
            values: in the layout.
            shapes: mean and modes to take instead of the model's.
        """
        face = self.torch if shapes is None else shapes
        at = self.split(values)
        weights = face.coefficients(at)
        turn = self._flip[:, None] * rotation(at.angles)
        ahead = torch.tensor([0.0, 0.0, -DISTANCE], device=values.device)
        shift = (_DECIMETRE * (at.shift + ahead) * self._flip)[:, None]
        vertices = (face.vertices(weights) + self._offset) @ turn.mT + shift
        marks = (face.marks(weights) + self._offset) @ turn.mT + shift
        focal, centre = self.intrinsics[0, 0], self.intrinsics[:2, 2]
        points = focal * marks[..., :2] / marks[..., 2:] + centre
        albedo = encode_srgb(face.albedo(at)).expand(len(values), -1, -1)
        normals = plain.unit(plain.vertex_normals(vertices, face.topology))
        light = published_light(at.gamma)
        colours = albedo * torch.einsum("bvk,bkc->bvc", plain.harmonics(normals), light)
        return Placed(vertices, albedo, colours, points)

    def draw(self, placed: Placed) -> tuple[Tensor, Tensor]:
        """Return pictures (B, S, S, 3) over black, and coverage (B, S, S) without a gradient."""
        lens = self.intrinsics.expand(len(placed.vertices), 3, 3).contiguous()
        drawn = self._renderer.render(
            placed.vertices,
            lens,
            placed.colours.contiguous(),
            self.torch.topology,
            self.size,
            self.size,
            antialias=False,
        )
        return drawn.attributes, drawn.coverage.detach()

    def params(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return one crop's coefficients (C,) as ``params.npz`` names them, in the crop's camera.

        ``identity``, ``expression`` (the model's own weights, inside their bounds), ``albedo``,
        ``rotation``, ``translation_mm`` and ``intrinsics``.
        """
        model, row = self.model, torch.from_numpy(np.asarray(values, np.float32))[None]
        at = self.split(row)
        weights = model.expression_mean + model.expression_std * at.expression[0].numpy()
        turn = HEAD_TO_CAMERA @ rotation(at.angles)[0].double().numpy()
        at_origin = at.shift[0].double().numpy() - [0, 0, DISTANCE]
        place = _DECIMETRE * HEAD_TO_CAMERA @ at_origin
        low, high = model.expression_bounds.T
        return {
            "identity": at.identity[0].numpy(),
            "expression": np.clip(weights, low, high).astype(np.float32),
            "albedo": at.albedo[0].numpy(),
            "rotation": turn,
            "translation_mm": place - turn @ self.origin,
            "intrinsics": deep3d_intrinsics(self.size),
        }


def read_layout(document: Mapping[str, Any] | None, where: str) -> Deep3DLayout:
    """Return the layout that ``Deep3DLayout.document`` wrote.

    Raises:
        InputError: another schema.
    """
    if not document or document.get("schema") != SCHEMA:
        raise InputError(f"{where}: expected a coefficient layout of {SCHEMA}")
    ends: Sequence[Sequence[int]] = [document["parts"][name] for name in NAMES]
    return Deep3DLayout(tuple(int(stop) - int(start) for start, stop in ends))
