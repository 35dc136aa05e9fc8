"""Textures for ``facekit fit --texture full``: one maker a process."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.morphable.model import MorphableModel
from facekit.texture.atlas import LARGEST_SIZE, TexelAtlas, fitting_size
from facekit.texture.complete import FaceTexture, complete_texture
from facekit.types import Camera

# Textures are completed at this size at most; larger ones take the photograph's detail.
_COMPLETED_SIZE = 1024
# Light zlib: textures are written once and their noise hardly shrinks.
_PNG_LEVEL = 3


class TextureMaker:
    """Makes the textures of fitted faces; holds each size's texels.

    Args:
        model: a model with uvs.
        size: side in texels, a power of two from 64 to 4096; 0 chooses by the face's size in each
            photograph.

    Raises:
        InputError: the model has no uvs, or another size.
    """

    def __init__(self, model: MorphableModel, size: int = 0) -> None:
        if model.uvs is None:
            raise InputError(f"model {model.name}: has no uvs, so no texture can be made")
        if size and (size & (size - 1) or not 64 <= size <= LARGEST_SIZE):
            raise InputError(
                f"texture size: expected a power of two from 64 to {LARGEST_SIZE}, or 0 for the "
                f"face's own, got {size}"
            )
        self.model, self.size = model, size
        self._atlases: dict[int, TexelAtlas] = {}

    def make(
        self, image: np.ndarray, vertices: np.ndarray, camera: Camera, light: np.ndarray
    ) -> FaceTexture:
        """Return a face's textures; arguments as in ``complete_texture``."""
        size = self.size or fitting_size(self.model, project(camera, vertices))
        atlas = self._atlas(min(size, _COMPLETED_SIZE))
        return complete_texture(atlas, image, vertices, camera, light, size=size)

    def files(
        self, image: np.ndarray, vertices: np.ndarray, camera: Camera, light: np.ndarray
    ) -> Mapping[str, bytes]:
        """Return PNG files by name: ``texture.png`` as seen, ``albedo.png`` under even light."""
        made = self.make(image, vertices, camera, light)
        return {"texture.png": _png(made.seen), "albedo.png": _png(made.even)}

    def _atlas(self, size: int) -> TexelAtlas:
        if size not in self._atlases:
            self._atlases[size] = TexelAtlas(self.model, size)
        return self._atlases[size]


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
