"""Images whose faces are all known, to count boxes on: collages of portraits, and none at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.detect.batch import WORKING_SIDE
from facekit.errors import InputError
from facekit.io.images import SUFFIXES, read_photo
from facekit.train.augment import build_turn_mesh
from facekit.train.backgrounds import (
    TRAINING_PICTURES,
    UNSEEN_PICTURES,
    background,
    load_pictures,
)
from facekit.train.collage import CollageConfig, CollageMaker, faceless
from facekit.train.landmark_crops import mean_shapes
from facekit.train.portraits import Portraits

SKIMAGE, DRAWN = "skimage", "drawn"


class Scene(NamedTuple):
    """An image and its faces.

    Attributes:
        name: for reports.
        image: (H, W, 3) uint8 RGB; or the file, which is read when it is needed.
        boxes: (F, 4) x, y, width, height about each face's points, pixels.
        five: (F, 5, 2) each face's five points.
        ignore: (F,) bool: too small, cut or covered to be wanted, yet no background either.
        visible: (F,) share of each face that is in the picture and uncovered.
    """

    name: str
    image: np.ndarray | Path
    boxes: np.ndarray
    five: np.ndarray
    ignore: np.ndarray
    visible: np.ndarray

    def pixels(self) -> np.ndarray:
        """Return the image, a large file reduced as ``facekit landmarks`` does.

        Raises:
            ItemError: the file cannot be read.
        """
        if isinstance(self.image, Path):
            return read_photo(self.image, max_side=WORKING_SIDE).image
        return self.image


def collages(
    portraits: Portraits, *, count: int, size: int = 256, seed: int = 0
) -> Iterator[Scene]:
    """Draw collages of portraits over varied backgrounds, as detector training does.

    Face sizes are log-uniform from 14 to about 260 pixels (longer box side); a third are rolled
    by up to 50 degrees, photographs are turned in depth by up to 45. Photographs in the
    background are those that training never sees.

    Args:
        portraits: whose faces; of persons that the detector was not trained on.
        count: collages; collage k is the same whatever the count.
        size: their side in pixels.
        seed: of every draw.

    Raises:
        InputError: no portrait is trusted (weight over 0.5).
    """
    if not (portraits.weights > 0.5).any():
        raise InputError("collages: expected at least one portrait with a weight over 0.5")
    frontal = ~portraits.rendered if not portraits.rendered.all() else portraits.rendered
    trusted = frontal & (portraits.weights > 0.5)
    mesh = build_turn_mesh(mean_shapes(portraits.points[trusted])[1])
    pictures = load_pictures(UNSEEN_PICTURES)
    maker = CollageMaker(portraits, CollageConfig(size=size), mesh, pictures)
    for index in range(count):
        drawn = maker.draw(np.random.default_rng([seed, index]))
        yield Scene(
            f"collage {index}",
            drawn.image,
            np.array([face.box for face in drawn.faces], np.float64).reshape(-1, 4),
            np.array([face.five for face in drawn.faces], np.float64).reshape(-1, 5, 2),
            np.array([face.ignore for face in drawn.faces], bool),
            np.array([face.visible for face in drawn.faces], np.float64),
        )


def faceless_sets(
    names: Sequence[str],
    *,
    count: int,
    size: int = 256,
    seed: int = 0,
    portraits: Portraits | None = None,
) -> dict[str, list[Scene]]:
    """Return sets of images without faces by name.

    Args:
        names: folders, which are searched recursively; ``skimage``, the faceless photographs in
            scikit-image's package, apart by whether detector training saw them; or ``drawn``,
            textures, pieces of unseen photographs, and where there are portraits, pieces of
            them beside the face.
        count: of ``drawn`` images.
        size: their side in pixels.
        seed: of their draws.
        portraits: for ``drawn``.

    Raises:
        InputError: a folder is missing or has no image.
    """
    sets: dict[str, list[Scene]] = {}
    for name in names:
        if name == SKIMAGE:
            for title, known in (
                ("skimage seen in training", TRAINING_PICTURES),
                ("skimage unseen", UNSEEN_PICTURES),
            ):
                pairs = zip(known, load_pictures(known), strict=True)
                sets[title] = [_empty(picture, image) for picture, image in pairs]
        elif name == DRAWN:
            pictures = load_pictures(UNSEEN_PICTURES)
            sets[DRAWN] = [_drawn(k, size, seed, portraits, pictures) for k in range(count)]
        else:
            sets[name] = _of_folder(Path(name))
    return sets


def _of_folder(folder: Path) -> list[Scene]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(
            f"{folder}: expected a folder of images without faces, '{SKIMAGE}' or '{DRAWN}'; "
            "found no image"
        )
    return [_empty(path.relative_to(folder).as_posix(), path) for path in files]


def _drawn(
    index: int, size: int, seed: int, portraits: Portraits | None, pictures: list[np.ndarray]
) -> Scene:
    rng = np.random.default_rng([seed, 1, index])
    image = None
    if portraits is not None and rng.random() < 0.4:
        row = int(rng.integers(len(portraits)))
        image = faceless(portraits.images[row], portraits.points[row, :, :2], rng)
    if image is None:
        image = background(size, rng, pictures)
    return _empty(f"drawn {index}", image)


def _empty(name: str, image: np.ndarray | Path) -> Scene:
    none = np.zeros(0)
    return Scene(name, image, np.zeros((0, 4)), np.zeros((0, 5, 2)), none.astype(bool), none)
