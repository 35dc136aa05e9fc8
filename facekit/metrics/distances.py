"""Summaries of distances, as the benchmarks of face shape report them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facekit.checks import check_array
from facekit.errors import InputError


@dataclass(frozen=True)
class ErrorSummary:
    """Median, mean and population standard deviation (ddof 0) of ``count`` values.

    The three are NaN when ``count`` is 0.
    """

    median: float
    mean: float
    std: float
    count: int


class Curve(NamedTuple):
    """A cumulative error curve: ``percent[i]`` of the values are at most ``error[i]``."""

    error: np.ndarray
    percent: np.ndarray


def summarise(values: np.ndarray) -> ErrorSummary:
    """Summarise values (N,), computed in float64; no values give NaN and count 0."""
    table = check_array(values, "values", shape=("N",)).astype(np.float64)
    if not len(table):
        return ErrorSummary(float("nan"), float("nan"), float("nan"), 0)
    return ErrorSummary(
        float(np.median(table)), float(table.mean()), float(table.std()), len(table)
    )


def root_mean_square(values: np.ndarray) -> float:
    """Return sqrt(mean(values^2)) of values (N,); NaN for none."""
    table = check_array(values, "values", shape=("N",)).astype(np.float64)
    return float(np.sqrt(np.mean(table**2))) if len(table) else float("nan")


def vertex_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Euclidean distances (..., V) of corresponding vertices (..., V, 3)."""
    a = check_array(first, "first", shape=("...", "V", 3))
    b = check_array(second, "second", shape=a.shape)
    return np.linalg.norm(a.astype(np.float64) - b, axis=-1)


def cumulative_curve(values: np.ndarray, errors: np.ndarray) -> Curve:
    """Return the percentage of values (N,) at or below each of ``errors`` (M,), ascending.

    No values give 0 percent everywhere.
    """
    table = np.sort(check_array(values, "values", shape=("N",)))
    marks = check_array(errors, "errors", shape=("M",)).astype(np.float64)
    if np.any(np.diff(marks) < 0):
        raise InputError("errors: expected them in ascending order")
    counts = np.searchsorted(table, marks, side="right")
    return Curve(marks, 100.0 * counts / max(1, len(table)))
