"""The open benchmark's results as a page of markdown: docs/benchmark.md is one, as it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NUMBERS = ("median", "mean", "std")
_MEASURES = (
    ("now", "NoW's protocol"),
    ("now_metrical", "NoW's protocol, metrical"),
)


def methods_of(document: Mapping[str, Any], measure: str) -> dict[str, Any]:
    """Return each method's document of a measure of ``evaluate_all``'s document."""
    one = document["benchmarks"][measure]
    return dict(one.get("methods", {document["protocol"]["main"]: one}))


def results_page(document: Mapping[str, Any]) -> str:
    """Return the results: what was measured and how it is made again, then every measure's tables.

    Args:
        document: of ``simulated_run.evaluate_all``.
    """
    protocol = document["protocol"]
    if protocol["heads_sha256"] is None:
        heads = "heads of the built-in model's own (it is tested on itself)"
    else:
        heads = f"heads (sha256 of their file `{protocol['heads_sha256'][:16]}`)"
    lines = [
        f"# Simulated benchmark, version {protocol['version']}",
        "",
        f"{protocol['count']} {heads}, seed {protocol['seed']}, "
        f"{protocol['count'] * sum(protocol['pictures'].values())} pictures of "
        f"{protocol['size']} px (sha256 of their pixels `{protocol['pictures_sha256'][:16]}`), "
        f"facekit {protocol['facekit']}. Distances in mm. Made by",
        "",
        "```",
        protocol["command"],
        "```",
    ]
    for measure, title in _MEASURES:
        one = document["benchmarks"][measure]
        lines += ["", f"## {title}", "", *_measure(one, methods_of(document, measure))]
        lines += _compared(one)
    if "landmarks" in document["benchmarks"]:
        metrics = document["benchmarks"]["landmarks"]["metrics"]
        lines += ["", "## Landmarks", "", "Percent of the outer eye distance, 68 points.", ""]
        lines += _table(
            ("detector", *_NUMBERS, "pictures", "missing"),
            [[protocol["landmarks"], *_cells(metrics), metrics["count"], metrics["missing"]]],
        )
    return "\n".join([*lines, ""])


def _measure(document: Mapping[str, Any], methods: Mapping[str, Any]) -> list[str]:
    """Return the table of controls and methods: all pictures, then the medians of each challenge.

    A control sees no picture, so it has one row of numbers for all.
    """
    challenges = list(dict.fromkeys(name for one in methods.values() for name in one["groups"]))
    rows: list[list[object]] = [
        [name, *_cells(row), *[""] * len(challenges), row["count"], row["missing"]]
        for name, row in document["controls"].items()
    ]
    for name, one in methods.items():
        medians = [_cell(one["groups"].get(c, {}).get("median")) for c in challenges]
        metrics = one["metrics"]
        rows.append([name, *_cells(metrics), *medians, metrics["count"], metrics["missing"]])
    named = [f"{challenge.removeprefix('multiview_')}, median" for challenge in challenges]
    return _table(("method", *_NUMBERS, *named, "scored", "missing"), rows)


def _compared(document: Mapping[str, Any]) -> list[str]:
    """Return the table of paired differences: with the controls, then with the first method."""
    rows = [
        (method, control, found)
        for control in document["controls"]
        for method, ones in document["against_controls"].items()
        if (found := ones.get(control))
    ]
    others = document.get("comparisons", {})
    rows += [(method, found["than"], found) for method, found in others.items() if found["items"]]
    if not rows:
        return []
    columns = ("method", "against", "difference of the items' medians", "95 %", "better on", "")
    cells: list[Sequence[object]] = [
        (
            method,
            than,
            f"{found['mean_difference']:+.3f}",
            f"{found['low']:+.3f} to {found['high']:+.3f}",
            f"{found['better_on_percent']:.0f} %",
            found["verdict"],
        )
        for method, than, found in rows
    ]
    return ["", *_table(columns, cells)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return head + [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_cell(row[name]) for name in _NUMBERS]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
