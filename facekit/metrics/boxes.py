"""Boxes against true boxes: overlap, matching, average precision. Boxes are x, y, width, height."""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array

# What ``match_boxes`` says of a detection that shows no true face, or one not to be judged.
FALSE, UNJUDGED = -1, -2
# A detection that covers this much of a face not to be judged is not judged either.
_TOUCHES = 0.3


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersections over unions (N, M) of boxes (N, 4) and (M, 4).

    Two boxes of no area give 0.
    """
    a = check_array(first, "first boxes", shape=("N", 4)).astype(np.float64)[:, None]
    b = check_array(second, "second boxes", shape=("M", 4)).astype(np.float64)[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    return shared / np.maximum(union, 1e-12)


def match_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    ignore: np.ndarray | None = None,
    least: float = 0.5,
) -> np.ndarray:
    """Return what each detection of one image shows: (D,) int.

    Best scores first, a detection is held against the true face it overlaps most. From ``least``
    it shows that face: its row, or ``FALSE`` when a better detection has it already, or
    ``UNJUDGED`` when the face is not to be judged (nor is one that overlaps such a face by 0.3).
    Every other detection is ``FALSE``.

    Args:
        boxes: (D, 4) detections.
        scores: (D,) of the detections.
        truth: (F, 4) true faces.
        ignore: (F,) bool, faces not to be judged; None judges all.
        least: intersection over union, in (0, 1].

    Raises:
        InputError: bad shapes.

    Source: M. Everingham et al., The PASCAL visual object classes challenge, 2010, section 4.4.
    """
    found = check_array(boxes, "boxes", shape=("D", 4))
    order = np.argsort(-check_array(scores, "scores", shape=(len(found),)), kind="stable")
    shared = overlaps(found, truth)
    hidden = np.zeros(shared.shape[1], bool) if ignore is None else np.asarray(ignore, bool)
    shown = np.full(len(found), FALSE)
    taken: set[int] = set()
    for i in order if shared.shape[1] else ():
        face = int(shared[i].argmax())
        if hidden[face]:
            shown[i] = UNJUDGED if shared[i, face] >= min(least, _TOUCHES) else FALSE
        elif shared[i, face] >= least and face not in taken:
            shown[i] = face
            taken.add(face)
    return shown


def average_precision(scores: np.ndarray, hits: np.ndarray, faces: int) -> float:
    """Return the area under precision over recall, precision made non-increasing.

    Args:
        scores: (D,) of every judged detection of all images.
        hits: (D,) bool, whether it shows a face.
        faces: true faces in all.

    Without detections or faces it is 0. What a detector does not return at any score cannot be
    recalled, so a detector's own threshold bounds the value.
    """
    values = check_array(scores, "scores", shape=("D",))
    shows = check_array(hits, "hits", shape=(len(values),)).astype(bool)
    if not len(values) or faces < 1:
        return 0.0
    hit = shows[np.argsort(-values, kind="stable")]
    recall = np.cumsum(hit) / faces
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))
