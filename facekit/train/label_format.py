"""One labelled face: its crop, mask, coefficients with their deviations, and where it came from.

A sample of a labels folder has four members: ``<id>.jpg`` (the ``five-v1`` crop), ``<id>.npz``
(the keys of ``params.npz`` in the crop's own camera and pixels, and ``<block>_std`` for every part
of the coefficient vector), ``<id>.mask.png`` (where the face itself is seen) and ``<id>.json``.
``dataset.json`` beside the shards holds the coefficient ``layout``, the crop's id and the model.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.detect.landmark_sets import ibug68_to_five
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import CROP_ID, crop_camera, five_crop, warp
from facekit.geometry.crop_pose import encode_pose
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.io.params import decode_params, encode_params
from facekit.learn.shards import Sample
from facekit.morphable.layout import NAMES, CoefficientLayout, model_layout
from facekit.morphable.model import MorphableModel
from facekit.render.shade import roll_light

SCHEMA = "facekit.labels/1"
CROP_SIZE = 256
COLUMNS = ("quality", "weight", "split", "person")
# What nothing is known of keeps its prior's deviation of 1; a fit does not say how well it knows
# the light, which is taken to be good to a tenth of a well-lit white.
LIGHT_STD = 0.1
_LEAST_WEIGHT = 0.02
_JPEG_QUALITY = 95
# Steps of the pose's derivative: radians, mm, and of the logarithm of the focal length.
_STEPS = np.array([1e-5] * 3 + [1e-2] * 3 + [1e-5])


class FaceLabel(NamedTuple):
    """A crop and what is known of its face.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        mask: (S, S) bool, the face itself is seen.
        params: the keys of ``params.npz``; pose, camera, light and landmarks are those of the
            crop.
        deviations: by part of the coefficient vector, of the part's shape; 0 is exact.
        facts: everything else, as JSON values: at least ``source``, ``source_sha256``, ``crop``,
            ``quality``, ``weight``, ``split``, ``model``, ``model_sha256``.
    """

    image: np.ndarray
    mask: np.ndarray
    params: Mapping[str, Any]
    deviations: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    @property
    def crop(self) -> SimilarityTransform:
        """Pixels of the source image to those of the crop."""
        return crop_of_facts(self.facts)


def label_crop(landmarks_2d: np.ndarray, *, size: int = CROP_SIZE) -> SimilarityTransform:
    """Return the ``five-v1`` crop about 68 landmarks (68, 2)."""
    points = check_array(landmarks_2d, "landmarks", shape=(68, 2)).astype(np.float64)
    return five_crop(ibug68_to_five(points), size=size)


def params_in_crop(
    params: Mapping[str, Any], crop: SimilarityTransform, *, size: int = CROP_SIZE
) -> dict[str, Any]:
    """Return a photograph's params as its crop's own camera has them.

    Pose and light are turned with the crop; intrinsics and landmarks are in its pixels. The head
    keeps its millimetres, so that ``uncrop_params`` undoes it.

    Raises:
        InputError: the camera has distortion, two focal lengths or skew.
    """
    if np.any(np.asarray(params["distortion"])):
        raise InputError("params: expected a camera without distortion for a crop; undistort first")
    camera = crop_camera(params["intrinsics"], crop)
    return {
        **params,
        "rotation": camera.rotation @ params["rotation"],
        "translation_mm": camera.rotation @ params["translation_mm"],
        "intrinsics": camera.intrinsics,
        "light": roll_light(params["light"], crop.rotation),
        "image_size": np.array([size, size], np.int32),
        "landmarks_2d": crop.apply(np.asarray(params["landmarks_2d"], np.float64)),
    }


def uncrop_params(
    params: Mapping[str, Any], crop: SimilarityTransform, *, width: int, height: int
) -> dict[str, Any]:
    """Return a crop's params as the photograph of ``width`` by ``height`` has them."""
    whole = params_in_crop(params, crop.inverse())
    return {**whole, "image_size": np.array([width, height], np.int32)}


def pose_deviations(
    params: Mapping[str, Any],
    covariance: np.ndarray,
    crop: SimilarityTransform,
    *,
    size: int = CROP_SIZE,
) -> dict[str, np.ndarray]:
    """Return the deviations of a crop pose, ``rotation`` (6,) and ``translation`` (3,).

    Args:
        params: rotation, translation and intrinsics of the photograph.
        covariance: (6, 6) or (7, 7) of a fit's rotation vector, translation in mm and, when it was
            free, the logarithm of the focal length, which moves the head with it.
        crop: photograph to crop pixels; size: side of the crop.
    """
    rotation = np.asarray(params["rotation"], np.float64)
    translation = np.asarray(params["translation_mm"], np.float64)

    def pose(step: np.ndarray) -> np.ndarray:
        camera = np.array(params["intrinsics"], np.float64)
        camera[[0, 1], [0, 1]] *= np.exp(step[6])
        found = encode_pose(
            rotvec_to_matrix(step[:3]) @ rotation,
            (translation + step[3:6]) * np.exp(step[6]),
            camera,
            crop,
            size=size,
        )
        return np.concatenate(found)

    count = len(covariance)
    steps = np.eye(7)[:count] * _STEPS
    slopes = np.stack([(pose(s) - pose(-s)) / (2 * s.max()) for s in steps], axis=1)
    deviation = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, covariance, slopes), 0))
    return {"rotation": deviation[:6], "translation": deviation[6:]}


def make_label(
    image: np.ndarray,
    params: Mapping[str, Any],
    *,
    mask: np.ndarray,
    deviations: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    crop: SimilarityTransform | None = None,
    size: int = CROP_SIZE,
    mask_in_crop: bool = False,
) -> FaceLabel:
    """Crop a photograph about a face whose params are known.

    Args:
        image: (H, W, 3) uint8 RGB.
        params: the keys of ``params.npz`` in the photograph's camera and pixels.
        mask: (H, W) bool in the photograph, or (size, size) bool with ``mask_in_crop``.
        deviations: of the parts of the coefficient vector.
        facts: see ``FaceLabel``; ``crop`` and ``image_size`` are added.
        crop: photograph to crop pixels; None takes ``label_crop``'s.
        size: side of the crop.
    """
    to_crop = label_crop(params["landmarks_2d"], size=size) if crop is None else crop
    seen = np.asarray(mask, bool)
    if not mask_in_crop:
        seen = warp(seen.astype(np.uint8) * 255, to_crop, size=size) >= 128
    height, width = image.shape[:2]
    described = {"id": CROP_ID, "size": size, "matrix": to_crop.matrix().tolist()}
    return FaceLabel(
        warp(image, to_crop, size=size),
        seen,
        params_in_crop(params, to_crop, size=size),
        deviations,
        {**facts, "crop": described, "image_size": [width, height]},
    )


def quality_weight(quality: float) -> float:
    """Return how much a label of this quality in [0, 1] counts: at least 0.02, never nothing."""
    return float(np.clip(quality, _LEAST_WEIGHT, 1.0))


def sample_id(key: str) -> str:
    """Return a sample's id for a source's key: readable, without a dot, different for each key."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", key).strip("_")[-60:] or "face"
    return plain if plain == key else f"{plain}-{zlib.crc32(key.encode()):08x}"


def encode_label(identifier: str, label: FaceLabel) -> Sample:
    """Return a label as a sample of a shard."""
    facts = {"id": identifier, **label.facts}
    deviations = {f"{name}_std": label.deviations[name] for name in NAMES}
    content = encode_params(
        {**label.params, **deviations},
        model_name=facts["model"],
        model_sha256=facts["model_sha256"],
        scale_source=facts["scale_source"],
        extra_meta={"kind": "label", "id": identifier},
        where=identifier,
    )
    files = {
        "jpg": _encoded(".jpg", label.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]),
        "npz": content,
        "mask.png": _encoded(".png", label.mask.astype(np.uint8) * 255, []),
        "json": (json.dumps(facts, ensure_ascii=False) + "\n").encode(),
    }
    columns = {"person": "", **facts}
    return Sample(identifier, files, {name: columns[name] for name in COLUMNS})


def decode_label(
    files: Mapping[str, bytes], where: str, *, keys: Collection[str] | None = None
) -> FaceLabel:
    """Return a label from a sample's members.

    Args:
        files: members by suffix.
        where: names the sample in messages.
        keys: of the params to read, None for all; deviations are read for all only.

    Raises:
        InputError: a member is missing or cannot be read.
    """
    params, deviations, facts = decode_facts(files, where, keys=keys)
    mask = _decoded(files["mask.png"], cv2.IMREAD_GRAYSCALE, where) >= 128
    return FaceLabel(decode_photo(files, where), mask, params, deviations, facts)


def decode_facts(
    files: Mapping[str, bytes], where: str, *, keys: Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
    """Return a label without its pictures: its params, deviations and facts.

    Arguments and errors as ``decode_label``.
    """
    for suffix in ("jpg", "npz", "mask.png", "json"):
        if suffix not in files:
            what = {"jpg": "image", "mask.png": "mask"}.get(suffix, "label")
            raise InputError(f"{where}: has no {what} (.{suffix}); make its shard again")
    params = decode_params(files["npz"], where, keys=keys)
    deviations = {
        name: params.pop(f"{name}_std") for name in NAMES if keys is None or f"{name}_std" in params
    }
    return params, deviations, json.loads(files["json"])


def decode_photo(files: Mapping[str, bytes], where: str) -> np.ndarray:
    """Return a sample's crop (S, S, 3) uint8 RGB.

    Raises:
        InputError: it cannot be read.
    """
    image = _decoded(files["jpg"], cv2.IMREAD_COLOR, where)
    # In place, and not as a view from the back, which everything after would copy.
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image))


def label_vectors(layout: CoefficientLayout, label: FaceLabel) -> tuple[np.ndarray, np.ndarray]:
    """Return a label's coefficients (C,) and their deviations (C,) in the layout, in its crop."""
    params = label.params
    size = int(params["image_size"][0])
    pose = encode_pose(
        params["rotation"],
        params["translation_mm"],
        params["intrinsics"],
        SimilarityTransform(1.0, np.eye(2), np.zeros(2)),
        size=size,
    )
    parts = {**params, "rotation": pose.rotation, "translation": pose.translation}
    return layout.pack(parts), layout.pack(label.deviations)


def dataset_document(model: MorphableModel, *, kind: str, size: int = CROP_SIZE) -> dict[str, Any]:
    """Return ``dataset.json``: what every sample of a labels folder has in common."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "crop": {"id": CROP_ID, "size": size},
        "layout": model_layout(model).document(),
        "model": model.name,
        "model_sha256": model.sha256,
    }


def crop_of_facts(facts: Mapping[str, Any]) -> SimilarityTransform:
    """Return the crop of a label's JSON.

    Raises:
        InputError: it was cropped by another rule.
    """
    crop = facts.get("crop", {})
    if crop.get("id") != CROP_ID:
        raise InputError(
            f"label {facts.get('id', '')}: expected the crop {CROP_ID}, got {crop.get('id')}"
        )
    matrix = check_array(crop["matrix"], "crop matrix", shape=(2, 3)).astype(np.float64)
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    return SimilarityTransform(scale, matrix[:, :2] / scale, matrix[:, 2])


def _encoded(suffix: str, image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise InputError(f"label: an image of shape {image.shape} cannot be written as {suffix}")
    return bytes(data)


def _decoded(content: bytes, flag: int, where: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    if image is None:
        raise InputError(f"{where}: its image or mask cannot be decoded; make its shard again")
    return np.asarray(image)
