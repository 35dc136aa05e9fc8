"""The folder of one fitted face: meshes, texture, parameters, landmarks, overlay."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facekit.export.texture import TextureProjector
from facekit.geometry.mesh import vertex_normals
from facekit.io.gltf import SplitMesh, write_glb
from facekit.io.images import write_image
from facekit.io.landmark_files import write_landmarks
from facekit.io.obj import write_obj
from facekit.io.params import write_params
from facekit.morphable.arkit import arkit_modes, arkit_weights
from facekit.morphable.model import MorphableModel
from facekit.types import Camera, DetectedFace, Mesh

# Files of a face's folder; with ``texturer`` its own textures stand in for texture.jpg.
FILES = (
    "face.obj",
    "face.mtl",
    "texture.jpg",
    "neutral.obj",
    "face.glb",
    "overlay.png",
    "params.npz",
    "landmarks.json",
)

# Files of a person's folder: what all photographs of one say.
PERSON_FILES = ("neutral.obj", "face.glb", "params.npz")
TEXTURE = "texture.jpg"
# A photograph, vertices (V, 3), camera and light (9, 3) to image files by name; the first is put
# on the mesh.
Texturer = Callable[[np.ndarray, np.ndarray, Camera, np.ndarray], Mapping[str, bytes]]


class FaceWriter:
    """Writes face folders for one morphable model; holds what is computed once.

    Args:
        model: the model that faces were fitted with.
        unit: unit of the OBJ files (``mm``, ``cm``, ``m``); glb is in metres as glTF demands.
        texture_size: side of the square texture in pixels.
        texturer: makes the textures; None projects the photograph.
    """

    def __init__(
        self,
        model: MorphableModel,
        *,
        unit: str = "mm",
        texture_size: int = 1024,
        texturer: Texturer | None = None,
    ) -> None:
        self.model, self.unit, self.texture_size = model, unit, texture_size
        self._texturer = texturer or self._projected

    @cached_property
    def _split(self) -> SplitMesh:
        return SplitMesh(self.model.mesh())

    @cached_property
    def _projector(self) -> TextureProjector:
        return TextureProjector(self.model, size=self.texture_size)

    @cached_property
    def _targets(self) -> list[tuple[str, np.ndarray]]:
        return arkit_modes(self.model)

    def write(
        self,
        folder: Path,
        *,
        image: np.ndarray,
        camera: Camera,
        vertices: np.ndarray,
        neutral: np.ndarray,
        expression: np.ndarray,
        face: DetectedFace,
        params: dict[str, Any],
        overlay: np.ndarray,
        scale_source: str,
        source: str,
        image_size: Sequence[int],
        scale: float,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Write every file of a face into an existing folder.

        Args:
            folder: an existing folder.
            image: (H, W, 3) uint8 photograph, possibly scaled down from the file by ``scale``.
            camera: head frame to ``image``.
            vertices, neutral: (V, 3) mm with and without expression.
            expression: (E,) weights.
            face: detection in pixels of ``image``.
            params: arrays of params.npz, already in pixels of the file.
            overlay: picture to write.
            scale_source: where the millimetres come from.
            source: the photograph's name, for the landmark file.
            image_size: width and height of the file.
            scale: ``image`` over file size.
            facts: further values for the ``meta`` of params.npz.
        """
        files = self._texturer(image, vertices, camera, params["light"])
        for name, content in files.items():
            (folder / name).write_bytes(content)
        first = next(iter(files))
        mesh = Mesh(vertices, self.model.faces, self.model.uvs, self.model.face_uvs)
        write_obj(folder / "face.obj", mesh, texture=folder / first, unit=self.unit)
        write_obj(folder / "neutral.obj", Mesh(neutral, self.model.faces), unit=self.unit)
        self._write_glb(folder, neutral, expression, files[first])
        write_image(folder / "overlay.png", overlay)
        write_landmarks(
            folder / "landmarks.json",
            [face.rescaled(1 / scale)],
            image=source,
            width=image_size[0],
            height=image_size[1],
        )
        write_params(
            folder / "params.npz",
            params,
            model_name=self.model.name,
            model_sha256=self.model.sha256,
            scale_source=scale_source,
            extra_meta={"image": source, **(facts or {})},
        )

    def write_person(
        self,
        folder: Path,
        *,
        image: np.ndarray,
        camera: Camera,
        vertices: np.ndarray,
        neutral: np.ndarray,
        params: dict[str, Any],
        scale_source: str,
        facts: dict[str, Any],
    ) -> None:
        """Write a person without expression (``PERSON_FILES``) into an existing folder.

        Args:
            folder: an existing folder.
            image: (H, W, 3) uint8 photograph whose texture the head gets.
            camera: head frame to ``image``; vertices: (V, 3) mm as it shows them.
            neutral: (V, 3) mm.
            params: arrays of params.npz, without expression.
            scale_source: where the millimetres come from.
            facts: further values for the ``meta`` of params.npz.
        """
        files = self._texturer(image, vertices, camera, params["light"])
        write_obj(folder / "neutral.obj", Mesh(neutral, self.model.faces), unit=self.unit)
        rest = np.zeros(self.model.num_expression)
        self._write_glb(folder, neutral, rest, files[next(iter(files))])
        write_params(
            folder / "params.npz",
            params,
            model_name=self.model.name,
            model_sha256=self.model.sha256,
            scale_source=scale_source,
            extra_meta=facts,
        )

    def _write_glb(
        self, folder: Path, neutral: np.ndarray, expression: np.ndarray, texture: bytes
    ) -> None:
        targets, weights = self._targets, arkit_weights(self.model, expression)
        write_glb(
            folder / "face.glb",
            neutral,
            self._split,
            normals=vertex_normals(neutral, self.model.faces),
            texture=texture,
            morph_targets=targets,
            morph_weights=[weights[name] for name, _ in targets],
        )

    def _projected(
        self, image: np.ndarray, vertices: np.ndarray, camera: Camera, light: np.ndarray
    ) -> Mapping[str, bytes]:
        del light
        return {TEXTURE: _jpeg(self._projector.project(image, vertices, camera))}


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()
