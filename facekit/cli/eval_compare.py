"""One method or several on a benchmark: names, reports, tables; shared by the scan benchmarks."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli.output import out
from facekit.errors import UsageError

Predictions = Annotated[
    list[Path],
    typer.Argument(
        help="Folder of meshes (obj, ply, glb, stl, npz), or results of fit; several are "
        "compared, each a folder or NAME=FOLDER.",
        metavar="PREDICTIONS…",
    ),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare", help="Compare all PREDICTIONS with the first (implied by more than one)."
    ),
]
Report = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for report, curves, heat maps.", metavar="DIR"),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Pictures, in the predictions' names, for PREDICTIONS that are a parameter network "
        "(.onnx) or the folder of its training run.",
        metavar="DIR",
    ),
]
COLUMNS = ("median", "mean", "std", "count", "missing")
_MOST_WARNINGS = 20
# One method: its predictions and the folder of its report (None: none) to its evaluation.
Evaluate = Callable[[Path, Path | None], Any]


@dataclass(frozen=True)
class Pictures:
    """What a network that stands for predictions looks at.

    Attributes:
        images: folder of pictures, or None.
        model: of the network's coefficients; ``auto`` and ``none`` mean the built-in one.
        expression: whether faces are scored with their expression.
    """

    images: Path | None = None
    model: str = "builtin"
    expression: bool = False


def named_predictions(paths: list[Path], compare: bool) -> dict[str, Path]:
    """Return the methods by name: NAME=PATH, else as much of the path's end as tells them apart.

    Raises:
        UsageError: one folder to compare, or one name twice.
    """
    if compare and len(paths) < 2:
        raise UsageError("--compare needs at least two folders of predictions")
    given: list[tuple[str, Path]] = []
    for path in paths:
        name, equals, rest = str(path).partition("=")
        named = bool(equals) and not path.exists()
        given.append((name, Path(rest)) if named else ("", path))
    depth = 1
    while True:
        names = [n or "_".join(p.resolve().with_suffix("").parts[-depth:]) for n, p in given]
        if len(set(names)) == len(names) or depth > 8:
            break
        depth += 1
    if len(set(names)) < len(names) or not all(names) or any("/" in name for name in names):
        raise UsageError(f"predictions: expected different names, got {', '.join(names)}")
    return dict(zip(names, (p for _, p in given), strict=True))


def run_methods(
    paths: list[Path],
    compare: bool,
    evaluate: Evaluate,
    *,
    output: Path | None,
    as_json: bool,
    value: str,
    unit: str = "mm",
    limit: float = 8.0,
    higher_is_better: bool = False,
    note: Callable[[], str] | None = None,
    pictures: Pictures | None = None,
) -> int:
    """Evaluate one method or several, write, print and count; return the exit code.

    ``note`` gives a line that is said before the last one; with ``pictures`` a method may be a
    network that looks at them.
    """
    with contextlib.ExitStack() as stack:

        def prepared(path: Path, folder: Path | None) -> Any:
            if pictures is not None:
                path = _seen(path, pictures, folder, stack)
            return evaluate(path, folder)

        return _run_methods(
            paths, compare, prepared, output, as_json, value, unit, limit, higher_is_better, note
        )


def _seen(path: Path, pictures: Pictures, folder: Path | None, stack: contextlib.ExitStack) -> Path:
    """Return a folder of predictions; of a network those that it makes of the pictures."""
    from facekit.evaluate.network_meshes import is_network, write_network_meshes

    if not is_network(path):
        return path
    if pictures.images is None:
        raise UsageError(f"{path} is a network: --images names the pictures that it looks at")
    if folder is None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facekit-")))
    folder = folder / "predictions"
    known = pictures.model not in ("auto", "none")
    with out.progress("network") as progress:
        failures = write_network_meshes(
            path,
            pictures.images,
            folder,
            model=pictures.model if known else "builtin",
            expression=pictures.expression,
            progress=progress,
        )
    for key, reason in failures.items():
        out.warn(f"{key}: {reason}")
    return folder


def _run_methods(
    paths: list[Path],
    compare: bool,
    evaluate: Evaluate,
    output: Path | None,
    as_json: bool,
    value: str,
    unit: str,
    limit: float,
    higher_is_better: bool,
    note: Callable[[], str] | None,
) -> int:
    from facekit.evaluate.comparison import (
        against_controls,
        compare_methods,
        sentence,
        uneven,
        write_comparison,
    )
    from facekit.evaluate.scan_controls import MEAN_FACE
    from facekit.evaluate.scan_reports import MAIN, write_scan_report

    start = time.monotonic()
    methods = named_predictions(paths, compare)
    several = len(methods) > 1
    results: dict[str, Any] = {}
    for name, path in methods.items():
        folder = output / name if output is not None and several else output
        results[name] = evaluate(path, folder)
        _say_doubts(results[name].items, f"{name}: " if several else "")
    if several:
        document = compare_methods(
            results, value=value, unit=unit, higher_is_better=higher_is_better
        )
        if output is not None:
            write_comparison(output, results, document, limit=limit, unit=unit, value=value)
    else:
        (only,) = results.values()
        if only.controls:
            only.document["against_controls"] = {MAIN: against_controls(only)}
        document = only.document
        if output is not None:
            write_scan_report(output, only, limit=limit, unit=unit, value=value)
    if as_json:
        out.json(document)
    else:
        _table(document, unit)
    for name, table in document.get("against_controls", {}).items():
        if MEAN_FACE in table:
            out.info(sentence(name, table[MEAN_FACE], unit=unit))
    for name, comparison in document.get("comparisons", {}).items():
        if text := uneven(name, comparison):
            out.warn(text)
        out.info(sentence(name, comparison, unit=unit))
    if note is not None:
        out.info(note())
    where = f" -> {output}" if output is not None else ""
    return _count(results, f" in {time.monotonic() - start:.1f} s{where}")


def _say_doubts(items: Any, prefix: str) -> None:
    """Name what failed and what is doubtful; the same words about many items once."""
    named: dict[str, list[str]] = {}
    for item in items:
        for line in [item.error] if item.error is not None else list(item.warnings):
            named.setdefault(line, []).append(item.name)
    for number, (line, names) in enumerate(named.items()):
        if number == _MOST_WARNINGS:
            rest = sum(len(names) for names in list(named.values())[number:])
            out.warn(f"{prefix}and {rest} more; 'items' of the report has them all")
            break
        more = f" (and {len(names) - 1} more items)" if len(names) > 1 else ""
        out.warn(f"{prefix}{names[0]}: {line}{more}")


def _table(document: Mapping[str, Any], unit: str) -> None:
    methods: Mapping[str, Any] = document.get("methods", {"": document})
    rows: list[list[object]] = []
    for name, one in methods.items():
        rest = one.get("regions", {}) | one.get("measures", {})
        groups = ({} if "measures" in one else {"all": one["metrics"]}) | rest | one["groups"]
        first = [name] if name else []
        rows += [[*first, g, *(_cell(row[c]) for c in COLUMNS)] for g, row in groups.items()]
    first = ["control"] if "" not in methods else []
    for name, row in document["controls"].items():
        label = name if first else f"control {name}"
        rows.append([*first, label, *(_cell(row[c]) for c in COLUMNS)])
    out.table([*(["method"] * len(first)), unit, *COLUMNS], rows)
    out.data(" ".join(f"{k}={_cell(v)}" for k, v in document["protocol"].items()))
    for name, one in methods.items():
        if "fid" in one["metrics"]:
            out.data(f"{f'{name} ' if name else ''}fid={_cell(one['metrics']['fid'])}")


def _count(results: Mapping[str, Any], end: str) -> int:
    total = dict.fromkeys(("count", "missing", "unmatched", "warned"), 0)
    for result in results.values():
        for key in ("count", "missing", "unmatched"):
            total[key] += result.document["metrics"].get(key, 0)
        total["warned"] += sum(bool(item.warnings) for item in result.items)
    parts = [f"{total['count']} predictions"]
    parts += [f"{total[k]} {k}" for k in ("missing", "unmatched", "warned") if total[k]]
    out.info(f"{', '.join(parts)}{end}")
    return 5 if total["missing"] or total["unmatched"] else 0


def _cell(value: object) -> object:
    return "-" if value is None else value
