"""One picture of a video: only the parts that are asked for become RGB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np

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


def _plane(plane: Any) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
