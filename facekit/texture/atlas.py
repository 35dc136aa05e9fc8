"""A model's texture chart as texels: which point of the surface each one shows."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import ndimage, sparse

from facekit.errors import InputError
from facekit.geometry.mesh import face_areas
from facekit.morphable.model import MorphableModel
from facekit.render.rasterise import rasterise

# Sizes that are chosen by themselves.
LEAST_SIZE, LARGEST_SIZE = 256, 4096


class TexelAtlas:
    """The texels of one model's chart at one size.

    Attributes:
        model: a model with uvs.
        size: side in texels.
        covered: (S, S) bool: texels that show the surface.
        triangle: (N,) int32 and barycentric: (N, 3) float32 of the covered ones, in row order.

    Raises:
        InputError: the model has no uvs, or a size below 16.
    """

    def __init__(self, model: MorphableModel, size: int) -> None:
        if model.uvs is None or model.face_uvs is None:
            raise InputError(f"model {model.name}: has no uvs, so no texture can be made")
        if size < 16:
            raise InputError(f"texture size: expected at least 16 texels, got {size}")
        self.model, self.size, self._face_uvs = model, size, model.face_uvs
        self._shares: dict[str, np.ndarray] = {}
        fragments = rasterise(self._flat_uvs(), model.face_uvs, size, size, cull=False)
        self.covered = fragments.covered
        self.triangle = fragments.triangle[self.covered]
        self.barycentric = fragments.barycentric[self.covered]

    def _flat_uvs(self) -> np.ndarray:
        uvs = np.asarray(self.model.uvs, np.float64)
        size = self.size
        return np.stack(
            [uvs[:, 0] * size - 0.5, (1 - uvs[:, 1]) * size - 0.5, np.ones(len(uvs))], axis=1
        )

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Return vertex values (V, ...) at the covered texels, (N, ...) float32."""
        table = np.asarray(values, np.float32)
        found = self._matrix @ table.reshape(len(table), -1)
        return found.reshape(len(found), *table.shape[1:])

    def share(self, region: str) -> np.ndarray:
        """Return how much of a named region the covered texels are, (N,) in [0, 1]."""
        if region not in self._shares:
            mask = self.model.regions.get(region, np.zeros(self.model.num_vertices, bool))
            self._shares[region] = self.interpolate(mask)
        return self._shares[region]

    @cached_property
    def _matrix(self) -> sparse.csr_matrix:
        count = len(self.triangle)
        columns = self.model.faces[self.triangle].ravel()
        starts = np.arange(0, 3 * count + 1, 3)
        shape = (count, self.model.num_vertices)
        return sparse.csr_matrix((self.barycentric.ravel(), columns, starts), shape=shape)

    def image(self, values: np.ndarray) -> np.ndarray:
        """Put values (N, ...) of the covered texels into an image (S, S, ...), 0 elsewhere."""
        full = np.zeros((self.size, self.size, *values.shape[1:]), values.dtype)
        full[self.covered] = values
        return full

    def padded(self, image: np.ndarray) -> np.ndarray:
        """Copy the nearest covered texel to each other one: filters then find skin at borders."""
        rows, columns = self._nearest
        return image[rows, columns]

    @cached_property
    def _nearest(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = ndimage.distance_transform_edt(
            ~self.covered, return_distances=False, return_indices=True
        ).astype(np.int32)
        return rows, columns

    @cached_property
    def texels_per_mm(self) -> float:
        """Texels per millimetre of the mean head's face (median)."""
        model = self.model
        region = model.regions.get("face", np.ones(model.num_vertices, bool))
        rows = region[model.faces].all(axis=1)
        chart = np.abs(signed_areas(self._flat_uvs()[:, :2][self._face_uvs[rows]]))
        surface = face_areas(model.mean, model.faces[rows])
        good = (chart > 0) & (surface > 0)
        if not good.any():
            return 1.0
        return float(np.median(np.sqrt(chart[good] / surface[good])))


def fitting_size(
    model: MorphableModel,
    points: np.ndarray,
    *,
    largest: int = LARGEST_SIZE,
) -> int:
    """Return the texture size that holds a photograph's detail: a texel for a pixel on the face.

    The median over the face's triangles that look at the camera of image over chart size, up to
    the next power of two (a tenth is let go), from 256 to ``largest``.

    Args:
        model: with uvs.
        points: (V, 2+) vertices in image pixels.
        largest: upper limit.

    Raises:
        InputError: the model has no uvs.
    """
    if model.uvs is None or model.face_uvs is None:
        raise InputError(f"model {model.name}: has no uvs, so no texture can be made")
    region = model.regions.get("face", np.ones(model.num_vertices, bool))
    rows = region[model.faces].all(axis=1)
    if not rows.any():
        rows = np.ones(len(model.faces), bool)
    flat = np.asarray(model.uvs, np.float64)
    chart = np.abs(signed_areas(flat[model.face_uvs[rows]]))
    # Counter-clockwise from outside is clockwise in an image whose y runs down.
    seen = -signed_areas(np.asarray(points, np.float64)[:, :2][model.faces[rows]])
    good = (seen > 0) & (chart > 0)
    if not good.any():
        return LEAST_SIZE
    needed = float(np.median(np.sqrt(seen[good] / chart[good])))
    power = 2 ** int(np.ceil(np.log2(max(0.9 * needed, 1.0))))
    return int(min(max(power, LEAST_SIZE), largest))


def signed_areas(corners: np.ndarray) -> np.ndarray:
    """Return the signed areas of flat triangles (F, 3, 2)."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
