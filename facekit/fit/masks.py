"""Which pixels of a photograph show the face: masks from files, or from a user's own network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from facekit.checks import check_array
from facekit.detect.session import Network, open_file
from facekit.errors import InputError, ItemError, UsageError
from facekit.geometry.crop import box_crop, warp
from facekit.io.discover import InputImage
from facekit.io.images import SUFFIXES, read_image
from facekit.runs import file_sha256
from facekit.types import DetectedFace

# Skin, brows, nose and lips of the 19 classes that CelebAMask-HQ's networks know.
CELEBA_FACE = (1, 2, 3, 10, 12, 13)
# How a network wants its picture: mean and deviation of RGB in [0, 1].
_RANGES: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0, 0, 0), (1, 1, 1)),
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "byte": ((0, 0, 0), (1 / 255, 1 / 255, 1 / 255)),
}
RANGES = tuple(_RANGES)
# Networks learned from pictures of whole heads: side of the crop over the box's longer side.
_MARGIN = 1.8


def find_mask(item: InputImage, folder: Path | None = None) -> Path | None:
    """Return the mask file of an image, or None.

    Args:
        item: the image and its name.
        folder: where masks lie, in the images' own tree: ``KEY.png`` or ``KEY.mask.png`` (any
            suffix that is read). None looks for ``STEM.mask.png`` beside the image.
    """
    if folder is None:
        names = [item.path.with_suffix(f".mask{end}") for end in sorted(SUFFIXES)]
    else:
        names = [
            folder / f"{item.key}{part}{end}" for part in (".mask", "") for end in sorted(SUFFIXES)
        ]
    found = (name for name in names if name.is_file() and name.resolve() != item.path.resolve())
    return next(found, None)


def read_mask(path: Path, width: int, height: int) -> np.ndarray:
    """Read a mask, (height, width) float32 in [0, 1]: white is face, black is not.

    A mask of another size is scaled (the photograph may have been scaled down).

    Raises:
        ItemError: it is no readable image, or has other proportions.
    """
    mask = read_image(path).max(axis=2)
    rows, columns = mask.shape
    if abs(columns / width - rows / height) > 0.02 * columns / width:
        raise ItemError(
            f"{path}: expected a mask of the photograph's proportions {width} x {height}, got "
            f"{columns} x {rows}"
        )
    if mask.shape != (height, width):
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    return mask.astype(np.float32) / 255


@dataclass(frozen=True)
class Segmentation:
    """A segmentation network of the user's.

    Attributes:
        path: an ``.onnx`` file that takes one RGB picture (1, 3, S, S) or (1, S, S, 3) and gives
            scores of each class (1, C, S, S), or labels (1, S, S).
        labels: classes that are face.
        range: how its input is scaled: ``imagenet`` (that data set's mean and deviation),
            ``unit`` (0 to 1), ``signed`` (-1 to 1) or ``byte`` (0 to 255).
    """

    path: Path
    labels: tuple[int, ...] = CELEBA_FACE
    range: str = "imagenet"

    def __post_init__(self) -> None:
        if self.range not in _RANGES:
            raise UsageError(
                f"segmentation range: expected one of {', '.join(RANGES)}, got {self.range!r}"
            )
        if not self.labels or min(self.labels) < 0:
            raise UsageError("segmentation labels: expected class numbers of at least 0")

    @cached_property
    def network(self) -> Network:
        """The network, opened once."""
        return open_file(self.path)

    def mask(self, image: np.ndarray, face: DetectedFace) -> np.ndarray:
        """Return the probability that each pixel is face, (H, W) float32; 0 far from the box.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: where to look: a square 1.8 times the box.

        Raises:
            InputError: the file is no network of this kind, or knows too few classes.
        """
        picture = check_array(image, "image", shape=("H", "W", 3), dtype="uint8")
        height, width = picture.shape[:2]
        name, size, first = self._input()
        crop = box_crop(face.box, size=size, margin=_MARGIN)
        mean, deviation = (np.array(v, np.float32) for v in _RANGES[self.range])
        given = ((warp(picture, crop, size=size) / np.float32(255) - mean) / deviation)[None]
        if first:
            given = np.ascontiguousarray(given.transpose(0, 3, 1, 2))
        found = self.network(**{name: given})
        share = self._share(np.asarray(found[self.network.outputs[0]])[0])
        share = cv2.resize(share, (size, size), interpolation=cv2.INTER_LINEAR)
        # The crop's picture is put back by the inverse of the transform that took it.
        return cv2.warpAffine(
            share,
            crop.matrix(),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )

    def _input(self) -> tuple[str, int, bool]:
        """The input's name, its side, and whether channels come first."""
        entry = self.network.session.get_inputs()[0]
        shape = entry.shape
        if len(shape) == 4 and entry.type == "tensor(float)":
            for first, side in ((True, shape[2]), (False, shape[1])):
                if shape[1 if first else 3] == 3:
                    return entry.name, side if isinstance(side, int) else 512, first
        raise InputError(
            f"{self.path}: expected a network with one float input (1, 3, S, S) or (1, S, S, 3), "
            f"got {entry.type} {shape}"
        )

    def _share(self, scores: np.ndarray) -> np.ndarray:
        """Probability of the face's classes (h, w) of scores (C, h, w) or labels (h, w)."""
        if scores.ndim == 2:
            return np.isin(scores, self.labels).astype(np.float32)
        if scores.ndim != 3 or max(self.labels) >= len(scores):
            raise InputError(
                f"{self.path}: expected scores of more than {max(self.labels)} classes, (C, h, w), "
                f"got {scores.shape}"
            )
        shifted = np.exp(scores - scores.max(axis=0, keepdims=True))
        return (shifted[list(self.labels)].sum(axis=0) / shifted.sum(axis=0)).astype(np.float32)


@dataclass(frozen=True)
class MaskSource:
    """Where the masks of a batch come from; both at once multiply.

    Attributes:
        folder: of mask files; None looks beside each image. An image without one is not masked.
        network: makes a mask of every face, or None.
    """

    folder: Path | None = None
    network: Segmentation | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"{self.folder}: expected a folder of masks")

    def assets(self) -> dict[str, str]:
        """Return name to hash of what masks depend on besides files."""
        return {} if self.network is None else {"segmentation": self.network.network.sha256}

    def file_sha256(self, item: InputImage) -> str:
        """Return the hash of an image's mask file; empty without one."""
        path = find_mask(item, self.folder)
        return "" if path is None else file_sha256(path)

    def of_photo(
        self, item: InputImage, image: np.ndarray, *, mirrored: bool = False
    ) -> Callable[[DetectedFace], np.ndarray | None]:
        """Return what gives the mask (H, W) of each face of a photograph, or None for no mask.

        Args:
            item: the file.
            image: (H, W, 3) uint8 RGB as it is fitted.
            mirrored: it was turned left to right after reading, so that its mask must be too.

        Raises:
            ItemError: the mask file cannot be read or has other proportions.
        """
        path = find_mask(item, self.folder)
        mask = None if path is None else read_mask(path, image.shape[1], image.shape[0])
        if mask is not None and mirrored:
            mask = np.ascontiguousarray(mask[:, ::-1])

        def of_face(face: DetectedFace) -> np.ndarray | None:
            if self.network is None:
                return mask
            seen = self.network.mask(image, face)
            return seen if mask is None else seen * mask

        return of_face
