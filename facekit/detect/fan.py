"""The ``face-alignment`` package: 68 points by FAN; that package downloads its own weights."""

from __future__ import annotations

from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from facekit.detect.faces import face_from_ibug68, largest_first
from facekit.errors import MissingDependencyError
from facekit.types import DetectedFace


class FanDetector:
    """68 points by the face-alignment package, on the CPU.

    Args:
        allow_download: the package fetches its weights on first use; without this, nothing is
            loaded.

    Raises:
        MissingDependencyError: the download is not allowed, or the package is missing.
    """

    name = "fan"

    def __init__(self, *, allow_download: bool = False) -> None:
        if util.find_spec("face_alignment") is None:
            raise MissingDependencyError(
                "--landmarks fan needs face-alignment: pip install 'facekit[fan]'"
            )
        if not allow_download:
            raise MissingDependencyError(
                "--landmarks fan uses weights that the face-alignment package downloads itself; "
                "pass --allow-download to let it"
            )
        self._network: Any = None

    @property
    def fingerprint(self) -> str:
        """The package's version decides the weights."""
        return f"fan:{metadata.version('face-alignment')}"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return faces, largest first; ``path`` is not used."""
        del path
        if self._network is None:
            import face_alignment

            self._network = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device="cpu", flip_input=False
            )
        points, scores, boxes = self._network.get_landmarks_from_image(
            image, return_bboxes=True, return_landmark_score=True
        )
        faces = []
        for k in range(0 if points is None else len(points)):
            x0, y0, x1, y1, score = np.asarray(boxes[k], np.float64)[:5]
            confidence = np.clip(np.asarray(scores[k], np.float64).reshape(68), 0, 1)
            faces.append(
                face_from_ibug68(
                    np.asarray(points[k], np.float64)[:, :2],
                    score=float(np.clip(score, 0, 1)),
                    box=np.array([x0, y0, x1 - x0, y1 - y0]),
                    confidence=confidence,
                )
            )
        return largest_first(faces)
