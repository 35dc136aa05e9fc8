import itertools

import cv2
import numpy as np
import pytest
from skimage import data

from facekit.detect import open_detector
from facekit.detect.builtin import BuiltinDetector
from facekit.detect.tiles import Tile, tile_scales, tiles, whole_in_tile
from facekit.errors import InputError, UsageError


@pytest.mark.parametrize(("width", "height"), [(100, 90), (640, 640), (641, 300), (3001, 1777)])
def test_tiles_cover_everything_and_share_the_overlap(width, height):
    covered = np.zeros((height, width), int)
    found = tiles(width, height, side=640, overlap=96)
    for tile in found:
        assert 0 < tile.width <= 640 and 0 < tile.height <= 640
        covered[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width] += 1
    assert covered.min() == 1 or len(found) == 1
    for first, second in itertools.pairwise(found):
        if first.y == second.y:
            assert first.x + first.width - second.x >= 96 - 1


def test_scales_double_up_to_the_finest():
    assert tile_scales(640, side=640, least=1.0) == []
    assert tile_scales(4000, side=640, least=1.0) == pytest.approx([0.32, 0.64, 1.0])
    assert tile_scales(4000, side=640, least=0.1) == []


def test_only_inner_edges_cut():
    tile = Tile(0, 500, 640, 640)
    boxes = np.array(
        [[-5, 100, 20, 20], [100, -3, 20, 20], [630, 100, 20, 20], [9, 9, 20, 20]], float
    )
    whole = whole_in_tile(boxes, tile, (1000, 1140), margin=2.0)
    # The image's own left edge cuts nothing twice; the tile's top and right ones do.
    assert whole.tolist() == [True, False, False, True]


def scene():
    """Two small faces and a large one in a wide photograph."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 160, (15, 24, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (2400, 1500), interpolation=cv2.INTER_CUBIC)
    face = data.astronaut()[30:180, 150:300]
    image[300:900, 200:800] = cv2.resize(face, (600, 600), interpolation=cv2.INTER_CUBIC)
    # One lies where two tiles meet.
    for x, y, side in ((1290, 620, 44), (2100, 1200, 60)):
        image[y : y + side, x : x + side] = cv2.resize(
            face, (side, side), interpolation=cv2.INTER_AREA
        )
    return image


def test_tiles_find_the_small_faces_once_each():
    image = scene()
    assert len(BuiltinDetector(threads=1).boxes(image)) == 1
    closely = BuiltinDetector(threads=1, least_face=28)
    found = closely.boxes(image)
    centres = np.array([c.box[:2] + c.box[2:] / 2 for c in found])
    assert len(found) == 3
    for x, y, side in ((500, 600, 600), (1312, 642, 44), (2130, 1230, 60)):
        assert np.abs(centres - [x, y]).max(axis=1).min() < 0.15 * side
    assert len(closely.detect(image)) == 3


def test_results_depend_on_how_closely_it_looks():
    near, far = BuiltinDetector(threads=1, least_face=30), BuiltinDetector(threads=1)
    assert near.fingerprint != far.fingerprint
    auto = open_detector("auto", least_face=30)
    assert auto.fingerprint.endswith(":30")
    with pytest.raises(InputError, match="least_face"):
        BuiltinDetector(threads=1, least_face=0.0)
    with pytest.raises(UsageError, match="only builtin"):
        open_detector("yunet", least_face=30)
