"""Faces for weakly supervised training: pictures, 68 points and a mask; no coefficients needed.

They come from labels folders (``facekit label``, ``facekit simulate photos --format shards``) or
from Deep3D's layout: ``x.png``, ``landmarks/x.txt`` (68 rows, y counted upwards from the bottom
row) and, where there is one, ``mask/x.png``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from facekit.errors import InputError
from facekit.fit.terms.skin import skin_probability
from facekit.io.images import read_image
from facekit.train.joined import Joined
from facekit.train.labels import TRAINING_KEYS, LabelledShards, certainty_of
from facekit.train.split import split_of_name

MASKS = ("skin", "label", "both")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
# Colours of the table that stands for the skin's probability, a side.
_LEVELS = 64


class WeakFace(NamedTuple):
    """A photograph with what weak supervision needs of its face.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) pixels.
        mask: (H, W) uint8, how much each pixel counts; None where nothing is known.
        skin: the mask is one of skin already.
        weight: how much the face counts, 0 to 1.
        params: the keys of ``params.npz`` of a label, or None; training does not look at them.
        certainty: of their identity, 1 known, 0 nothing but the prior.
    """

    image: np.ndarray
    landmarks: np.ndarray
    mask: np.ndarray | None
    skin: bool = False
    weight: float = 1.0
    params: Mapping[str, Any] | None = None
    certainty: float = 0.0


class WeakFaces(Protocol):
    """Faces by number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def weak_face(self, index: int) -> WeakFace:
        """Return face ``index``."""

    def persons(self) -> list[str]:
        """Return who each face shows, empty where that is not known."""


class WeakLabels:
    """The faces of a labels folder's split; see ``WeakFaces``.

    Args:
        folder: of labels.
        split: ``train``, ``validation`` or ``held_out``.
        model_sha256: of the model that is trained; another model's coefficients are left out.
    """

    def __init__(self, folder: Path, *, split: str, model_sha256: str) -> None:
        self._shards = LabelledShards(folder, split=split)
        self._of_model = self._shards.model_sha256 == model_sha256

    def __len__(self) -> int:
        return len(self._shards)

    def weak_face(self, index: int) -> WeakFace:
        """Return face ``index``."""
        label = self._shards.label(index, keys=TRAINING_KEYS)
        return WeakFace(
            label.image,
            np.asarray(label.params["landmarks_2d"], np.float64),
            label.mask.astype(np.uint8) * 255,
            weight=float(label.facts["weight"]),
            params=label.params if self._of_model else None,
            certainty=certainty_of(label.deviations["identity"]) if self._of_model else 0.0,
        )

    def persons(self) -> list[str]:
        """Return who each face shows, empty where that is not known."""
        return self._shards.persons()


class Deep3DFolder:
    """The faces of a folder in Deep3D's layout; see ``WeakFaces``.

    The sha256 of a photograph's path without its suffix says which split it is in.

    Args:
        folder: walked recursively.
        split: ``train``, ``validation`` or ``held_out``.

    Raises:
        InputError: no ``landmarks/*.txt``, or one without its image.
    """

    def __init__(self, folder: Path, *, split: str) -> None:
        self.folder = Path(folder)
        files = sorted(self.folder.rglob("landmarks/*.txt"))
        if not files:
            raise InputError(
                f"{folder}: expected a labels folder, or Deep3D's landmarks/*.txt beside images; "
                "photographs with detections alone are labelled by facekit label --deep3d"
            )
        self._items = [
            (_image_of(file), file)
            for file in files
            if split_of_name((file.parent.parent / file.stem).relative_to(folder).as_posix())
            == split
        ]

    def __len__(self) -> int:
        return len(self._items)

    def weak_face(self, index: int) -> WeakFace:
        """Return face ``index``.

        Raises:
            InputError: the image, its landmarks or its mask cannot be read.
        """
        path, points = self._items[index]
        image = read_image(path)
        landmarks = _read_points(points, len(image))
        mask_path = path.parent / "mask" / f"{path.stem}.png"
        mask = None
        if mask_path.is_file():
            mask = read_image(mask_path)[..., 0]
            if mask.shape != image.shape[:2]:
                raise InputError(
                    f"{mask_path}: expected the image's size {image.shape[1::-1]}, "
                    f"got {mask.shape[::-1]}"
                )
        return WeakFace(image, landmarks, mask, skin=mask is not None)

    def persons(self) -> list[str]:
        """Return who each face shows: nobody knows."""
        return [""] * len(self)


class JoinedWeakFaces(Joined[WeakFaces]):
    """Several sources as one, by number."""

    def weak_face(self, index: int) -> WeakFace:
        """Return face ``index`` of all."""
        part, place = self.place(index)
        return part.weak_face(place)

    def persons(self) -> list[str]:
        """Return who each face shows; two sources have nobody in common."""
        return [
            f"{number}/{person}" if person else ""
            for number, part in enumerate(self.parts)
            for person in part.persons()
        ]


def load_weak(data: Sequence[Path], *, split: str, model_sha256: str) -> JoinedWeakFaces:
    """Return the faces of a split of labels folders and folders in Deep3D's layout.

    Raises:
        InputError: a folder is neither.
    """
    parts: list[WeakFaces] = []
    for folder in map(Path, data):
        if (folder / "dataset.json").is_file():
            parts.append(WeakLabels(folder, split=split, model_sha256=model_sha256))
        else:
            parts.append(Deep3DFolder(folder, split=split))
    return JoinedWeakFaces(parts)


def skin_mask(image: np.ndarray) -> np.ndarray:
    """Return 255 times the probability of skin, (H, W) uint8, by a table of 64 levels a colour."""
    step = 256 // _LEVELS
    return np.asarray(_skin_table()[tuple(np.moveaxis(image // step, -1, 0))])


@cache
def _skin_table() -> np.ndarray:
    levels = np.arange(_LEVELS, dtype=np.uint8) * (256 // _LEVELS) + 128 // _LEVELS
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    flat = skin_probability(colours.reshape(_LEVELS, -1, 3))
    return np.rint(255 * flat).astype(np.uint8).reshape(_LEVELS, _LEVELS, _LEVELS)


def _image_of(landmarks: Path) -> Path:
    place = landmarks.parent.parent
    for suffix in _SUFFIXES:
        path = place / f"{landmarks.stem}{suffix}"
        if path.is_file():
            return path
    raise InputError(
        f"{landmarks}: its image is missing; expected {place / landmarks.stem} with one of "
        f"{', '.join(_SUFFIXES)}"
    )


def _read_points(path: Path, height: int) -> np.ndarray:
    try:
        points = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected 68 rows of x and y ({error})") from error
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise InputError(f"{path}: expected 68 rows of x and y, got {points.shape}")
    return np.column_stack([points[:, 0], height - 1 - points[:, 1]])
