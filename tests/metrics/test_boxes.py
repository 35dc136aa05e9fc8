import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.errors import InputError
from facekit.metrics.boxes import FALSE, UNJUDGED, average_precision, match_boxes, overlaps


def covered(a, b, size=40):
    """Count pixels: the slow twin of an intersection over union of whole-pixel boxes."""
    grids = []
    for x, y, w, h in (a, b):
        grid = np.zeros((size, size), bool)
        grid[y : y + h, x : x + w] = True
        grids.append(grid)
    union = (grids[0] | grids[1]).sum()
    return (grids[0] & grids[1]).sum() / union if union else 0.0


box = st.tuples(*[st.integers(0, 18)] * 2, *[st.integers(0, 18)] * 2)


@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_overlaps_agree_with_counted_pixels(first, second):
    found = overlaps(np.array(first, float), np.array(second, float))
    expected = [[covered(a, b) for b in second] for a in first]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_overlaps_of_none():
    assert overlaps(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)
    with pytest.raises(InputError, match="second boxes"):
        overlaps(np.zeros((1, 4)), np.ones((3, 5)))


def test_the_best_score_takes_the_face_and_others_are_false():
    truth = np.array([[0, 0, 10, 10], [100, 0, 10, 10.0]])
    boxes = np.array([[1, 0, 10, 10], [0, 0, 10, 10], [100, 0, 10, 12], [50, 50, 9, 9.0]])
    shown = match_boxes(boxes, np.array([0.9, 0.8, 0.7, 0.6]), truth)
    assert shown.tolist() == [0, FALSE, 1, FALSE]
    shown = match_boxes(boxes, np.array([0.5, 0.8, 0.7, 0.6]), truth)
    assert shown.tolist() == [FALSE, 0, 1, FALSE]
    assert match_boxes(boxes, np.ones(4), truth, least=0.9).tolist() == [FALSE, 0, FALSE, FALSE]


def test_faces_not_to_be_judged_neither_help_nor_harm():
    truth = np.array([[0, 0, 10, 10], [100, 0, 10, 10.0]])
    boxes = np.array([[0, 0, 10, 10], [104, 0, 10, 10], [108, 0, 10, 10.0]])
    shown = match_boxes(boxes, np.ones(3), truth, ignore=np.array([False, True]))
    assert shown.tolist() == [0, UNJUDGED, FALSE]


def test_no_truth_and_no_detections():
    assert match_boxes(np.ones((2, 4)), np.ones(2), np.zeros((0, 4))).tolist() == [FALSE, FALSE]
    assert len(match_boxes(np.zeros((0, 4)), np.zeros(0), np.ones((2, 4)))) == 0


def test_average_precision_by_hand():
    hits = np.array([True, False, True])
    # Precision 1 to a recall of 1/2, then 2/3.
    assert average_precision(np.array([0.9, 0.8, 0.7]), hits, 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(np.array([0.9, 0.7, 0.8]), hits, 2) == pytest.approx(1)
    assert average_precision(np.array([0.9]), np.array([True]), 4) == pytest.approx(0.25)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0
    assert average_precision(np.ones(1), np.zeros(1, bool), 0) == 0
