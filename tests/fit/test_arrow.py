import numpy as np
import pytest

from facekit.fit.arrow import Block, covariances, eliminate, solve


def system(seed=0, shared=7, own=(3, 5, 4), seen=(None, None, None)):
    """Photographs' blocks, the prior, and the whole dense system; own variables come last."""
    rng = np.random.default_rng(seed)
    size = shared + sum(own)
    dense, right = np.zeros((size, size)), np.zeros(size)
    prior = np.diag(rng.uniform(0.1, 1, shared))
    pull = rng.normal(size=shared)
    dense[:shared, :shared] += prior
    right[:shared] += pull
    blocks, start = [], shared
    for n, some in zip(own, seen, strict=True):
        index = np.arange(shared) if some is None else np.array(some)
        jacobian = rng.normal(size=(40, len(index) + n))
        hessian = jacobian.T @ jacobian
        gradient = rng.normal(size=len(index) + n)
        blocks.append(Block(hessian, gradient, index))
        where = np.concatenate([index, np.arange(start, start + n)])
        dense[np.ix_(where, where)] += hessian
        right[where] += gradient
        start += n
    return blocks, prior, pull, dense, right


@pytest.mark.parametrize("seen", [(None, None, None), (None, [0, 1, 2, 5], [0, 1, 2, 3, 6])])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_step_is_that_of_the_dense_system(seen, damping):
    blocks, prior, pull, dense, right = system(seen=seen)
    dense[np.diag_indices_from(dense)] *= 1 + damping
    expected = -np.linalg.solve(dense, right)
    shared, own = solve(blocks, eliminate(blocks, prior, pull, damping=damping))
    np.testing.assert_allclose(np.concatenate([shared, *own]), expected, atol=1e-8)


def test_covariances_are_parts_of_the_dense_inverse():
    blocks, prior, pull, dense, _ = system(seen=(None, [0, 1, 2, 5], [0, 1, 2, 3, 6]))
    inverse = np.linalg.inv(dense)
    shared, each = covariances(blocks, eliminate(blocks, prior, pull), 3)
    np.testing.assert_allclose(shared, inverse[:3, :3], atol=1e-8)
    start = 7
    for found, n in zip(each, (3, 5, 4), strict=True):
        where = np.concatenate([np.arange(3), np.arange(start, start + n)])
        np.testing.assert_allclose(found, inverse[np.ix_(where, where)], atol=1e-8)
        start += n


def test_held_variables_stay():
    blocks, prior, pull, dense, right = system()
    free = np.array([True, False, True])
    held = [blocks[0]._replace(free=free), *blocks[1:]]
    shared, own = solve(held, eliminate(held, prior, pull))
    assert own[0][1] == 0
    keep = np.ones(len(dense), bool)
    keep[7 + 1] = False
    expected = -np.linalg.solve(dense[np.ix_(keep, keep)], right[keep])
    together = np.concatenate([shared, own[0][[0, 2]], *own[1:]])
    np.testing.assert_allclose(together, expected, atol=1e-8)


def test_a_part_that_tells_nothing_is_refused():
    blocks, prior, pull, *_ = system()
    flat = blocks[0]._replace(hessian=np.zeros_like(blocks[0].hessian))
    with pytest.raises(np.linalg.LinAlgError):
        eliminate([flat], prior, pull)
