import numpy as np
from dense_case import plane_depth, ring, views_of

from facekit.capture.sweep import aggregate, choose, sweep_costs
from facekit.capture.views import pair_rows
from facekit.geometry.sampling import sample_image

FRONT = np.array([0.0, 0.0, 1.0])


def slow_paths(costs, small, large):
    total = np.zeros_like(costs, dtype=float)
    height, width, count = costs.shape
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        rows = range(height) if dy >= 0 else range(height - 1, -1, -1)
        columns = range(width) if dx >= 0 else range(width - 1, -1, -1)
        path = np.zeros_like(total)
        for y in rows:
            for x in columns:
                v, u = y - dy, x - dx
                path[y, x] = costs[y, x]
                if 0 <= v < height and 0 <= u < width:
                    before = path[v, u]
                    for d in range(count):
                        options = [before[d], before.min() + large]
                        options += [before[k] + small for k in (d - 1, d + 1) if 0 <= k < count]
                        path[y, x, d] += min(options) - before.min()
        total += path
    return total


def test_aggregation_is_that_of_a_plain_twin():
    costs = np.random.default_rng(0).uniform(0, 2, (6, 7, 5)).astype(np.float32)
    np.testing.assert_allclose(
        aggregate(costs, small=0.1, large=0.6), slow_paths(costs, 0.1, 0.6), rtol=1e-5
    )


def test_the_best_plane_is_interpolated_by_a_parabola():
    where = 3.3
    costs = ((np.arange(8) - where) ** 2)[None, None].astype(np.float32)
    plane, score = choose(costs, costs)
    assert abs(plane[0, 0] - where) < 1e-5
    assert abs(score[0, 0] - (1 - 0.3**2)) < 1e-5
    assert choose(costs[..., :2], costs[..., :2])[0][0, 0] == 1


def test_costs_are_those_of_a_plain_twin_and_least_at_the_surface():
    cameras = ring(3, size=64)
    depths = [plane_depth(camera, FRONT, 0.0) for camera in cameras]
    views = views_of(cameras, depths)
    pairs = pair_rows(cameras[1], [cameras[0], cameras[2]])
    levels = np.linspace(1 / 700, 1 / 520, 21)
    others = np.stack([views[0].grey, views[2].grey])
    costs = sweep_costs(views[1].grey, others, pairs, levels, radius=2, best=2)
    x, y, d = 30, 25, 7
    dy, dx = np.mgrid[-2:3, -2:3]
    pixels = np.stack([(x + dx).ravel(), (y + dy).ravel(), np.ones(25)])
    f = views[1].grey[y + dy, x + dx].ravel()
    scores = []
    for row, other in zip(pairs, others, strict=True):
        p = row[:9].reshape(3, 3) @ pixels + levels[d] * row[9:, None]
        h = sample_image(other, p[0] / p[2], p[1] / p[2])[:, 0]
        scores.append(np.corrcoef(f, h)[0, 1])
    assert abs(costs[y, x, d] - (1 - np.mean(scores))) < 0.02
    plane, _ = choose(aggregate(costs), costs)
    w = levels[0] + plane * (levels[1] - levels[0])
    inner = np.s_[8:-8, 8:-8]
    assert np.median(np.abs(1 / w - depths[1])[inner]) < 2.0
    # Beyond the neighbours' pictures there is no correlation.
    assert (costs[0] == 1).all()
