"""MediaPipe's face landmark network from a ``.task`` file the user has.

The ``mediapipe`` package is not used (it replaces OpenCV's files); the network inside the task
runs with ``ai-edge-litert``.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from facekit.detect.builtin import BuiltinDetector
from facekit.detect.faces import face_from_dense, largest_first, roll_of_dense, roll_of_five
from facekit.detect.own_files import file_of_variable
from facekit.detect.registry import Detector
from facekit.detect.yunet import VARIABLE as YUNET_VARIABLE
from facekit.detect.yunet import YuNetDetector
from facekit.errors import InputError, MissingDependencyError
from facekit.geometry.alignment import SimilarityTransform
from facekit.geometry.crop import box_crop, points_crop, warp
from facekit.types import DetectedFace

VARIABLE = "FACEKIT_MEDIAPIPE_TASK"
LANDMARK_NETWORK, BOX_NETWORK = "face_landmarks_detector.tflite", "face_detector.tflite"
# The network's input: side in pixels, and the square's side over the face box's.
SIZE, MARGIN = 192, 1.5
# Below this presence the crop shows no face.
LEAST_PRESENCE = 0.3


def task_path() -> Path:
    """Return the file that FACEKIT_MEDIAPIPE_TASK names.

    Raises:
        MissingDependencyError: the variable is unset or names no file.
    """
    return file_of_variable(
        VARIABLE,
        source="mediapipe",
        what="MediaPipe's face landmarker",
        where="MediaPipe's model page",
        name="face_landmarker.task",
    )


class MediaPipeDetector:
    """478 points by MediaPipe in two roll-aligned passes; boxes by YuNet or facekit's own.

    Args:
        task: the ``.task`` file; None takes FACEKIT_MEDIAPIPE_TASK.
        boxes: finds the faces; None takes YuNet where FACEKIT_YUNET is set, else ``builtin``.

    Raises:
        MissingDependencyError: the package or the file is missing.
        InputError: the file is no such task.
    """

    name = "mediapipe"

    def __init__(self, task: Path | None = None, *, boxes: Detector | None = None) -> None:
        path = task_path() if task is None else Path(task)
        content = _network(path, LANDMARK_NETWORK)
        self._sha256 = hashlib.sha256(content).hexdigest()
        self._interpreter = _open_interpreter(content, path)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        sizes = {int(np.prod(o["shape"])): o["index"] for o in outputs}
        if 478 * 3 not in sizes or 1 not in sizes:
            raise InputError(f"{path}: expected a network of 478 points, got {sorted(sizes)}")
        self._points, self._presence = sizes[478 * 3], sizes[1]
        if boxes is None:
            boxes = YuNetDetector() if os.environ.get(YUNET_VARIABLE) else BuiltinDetector()
        self._boxes = boxes

    @property
    def fingerprint(self) -> str:
        """Hashes of the landmark network and of what finds the boxes."""
        return f"mediapipe:{self._sha256}+{self._boxes.fingerprint}"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return faces, largest first; ``path`` is not used."""
        del path
        faces = []
        for found in self._boxes.detect(image):
            roll = 0.0 if found.five is None else roll_of_five(found.five)
            crop = box_crop(found.box, size=SIZE, margin=MARGIN, roll=roll)
            dense, _ = self.points(image, crop)
            crop = points_crop(
                dense[:, :2], roll=roll_of_dense(dense[:, :2]), size=SIZE, margin=MARGIN
            )
            dense, presence = self.points(image, crop)
            if presence >= LEAST_PRESENCE:
                faces.append(face_from_dense(dense[:, :2], score=found.score))
        return largest_first(faces)

    def points(self, image: np.ndarray, crop: SimilarityTransform) -> tuple[np.ndarray, float]:
        """Run the network on one crop of its own size.

        Returns:
            (478, 3) x, y in image pixels and the relative depth in image pixels (smaller is
            nearer), and the probability that the crop shows a face.
        """
        pixels = warp(image, crop, size=SIZE).astype(np.float32) / 255
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        values = self._interpreter.get_tensor(self._points).reshape(478, 3).astype(np.float64)
        logit = float(self._interpreter.get_tensor(self._presence).reshape(-1)[0])
        # The network counts from the corner of the first pixel: without the half pixel, points
        # of an image and of its mirror image differ by one.
        flat = crop.inverse().apply(values[:, :2] - 0.5)
        return np.column_stack([flat, values[:, 2] / crop.scale]), 1 / (1 + np.exp(-logit))


class NoBoxes:
    """Finds nothing: for a landmarker that is only given crops."""

    name = "none"
    fingerprint = "none"

    def detect(self, image: np.ndarray, *, path: Path | None = None) -> list[DetectedFace]:
        """Return no face."""
        del image, path
        return []


def open_network(name: str, task: Path | None = None) -> Any:
    """Return LiteRT's interpreter of one network in the task, its tensors allocated, one thread.

    Args:
        name: ``LANDMARK_NETWORK`` or ``BOX_NETWORK``.
        task: the ``.task`` file; None takes FACEKIT_MEDIAPIPE_TASK.

    Raises:
        MissingDependencyError: the package or the file is missing.
        InputError: the file has no such network.
    """
    path = task_path() if task is None else Path(task)
    return _open_interpreter(_network(path, name), path)


def _network(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise MissingDependencyError(f"{path}: there is no MediaPipe task file")
    try:
        with zipfile.ZipFile(path) as task:
            return task.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"{path}: expected MediaPipe's face_landmarker.task (a zip with {name}): {error}"
        ) from error


def _open_interpreter(content: bytes, path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependencyError(
            "--landmarks mediapipe needs ai-edge-litert: pip install 'facekit[mediapipe]'"
        ) from error
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: LiteRT cannot run its network ({error})") from error
    return interpreter
