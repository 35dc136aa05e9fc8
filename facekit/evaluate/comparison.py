"""Several methods on the same items: one table, one plot, paired differences with intervals."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.evaluate.now import SCHEMA
from facekit.evaluate.reports import write_report
from facekit.evaluate.scan_reports import ScanEvaluation, ScanItem, pooled, write_scan_report
from facekit.export.curves import draw_curves
from facekit.io.atomic import write_text
from facekit.metrics.distances import cumulative_curve
from facekit.metrics.statistics import paired_bootstrap

# With fewer persons an interval says little.
FEW_PERSONS = 10


def compare_items(
    first: Sequence[ScanItem],
    second: Sequence[ScanItem],
    *,
    higher_is_better: bool = False,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Compare two methods on the items that both have a value for.

    Returns:
        ``mean_difference`` of the second's values to the first's with its 95 % interval ``low``,
        ``high`` by a bootstrap that draws whole persons, ``better_on_percent`` of the items the
        second's value is better (smaller, unless higher is better), ``items``, ``persons`` and
        ``verdict``: ``better`` or ``worse`` than the first when the interval is on one side of
        zero, else ``undecided`` (always so with fewer than 10 persons). None when they share no
        item.
    """
    base = {item.name: item for item in first if item.value is not None}
    pairs = [
        (item.value, base[item.name].value, base[item.name].person or item.name)
        for item in second
        if item.value is not None and item.name in base
    ]
    if not pairs:
        return None
    mine, theirs, persons = (np.array(column) for column in zip(*pairs, strict=True))
    interval = paired_bootstrap(mine, theirs, groups=persons, statistic="mean", seed=seed)
    count = len(np.unique(persons))
    wins = mine > theirs if higher_is_better else mine < theirs
    verdict = "undecided"
    if count >= FEW_PERSONS and (interval.high < 0 or interval.low > 0):
        verdict = "better" if (interval.high < 0) != higher_is_better else "worse"
    return {
        "mean_difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
        "better_on_percent": 100 * float(wins.mean()),
        "items": len(pairs),
        "persons": count,
        "verdict": verdict,
    }


def compare_methods(
    methods: Mapping[str, ScanEvaluation],
    *,
    value: str,
    unit: str,
    higher_is_better: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the JSON document of several methods on one benchmark.

    Args:
        methods: each one's evaluation by name; the first is what the others are compared with.
        value: what an item's value is called.
        unit: of the values.
        higher_is_better: whether large values are good ones.
        seed: of the bootstrap.

    Raises:
        InputError: fewer than two methods.
    """
    if len(methods) < 2:
        raise InputError(f"comparison: expected at least two methods, got {len(methods)}")
    names = list(methods)
    first = methods[names[0]]
    controls: dict[str, Any] = {}
    for evaluation in methods.values():
        controls |= {k: v for k, v in _controls(evaluation).items() if k not in controls}
    comparisons = {}
    for name in names[1:]:
        found = compare_items(
            first.items, methods[name].items, higher_is_better=higher_is_better, seed=seed
        )
        comparisons[name] = {"than": names[0], **(found or {"items": 0})}
    return {
        "schema": SCHEMA,
        "protocol": {**first.document["protocol"], "compared": f"{value} of an item, {unit}"},
        "methods": {name: evaluation.document for name, evaluation in methods.items()},
        "controls": controls,
        "comparisons": comparisons,
    }


def sentence(name: str, comparison: Mapping[str, Any], *, unit: str) -> str:
    """Return a comparison in words."""
    than = comparison["than"]
    if not comparison["items"]:
        return f"{name} against {than}: no item has a value of both"
    text = (
        f"{name} against {than}: {comparison['mean_difference']:+.3f} {unit} "
        f"[{comparison['low']:+.3f}, {comparison['high']:+.3f}] on {comparison['items']} items of "
        f"{comparison['persons']} persons, better on {comparison['better_on_percent']:.0f} %: "
    )
    if comparison["persons"] < FEW_PERSONS:
        return text + f"undecided (fewer than {FEW_PERSONS} persons)"
    return text + comparison["verdict"]


def write_comparison(
    folder: Path,
    methods: Mapping[str, ScanEvaluation],
    document: dict[str, Any],
    *,
    limit: float,
    unit: str,
    value: str,
) -> list[Path]:
    """Write ``report.json``, ``items.csv``, ``curve.csv``, ``curve.png``, ``curve_items.png``.

    ``items.csv`` has a row an item and a column a method; each method's own report lies in a
    folder of its name. The curves have every method's line; controls are in the methods' own.

    Args:
        folder: made when it is not there.
        methods: their evaluations.
        document: of ``compare_methods``.
        limit: right end of the curves' x axis, in ``unit``.
        unit, value: of an item's value.

    Raises:
        InputError: a folder cannot be made or written.
    """
    written = write_report(folder, document)
    for name, evaluation in methods.items():
        written += write_scan_report(folder / name, evaluation, limit=limit, unit=unit, value=value)
    written.append(write_text(folder / "items.csv", comparison_csv(methods)))
    title = str(document["protocol"].get("name", ""))
    points = {name: pooled(evaluation.items) for name, evaluation in methods.items()}
    values = {
        name: np.array([i.value for i in evaluation.items if i.value is not None], np.float64)
        for name, evaluation in methods.items()
    }
    everything = points if any(len(p) for p in points.values()) else values
    marks = np.linspace(0, limit, 401)
    columns = [cumulative_curve(errors, marks).percent for errors in everything.values()]
    rows = [
        ",".join([f"{mark:.4f}", *(f"{column[k]:.4f}" for column in columns)])
        for k, mark in enumerate(marks)
    ]
    head = ",".join([f"error_{'percent' if unit == '%' else unit}", *methods])
    written.append(write_text(folder / "curve.csv", "\n".join([head, *rows, ""])))
    for file, errors, xlabel, of in (
        ("curve.png", points, f"distance of a point, {unit}", "points"),
        ("curve_items.png", values, f"{value}, {unit}", "predictions"),
    ):
        if any(len(column) for column in errors.values()):
            text = f"{title}: share of {of} at or below"
            written.append(
                draw_curves(folder / file, errors, limit=limit, xlabel=xlabel, title=text)
            )
    return written


def comparison_csv(methods: Mapping[str, ScanEvaluation]) -> str:
    """Return CSV text: a row an item, a column with each method's value (empty: none)."""
    values: dict[str, dict[str, float]] = {}
    groups: dict[str, tuple[str, str]] = {}
    for method, evaluation in methods.items():
        for item in evaluation.items:
            if item.unmatched:
                continue
            groups.setdefault(item.name, (item.group, item.person or item.name))
            row = values.setdefault(item.name, {})
            if item.value is not None:
                row[method] = item.value
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", "group", "person", *methods])
    for name, row in values.items():
        writer.writerow([name, *groups[name], *(row.get(method, "") for method in methods)])
    return buffer.getvalue()


def _controls(evaluation: ScanEvaluation) -> dict[str, Any]:
    return dict(evaluation.document.get("controls", {}))
