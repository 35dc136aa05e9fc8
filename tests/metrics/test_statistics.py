import numpy as np
import pytest
from scipy import stats

from facekit.errors import InputError
from facekit.metrics.statistics import (
    bootstrap_interval,
    paired_bootstrap,
    rank_correlation,
    roc_area,
)


def test_agrees_with_scipy_on_the_mean():
    values = np.random.default_rng(0).normal(1.0, 2.0, size=80)
    ours = bootstrap_interval(values, statistic="mean", resamples=4000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.04)
    assert ours.high == pytest.approx(theirs.high, abs=0.04)


def test_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        sample = generator.normal(size=40)
        interval = bootstrap_interval(sample, statistic="mean", resamples=300, seed=trial)
        hits += interval.low <= 0 <= interval.high
    assert 0.87 <= hits / 200 <= 0.99


def test_pairs_remove_what_both_share():
    generator = np.random.default_rng(3)
    difficulty = generator.normal(10, 5, size=60)
    better = difficulty + generator.normal(-0.5, 0.2, size=60)
    interval = paired_bootstrap(better, difficulty)
    assert -0.7 < interval.low < interval.estimate < interval.high < -0.3
    swapped = paired_bootstrap(difficulty, better)
    assert swapped.estimate == pytest.approx(-interval.estimate)


def test_groups_widen_the_interval():
    generator = np.random.default_rng(4)
    heads = np.repeat(np.arange(25), 4)
    values = generator.normal(size=25)[heads] + 0.01 * generator.normal(size=100)
    alone = bootstrap_interval(values, statistic="mean")
    grouped = bootstrap_interval(values, statistic="mean", groups=heads)
    assert grouped.estimate == alone.estimate
    assert (grouped.high - grouped.low) > 1.5 * (alone.high - alone.low)
    names = np.array([f"head {h}" for h in heads])
    assert bootstrap_interval(values, statistic="mean", groups=names).level == 0.95


def test_seed_decides():
    values = np.random.default_rng(5).normal(size=30)
    assert bootstrap_interval(values, seed=7) == bootstrap_interval(values, seed=7)
    assert bootstrap_interval(values, seed=7) != bootstrap_interval(values, seed=8)


def test_one_value_gives_itself():
    assert bootstrap_interval(np.array([2.5]))[:3] == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros(0), {}, "at least one"),
        (np.ones(3), {"statistic": "mode"}, "mean, median"),
        (np.ones(3), {"level": 1.0}, "level"),
        (np.ones(3), {"resamples": 0}, "resamples"),
        (np.ones(3), {"groups": np.ones(2)}, "shape"),
        (np.array([1, np.nan]), {}, "finite"),
    ],
)
def test_rejections(values, options, message):
    with pytest.raises(InputError, match=message):
        bootstrap_interval(values, **options)


def test_pairs_must_match():
    with pytest.raises(InputError, match="shape"):
        paired_bootstrap(np.ones(3), np.ones(4))


def test_rank_correlation_agrees_with_scipy():
    rng = np.random.default_rng(2)
    first = rng.integers(0, 6, 40).astype(float)
    second = first + rng.normal(0, 2, 40)
    assert rank_correlation(first, second) == pytest.approx(
        stats.spearmanr(first, second).statistic
    )
    assert rank_correlation(second, np.exp(second)) == pytest.approx(1)
    assert rank_correlation(second, -second) == pytest.approx(-1)
    assert np.isnan(rank_correlation(second, np.ones(40)))
    assert np.isnan(rank_correlation(np.ones(1), np.ones(1)))


def test_roc_area_counts_ordered_pairs():
    rng = np.random.default_rng(3)
    score = rng.integers(0, 9, 50).astype(float)
    found = rng.random(50) < 0.4
    pairs = score[found][:, None] - score[~found][None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert roc_area(score, found) == pytest.approx(expected)
    assert roc_area(found.astype(float), found) == 1
    assert np.isnan(roc_area(score, np.zeros(50, bool)))
    with pytest.raises(InputError, match="found"):
        roc_area(score, found[:-1])
