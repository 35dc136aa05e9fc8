import numpy as np
import pytest

from facekit.errors import InputError
from facekit.simulate.curves import curve_distance, smooth_curve, smoothstep

SQUARE = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])


def test_distances_sides_and_arc_length_of_an_open_line():
    found = curve_distance(np.array([[1.0, 2], [5, 4], [2, -1]]), SQUARE[:3])
    np.testing.assert_allclose(found.distance, [2, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found.along, [1 / 8, 1, 2 / 8], atol=1e-6)
    # The line runs right, then up: its left is the square's inside.
    np.testing.assert_array_equal(found.side, [1, -1, -1])


def test_a_closed_outline_measures_its_last_piece_too():
    point = np.array([[-1.0, 2.0]])
    assert curve_distance(point, SQUARE, closed=True).distance[0] == pytest.approx(1)
    assert curve_distance(point, SQUARE).distance[0] == pytest.approx(np.sqrt(5))


def test_inside_against_the_definition_on_a_star():
    angle = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2, 1.0, 2.5)
    star = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    points = np.random.default_rng(0).uniform(-3, 3, (2000, 2))
    inside = curve_distance(points, star, closed=True).inside
    # The winding angle of the outline about a point is a full turn inside and none outside.
    corners = star[None] - points[:, None]
    after = np.roll(corners, -1, axis=1)
    cross = corners[..., 0] * after[..., 1] - corners[..., 1] * after[..., 0]
    turn = np.arctan2(cross, (corners * after).sum(-1)).sum(1)
    np.testing.assert_array_equal(inside, np.abs(turn) > 3)


def test_a_spline_passes_its_points_and_stays_on_a_line():
    curve = smooth_curve(SQUARE, closed=True, steps=5)
    np.testing.assert_allclose(curve[::5], SQUARE)
    line = np.stack([np.arange(5.0), 2 * np.arange(5.0)], 1)
    smooth = smooth_curve(line, steps=4)
    np.testing.assert_allclose(smooth[::4], line)
    np.testing.assert_allclose(smooth[:, 1], 2 * smooth[:, 0], atol=1e-12)


def test_smoothstep_runs_both_ways():
    np.testing.assert_allclose(smoothstep(0, 2, np.array([-1, 0, 1, 2, 3])), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(2, 0, np.array([-1, 1, 3])), [1, 0.5, 0])


def test_bad_shapes_are_rejected():
    with pytest.raises(InputError, match="points"):
        curve_distance(np.zeros((3, 3)), SQUARE)
    with pytest.raises(InputError, match="curve"):
        curve_distance(np.zeros((3, 2)), np.zeros(4))
