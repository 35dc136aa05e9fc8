"""Collages of portraits over varied backgrounds: what the face detector learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from facekit.detect.faces import roll_of_dense
from facekit.detect.landmark_sets import FLIP478, dense_to_ibug68, ibug68_to_five
from facekit.geometry.crop import square_crop
from facekit.train.augment import (
    TurnMesh,
    photometric,
    through_jpeg,
    to_grey,
    turned_points,
    warp_turned,
)
from facekit.train.backgrounds import background, shuffled
from facekit.train.collage_shapes import cover_mask, head_mask, oval
from facekit.train.portraits import Portraits


class CollageFace(NamedTuple):
    """A face in a collage: box (x, y, width, height) and five points (5, 2), pixels.

    ``ignore``: too small, cut or covered to be wanted, yet no background either; ``visible``: the
    share of its outline's area that is in the picture and uncovered.
    """

    box: np.ndarray
    five: np.ndarray
    ignore: bool
    visible: float = 1.0


class Collage(NamedTuple):
    """An image (S, S, 3) uint8 and its faces."""

    image: np.ndarray
    faces: list[CollageFace]


@dataclass(frozen=True)
class CollageConfig:
    """How collages are made.

    Attributes:
        size: side in pixels.
        least, most: of a face's longer box side, pixels, drawn log-uniformly.
        most_faces: pasted on one collage.
        whole: share of collages that start from one whole portrait.
        turn, turn_deg: share of faces turned in depth, and the largest yaw added.
        steep: share of faces rolled by up to 50 degrees (others: a few degrees).
        renders: share of faces that are rendered heads, where the portraits have some: they
            alone show profiles.
        hard: share of collages with pieces that once deceived a detector.
        covers: share of collages with something held before part of one of the faces.
    """

    size: int = 256
    least: float = 14.0
    most: float = 260.0
    most_faces: int = 6
    whole: float = 0.4
    turn: float = 0.4
    turn_deg: float = 45.0
    steep: float = 0.35
    renders: float = 0.3
    hard: float = 0.35
    covers: float = 0.0


class CollageMaker:
    """Draws collages; all randomness comes from the generator that is passed.

    Args:
        portraits: where faces come from.
        config: see ``CollageConfig``.
        mesh: for turned heads.
        pictures: face-free photographs (H, W, 3) uint8 for backgrounds; may be empty.
        hard: square pieces (S, S, 3) uint8 without faces, see ``negatives``; may be empty.
    """

    def __init__(
        self,
        portraits: Portraits,
        config: CollageConfig,
        mesh: TurnMesh,
        pictures: list[np.ndarray],
        hard: list[np.ndarray] | None = None,
    ) -> None:
        self._portraits = portraits
        self._config = config
        self._mesh = mesh
        self._pictures = pictures
        self._hard = hard or []
        trusted = portraits.weights > 0.5
        self._real = np.flatnonzero(trusted & ~portraits.rendered)
        self._rendered = np.flatnonzero(trusted & portraits.rendered)
        if not len(self._real):
            self._real = self._rendered

    def draw(self, rng: np.random.Generator) -> Collage:
        """Return a random collage."""
        c, size = self._config, self._config.size
        canvas = self._background(rng)
        owner = np.zeros((size, size), np.uint8)
        pasted: list[tuple[CollageFace, np.ndarray]] = []  # faces and their outlines
        if self._hard and rng.random() < c.hard:
            for _ in range(int(rng.integers(1, 6))):
                self._deceive(canvas, rng)
        if rng.random() < c.whole:
            self._paste(canvas, owner, pasted, rng, whole=True)
        for _ in range(int(rng.integers(0, c.most_faces + 1))):
            self._paste(canvas, owner, pasted, rng, whole=False)
        if rng.random() < 0.3:
            self._cover(canvas, owner, rng)
        if c.covers and pasted and rng.random() < c.covers:
            self._occlude(canvas, owner, pasted[int(rng.integers(len(pasted)))][0], rng)
        if pasted and rng.random() < 0.15:
            self._hide(canvas, owner, pasted[int(rng.integers(len(pasted)))][0], rng)
        judged = [
            _judged(face, hull, owner, index, c.least)
            for index, (face, hull) in enumerate(pasted, 1)
        ]
        faces = [face for face in judged if face is not None]
        image = _developed(canvas, rng)
        if rng.random() < 0.1:
            # The searched image is padded to a multiple of the stride.
            cut = int(rng.integers(size // 2, size))
            wide = rng.random() < 0.5
            image[cut:] = 0 if wide else image[cut:]
            image[:, cut:] = image[:, cut:] if wide else 0
            kept = [_cut(face, cut, 1 if wide else 0) for face in faces]
            faces = [face for face in kept if face is not None]
        return Collage(image, faces)

    def _row(self, rng: np.random.Generator) -> int:
        rendered = len(self._rendered) and rng.random() < self._config.renders
        return int(rng.choice(self._rendered if rendered else self._real))

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        size = self._config.size
        if rng.random() < 0.35:
            row = int(rng.choice(self._real))
            piece = faceless(self._portraits.images[row], self._portraits.points[row, :, :2], rng)
            if piece is not None:
                return cv2.resize(piece, (size, size), interpolation=cv2.INTER_LINEAR)
        return background(size, rng, self._pictures)

    def _paste(
        self,
        canvas: np.ndarray,
        owner: np.ndarray,
        pasted: list[tuple[CollageFace, np.ndarray]],
        rng: np.random.Generator,
        *,
        whole: bool,
    ) -> None:
        c, size = self._config, self._config.size
        row = self._row(rng)
        image, labels = self._portraits.images[row], self._portraits.points[row]
        moved, target = None, labels[:, :2].astype(np.float64)
        if rng.random() < c.turn and not self._portraits.rendered[row]:
            yaw = np.radians(rng.uniform(-c.turn_deg, c.turn_deg))
            pitch = np.radians(np.clip(rng.normal(0, 10), -25, 25))
            moved = turned_points(labels, self._mesh, yaw, pitch)
            target = moved[1][:478, :2]
        extent = float(np.ptp(target, axis=0).max())
        if whole:
            wanted = extent * size / min(image.shape[:2]) * np.exp(rng.uniform(-0.1, 0.9))
            wanted = min(wanted, c.most)
        else:
            wanted = np.exp(rng.uniform(np.log(c.least), np.log(c.most * 0.6)))
        angle = rng.uniform(-50, 50) if rng.random() < c.steep else rng.normal(0, 8)
        roll = roll_of_dense(target) + np.radians(angle)
        scale = wanted / extent
        crop = square_crop(target.mean(0), size / scale, size=size, roll=roll)
        shift = rng.uniform(0.0, 1.0, 2) * size if not whole else rng.normal(0.5, 0.1, 2) * size
        matrix = crop.matrix()
        matrix[:, 2] += shift - size / 2
        if rng.random() < 0.5:  # mirrored
            matrix[0] = -matrix[0]
            matrix[0, 2] += size - 1
            mirrored = True
        else:
            mirrored = False
        source = image
        if scale < 0.5:
            # Strong shrinking reads an averaged copy, as the search of a photograph does.
            factor = 2.0 ** np.floor(np.log2(1 / scale))
            new = tuple(max(1, round(n / factor)) for n in image.shape[1::-1])
            source = cv2.resize(image, new, interpolation=cv2.INTER_AREA)
        points = target @ matrix[:, :2].T + matrix[:, 2]
        if mirrored:
            points = points[FLIP478]
        corner, covered = _covered(image.shape, matrix, size)
        if min(covered) < 1:
            return
        matrix[:, 2] -= corner
        piece, mask = self._warped(source, image.shape, moved, matrix, covered)
        if rng.random() < 0.3:
            piece = photometric(piece, rng)
        x, y = corner
        region = canvas[y : y + covered[1], x : x + covered[0]]
        if not whole and rng.random() < 0.6:
            mask = np.minimum(mask, head_mask(points - corner, covered, rng))
            share = mask.astype(np.float32) / 255
            region[:] = cv2.blendLinear(piece, np.ascontiguousarray(region), share, 1 - share)
        else:
            hard = cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)[1]
            region[:] = cv2.copyTo(piece, hard, np.ascontiguousarray(region))
        owner[y : y + covered[1], x : x + covered[0]][mask > 127] = len(pasted) + 1
        low, high = points.min(0), points.max(0)
        hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
        five = ibug68_to_five(dense_to_ibug68(points))
        pasted.append((CollageFace(np.concatenate([low, high - low]), five, False), hull))

    def _warped(
        self,
        source: np.ndarray,
        shape: tuple[int, ...],
        moved: tuple[np.ndarray, np.ndarray] | None,
        matrix: np.ndarray,
        size: tuple[int, int],
    ) -> tuple[np.ndarray, np.ndarray]:
        ratio = np.array([source.shape[1] / shape[1], source.shape[0] / shape[0]])
        full = np.full(source.shape[:2], 255, np.uint8)
        # Coordinates of the averaged copy: x' = r (x + 0.5) - 0.5.
        offset = ratio / 2 - 0.5
        linear = matrix[:, :2] / ratio
        small = np.column_stack([linear, matrix[:, 2] - linear @ offset])
        if moved is None:
            piece = cv2.warpAffine(source, small, size, borderMode=cv2.BORDER_REPLICATE)
            return piece, cv2.warpAffine(full, small, size)
        start = moved[0] * ratio + offset
        end = moved[1].copy()
        end[:, :2] = end[:, :2] * ratio + offset
        both = cv2.merge([source, full])
        result = warp_turned(both, start, end, self._mesh.triangles, small, size=size)
        return np.ascontiguousarray(result[..., :3]), np.ascontiguousarray(result[..., 3])

    def _hide(
        self,
        canvas: np.ndarray,
        owner: np.ndarray,
        face: CollageFace,
        rng: np.random.Generator,
    ) -> None:
        """Take a pasted face out of its head: hair, ears and shoulders alone are no face."""
        row = int(rng.choice(self._real))
        piece = faceless(self._portraits.images[row], self._portraits.points[row, :, :2], rng)
        low = np.floor(face.box[:2] - 0.02 * face.box[2:]).astype(int)
        high = np.ceil(face.box[:2] + 1.02 * face.box[2:]).astype(int)
        start, stop = np.maximum(low, 0), np.minimum(high, self._config.size)
        if piece is None or (stop - start).min() < 2:
            return
        filled, share = oval(piece, (int(high[0] - low[0]), int(high[1] - low[1])))
        a, b = start - low, stop - low
        part = (slice(a[1], b[1]), slice(a[0], b[0]))
        region = canvas[start[1] : stop[1], start[0] : stop[0]]
        weight = share[part][..., None]
        region[:] = (filled[part] * weight + region * (1 - weight)).astype(np.uint8)
        owner[start[1] : stop[1], start[0] : stop[0]][share[part] > 0.5] = 255

    def _deceive(self, canvas: np.ndarray, rng: np.random.Generator) -> None:
        """Paste a piece that once looked like a face, near the size at which it did."""
        piece = self._hard[int(rng.integers(len(self._hard)))]
        side = int(np.clip(len(piece) * np.exp(rng.normal(0, 0.25)), 8, self._config.size))
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        x, y = (int(v) for v in rng.integers(0, self._config.size - side + 1, 2))
        canvas[y : y + side, x : x + side] = cv2.resize(
            np.ascontiguousarray(piece), (side, side), interpolation=cv2.INTER_AREA
        )

    def _cover(self, canvas: np.ndarray, owner: np.ndarray, rng: np.random.Generator) -> None:
        """Paste one piece without a whole face: clothing, background, or a shuffled face."""
        size = self._config.size
        row = int(rng.choice(self._real))
        image, points = self._portraits.images[row], self._portraits.points[row, :, :2]
        piece = shuffled(image, points, rng) if rng.random() < 0.5 else None
        piece = faceless(image, points, rng) if piece is None else piece
        if piece is None:
            return
        side = int(np.exp(rng.uniform(np.log(16), np.log(size * 0.5))))
        x, y = (int(v) for v in rng.integers(0, size - side + 1, 2))
        canvas[y : y + side, x : x + side] = cv2.resize(
            piece, (side, side), interpolation=cv2.INTER_AREA
        )
        owner[y : y + side, x : x + side] = 255

    def _occlude(
        self,
        canvas: np.ndarray,
        owner: np.ndarray,
        face: CollageFace,
        rng: np.random.Generator,
    ) -> None:
        """Hold something before part of a face."""
        size = self._config.size
        mask = cover_mask(face.box, size, rng)
        row = int(rng.choice(self._real))
        piece = faceless(self._portraits.images[row], self._portraits.points[row, :, :2], rng)
        if piece is None or rng.random() < 0.4:
            filled = np.full_like(canvas, rng.integers(0, 256, 3).astype(np.uint8))
        else:
            filled = cv2.resize(piece, (size, size), interpolation=cv2.INTER_LINEAR)
        owner[mask > 127] = 255
        share = cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255
        canvas[:] = cv2.blendLinear(filled, np.ascontiguousarray(canvas), share, 1 - share)


def faceless(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return a square piece of a portrait that does not touch the face, or None if none fits."""
    height, width = image.shape[:2]
    low = points.min(0) - 0.15 * np.ptp(points, axis=0)
    high = points.max(0) + 0.1 * np.ptp(points, axis=0)
    for _ in range(8):
        side = int(rng.integers(20, max(21, min(height, width) // 2)))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        if x + side < low[0] or x > high[0] or y + side < low[1] or y > high[1]:
            return np.ascontiguousarray(image[y : y + side, x : x + side])
    return None


def _covered(
    shape: tuple[int, ...], matrix: np.ndarray, size: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the corner and (width, height) of the canvas that an image's frame reaches."""
    height, width = shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
    reach = corners @ matrix[:, :2].T + matrix[:, 2]
    low = np.clip(np.floor(reach.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(reach.max(0)) + 1, 0, size).astype(int)
    return low, (int(high[0] - low[0]), int(high[1] - low[1]))


def _judged(
    face: CollageFace, hull: np.ndarray, owner: np.ndarray, index: int, least: float
) -> CollageFace | None:
    """Say whether a pasted face is wanted, not to be judged, or (None) as good as gone."""
    inside = np.zeros(owner.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.round(hull).astype(np.int32), 1)
    # A face that leaves the frame is judged by its whole area.
    visible = float(inside[owner == index].sum()) / max(1.0, float(cv2.contourArea(hull)))
    if visible < 0.15:
        return None
    small = float(face.box[2:].max()) < least
    return face._replace(ignore=bool(small or visible < 0.55), visible=min(visible, 1.0))


def _cut(face: CollageFace, cut: int, axis: int) -> CollageFace | None:
    beyond = (face.box[axis] + face.box[2 + axis] - cut) / face.box[2 + axis]
    if beyond > 0.85:
        return None
    left = face.visible * min(1.0, 1 - beyond)
    return face._replace(ignore=bool(face.ignore or beyond > 0.4), visible=left)


def _developed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = photometric(image, rng)
    draw = rng.random(4)
    if draw[0] < 0.1:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.2)))
    if draw[1] < 0.1:
        side = int(image.shape[0] * rng.uniform(0.5, 0.9))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if draw[2] < 0.2:
        image = through_jpeg(image, int(rng.integers(20, 90)))
    return to_grey(image) if draw[3] < 0.15 else image
