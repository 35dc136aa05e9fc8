"""The YuNet face detector that OpenCV runs, on a network file the user has."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facekit.detect.faces import largest_first, roll_of_five
from facekit.detect.own_files import file_of_variable
from facekit.errors import InputError, MissingDependencyError
from facekit.runs import file_sha256
from facekit.types import DetectedFace

VARIABLE = "FACEKIT_YUNET"
# Larger images are searched at this longest side.
SEARCH_SIDE = 640


def yunet_path() -> Path:
    """Return the network file that FACEKIT_YUNET names.

    Raises:
        MissingDependencyError: the variable is unset or names no file.
    """
    return file_of_variable(
        VARIABLE,
        source="yunet",
        what="OpenCV's YuNet network",
        where="the OpenCV model zoo",
        name="face_detection_yunet.onnx",
    )


class YuNetDetector:
    """Boxes, scores and five points; no further landmarks.

    Args:
        path: the ONNX file; None takes FACEKIT_YUNET.
        threshold: least score.

    Raises:
        MissingDependencyError: no file.
        InputError: OpenCV cannot load it.
    """

    name = "yunet"

    def __init__(self, path: Path | None = None, *, threshold: float = 0.6) -> None:
        self._path = yunet_path() if path is None else Path(path)
        if not self._path.is_file():
            raise MissingDependencyError(f"{self._path}: there is no YuNet network file")
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(self._path), "", (320, 320), score_threshold=threshold, nms_threshold=0.3
            )
        except cv2.error as error:
            raise InputError(
                f"{self._path}: OpenCV cannot load it as YuNet ({error.err})"
            ) from error
        self._sha256 = file_sha256(self._path)

    @property
    def fingerprint(self) -> str:
        """Name and hash of the network."""
        return f"yunet:{self._sha256}"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return faces, largest first; ``path`` is not used."""
        del path
        height, width = image.shape[:2]
        scale = min(1.0, SEARCH_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        self._network.setInputSize(size)
        _, rows = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        ratio = np.array([width / size[0], height / size[1]])
        return largest_first([_face(row.astype(np.float64), ratio) for row in rows])


def _face(row: np.ndarray, ratio: np.ndarray) -> DetectedFace:
    # The network's coordinates count from the corner of the first pixel.
    corner = row[:2] * ratio - 0.5
    five = row[4:14].reshape(5, 2) * ratio - 0.5
    return DetectedFace(
        box=np.concatenate([corner, row[2:4] * ratio]),
        score=float(np.clip(row[14], 0, 1)),
        five=five,
        roll_deg=float(np.degrees(roll_of_five(five))),
    )
