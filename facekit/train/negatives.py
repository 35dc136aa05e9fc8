"""Hard negatives: what a detector takes for faces where there are none."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from facekit.detect.builtin import Candidate
from facekit.train.backgrounds import background
from facekit.train.collage import faceless
from facekit.train.portraits import Portraits

# A piece shows the box and what lies about it, at most this large.
_AROUND, _SIDE = 1.5, 128


def mine_negatives(
    search: Callable[[np.ndarray], list[Candidate]],
    portraits: Portraits,
    pictures: list[np.ndarray],
    *,
    count: int,
    size: int = 256,
    seed: int = 0,
) -> list[np.ndarray]:
    """Return pieces of face-free images in which a detector found faces, worst first.

    Args:
        search: the detector, with a threshold low enough to show what nearly deceives it.
        portraits: whose surroundings, without the faces, are searched as well.
        pictures: face-free photographs (H, W, 3) uint8; may be empty.
        count: images searched.
        size: their side in pixels.
        seed: of every draw.

    Returns:
        Square (S, S, 3) uint8 pieces about the boxes, S at most 128 pixels.
    """
    rng = np.random.default_rng([seed, 9])
    found: list[tuple[float, np.ndarray]] = []
    for _ in range(count):
        image = None
        if rng.random() < 0.4:
            row = int(rng.integers(len(portraits)))
            image = faceless(portraits.images[row], portraits.points[row, :, :2], rng)
        if image is None:
            image = background(size, rng, pictures)
        for candidate in search(image):
            piece = _piece(image, candidate.box)
            if piece is not None:
                found.append((candidate.score, piece))
    order = np.argsort([-score for score, _ in found], kind="stable")
    return [found[i][1] for i in order]


def _piece(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Return the square about a box, cut at the image's edges, or None when little is left."""
    middle, half = box[:2] + box[2:] / 2, _AROUND * float(box[2:].max()) / 2
    low = np.maximum(np.floor(middle - half), 0).astype(int)
    high = np.minimum(np.ceil(middle + half), image.shape[1::-1]).astype(int)
    side = int((high - low).min())
    if side < 8:
        return None
    piece = np.ascontiguousarray(image[low[1] : low[1] + side, low[0] : low[0] + side])
    if side > _SIDE:
        piece = cv2.resize(piece, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return piece
