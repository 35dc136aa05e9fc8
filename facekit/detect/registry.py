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


def open_detector(name: str, *, allow_download: bool = False) -> Detector:
    """Open a detector.

    Args:
        name: ``auto`` (points beside the image where they lie, else ``builtin``), ``builtin``
            (facekit's own networks), ``files`` (points beside the image only), ``yunet``,
            ``mediapipe`` (networks the user has) or ``fan`` (the face-alignment package).
        allow_download: let an optional package download its own weights.

    Raises:
        UsageError: an unknown name.
        MissingDependencyError: the package or file it needs is missing.
    """
    if name == "auto":
        from facekit.detect.files import AutoDetector

        return AutoDetector()
    if name == "builtin":
        from facekit.detect.builtin import BuiltinDetector

        return BuiltinDetector()
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
