"""Losses of the parameter network: what an error of each coefficient does to the face.

Source of weighing coefficients by the vertices they move (vertex distance cost, weighted
parameter distance cost): J. Guo et al., Towards fast, accurate and stable 3D dense face
alignment, 2020, eqs. 3 to 5.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from facekit.geometry.alignment import similarity_motions
from facekit.geometry.crop_pose import REFERENCE_MM
from facekit.geometry.mesh import vertex_normals
from facekit.morphable.layout import CoefficientLayout, model_layout
from facekit.morphable.model import MorphableModel

# What a vertex distance counts beside one along the normal.
_TANGENTIAL = 0.1
# Points of the face whose places in the crop are compared, besides the 68 landmarks.
_DENSE = 200


def shape_metric(
    model: MorphableModel, modes: np.ndarray, *, tangential: float = _TANGENTIAL
) -> np.ndarray:
    """Return the matrix (K, K) whose quadratic form is a mean squared surface distance, mm^2.

    Distances along the mean's normals count fully, whole vertex distances ``tangential`` of that:
    where along the surface a vertex lies, nobody sees. Over the scanned region, and after the
    best small similarity: a mere move, turn or growth of the head counts nothing.

    Args:
        model: gives the region ``scan`` (all vertices where it has none) and the mean.
        modes: (K, V, 3) mm per coefficient.
        tangential: see above.
    """
    rows = np.flatnonzero(model.regions.get("scan", np.ones(model.num_vertices, bool)))
    normals = vertex_normals(model.mean, model.faces)[rows].astype(np.float64)

    def weighed(displacements: np.ndarray) -> np.ndarray:
        """Columns of squares to sum, of displacements (N, V', 3)."""
        along = np.einsum("nvd,vd->nv", displacements, normals)
        whole = np.sqrt(tangential) * displacements.reshape(len(displacements), -1)
        return np.concatenate([along, whole], axis=1).T

    rigid, _ = np.linalg.qr(weighed(similarity_motions(model.mean[rows])))
    columns = weighed(modes[:, rows].astype(np.float64))
    columns -= rigid @ (rigid.T @ columns)
    return columns.T @ columns / len(rows)


class FaceGeometry(nn.Module):
    """A model's shape as tensors: errors in millimetres and places in the crop.

    Args:
        model: with an ``ibug68`` landmark map.
    """

    identity_metric: Tensor
    expression_metric: Tensor
    mean: Tensor
    modes: Tensor

    def __init__(self, model: MorphableModel) -> None:
        super().__init__()
        self.layout: CoefficientLayout = model_layout(model)
        blocks = (model.identity_modes, model.expression_modes)
        for name, modes in zip(("identity", "expression"), blocks, strict=True):
            metric = torch.from_numpy(shape_metric(model, modes)).float()
            self.register_buffer(f"{name}_metric", metric)
        marks = model.landmark_map("ibug68")
        corners, weights = model.faces[marks.faces], marks.barycentric.astype(np.float64)
        region = np.flatnonzero(model.regions.get("scan", np.ones(model.num_vertices, bool)))
        dense = region[:: max(1, len(region) // _DENSE)]

        def rows(values: np.ndarray) -> np.ndarray:
            at_marks = np.einsum("nc,...ncd->...nd", weights, values[..., corners, :])
            return np.concatenate([at_marks, values[..., dense, :]], axis=-2)

        both = np.concatenate(blocks).astype(np.float64)
        self.register_buffer("mean", torch.from_numpy(rows(model.mean.astype(float))).float())
        self.register_buffer("modes", torch.from_numpy(rows(both)).float())

    def squared_mm(self, difference: Tensor, part: str) -> Tensor:
        """Return the mean squared surface distance (N,) of coefficient differences (N, K)."""
        metric = self.get_buffer(f"{part}_metric")
        return ((difference @ metric) * difference).sum(-1)

    def places(self, coefficients: Tensor, distance_mm: Tensor) -> Tensor:
        """Return where points of faces lie in their crops, (N, P, 2), fractions from the middle.

        Args:
            coefficients: (N, C) in the layout.
            distance_mm: (N,) from the camera to the reference point, which says how strong the
                perspective is; a crop does not.
        """
        shape = slice(0, self.layout.part("expression").stop)
        points = self.mean + torch.einsum("nk,kpd->npd", coefficients[:, shape], self.modes)
        points = points - torch.from_numpy(REFERENCE_MM).to(points)
        six = coefficients[:, self.layout.part("rotation")]
        placed = points @ rotation_matrices(six).transpose(1, 2)
        at = coefficients[:, self.layout.part("translation")]
        nearer = 1 + placed[..., 2] / distance_mm[:, None]
        scale = torch.exp(-at[:, 2])[:, None] / nearer.clamp(min=0.2)
        return at[:, None, :2] + placed[..., :2] * scale[..., None]


def rotation_matrices(six: Tensor) -> Tensor:
    """Return rotations (N, 3, 3) of two columns (N, 6); see ``geometry.crop_pose``."""
    first, second = six[:, :3], six[:, 3:]
    x = nn.functional.normalize(first, dim=1)
    y = nn.functional.normalize(second - (x * second).sum(1, keepdim=True) * x, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=2)
