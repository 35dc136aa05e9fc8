"""Which detectors exist, and how one is opened by name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from facekit.errors import UsageError
from facekit.types import DetectedFace

NAMES = ("auto", "builtin", "fan", "mediapipe", "yunet", "files")


class Detector(Protocol):
    """Finds faces and their points."""

    @property
    def name(self) -> str:
        """The name it is opened by."""

    @property
    def fingerprint(self) -> str:
        """What its results depend on: a name and the hashes of its weights."""

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return the faces of an upright RGB image, largest first.

        Args:
            image: (H, W, 3) uint8 RGB.
            path: the file the image was read from, when there is one; ``files`` and ``auto``
                look for points beside it. The image may be a reduced copy of the file.
        """


def open_detector(
    name: str, *, allow_download: bool = False, least_face: float | None = None
) -> Detector:
    """Open a detector.

    Args:
        name: ``auto`` (points beside the image where they lie, else ``builtin``), ``builtin``
            (facekit's own networks), ``files`` (points beside the image only), ``yunet``,
            ``mediapipe`` (networks the user has) or ``fan`` (the face-alignment package).
        allow_download: let an optional package download its own weights.
        least_face: side in pixels of the smallest face looked for, by ``builtin`` in tiles.

    Raises:
        UsageError: an unknown name, or ``least_face`` for another detector than ``builtin``.
        MissingDependencyError: the package or file it needs is missing.
    """
    if least_face is not None and name not in ("auto", "builtin"):
        raise UsageError(f"landmarks {name!r}: only builtin looks for faces of a given least size")
    if name == "auto":
        from facekit.detect.files import AutoDetector

        return AutoDetector(least_face=least_face)
    if name == "builtin":
        from facekit.detect.builtin import BuiltinDetector

        return BuiltinDetector(least_face=least_face)
    if name == "files":
        from facekit.detect.files import FileDetector

        return FileDetector()
    if name == "yunet":
        from facekit.detect.yunet import YuNetDetector

        return YuNetDetector()
    if name == "mediapipe":
        from facekit.detect.mediapipe import MediaPipeDetector

        return MediaPipeDetector()
    if name == "fan":
        from facekit.detect.fan import FanDetector

        return FanDetector(allow_download=allow_download)
    raise UsageError(f"landmarks: expected one of {', '.join(NAMES)}, got {name!r}")
