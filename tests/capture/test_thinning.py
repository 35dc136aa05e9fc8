import numpy as np
import pytest

from facekit.capture.thinning import fill_between, two_colours


def test_two_colours_share_the_pixels_and_no_side():
    black, white = two_colours((5, 6))
    assert (black ^ white).all()
    assert black[0, 0]
    assert not (black[:, 1:] & black[:, :-1]).any()
    assert not (black[1:] & black[:-1]).any()


@pytest.fixture
def plane():
    """A slanted plane w, wx, wy, known at the black pixels alone."""
    y, x = np.mgrid[:12, :14].astype(np.float32)
    whole = np.empty((12, 14, 3), np.float32)
    whole[..., 0] = 1e-3 + 2e-6 * x - 1e-6 * y
    whole[..., 1], whole[..., 2] = 2e-6, -1e-6
    black, white = two_colours((12, 14))
    return whole, np.where(black[..., None], whole, 0), black, white


def fill(planes, wanted, focal=1000.0):
    shape = planes.shape[:2]
    score = np.where(planes[..., 0] > 0, 0.9, -1).astype(np.float32)
    return fill_between(planes, score, np.full(shape, 0.5, np.float32), wanted=wanted, focal=focal)


def test_a_plane_is_continued_exactly(plane):
    whole, known, _, white = plane
    planes, score, deviation = fill(known, white)
    np.testing.assert_allclose(planes, whole, rtol=1e-5, atol=1e-11)
    assert (score == np.float32(0.9)).all()
    assert (deviation == 0.5).all()


def test_pixels_at_an_edge_and_alone_stay_empty(plane):
    _, known, _, white = plane
    known[:, 7:, 0] *= 1.5
    planes, score, _ = fill(known, white)
    torn = white & (np.arange(14) == 6)
    assert not planes[torn, 0].any()
    assert (score[torn] == -1).all()
    assert planes[white & (np.arange(14) < 6), 0].all()
    lonely = np.zeros_like(known)
    lonely[4, 4] = 1e-3, 0, 0
    assert not fill(lonely, white)[0][white].any()


def test_only_wanted_pixels_are_filled(plane):
    _, known, _, white = plane
    wanted = white.copy()
    wanted[:, :5] = False
    planes, _, _ = fill(known, wanted)
    assert not planes[white & ~wanted].any()
    assert planes[wanted, 0].all()
