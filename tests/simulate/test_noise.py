import numpy as np
import pytest

from facekit import threads
from facekit.errors import InputError
from facekit.simulate.noise import solid_noise, solid_noise_gradient

POINTS = np.random.default_rng(0).uniform(-100, 100, (3000, 3))


def test_the_gradient_is_the_derivative():
    found = solid_noise_gradient(POINTS, size=20, seed=3, octaves=2)
    step = 0.05
    for axis in range(3):
        ahead, back = POINTS.copy(), POINTS.copy()
        ahead[:, axis] += step
        back[:, axis] -= step
        slope = solid_noise(ahead, size=20, seed=3, octaves=2) - solid_noise(
            back, size=20, seed=3, octaves=2
        )
        np.testing.assert_allclose(found[:, axis], slope / (2 * step), atol=2e-3)


def test_it_is_seeded_smooth_and_centred():
    first = solid_noise(POINTS, size=10, seed=1)
    np.testing.assert_array_equal(first, solid_noise(POINTS, size=10, seed=1))
    other = solid_noise(POINTS, size=10, seed=2)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.06
    assert np.abs(first).max() <= 1
    assert abs(first.mean()) < 0.03
    near = solid_noise(POINTS + 1e-3, size=10, seed=1)
    assert np.abs(near - first).max() < 1e-3


def test_it_equals_the_lattice_value_on_the_lattice():
    lattice = np.array([[0, 0, 0], [10, 20, -30], [-10, 0, 40.0]])
    inside = solid_noise(lattice + 1e-5, size=10, seed=5)
    np.testing.assert_allclose(solid_noise(lattice, size=10, seed=5), inside, atol=1e-4)


def test_threads_change_nothing():
    points = np.random.default_rng(1).uniform(-9, 9, (60_000, 3))
    threads.set_num_threads(1)
    try:
        one = solid_noise(points, size=2, seed=0)
        threads.set_num_threads(3)
        three = solid_noise(points, size=2, seed=0)
    finally:
        threads.set_num_threads(None)
    np.testing.assert_array_equal(one, three)


def test_bad_points_are_rejected():
    with pytest.raises(InputError, match="points"):
        solid_noise(np.zeros((4, 2)), size=1, seed=0)
