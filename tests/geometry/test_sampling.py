import numpy as np

from facekit.geometry.sampling import sample_image


def test_a_linear_image_is_read_exactly():
    y, x = np.mgrid[:30, :40].astype(np.float32)
    image = np.stack([2 * x + y, 100 - y], axis=2)
    rng = np.random.default_rng(0)
    # More places than OpenCV takes in a row.
    places = rng.uniform([0, 0], [39, 29], (70_000, 2))
    found = sample_image(image, places[:, 0], places[:, 1])
    expected = np.column_stack([2 * places[:, 0] + places[:, 1], 100 - places[:, 1]])
    assert found.shape == (70_000, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.1)  # OpenCV's places are 1/32 px


def test_outside_the_border_is_repeated_and_nothing_is_nothing():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = sample_image(image, np.array([-5.0, 9.0, 0.5]), np.array([-5.0, 9.0, 0.0]))
    np.testing.assert_allclose(found[:, 0], [0, 11, 0.5], atol=0.51)
    assert sample_image(image, np.zeros(0), np.zeros(0)).shape == (0, 1)
