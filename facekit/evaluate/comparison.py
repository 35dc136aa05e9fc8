"""Several methods on the same items: one table, one plot, paired differences with intervals."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.evaluate.now import SCHEMA
from facekit.evaluate.reports import curves_csv, write_report
from facekit.evaluate.scan_reports import (
    ScanEvaluation,
    ScanItem,
    plot_title,
    pooled,
    write_scan_report,
)
from facekit.export.curves import draw_curves
from facekit.io.atomic import write_text
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
    return _paired(
        [
            (item.value, base[item.name].value, base[item.name].person or item.name)
            for item in second
            if item.value is not None and item.name in base
        ],
        higher_is_better=higher_is_better,
        seed=seed,
    )


def compare_with_control(
    control: Sequence[ScanItem], items: Sequence[ScanItem], *, seed: int = 0
) -> dict[str, Any] | None:
    """Compare a method with a control, which has one item a scan or person (``compare_items``)."""
    base = {item.name: item.value for item in control if item.value is not None}
    pairs = []
    for item in items:
        name = item.name if item.name in base else item.person
        if item.value is not None and name in base:
            pairs.append((item.value, base[name], item.person or item.name))
    return _paired(pairs, higher_is_better=False, seed=seed)


def against_controls(evaluation: ScanEvaluation, *, seed: int = 0) -> dict[str, Any]:
    """Return ``compare_with_control`` of a method with each of its controls, by their names."""
    return {
        name: {"than": name, **found}
        for name, items in evaluation.controls.items()
        if (found := compare_with_control(items, evaluation.items, seed=seed))
    }


def _paired(
    pairs: Sequence[tuple[float, float | None, str]], *, higher_is_better: bool, seed: int
) -> dict[str, Any] | None:
    """Compare pairs of (own value, other's value, person)."""
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

    Returns:
        ``methods`` has each one's own document, ``controls`` theirs, ``comparisons`` each other
        method's ``compare_items`` with the first and how many items only one of them has a value
        of, ``against_controls`` each method's with every control.

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
    rows = _control_items(methods.values())
    comparisons = {}
    for name in names[1:]:
        found = compare_items(
            first.items, methods[name].items, higher_is_better=higher_is_better, seed=seed
        )
        mine, theirs = (_scored_names(methods[n].items) for n in (name, names[0]))
        comparisons[name] = {
            "than": names[0],
            **(found or {"items": 0}),
            "only_here": len(mine - theirs),
            "only_there": len(theirs - mine),
        }
    return {
        "schema": SCHEMA,
        "protocol": {**first.document["protocol"], "compared": f"{value} of an item, {unit}"},
        "methods": {name: evaluation.document for name, evaluation in methods.items()},
        "controls": controls,
        "comparisons": comparisons,
        "against_controls": {
            name: against_controls(evaluation._replace(controls=rows), seed=seed)
            for name, evaluation in methods.items()
        },
    }


def _scored_names(items: Sequence[ScanItem]) -> set[str]:
    return {item.name for item in items if item.value is not None}


def uneven(name: str, comparison: Mapping[str, Any]) -> str:
    """Say that two methods do not have the same items, or return nothing."""
    pairs = (
        (comparison["than"], name, comparison["only_there"]),
        (name, comparison["than"], comparison["only_here"]),
    )
    said = [
        f"{one} has {count} item{'s' if count > 1 else ''} that {other} has not"
        for one, other, count in pairs
        if count
    ]
    if not said:
        return ""
    return f"{', '.join(said)}: their rows are over different items, the difference is not"


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
    folder of its name. The curves have a line for every method and for every control.

    Args:
        folder: made when it is not there.
        methods: their evaluations.
        document: of ``compare_methods``.
        limit: right end of the curves' x axis, in ``unit``.
        unit, value: of an item's value.

    Raises:
        InputError: a folder cannot be made or written.
    """
    written = write_report(folder, document, items=False)
    for name, evaluation in methods.items():
        written += write_scan_report(folder / name, evaluation, limit=limit, unit=unit, value=value)
    written.append(write_text(folder / "items.csv", comparison_csv(methods)))
    title = plot_title(document)
    lines = {name: evaluation.items for name, evaluation in methods.items()}
    for name, items in _control_items(methods.values()).items():
        lines.setdefault(name, items)
    points = {name: pooled(items) for name, items in lines.items()}
    values = {
        name: np.array([i.value for i in items if i.value is not None], np.float64)
        for name, items in lines.items()
    }
    everything = points if any(len(p) for p in points.values()) else values
    text = curves_csv(f"error_{'percent' if unit == '%' else unit}", everything, limit=limit)
    written.append(write_text(folder / "curve.csv", text))
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


def _control_items(evaluations: Iterable[ScanEvaluation]) -> dict[str, list[ScanItem]]:
    """Return every control's items; controls do not depend on the method."""
    rows: dict[str, list[ScanItem]] = {}
    for evaluation in evaluations:
        for name, items in evaluation.controls.items():
            rows.setdefault(name, items)
    return rows


def _controls(evaluation: ScanEvaluation) -> dict[str, Any]:
    return dict(evaluation.document.get("controls", {}))
