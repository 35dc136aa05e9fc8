import dataclasses

import numpy as np
import pytest
from portrait_data import write_portraits

from facekit.detect.builtin import Candidate
from facekit.train.augment import build_turn_mesh
from facekit.train.collage import CollageConfig, CollageMaker
from facekit.train.landmark_crops import mean_shapes
from facekit.train.negatives import mine_negatives
from facekit.train.portraits import load_portraits


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    folder = write_portraits(tmp_path_factory.mktemp("portraits"))
    return load_portraits(folder, splits=("train", "validation")).subset("train")


def brightest(image):
    """A detector that is sure of the brightest place, away from the edges."""
    if min(image.shape[:2]) < 40:
        return []
    inner = image[16:-16, 16:-16].sum(2)
    y, x = np.array(np.unravel_index(inner.argmax(), inner.shape)) + 16
    score = float(image[y, x].sum()) / 766
    return [Candidate(np.array([x - 10.0, y - 10.0, 20.0, 20.0]), score, np.zeros((5, 2)))]


def test_pieces_show_what_deceived_the_detector_worst_first(portraits):
    pieces = mine_negatives(brightest, portraits, [], count=30, size=96, seed=1)
    assert 15 < len(pieces) <= 30
    peaks = [int(piece[len(piece) // 2, len(piece) // 2].sum()) for piece in pieces]
    assert peaks == sorted(peaks, reverse=True)
    for piece in pieces:
        assert piece.dtype == np.uint8 and piece.shape == (len(piece), len(piece), 3)
        assert 8 <= len(piece) <= 32
    again = mine_negatives(brightest, portraits, [], count=30, size=96, seed=1)
    assert all((a == b).all() for a, b in zip(pieces, again, strict=True))


def test_a_detector_that_is_never_deceived_gives_nothing(portraits):
    assert mine_negatives(lambda image: [], portraits, [], count=5, size=64) == []


def maker(portraits, pieces=None, **settings):
    config = CollageConfig(size=128, most=120.0, **settings)
    mesh = build_turn_mesh(mean_shapes(portraits.points)[1])
    return CollageMaker(portraits, config, mesh, [], pieces)


def test_hard_pieces_lie_in_collages_and_are_no_faces(portraits):
    # Pure blue occurs nowhere else.
    piece = np.zeros((40, 40, 3), np.uint8)
    piece[..., 2] = 255
    share = {}
    for hard in (0.0, 1.0):
        make = maker(portraits, [piece], hard=hard, most_faces=0, whole=0.0)
        collages = [make.draw(np.random.default_rng(k)) for k in range(20)]
        assert not any(collage.faces for collage in collages)
        colour = np.stack([c.image for c in collages]).astype(int)
        blue = (colour[..., 2] > 120) & (colour[..., :2].max(-1) < 60)
        share[hard] = blue.mean()
    assert share[1.0] > 0.03 and share[0.0] < 0.3 * share[1.0]


def test_rendered_heads_are_drawn_as_often_as_asked(portraits):
    rendered = np.arange(len(portraits)) >= len(portraits) // 2
    mixed = dataclasses.replace(portraits, rendered=rendered, weights=np.ones(len(portraits)))
    make = maker(mixed, renders=0.2)
    rng = np.random.default_rng(0)
    rows = np.array([make._row(rng) for _ in range(4000)])
    assert rendered[rows].mean() == pytest.approx(0.2, abs=0.025)
    everything = dataclasses.replace(mixed, rendered=np.ones(len(portraits), bool))
    assert maker(everything, renders=0.0)._row(rng) >= 0
