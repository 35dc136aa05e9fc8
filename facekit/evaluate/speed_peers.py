"""Other projects' networks that ``facekit eval speed`` times beside facekit's own.

They run where the user's own copies of their files are named by environment variables; without
these a case waits to be asked for, and then says what is missing.
"""

from __future__ import annotations

import os

import numpy as np

from facekit.detect.mediapipe import BOX_NETWORK, LANDMARK_NETWORK, open_network
from facekit.detect.mediapipe import VARIABLE as MEDIAPIPE
from facekit.detect.yunet import VARIABLE as YUNET
from facekit.detect.yunet import YuNetDetector
from facekit.errors import InputError
from facekit.evaluate.photographs import photograph
from facekit.evaluate.speed import SpeedCase, Work
from facekit.io.images import resize


def peer_cases() -> list[SpeedCase]:
    """Return the cases of every peer; those whose file is not named are on request only."""
    without_yunet = not os.environ.get(YUNET)
    without_mediapipe = not os.environ.get(MEDIAPIPE)
    return [
        SpeedCase(
            "peer.yunet.640.1t",
            "YuNet by OpenCV: boxes and five points in one 640 x 640 photograph",
            _yunet,
            on_request=without_yunet,
            peer_of="detect.640.1t",
        ),
        SpeedCase(
            "peer.mediapipe.detect.1t",
            "MediaPipe's box network alone, one photograph shrunk to its input",
            lambda: _network(BOX_NETWORK),
            calls=10,
            on_request=without_mediapipe,
            peer_of="detect.1t",
        ),
        SpeedCase(
            "peer.mediapipe.landmarks.1t",
            "MediaPipe's landmark network alone, one crop",
            lambda: _network(LANDMARK_NETWORK),
            calls=10,
            on_request=without_mediapipe,
            peer_of="landmarks.pass.1t",
        ),
    ]


def _yunet() -> Work:
    detector, image = YuNetDetector(), photograph(640)
    return lambda: detector.detect(image)


def _network(name: str) -> Work:
    interpreter = open_network(name)
    (details,) = interpreter.get_input_details()
    _, height, width, _ = details["shape"]
    if height != width:
        raise InputError(
            f"{name}: expected a network with a square input, got {width} x {height}; "
            "use MediaPipe's face_landmarker.task"
        )
    pixels = resize(photograph(), width / 512).astype(np.float32)[None] / 255

    def work() -> None:
        interpreter.set_tensor(details["index"], pixels)
        interpreter.invoke()

    return work
