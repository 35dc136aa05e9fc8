"""``facekit eval all``: an open benchmark from end to end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_compare import COLUMNS, named_predictions
from facekit.cli.output import out
from facekit.errors import UsageError


class Truth(StrEnum):
    """Where the truth comes from."""

    SIMULATED = "simulated"


class OwnPreset(StrEnum):
    """facekit's own fits."""

    FAST = "fast"
    DEFAULT = "default"
    BEST = "best"


def everything(
    output: opt.OutputFolder,
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Other methods' results on its pictures, in NoW's layout: a folder or "
            "NAME=FOLDER each.",
            metavar="[PREDICTIONS…]",
        ),
    ] = None,
    truth: Annotated[
        Truth, typer.Option(help="simulated: rendered heads of known shape.")
    ] = Truth.SIMULATED,
    heads: Annotated[
        Path | None,
        typer.Option(
            help=".npz of heads of known shape, or MakeHuman's assets (base.obj, their folder, or "
            "one archive), which --count heads are drawn from; without it the built-in model's "
            "own.",
            metavar="PATH",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Heads; each has eight pictures.")] = 24,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Side of the pictures, px.")] = 512,
    source: Annotated[
        opt.LandmarkSource, typer.Option("--landmarks", help="Detector of facekit's own fits.")
    ] = opt.LandmarkSource.BUILTIN,
    own: Annotated[bool, typer.Option("--own/--no-own", help="Measure facekit's own fits.")] = True,
    presets: Annotated[
        list[OwnPreset] | None,
        typer.Option(
            "--preset", help="Own fits that are measured; repeat for more. Default: all three."
        ),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="Of the presets default and best, as in facekit fit: auto, none, or a file.",
            metavar="NAME",
        ),
    ] = "auto",
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    jobs: opt.Jobs = 1,
    as_json: opt.Json = False,
) -> int:
    """Make an open benchmark that needs no licence, fit its pictures, and score every method.

    Heads of known shape in NoW's layout: neutral from three sides, with expression, covered in
    part, and as a selfie. Version, seed and heads say exactly which pictures these are; running
    again makes only what is missing.

    Example: facekit eval all --truth simulated --heads heads.npz -o bench --jobs 2
    """
    from facekit.evaluate.makehuman_assets import is_makehuman
    from facekit.evaluate.makehuman_heads import write_makehuman_heads
    from facekit.evaluate.simulated import SimulatedOptions
    from facekit.evaluate.simulated_run import PRESETS, AllOptions, evaluate_all
    from facekit.evaluate.simulated_table import methods_of

    start = time.monotonic()
    del truth  # there is one kind so far, and naming it keeps old commands meaning the same
    if source is opt.LandmarkSource.FILES or source is opt.LandmarkSource.AUTO:
        raise UsageError("--landmarks: name a detector; the pictures have no files beside them")
    methods = named_predictions(predictions, False) if predictions else {}
    if not own and not methods:
        raise UsageError("--no-own needs PREDICTIONS of another method")
    chosen = tuple(dict.fromkeys(p.value for p in presets)) if presets else PRESETS
    chosen = chosen if own else ()
    command = _command(heads, count, size, seed, source.value, chosen, network, methods)
    if heads is not None and is_makehuman(heads):
        heads = write_makehuman_heads(heads, output / "heads.npz", count=count, seed=seed)
    options = AllOptions(
        benchmark=SimulatedOptions(heads, count, size, seed),
        methods=methods,
        landmarks=source.value,
        presets=chosen,
        network=network,
        heat=heat,
        jobs=jobs,
        command=command,
    )
    taken = sorted(set(options.own_methods()) & set(methods))
    if taken:
        raise UsageError(f"predictions: {', '.join(taken)} is the name of facekit's own fit")
    if heads is None:
        out.warn("without --heads the built-in model is tested on its own heads, which flatters it")
    with _Stages() as stages:
        document = evaluate_all(output, options, stage=stages.tell)
    if as_json:
        out.json(document)
    else:
        _table(document)
    for line in _sentences(document["benchmarks"]["now"]):
        out.info(line)
    scored = methods_of(document, "now").values()
    missing = sum(one["metrics"]["missing"] for one in scored)
    out.info(
        f"{sum(one['metrics']['count'] for one in scored)} predictions of {len(scored)} methods, "
        f"{missing} missing in {time.monotonic() - start:.1f} s -> {output / 'results.md'}"
    )
    return 5 if missing else 0


def _command(
    heads: Path | None,
    count: int,
    size: int,
    seed: int,
    landmarks: str,
    presets: Sequence[str],
    network: str,
    methods: Mapping[str, Path],
) -> str:
    """Return the command that makes the benchmark again, without what is as usual."""
    words = ["facekit eval all --truth simulated"]
    words += [f"--heads {heads.name}"] if heads is not None else []
    usual: dict[str, tuple[object, object]] = {
        "count": (count, 24),
        "size": (size, 512),
        "seed": (seed, 0),
        "landmarks": (landmarks, "builtin"),
        "network": (network, "auto"),
    }
    words += [f"--{name} {value}" for name, (value, default) in usual.items() if value != default]
    every = tuple(preset.value for preset in OwnPreset)
    if not presets:
        words.append("--no-own")
    elif tuple(presets) != every:
        words += [f"--preset {preset}" for preset in presets]
    return " ".join([*words, "-o bench", *(f"{name}={name}" for name in methods)])


class _Stages(contextlib.ExitStack):
    """One progress display after another, each with its stage's name."""

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self._progress: Callable[[int, int], None] = lambda _done, _total: None

    def tell(self, name: str, done: int, total: int) -> None:
        """Say how far a stage is."""
        if name != self._name:
            self.close()
            self._name, self._progress = name, self.enter_context(out.progress(name))
        self._progress(done, total)


def _table(document: dict[str, Any]) -> None:
    from facekit.evaluate.simulated_table import methods_of

    rows: list[list[object]] = []
    for measure in ("now", "now_metrical"):
        one = document["benchmarks"][measure]
        for method, result in methods_of(document, measure).items():
            groups = {"all": result["metrics"], **result["groups"]}
            rows += [[measure, method, name, *_cells(row)] for name, row in groups.items()]
        rows += [[measure, "control", name, *_cells(row)] for name, row in one["controls"].items()]
    if "landmarks" in document["benchmarks"]:
        metrics = document["benchmarks"]["landmarks"]["metrics"]
        rows.append(["landmarks %", document["protocol"]["main"], "all", *_cells(metrics)])
    out.table(["mm", "method", "pictures", *COLUMNS], rows)


def _sentences(document: dict[str, Any]) -> list[str]:
    """Return the methods' differences to the mean face and to the first method, in words."""
    from facekit.evaluate.comparison import sentence
    from facekit.evaluate.scan_controls import MEAN_FACE

    found = [
        (name, ones[MEAN_FACE])
        for name, ones in document["against_controls"].items()
        if MEAN_FACE in ones
    ]
    found += list(document.get("comparisons", {}).items())
    return [sentence(name, one, unit="mm") for name, one in found]


def _cells(row: dict[str, Any]) -> list[object]:
    return ["-" if row[c] is None else row[c] for c in COLUMNS]


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("all")(everything)
