import numpy as np
import pytest

from facekit.errors import InputError
from facekit.metrics.distances import (
    cumulative_curve,
    root_mean_square,
    summarise,
    vertex_distances,
)


def test_summary_uses_the_population_deviation():
    result = summarise(np.array([1.0, 2.0, 3.0, 6.0]))
    assert (result.median, result.mean, result.count) == (2.5, 3.0, 4)
    assert result.std == pytest.approx(np.sqrt((4 + 1 + 0 + 9) / 4))


def test_summary_of_float32_is_computed_in_double():
    values = np.full(10_000_000, 0.1, dtype=np.float32)
    assert summarise(values).mean == pytest.approx(float(np.float32(0.1)), abs=1e-12)


def test_nothing_gives_nan_and_no_warning():
    result = summarise(np.zeros(0))
    assert np.isnan([result.median, result.mean, result.std]).all()
    assert result.count == 0
    assert np.isnan(root_mean_square(np.zeros(0)))


def test_root_mean_square_and_vertex_distances():
    assert root_mean_square(np.array([3.0, 4.0])) == pytest.approx(np.sqrt(12.5))
    a = np.zeros((2, 4, 3))
    b = a + [3.0, 0, 4]
    assert vertex_distances(a, b).tolist() == [[5.0] * 4] * 2
    assert vertex_distances(a.astype(np.float32), b).dtype == np.float64


def test_curve_counts_values_at_or_below():
    curve = cumulative_curve(np.array([3.0, 1.0, 1.0, 2.0]), np.array([0, 1, 1.5, 2, 9.0]))
    assert curve.percent.tolist() == [0, 50, 50, 75, 100]
    assert cumulative_curve(np.zeros(0), np.array([1.0])).percent.tolist() == [0]


def test_rejections():
    with pytest.raises(InputError, match="finite"):
        summarise(np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="shape"):
        summarise(np.zeros((2, 2)))
    with pytest.raises(InputError, match="ascending"):
        cumulative_curve(np.ones(3), np.array([2.0, 1.0]))
    with pytest.raises(InputError, match="shape"):
        vertex_distances(np.zeros((4, 3)), np.zeros((5, 3)))
