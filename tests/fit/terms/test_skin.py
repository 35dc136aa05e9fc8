import numpy as np
import pytest

from facekit.errors import InputError
from facekit.fit.terms.skin import OTHER, SKIN, skin_probability

# Determinants of the covariances as they were published beside the inverses.
SKIN_DETERMINANTS = [5692842.5, 5851930.5, 2329131.0, 1585971.0]
OTHER_DETERMINANTS = [458703648.0, 6466488.0, 90611376.0, 133097.63]


@pytest.mark.parametrize(
    ("mixture", "determinants"), [(SKIN, SKIN_DETERMINANTS), (OTHER, OTHER_DETERMINANTS)]
)
def test_the_published_parameters_fit_each_other(mixture, determinants):
    assert mixture.weights.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(1 / np.linalg.det(mixture.precisions), determinants, rtol=1e-3)
    np.testing.assert_array_equal(mixture.precisions, mixture.precisions.swapaxes(1, 2))
    assert np.linalg.eigvalsh(mixture.precisions).min() > 0


def test_a_density_is_that_of_scipy():
    from scipy.stats import multivariate_normal

    colours = np.random.default_rng(0).uniform(80, 180, (20, 3))
    expected = sum(
        w * multivariate_normal(m, np.linalg.inv(p)).pdf(colours)
        for w, m, p in zip(*SKIN, strict=True)
    )
    np.testing.assert_allclose(SKIN.density(colours), expected, rtol=1e-9)


def test_skin_is_told_from_grass_and_sky():
    tones = np.array([[[224, 172, 150], [198, 134, 105], [141, 85, 60], [90, 56, 40]]], np.uint8)
    others = np.array([[[60, 120, 50], [110, 160, 220], [128, 128, 128], [20, 20, 20]]], np.uint8)
    assert skin_probability(tones).min() > 0.9
    assert skin_probability(others).max() < 0.5


def test_the_prior_is_returned_where_both_vanish_and_shifts_the_rest():
    image = np.array([[[0, 255, 0], [198, 134, 105]]], np.uint8)
    low, high = skin_probability(image, prior=0.1), skin_probability(image, prior=0.9)
    assert (low <= high).all()
    assert np.isfinite(low).all()
    assert low.dtype == np.float32


def test_rejections():
    with pytest.raises(InputError, match="image: expected dtype uint8"):
        skin_probability(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="image: expected shape"):
        skin_probability(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="prior"):
        skin_probability(np.zeros((4, 4, 3), np.uint8), prior=1.0)
