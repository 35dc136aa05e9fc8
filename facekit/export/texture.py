"""A texture for the fitted face, projected from its photograph.

Texels that the camera sees take the photograph's colour; hidden ones take their mirror partner's;
what neither side shows takes the model's own albedo, brought to the photograph's brightness. The
parts are blended by how directly the camera sees them, so that no seam shows.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_adjacency, vertex_normals
from facekit.geometry.sampling import sample_image
from facekit.morphable.model import MorphableModel
from facekit.render.rasterise import rasterise
from facekit.render.shade import linear_to_srgb, srgb_to_linear
from facekit.types import Camera

# The z-buffer against which vertices are tested has about this many pixels a side.
_VISIBILITY_SIDE = 320
# Width in rings of vertices of the soft border towards neck and scalp.
_BORDER_RINGS = 6
# A vertex this far behind the nearest surface is hidden (mm).
_DEPTH_TOLERANCE = 3.0


class _Atlas(NamedTuple):
    """Linear map from vertices to texels that a chart covers, and where the others copy from."""

    interpolation: sparse.csr_matrix
    covered: np.ndarray
    nearest: tuple[np.ndarray, np.ndarray]


class TextureProjector:
    """Projects photographs onto one model's uv atlas.

    Args:
        model: a model with uvs.
        size: side of the square texture in pixels.

    Raises:
        InputError: the model has no uvs.
    """

    def __init__(self, model: MorphableModel, *, size: int = 1024) -> None:
        if model.uvs is None or model.face_uvs is None:
            raise InputError(f"model {model.name}: has no uvs, so no texture can be made")
        self.model, self.size = model, size
        self._uvs, self._face_uvs = np.asarray(model.uvs, np.float64), model.face_uvs

    @cached_property
    def _atlas(self) -> _Atlas:
        size, model = self.size, self.model
        uvs = self._uvs
        flat = np.stack(
            [uvs[:, 0] * size - 0.5, (1 - uvs[:, 1]) * size - 0.5, np.ones(len(uvs))], axis=1
        )
        fragments = rasterise(flat, self._face_uvs, size, size, cull=False)
        covered = fragments.covered
        triangle = fragments.triangle[covered]
        columns = model.faces[triangle].ravel()
        rows = np.repeat(np.arange(len(triangle)), 3)
        weights = fragments.barycentric[covered].ravel()
        shape = (len(triangle), model.num_vertices)
        matrix = sparse.csr_matrix((weights.astype(np.float32), (rows, columns)), shape=shape)
        # Texels outside the charts copy the nearest covered one, so that filtering at a chart's
        # border finds skin and not background.
        nearest = ndimage.distance_transform_edt(
            ~covered, return_distances=False, return_indices=True
        )
        return _Atlas(matrix, covered, (nearest[0], nearest[1]))

    @cached_property
    def _partner(self) -> np.ndarray:
        if self.model.mirror is not None:
            return self.model.mirror
        return np.arange(self.model.num_vertices)

    @cached_property
    def _belongs(self) -> np.ndarray:
        """Where the photograph is skin and not collar or hair, (V,) in [0, 1], soft borders."""
        regions = self.model.regions
        outside = np.zeros(self.model.num_vertices, bool)
        for name in ("neck", "scalp"):
            if name in regions:
                outside |= regions[name]
        values = (~outside).astype(np.float32)
        neighbours = vertex_adjacency(self.model.faces, len(values)).astype(np.float32)
        degree = np.maximum(np.asarray(neighbours.sum(axis=1)).ravel(), 1)
        for _ in range(_BORDER_RINGS):
            # Only inwards: a collar must not bleed into the chin.
            values = np.minimum(values, (neighbours @ values) / degree)
        return values.astype(np.float32)

    def project(self, image: np.ndarray, vertices: np.ndarray, camera: Camera) -> np.ndarray:
        """Return the texture, (size, size, 3) uint8 sRGB, of a photograph.

        Args:
            image: (H, W, 3) uint8 RGB.
            vertices: (V, 3) mm, head frame.
            camera: head frame to ``image``.
        """
        points = project(camera, vertices).astype(np.float32)
        weight = self._weights(points, vertices, camera)
        partner = self._partner
        # One product interpolates both sides' image positions and weights.
        per_vertex = np.column_stack([points[:, :2], weight, points[partner, :2], weight[partner]])
        texels = self._atlas.interpolation @ per_vertex
        own = sample_image(image, texels[:, 0], texels[:, 1])
        mirrored = sample_image(image, texels[:, 3], texels[:, 4])
        own_weight, mirror_weight = texels[:, 2:3], texels[:, 5:6]
        base = self._base(image, points, weight)
        texture = mirror_weight * mirrored + (1 - mirror_weight) * base
        texture = own_weight * own + (1 - own_weight) * texture
        full = np.zeros((self.size, self.size, 3), np.uint8)
        full[self._atlas.covered] = np.clip(texture + 0.5, 0, 255).astype(np.uint8)
        return full[self._atlas.nearest]

    def _weights(self, points: np.ndarray, vertices: np.ndarray, camera: Camera) -> np.ndarray:
        """How well the camera sees each vertex, (V,) float32 in [0, 1]."""
        normals = vertex_normals(vertices, self.model.faces) @ camera.rotation.T
        towards = vertices @ camera.rotation.T + camera.translation
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        facing = -np.einsum("vd,vd->v", normals, towards)
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        scale = (_VISIBILITY_SIDE - 1) / max(float((high - low).max()), 1e-6)
        small = points.copy()
        small[:, :2] = (points[:, :2] - low) * scale
        fragments = rasterise(small, self.model.faces, _VISIBILITY_SIDE, _VISIBILITY_SIDE)
        depth = np.where(
            fragments.covered, fragments.depth(small, self.model.faces), np.float32(np.inf)
        )
        column, row = np.rint(small[:, 0]).astype(int), np.rint(small[:, 1]).astype(int)
        # The farthest of a pixel's neighbours: a vertex on an outline has background beside it.
        reach = ndimage.maximum_filter(depth, size=3)
        seen = points[:, 2] < reach[row, column] + _DEPTH_TOLERANCE
        x, y = points[:, 0], points[:, 1]
        inside = (x > 0) & (y > 0) & (x < camera.width - 1) & (y < camera.height - 1)
        weight = np.clip((facing - 0.15) / 0.35, 0, 1) * (seen & inside)
        return (weight * self._belongs).astype(np.float32)

    def _base(self, image: np.ndarray, points: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The model's albedo per texel at the photograph's brightness, sRGB in [0, 255]."""
        albedo = self.model.albedo()
        skin = weight > 0.5
        if "skin" in self.model.regions:
            skin &= self.model.regions["skin"]
        gain = np.ones(3, np.float32)
        if skin.sum() >= 50:
            seen = srgb_to_linear(sample_image(image, points[skin, 0], points[skin, 1]) / 255)
            gain = np.median(seen, axis=0) / np.maximum(np.median(albedo[skin], axis=0), 1e-3)
        colour = linear_to_srgb(np.clip(albedo * gain, 0, 1)).astype(np.float32) * 255
        return self._atlas.interpolation @ colour
