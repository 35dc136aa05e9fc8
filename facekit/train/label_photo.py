"""Photographs to labels: detect, fit, crop, mask, with the fit's own uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from facekit.detect.registry import Detector, open_detector
from facekit.errors import ItemError
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.masks import CELEBA_FACE, MaskSource, Segmentation
from facekit.fit.photo import FaceFit, FaceFitter, Setting
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.cameras import project
from facekit.geometry.crop import CROP_ID, warp
from facekit.io.discover import InputImage
from facekit.io.images import read_photo
from facekit.io.params import params_camera
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model
from facekit.render.rasterise import rasterise
from facekit.train.label_format import (
    CROP_SIZE,
    LIGHT_STD,
    FaceLabel,
    make_label,
    pose_deviations,
    quality_weight,
)
from facekit.types import Camera, DetectedFace

# Larger photographs are worked on at this longest side.
WORKING_SIDE = 2048
# Parts of a model that are the face itself; the whole head where it names none.
_FACE_REGIONS = ("face", "eyes", "eyeballs", "mouth", "mouth_inside")


@dataclass(frozen=True)
class LabelOptions:
    """Everything that changes what a photograph's labels are.

    Attributes:
        model: ``builtin`` or a model file.
        landmarks: source of boxes and landmarks.
        allow_download: let optional packages download their own weights.
        largest: only the largest face of each photograph.
        min_face: side in pixels of the smallest face looked for, in tiles; 0 searches the whole
            view only.
        photometric: fit the pixels too.
        persons: ``files`` takes every photograph for another person's unless an embedding says
            otherwise; ``folders`` takes a folder for one person.
        per_shard: photographs a shard.
        masks: folder of masks of what is face, by the photographs' names; empty looks beside each
            for ``STEM.mask.png``. segmentation: a network file that makes masks, ``face_labels``
            its classes that are face, ``segmentation_range`` how its input is scaled; see
            ``fit.masks``.
    """

    model: str = "builtin"
    landmarks: str = "auto"
    allow_download: bool = False
    largest: bool = False
    min_face: float = 0.0
    photometric: bool = False
    persons: str = "files"
    per_shard: int = 256
    masks: str = ""
    segmentation: str = ""
    face_labels: tuple[int, ...] = CELEBA_FACE
    segmentation_range: str = "imagenet"

    @property
    def mask_source(self) -> MaskSource:
        """Where masks besides the fitted mesh's come from."""
        network = None
        if self.segmentation:
            network = Segmentation(
                Path(self.segmentation), self.face_labels, self.segmentation_range
            )
        return MaskSource(Path(self.masks) if self.masks else None, network)


class LabelledPhoto(NamedTuple):
    """A photograph's labels.

    Attributes:
        labels: one a face that could be fitted, largest first.
        errors: what was wrong with the others.
        largest: detection, in pixels of the file, and mask (H, W) bool of the first label's face,
            for Deep3D's files; None where none was asked for.
    """

    labels: list[FaceLabel]
    errors: list[str]
    largest: tuple[DetectedFace, np.ndarray] | None


class PhotoLabeller:
    """Labels every face of a photograph; one per process."""

    def __init__(self, options: LabelOptions) -> None:
        self.options = options
        self.model: MorphableModel = load_model(options.model)
        self.detector: Detector = open_detector(
            options.landmarks,
            allow_download=options.allow_download,
            least_face=options.min_face or None,
        )
        self.masks = options.mask_source
        self.fitter = FaceFitter(self.model, LandmarkFitConfig(), photometric=options.photometric)

    def assets(self) -> dict[str, str]:
        """Return name to hash of what labels depend on."""
        own = {"model": self.model.sha256, "landmarks": self.detector.fingerprint}
        return {**own, **self.masks.assets()}

    def run(
        self, item: InputImage, facts: Mapping[str, Any], *, whole: bool = False
    ) -> LabelledPhoto:
        """Label a photograph.

        Args:
            item: the file.
            facts: ``source``, ``source_sha256`` and ``split`` of it.
            whole: also return the largest face's mask in the photograph.

        Raises:
            ItemError: the file is no readable image, or no face has a label.
        """
        side = None if self.options.min_face else WORKING_SIDE
        photo = read_photo(item.path, max_side=side)
        faces = self.detector.detect(photo.image, path=item.path)
        if not faces:
            raise ItemError("no face was found")
        if self.options.largest:
            faces = faces[:1]
        exif = photo.focal_px * photo.scale if photo.focal_px else None
        masks = self.masks.of_photo(item, photo.image)
        labels: list[FaceLabel] = []
        errors: list[str] = []
        largest = None
        for number, face in enumerate(faces, start=1):
            try:
                given = masks(face)
                weigh = given if self.options.photometric else None
                setting = Setting(exif_px=exif)
                fit = self.fitter.fit(photo.image, face, setting=setting, mask=weigh)
            except ItemError as error:
                errors.append(f"face {number}: {error}")
                continue
            if whole and largest is None:
                mask = self._mask(fit.vertices, fit.camera)
                if given is not None:
                    mask &= given >= 0.5
                if photo.scale != 1:
                    size = (photo.width, photo.height)
                    grey = mask.astype(np.uint8) * 255
                    mask = cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR) >= 128
                largest = face.rescaled(1 / photo.scale), mask
            label = self._label(photo.image, fit, {**facts, "face": number})
            if given is not None:
                share = warp(given.astype(np.float32), label.crop, size=CROP_SIZE)
                label = label._replace(mask=label.mask & (share >= 0.5))
            labels.append(_of_file(label, photo.scale, photo.width, photo.height))
        if not labels:
            raise ItemError("; ".join(errors))
        return LabelledPhoto(labels, errors, largest)

    def _label(self, image: np.ndarray, result: FaceFit, facts: Mapping[str, Any]) -> FaceLabel:
        said = self.fitter.facts(result)
        label = make_label(
            image,
            self.fitter.params(result),
            mask=np.zeros((CROP_SIZE, CROP_SIZE), bool),
            mask_in_crop=True,
            deviations={},
            facts={
                "kind": "fit",
                **facts,
                "quality": round(result.quality, 4),
                "weight": round(quality_weight(result.quality), 4),
                "model": self.model.name,
                "model_sha256": self.model.sha256,
                "scale_source": result.scale_source,
                "focal_source": result.focal.source,
                **{k: said[k] for k in ("yaw_deg", "pitch_deg", "roll_deg", "distance_mm")},
                "landmark_error_percent": said["landmark_error_percent"],
            },
        )
        camera = params_camera(label.params)
        return label._replace(
            mask=self._mask(result.vertices, camera) & _inside(image.shape, label.crop),
            deviations=self._deviations(result, label.crop),
        )

    def _deviations(self, result: FaceFit, crop: SimilarityTransform) -> dict[str, np.ndarray]:
        fit = result.fit
        K, C = len(fit.identity), len(fit.identity) + len(fit.expression)
        deviation = np.sqrt(np.maximum(np.diagonal(fit.covariance), 0))
        params = {
            "rotation": fit.rotation,
            "translation_mm": fit.translation,
            "intrinsics": result.camera.intrinsics,
        }
        return {
            "identity": deviation[:K],
            "expression": deviation[K:C],
            # Where the albedo was not fitted nothing but its prior is known.
            "albedo": np.ones(self.model.num_albedo),
            **pose_deviations(params, fit.covariance[C:, C:], crop),
            "light": np.full((9, 3), LIGHT_STD),
        }

    def _mask(self, vertices: np.ndarray, camera: Camera) -> np.ndarray:
        """Return where a camera sees the face itself of a fitted head, (H, W) bool."""
        points = project(camera, vertices.astype(np.float64))
        seen = rasterise(
            points, self.model.faces, camera.width, camera.height, cull=False, near=10.0
        )
        return np.append(self._face, False)[seen.triangle]

    @cached_property
    def _face(self) -> np.ndarray:
        """(F,) bool, the model's faces that are the face itself."""
        regions = [self.model.regions[r] for r in _FACE_REGIONS if r in self.model.regions]
        if not regions:
            return np.ones(len(self.model.faces), bool)
        vertices = np.any(regions, axis=0)
        return np.asarray(vertices[self.model.faces].all(axis=1))


def _inside(shape: tuple[int, ...], crop: SimilarityTransform) -> np.ndarray:
    """Return which pixels of a crop lie in the image, (S, S) bool."""
    y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    place = crop.inverse().apply(np.stack([x, y], axis=-1).astype(np.float64))
    inside = (place > -0.5).all(-1)
    return inside & (place[..., 0] < shape[1] - 0.5) & (place[..., 1] < shape[0] - 0.5)


def _of_file(label: FaceLabel, scale: float, width: int, height: int) -> FaceLabel:
    """Return a label whose crop is of the file's pixels, of which the image was a reduced copy."""
    crop = label.crop
    whole = SimilarityTransform(
        crop.scale * scale, crop.rotation, crop.apply(np.full(2, 0.5 * scale - 0.5))
    )
    described = {"id": CROP_ID, "size": CROP_SIZE, "matrix": whole.matrix().tolist()}
    return label._replace(facts={**label.facts, "crop": described, "image_size": [width, height]})
