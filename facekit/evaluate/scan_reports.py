"""What every scan benchmark reports: items, their summary, and the files of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.evaluate.now import SCHEMA
from facekit.evaluate.reports import curves_csv, rows_csv, write_report
from facekit.export.curves import draw_curves
from facekit.io.atomic import write_text
from facekit.metrics.distances import summarise

MAIN = "prediction"


@dataclass(frozen=True, eq=False)
class ScanItem:
    """The outcome of one prediction.

    Attributes:
        name: of the prediction, or of the scan that lacks one.
        group: what it is summarised with (a video, a view, a region); ``""`` for none.
        value: its error, or None when there is no valid result.
        distances: (n,) float32 of its points, or None.
        details: further values that JSON can hold.
        warnings: what makes the value doubtful.
        error: why there is no value.
        unmatched: a prediction of which there is no truth; it is not missing, but a fault.
        person: whose face it is, since items of one person are not independent; ``""``: its own.
    """

    name: str
    group: str = ""
    value: float | None = None
    distances: np.ndarray | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str | None = None
    unmatched: bool = False
    person: str = ""


class ScanEvaluation(NamedTuple):
    """An evaluation's items, its JSON document and its controls' items by name."""

    items: list[ScanItem]
    document: dict[str, Any]
    controls: dict[str, list[ScanItem]]


Progress = Callable[[int, int], None]


def stranger(name: str, kind: str, known: Iterable[str]) -> ScanItem:
    """Return the item of a prediction that no ``kind`` of its name belongs to."""
    names = list(known)
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    error = f"there is no {kind} of this name; there are {len(names)}: {some}"
    return ScanItem(name, error=error, unmatched=True)


def strictly(item: ScanItem) -> ScanItem:
    """Return an item without a value when anything about it is doubtful."""
    if item.value is None or not item.warnings:
        return item
    reason = "; ".join(item.warnings)
    return replace(item, value=None, distances=None, error=f"refused by --strict: {reason}")


def summary(items: Sequence[ScanItem]) -> dict[str, Any]:
    """Return ``median, mean, std`` (ddof 0) over the items' values, and the counts.

    A missing prediction is counted and does not change the three numbers; with nothing scored
    they are None.
    """
    values = np.array([item.value for item in items if item.value is not None], np.float64)
    result = summarise(values)
    empty = not result.count
    return {
        "median": None if empty else result.median,
        "mean": None if empty else result.mean,
        "std": None if empty else result.std,
        "count": result.count,
        "missing": sum(item.value is None and not item.unmatched for item in items),
        "unmatched": sum(item.unmatched for item in items),
        "warned": sum(bool(item.warnings) for item in items),
    }


def scan_document(
    items: Sequence[ScanItem],
    *,
    protocol: Mapping[str, Any],
    controls: Mapping[str, Sequence[ScanItem]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON document: all items' summary, each group's, the controls', each item."""
    groups = [g for g in dict.fromkeys(item.group for item in items) if g]
    return {
        "schema": SCHEMA,
        "protocol": dict(protocol),
        "metrics": summary(items),
        "groups": {g: summary([i for i in items if i.group == g]) for g in groups},
        "controls": {name: summary(rows) for name, rows in (controls or {}).items()},
        **(extra or {}),
        "items": [_item_document(item) for item in items],
    }


def write_scan_report(
    folder: Path,
    evaluation: ScanEvaluation,
    *,
    limit: float = 8.0,
    unit: str = "mm",
    value: str = "error",
) -> list[Path]:
    """Write ``report.json``, ``items.csv``, ``curve.csv`` and ``curve.png`` (and of the items).

    ``curve.png`` is the cumulative curve of all points where there are distances,
    ``curve_items.png`` that of the items' values; controls have lines of their own.

    Args:
        folder: made when it is not there.
        evaluation: of a benchmark.
        limit: right end of the curves' x axis, in ``unit``.
        unit: of the values, ``mm`` or ``%``.
        value: what an item's value is called.

    Raises:
        InputError: the folder cannot be made or written.
    """
    everything = {MAIN: evaluation.items, **evaluation.controls}
    distances = {name: pooled(items) for name, items in everything.items()}
    own = [i.distances for i in evaluation.items if i.distances is not None]
    lengths = own if own and unit == "mm" else None
    written = write_report(folder, evaluation.document, distances=lengths, items=False)
    if own and unit != "mm":
        text = curves_csv("error_percent", {"percent": distances[MAIN]}, limit=limit)
        written.append(write_text(folder / "curve.csv", text))
    written.append(write_text(folder / "items.csv", items_csv(evaluation.items)))
    name = plot_title(evaluation.document)
    if len(distances[MAIN]):
        written.append(
            draw_curves(
                folder / "curve.png",
                distances,
                limit=limit,
                xlabel=f"distance of a point, {unit}",
                title=f"{name}: share of points at or below",
            )
        )
    values = {
        key: np.array([i.value for i in items if i.value is not None], np.float64)
        for key, items in everything.items()
    }
    if len(values[MAIN]):
        written.append(
            draw_curves(
                folder / "curve_items.png",
                values,
                limit=limit,
                xlabel=f"{value}, {unit}",
                title=f"{name}: share of predictions at or below",
            )
        )
    return written


def plot_title(document: Mapping[str, Any]) -> str:
    """Return what plots are called: the protocol's name, and whether it is metrical."""
    protocol = document["protocol"]
    return f"{protocol.get('name', '')}{', metrical' if protocol.get('metrical') else ''}"


def items_csv(items: Sequence[ScanItem]) -> str:
    """Return the items as CSV text: name, group, value, counts and whatever else is a number."""
    return rows_csv([_item_document(item) for item in items])


def _item_document(item: ScanItem) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": item.name,
        "group": item.group,
        **({"person": item.person} if item.person else {}),
        "missing": item.value is None,
        "value": item.value,
        **item.details,
        "warnings": list(item.warnings),
    }
    return document if item.error is None else document | {"error": item.error}


def pooled(items: Sequence[ScanItem]) -> np.ndarray:
    """Return the distances (N,) of all items together."""
    parts = [item.distances for item in items if item.distances is not None]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
