"""One picture of a video: only the parts that are asked for become RGB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np

from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import warp
from facekit.io.yuv import ColourMatrix, colour_matrix, yuv_to_rgb

# Colour standards by the number that a stream carries (ITU-T H.273, table 4).
_SHARES = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
# Without a number: what players take for this height and more.
_HD_HEIGHT = 720
_PLANAR = {"yuv420p": False, "yuvj420p": True}


class Part(NamedTuple):
    """A rectangle of a picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        corner: (2,) where its first pixel lies in the picture.
    """

    image: np.ndarray
    corner: np.ndarray


class Frame(ABC):
    """A picture and its time.

    Attributes:
        number: of the frames that were read, from 0.
        time: seconds since the first frame, exact.
        width, height: of the upright picture.
    """

    def __init__(self, number: int, time: Fraction, width: int, height: int) -> None:
        self.number, self.time = number, time
        self.width, self.height = width, height

    @abstractmethod
    def _cut(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Return the RGB of columns x0 to x1 and rows y0 to y1 of the upright picture."""

    def part(self, low: np.ndarray, high: np.ndarray) -> Part | None:
        """Return the part between two corners (2,) in pixels, or None if all of it is outside."""
        size = np.array([self.width, self.height])
        start = np.clip(np.floor(low), 0, size).astype(int)
        stop = np.clip(np.ceil(high) + 1, 0, size).astype(int)
        if (stop <= start).any():
            return None
        image = self._cut(int(start[0]), int(start[1]), int(stop[0]), int(stop[1]))
        return Part(image, start.astype(np.float64))

    def warp(self, crop: SimilarityTransform, *, size: int) -> np.ndarray:
        """Return the (size, size, 3) uint8 RGB of a crop, black outside the picture.

        Args:
            crop: picture to crop pixels; see ``geometry.crop``.
            size: the crop's side.
        """
        low, high = _bounds(crop, size)
        part = self.part(low, high)
        if part is None:
            return np.zeros((size, size, 3), np.uint8)
        return warp(part.image, _shifted(crop, part.corner), size=size)

    def image(self) -> np.ndarray:
        """Return the whole picture, (H, W, 3) uint8 RGB, an array of the caller's own."""
        return self._cut(0, 0, self.width, self.height)

    def reduced(self, side: int) -> tuple[np.ndarray, float]:
        """Return the picture averaged down to a longest side, and its scale (at most 1)."""
        image = self.image()
        scale = min(1.0, side / max(self.width, self.height))
        if scale == 1:
            return image, 1.0
        size = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


class ImageFrame(Frame):
    """A frame whose RGB (H, W, 3) uint8 is there already."""

    def __init__(self, number: int, time: Fraction, image: np.ndarray) -> None:
        super().__init__(number, time, image.shape[1], image.shape[0])
        self._image = image

    def _cut(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        return self._image[y0:y1, x0:x1].copy()


class DecodedFrame(Frame):
    """A frame of PyAV's, whose planes are read in place.

    Args:
        number, time: as ``Frame``.
        decoded: an ``av.VideoFrame``.
        turns: quarter turns, counter-clockwise, that put it upright.
    """

    def __init__(self, number: int, time: Fraction, decoded: Any, turns: int) -> None:
        self._turns = turns % 4
        size = decoded.width, decoded.height
        super().__init__(number, time, *(size if self._turns % 2 == 0 else size[::-1]))
        self._decoded = decoded
        self._stored: tuple[int, int] = size

    def _cut(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        if self._turns:
            (x0, y0), (x1, y1) = self._unturned(x0, y0), self._unturned(x1, y1)
            x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        rgb = self._stored_part(x0, y0, x1, y1)
        return np.ascontiguousarray(np.rot90(rgb, self._turns)) if self._turns else rgb

    def warp(self, crop: SimilarityTransform, *, size: int) -> np.ndarray:
        """As ``Frame.warp``: planes are cropped first, so that only the crop becomes RGB."""
        name = self._decoded.format.name
        stored = self._stored_crop(crop)
        low, high = _bounds(stored, size)
        inside = (low >= 0).all() and (high <= np.array(self._stored) - 1).all()
        if name not in _PLANAR or not inside:
            return super().warp(crop, size=size)
        luma, u, v = (
            _warp_plane(
                _plane(self._decoded.planes[k]), stored if k == 0 else _halved(stored), size
            )
            for k in range(3)
        )
        return yuv_to_rgb(luma, u, v, self._matrix(_PLANAR[name]), halved=False)

    def _stored_crop(self, crop: SimilarityTransform) -> SimilarityTransform:
        """A crop of the upright picture as one of the stored."""
        width, height = self._stored
        turn, shift = (
            ([[1, 0], [0, 1]], [0, 0]),
            ([[0, 1], [-1, 0]], [0, width - 1]),
            ([[-1, 0], [0, -1]], [width - 1, height - 1]),
            ([[0, -1], [1, 0]], [height - 1, 0]),
        )[self._turns]
        moved = crop.scale * crop.rotation @ np.array(shift, float) + crop.translation
        return SimilarityTransform(crop.scale, crop.rotation @ np.array(turn, float), moved)

    def _unturned(self, x: int, y: int) -> tuple[int, int]:
        """A corner between pixels of the upright picture in the stored one."""
        width, height = self._stored
        return ((x, y), (width - y, x), (width - x, height - y), (y, height - x))[self._turns]

    def _stored_part(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        name = self._decoded.format.name
        if name not in _PLANAR:
            whole = self._decoded.to_ndarray(format="rgb24")
            return np.ascontiguousarray(whole[y0:y1, x0:x1])
        luma, u, v = (_plane(self._decoded.planes[k]) for k in range(3))
        return yuv_to_rgb(luma[y0:y1, x0:x1], u, v, self._matrix(_PLANAR[name]), x0, y0)

    def _matrix(self, full: bool) -> ColourMatrix:
        space = int(self._decoded.colorspace)
        if space == 2:  # not said
            space = 1 if min(self._stored) >= _HD_HEIGHT else 6
        red, blue = _SHARES.get(space, (0.299, 0.114))
        return colour_matrix(red, blue, full=full or int(self._decoded.color_range) == 2)


def _bounds(crop: SimilarityTransform, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The rectangle of the picture that a crop reads."""
    corners = np.array([[-1, -1], [size, -1], [-1, size], [size, size]], np.float64)
    spots = crop.inverse().apply(corners)
    return np.floor(spots.min(0)) - 1, np.ceil(spots.max(0)) + 1


def _shifted(crop: SimilarityTransform, corner: np.ndarray) -> SimilarityTransform:
    """A crop as one of the part that begins at a corner (2,)."""
    offset = crop.scale * crop.rotation @ corner
    return SimilarityTransform(crop.scale, crop.rotation, crop.translation + offset)


def _halved(crop: SimilarityTransform) -> SimilarityTransform:
    """A crop as one of planes of half the size, whose samples lie between four pixels."""
    offset = crop.scale * crop.rotation @ np.full(2, 0.5)
    return SimilarityTransform(2 * crop.scale, crop.rotation, crop.translation + offset)


def _warp_plane(plane: np.ndarray, crop: SimilarityTransform, size: int) -> np.ndarray:
    low, high = _bounds(crop, size)
    x0, y0 = np.maximum(low, 0).astype(int)
    x1, y1 = high.astype(int) + 1
    return warp(plane[y0:y1, x0:x1], _shifted(crop, np.array([x0, y0], float)), size=size)


def _plane(plane: Any) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
