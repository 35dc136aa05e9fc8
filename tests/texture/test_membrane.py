"""Poisson blending against a direct solver, and what a seam is."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from facekit.errors import InputError
from facekit.texture.membrane import blend, fade, membrane


def direct(values, known, domain, reach=np.inf):
    """The least-squares membrane by a sparse direct solver."""
    index = -np.ones(domain.shape, int)
    free = domain & ~known
    index[free] = np.arange(free.sum())
    rows, columns, entries = [], [], []
    right = np.zeros((free.sum(), values.shape[2]))
    for y, x in np.argwhere(free):
        i = index[y, x]
        count = 0
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            if not (0 <= v < domain.shape[0] and 0 <= u < domain.shape[1] and domain[v, u]):
                continue
            count += 1
            if known[v, u]:
                right[i] += values[v, u]
            else:
                rows.append(i)
                columns.append(index[v, u])
                entries.append(-1.0)
        rows.append(i)
        columns.append(i)
        entries.append(count + reach**-2.0)
    matrix = sparse.csr_matrix((entries, (rows, columns)))
    result = np.where(known[..., None], values, 0.0)
    result[free] = spsolve(matrix.tocsc(), right).reshape(free.sum(), -1)
    return result


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:61, :70]
    domain = (x - 35) ** 2 + (y - 30) ** 2 < 29**2
    known = domain & (x < 25) & (y > 10)
    smooth = np.stack([np.sin(x / 9.0), np.cos(y / 7.0), x * y / 2000.0], axis=2)
    return (smooth + 0.05 * rng.standard_normal(smooth.shape)).astype(np.float32), known, domain


@pytest.mark.parametrize("reach", [np.inf, 8.0])
def test_the_membrane_is_the_direct_solution(case, reach):
    values, known, domain = case
    found = membrane(values, known=known, domain=domain, reach=reach)
    expected = direct(values, known, domain, reach)
    assert np.abs(found - expected)[domain].max() < 0.02
    assert not found[~domain].any()


def test_parts_that_touch_nothing_known_are_left(case):
    values, known, domain = case
    island = np.zeros_like(domain)
    island[2:6, 2:6] = True
    found = membrane(values, known=known, domain=domain | island)
    assert not found[island].any()
    assert not membrane(values, known=np.zeros_like(known), domain=domain).any()


def test_a_shifted_picture_is_brought_back(case):
    values, known, domain = case
    result = blend(values + np.float32([0.5, -0.3, 0.1]), values, known=known, domain=domain)
    np.testing.assert_allclose(result[domain], values[domain], atol=5e-3)


@pytest.mark.parametrize("smooth", [0.0, 2.0])
def test_there_is_no_seam(smooth):
    # Two pictures of different light: across the border no step is larger than within either.
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:96, :96]
    texture = 0.02 * rng.standard_normal((96, 96, 1))
    target = (texture + x[..., None] / 300).astype(np.float32)
    source = (texture[:, ::-1] + 0.8 - y[..., None] / 400).astype(np.float32)
    known = (x + 4 * np.sin(y / 6) < 48) & (x > 5)
    domain = np.ones_like(known)
    mixed = blend(source, target, known=known, domain=domain, smooth=smooth)
    border = known[:, :-1] != known[:, 1:]
    border[:, :8] = False
    step = np.abs(np.diff(mixed[..., 0], axis=1))
    pasted = np.abs(np.diff(np.where(known[..., None], target, source)[..., 0], axis=1))
    inside = max(np.abs(np.diff(p[..., 0], axis=1)).max() for p in (target, source))
    assert pasted[border].mean() > 0.2
    assert step[border].max() <= 1.2 * inside
    assert step[border].mean() <= 1.1 * np.abs(np.diff(source[..., 0], axis=1)).mean() + 0.01
    inner = fade(known, domain, smooth) == 1
    np.testing.assert_allclose(mixed[inner], target[inner], atol=1e-6)


def test_a_shift_is_limited_and_fades(case):
    values, known, domain = case
    source = values - 2
    near = blend(source, values, known=known, domain=domain, limit=0.5, reach=5.0)
    shift = (near - source)[domain & ~known]
    assert shift.max() <= 0.5 + 1e-4
    assert shift[-1, 0] < 0.1


def test_shapes_must_fit(case):
    values, known, domain = case
    with pytest.raises(InputError, match="target"):
        blend(values, values[:-1], known=known, domain=domain)
    with pytest.raises(InputError, match="known"):
        blend(values, values, known=known.astype(float), domain=domain)
