"""The face in a capture: found in the photographs, placed in space, and its head frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facekit.capture.landmarks3d import head_alignment, triangulate_landmarks
from facekit.capture.photographs import Photograph
from facekit.detect.registry import open_detector
from facekit.geometry.alignment import SimilarityTransform
from facekit.morphable.builtin import load_builtin
from facekit.types import DetectedFace

# Landmarks of the head's size differ from the mean head's by a few mm; a wrong face by far more.
_LARGEST_RMS_MM = 12.0


def find_face(photographs: Sequence[Photograph], landmarks: str, *, metric: bool) -> dict[str, Any]:
    """Find the subject's face and the way to its head frame.

    Args:
        photographs: with their cameras.
        landmarks: name of the detector.
        metric: the cameras' unit is the millimetre; otherwise the scale comes from the mean head
            too.

    Returns:
        JSON values: ``found`` and ``note``; when found ``points``, ``deviation`` (both in the
        cameras' frame and unit), ``views``, ``transform`` (scale, rotation, translation) to the
        head frame, and ``mean_head_rms_mm``.
    """
    detector = open_detector(landmarks)
    faces: list[DetectedFace | None] = []
    for photograph in photographs:
        found = detector.detect(photograph.image, path=photograph.path)
        faces.append(found[0] if found else None)
    count = sum(face is not None for face in faces)
    if count < 2:
        return {"found": False, "note": f"a face was found in {count} photographs"}
    marks = triangulate_landmarks([p.camera for p in photographs if p.camera is not None], faces)
    model = load_builtin()
    mean = model.landmark_points("ibug68", model.mean).astype(np.float64)
    move = head_alignment(marks.points, mean, with_scale=not metric)
    if move is None:
        return {
            "found": False,
            "note": f"faces in {count} photographs do not agree on 12 landmarks in space",
        }
    inner = np.isfinite(marks.points).all(1) & (np.arange(68) >= 17)
    gaps = np.linalg.norm(move.apply(marks.points[inner]) - mean[inner], axis=1)
    rms = float(np.sqrt(np.mean(gaps**2)))
    if rms > _LARGEST_RMS_MM:
        return {
            "found": False,
            "note": f"what was found as a face differs from a head by {rms:.0f} mm",
        }
    return {
        "found": True,
        "note": f"a face in {count} of {len(photographs)} photographs",
        "detector": detector.name,
        "points": [None if np.isnan(p).any() else p.tolist() for p in marks.points],
        "deviation": [None if np.isnan(d) else float(d) for d in marks.deviation],
        "views": marks.views.tolist(),
        "transform": {
            "scale": float(move.scale),
            "rotation": move.rotation.tolist(),
            "translation": move.translation.tolist(),
        },
        "mean_head_rms_mm": rms,
    }


def head_transform(face: dict[str, Any]) -> SimilarityTransform:
    """Return the way from the working frame to the result's: the head frame, or no change."""
    if not face["found"]:
        return SimilarityTransform(1.0, np.eye(3), np.zeros(3))
    move = face["transform"]
    return SimilarityTransform(
        float(move["scale"]), np.array(move["rotation"]), np.array(move["translation"])
    )
