"""Statistics of comparisons: seeded bootstrap intervals, rank correlation, ranking of failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError

_STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "median": lambda values: float(np.median(values)),
    "mean": lambda values: float(np.mean(values)),
}


class Interval(NamedTuple):
    """An estimate and its two-sided percentile interval at confidence ``level``."""

    estimate: float
    low: float
    high: float
    level: float


def bootstrap_interval(
    values: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    statistic: str = "median",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Estimate a statistic of values (N,) with a percentile bootstrap interval.

    Args:
        values: (N,) finite, N >= 1.
        groups: (N,) labels or None. Values of one group (several views of one head) are not
            independent: whole groups are drawn, so that the interval is not too narrow.
        statistic: ``median`` or ``mean``.
        level: confidence in (0, 1).
        resamples: number of bootstrap samples.
        seed: of the draws; the same seed gives the same interval.

    Degenerate: a single group gives an interval of width zero, which says nothing; callers that
    report it should have at least ten.

    Source: B. Efron, Bootstrap methods: another look at the jackknife, 1979 (percentile method);
    drawing groups is the cluster bootstrap.
    """
    table = check_array(values, "values", shape=("N",)).astype(np.float64)
    if not len(table):
        raise InputError("bootstrap: expected at least one value, got none")
    if statistic not in _STATISTICS:
        known = ", ".join(sorted(_STATISTICS))
        raise InputError(f"bootstrap: expected a statistic of {known}, got {statistic!r}")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(
            f"bootstrap: expected 0 < level < 1 and resamples >= 1, got {level} and {resamples}"
        )
    compute = _STATISTICS[statistic]
    members = _group_members(groups, len(table))
    generator = np.random.default_rng(seed)
    samples = np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(0, len(members), len(members))
        samples[i] = compute(table[np.concatenate([members[g] for g in drawn])])
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(compute(table), float(low), float(high), level)


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    statistic: str = "median",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Estimate the statistic of the paired differences ``first - second`` with an interval.

    An interval below zero says that ``first`` is smaller than ``second`` on the same items.
    Arguments and degenerate cases as in ``bootstrap_interval``.
    """
    a = check_array(first, "first", shape=("N",)).astype(np.float64)
    b = check_array(second, "second", shape=a.shape).astype(np.float64)
    return bootstrap_interval(
        a - b, groups=groups, statistic=statistic, level=level, resamples=resamples, seed=seed
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of paired values (N,), ties sharing their mean rank.

    Degenerate: NaN for fewer than two pairs, or where one side is constant.
    """
    a = check_array(first, "first", shape=("N",)).astype(np.float64)
    b = check_array(second, "second", shape=a.shape).astype(np.float64)
    if len(a) < 2:
        return float("nan")
    x, y = _ranks(a) - (len(a) + 1) / 2, _ranks(b) - (len(b) + 1) / 2
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def roc_area(score: np.ndarray, found: np.ndarray) -> float:
    """Return the area under the ROC curve of a score for what it should find.

    It is the probability that a randomly drawn positive scores higher than a negative, ties
    counting half (the Mann-Whitney statistic).

    Args:
        score: (N,) finite.
        found: (N,) bool, the positives.

    Degenerate: NaN without a positive or without a negative.
    """
    values = check_array(score, "score", shape=("N",)).astype(np.float64)
    positive = check_array(found, "found", shape=values.shape).astype(bool)
    count, rest = int(positive.sum()), int((~positive).sum())
    if not count or not rest:
        return float("nan")
    ranks = _ranks(values)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks (N,) from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _group_members(groups: np.ndarray | None, count: int) -> list[np.ndarray]:
    if groups is None:
        return list(np.arange(count)[:, None])
    labels = np.unique(check_array(groups, "groups", shape=(count,)), return_inverse=True)[1]
    return [np.flatnonzero(labels == g) for g in range(int(labels.max()) + 1)]
