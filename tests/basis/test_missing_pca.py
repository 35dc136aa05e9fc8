import numpy as np
import pytest

from facekit.basis.missing_pca import missing_pca
from facekit.errors import InputError


def samples(n=300, d=40, holes=0.0, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((d, 3)))[0].T
    modes = np.array([3.0, 1.5, 0.7])[:, None] * basis
    rows = rng.standard_normal((n, 3)) @ modes + noise * rng.standard_normal((n, d))
    seen = rng.random((n, d)) >= holes
    return rows - rows.mean(0), seen, modes


def test_nothing_missing_is_the_ordinary_pca():
    rows, seen, _ = samples()
    result = missing_pca(rows, seen, 3, rounds=60)
    _, values, vt = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(result.deviations, values[:3] / np.sqrt(len(rows)), rtol=1e-3)
    for mode, axis in zip(result.modes, vt[:3], strict=True):
        assert abs(mode @ axis) / np.linalg.norm(mode) > 0.9999
    assert result.noise == pytest.approx(0.02, rel=0.05)
    np.testing.assert_allclose(result.scores @ result.modes, rows, atol=0.12)


@pytest.mark.parametrize("holes", [0.3, 0.6])
def test_holes_do_not_bend_the_modes(holes):
    rows, seen, modes = samples(holes=holes)
    result = missing_pca(np.where(seen, rows, np.nan), seen, 3, rounds=80)
    for found, true in zip(result.modes, modes, strict=True):
        cosine = abs(found @ true) / np.linalg.norm(found) / np.linalg.norm(true)
        assert cosine > 0.995
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(true), rel=0.12)
    # What was not seen is told by what was.
    filled = result.scores @ result.modes
    assert np.abs(filled - rows)[~seen].std() < 0.06
    assert np.allclose(result.modes @ result.modes.T, np.diag(result.deviations**2), atol=1e-4)


def test_rejections():
    rows, seen, _ = samples(n=10)
    with pytest.raises(InputError, match="1 to 9 modes"):
        missing_pca(rows, seen, 10)
    seen[:, 5] = False
    with pytest.raises(InputError, match="every column"):
        missing_pca(rows, seen, 2)


def test_what_was_believed_before_counts_as_rows():
    rng = np.random.default_rng(3)
    modes = np.linalg.qr(rng.normal(size=(30, 2)))[0].T * [[3.0], [1.5]]
    rows = rng.normal(size=(40, 2)) @ modes + 0.1 * rng.normal(size=(40, 30))
    seen = np.ones(rows.shape, bool)
    other = np.roll(modes, 7, axis=1)
    free = missing_pca(rows, seen, 2, rounds=60)
    held = missing_pca(rows, seen, 2, rounds=60, known=other, strength=1e5)
    start = missing_pca(rows, seen, 2, rounds=60, known=other, strength=0.0)
    np.testing.assert_allclose(np.abs(held.modes), np.abs(other), atol=0.05)
    np.testing.assert_allclose(start.deviations, free.deviations, rtol=1e-3)
    with pytest.raises(InputError, match="at most 2 modes"):
        missing_pca(rows, seen, 2, known=np.zeros((3, 30)))
