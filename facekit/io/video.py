"""Video in and out, frame by frame: exact times, whatever the length."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from facekit.errors import InputError, ItemError, MissingDependencyError
from facekit.io.discover import find_images
from facekit.io.frames import DecodedFrame, Frame, ImageFrame
from facekit.io.images import read_image
from facekit.threads import num_threads

# Images of a folder, and cameras that do not say, are taken to come at this rate.
DEFAULT_RATE = Fraction(30)
_MP4_CLOCK = 90_000
# Frames that end so many seconds before the file says are missing, not just rounded away.
_MISSING_SECONDS = 0.5


class VideoInfo(NamedTuple):
    """What is known before the first frame.

    Attributes:
        width, height: of the upright picture; 0 where only a frame will tell.
        rate: frames a second, exact; the mean of a video whose frames come unevenly.
        frames: number of frames as the file says it, or None.
        even: frames come at ``rate`` exactly.
    """

    width: int
    height: int
    rate: Fraction
    frames: int | None
    even: bool


class FrameSource(Protocol):
    """Frames in the order of their times; ``problems`` fills while they are read."""

    info: VideoInfo
    problems: list[str]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, none of which is kept here."""


def open_source(text: str, *, rate: Fraction | None = None) -> FrameSource:
    """Open a video file, a folder of images, or a camera by its number.

    Args:
        text: a path, or digits.
        rate: of a folder's images, or wanted of a camera.

    Raises:
        InputError: there is no such thing, or it is no video.
    """
    path = Path(text)
    if text.isdigit() and not path.exists():
        return Camera(int(text), rate=rate)
    if path.is_dir():
        return ImageSequence(path, rate=rate or DEFAULT_RATE)
    if not path.exists():
        raise InputError(f"{path}: there is no such video, folder or camera")
    return VideoFile(path)


class VideoFile:
    """A file that PyAV decodes, with its own times.

    Times are exact multiples of the frame's duration where the frames come evenly and the file
    rounds their times (29.97 a second in a file of milliseconds); otherwise they are the file's.

    Raises:
        InputError: it cannot be read, or holds no picture stream.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        container, stream = _open(path)
        with container:
            rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
            # The two rates differ where frames come unevenly.
            even = stream.base_rate is not None and stream.base_rate == stream.average_rate
            width, height = stream.codec_context.width, stream.codec_context.height
            self.info = VideoInfo(width, height, rate, stream.frames or None, even)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; packets that cannot be decoded are named in ``problems``.

        Raises:
            ItemError: not one frame can be decoded.
        """
        container, stream = _open(self.path)
        with container:
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = num_threads()
            first: Fraction | None = None
            elapsed = Fraction(0)
            number = 0
            for decoded in self._decode(container, stream):
                if decoded.pts is None:
                    moment = (first or Fraction(0)) + number / self.info.rate
                else:
                    moment = decoded.pts * Fraction(decoded.time_base or stream.time_base)
                first = moment if first is None else first
                elapsed = self._exact(moment - first, Fraction(stream.time_base))
                turns = round(decoded.rotation / 90)
                yield DecodedFrame(number, elapsed, decoded, turns)
                if decoded.is_corrupt:
                    self.problems.append(f"the frame at {float(elapsed):.2f} s is damaged")
                number += 1
            told = _duration(container, stream)
        if not number:
            raise ItemError(f"{self.path}: not one frame can be decoded")
        missing = 0.0 if told is None else told - float(elapsed) - 1 / float(self.info.rate)
        if missing > _MISSING_SECONDS:
            self.problems.append(
                f"the file says {told:.2f} s, but its frames end at {float(elapsed):.2f} s: it is "
                "damaged or was cut short"
            )

    def _decode(self, container: Any, stream: Any) -> Iterator[Any]:
        import av

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.problems.append(f"the file ends in the middle of a frame ({error.strerror})")
                return
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                at = packet.pts
                moment = "" if at is None else f" at {float(at * stream.time_base):.2f} s"
                self.problems.append(f"a frame{moment} cannot be decoded ({error.strerror})")

    def _exact(self, elapsed: Fraction, tick: Fraction) -> Fraction:
        if not self.info.even:
            return elapsed
        nearest = round(elapsed * self.info.rate) / self.info.rate
        return nearest if abs(nearest - elapsed) <= tick else elapsed


class ImageSequence:
    """The images of a folder by name, numbers counting as numbers, at a rate.

    Raises:
        InputError: no image in the folder.
    """

    def __init__(self, folder: Path, *, rate: Fraction) -> None:
        found = [item.path for item in find_images([folder])]
        self._paths: Sequence[Path] = sorted(found, key=_natural)
        self.problems: list[str] = []
        self.info = VideoInfo(0, 0, rate, len(self._paths), True)

    def frames(self) -> Iterator[Frame]:
        """Yield the images; one that cannot be read, or of another size, is named and left out.

        Raises:
            ItemError: not one image can be read.
        """
        size: tuple[int, ...] | None = None
        for number, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except ItemError as error:
                self.problems.append(str(error))
                continue
            size = size or image.shape
            if image.shape != size:
                self.problems.append(
                    f"{path}: expected {size[1]} x {size[0]} pixels as the images before, got "
                    f"{image.shape[1]} x {image.shape[0]}"
                )
                continue
            yield ImageFrame(number, number / self.info.rate, image)
        if size is None:
            raise ItemError(f"{self._paths[0].parent}: not one image can be read")


class Camera:
    """A camera by its number, through OpenCV; a frame's time is that of its arrival.

    Raises:
        InputError: there is no such camera.
    """

    def __init__(self, number: int, *, rate: Fraction | None = None) -> None:
        import cv2

        self._capture: Any = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise InputError(f"camera {number}: there is no such camera, or it cannot be opened")
        if rate is not None:
            self._capture.set(cv2.CAP_PROP_FPS, float(rate))
        told = self._capture.get(cv2.CAP_PROP_FPS)
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        steady = Fraction(told).limit_denominator(1001) if told > 1 else DEFAULT_RATE
        self.info = VideoInfo(width, height, rate or steady, None, False)
        self.problems: list[str] = []

    def frames(self) -> Iterator[Frame]:
        """Yield pictures until the camera gives no more, or the caller stops."""
        start: float | None = None
        number = 0
        try:
            while True:
                there, picture = self._capture.read()
                if not there:
                    return
                now = time.monotonic()
                start = now if start is None else start
                elapsed = Fraction(round((now - start) * 1e6), 1_000_000)
                yield ImageFrame(number, elapsed, np.ascontiguousarray(picture[..., ::-1]))
                number += 1
        finally:
            self._capture.release()


class VideoWriter:
    """An H.264 file without sound, each frame at its exact time; a context manager.

    Args:
        path: an .mp4 file.
        width, height: of the frames; an odd last column or row is left out, as the format asks.
        rate: frames a second. Times that are multiples of its inverse are kept exactly, others
            to a 90,000th of a second.
        even: all times are such multiples.
        quality: x264's constant rate factor; lower is better.

    Raises:
        MissingDependencyError: the installed PyAV cannot write H.264.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        rate: Fraction,
        *,
        even: bool = True,
        quality: int = 20,
        preset: str = "veryfast",
    ) -> None:
        import av

        if "libx264" not in av.codecs_available:
            raise MissingDependencyError(
                "H.264: this PyAV has no x264; pip install --force-reinstall av, or --no-overlay"
            )
        self._size = width - width % 2, height - height % 2
        if min(self._size) < 2:
            raise InputError(f"{path}: expected a video of 2 x 2 pixels, got {width} x {height}")
        self._tick = 1 / rate if even else Fraction(1, _MP4_CLOCK)
        self._container = av.open(str(path), "w", format="mp4")
        stream: Any = self._container.add_stream("libx264", rate=rate)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = self._tick
        stream.codec_context.options = {"crf": str(quality), "preset": preset}
        stream.codec_context.thread_count = num_threads()
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1
        self._stream = stream
        self._last = -1

    def write(self, image: np.ndarray, moment: Fraction) -> None:
        """Add a frame (H, W, 3) uint8 RGB at a time in seconds, later than the one before."""
        import av

        width, height = self._size
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)
        # Two frames of one tick would make the file invalid.
        self._last = max(self._last + 1, round(moment / self._tick))
        frame.pts, frame.time_base = self._last, self._tick
        self._mux(frame)

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is still in the encoder and the file's end."""
        self._mux(None)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()


def _open(path: Path) -> tuple[Any, Any]:
    import av

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: is no video that can be read ({error.strerror})") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: expected a video, the file has no pictures")
    return container, container.streams.video[0]


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds of pictures that the file says it has, or None."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """A path's sort key in which x2 comes before x10."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
