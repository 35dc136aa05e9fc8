"""The open benchmark from end to end: pictures, facekit's fits, every measure, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit import __version__
from facekit.detect import open_detector
from facekit.evaluate.comparison import against_controls, compare_methods, write_comparison
from facekit.evaluate.landmark_report import write_landmark_report
from facekit.evaluate.landmarks import evaluate_landmarks
from facekit.evaluate.now import SCHEMA, NowOptions
from facekit.evaluate.now_dataset import open_dataset
from facekit.evaluate.now_evaluation import NowRun, evaluate_now
from facekit.evaluate.scan_reports import ScanEvaluation, write_scan_report
from facekit.evaluate.simulated import (
    IMAGE_FOLDER,
    SimulatedBenchmark,
    SimulatedOptions,
    build_benchmark,
    landmark_truth,
    pictures_sha256,
)
from facekit.evaluate.simulated_table import methods_of, results_page
from facekit.fit.batch import FitOptions, fit_photos
from facekit.fit.presets import choose_preset
from facekit.io.atomic import write_json, write_text
from facekit.morphable import load_model

OWN = "facekit"
PRESETS = ("fast", "default", "best")
Stage = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AllOptions:
    """What is measured.

    Attributes:
        benchmark: what is drawn.
        methods: other methods' predictions by name, folders in NoW's layout, mm.
        landmarks: detector of facekit's own fits.
        presets: of facekit's own fits that are measured, each a method.
        network: of those fits: ``auto``, ``none`` or a file, as in ``facekit fit``.
        heat: draw each picture's errors on its scan.
        jobs: processes; 0 takes as many as there are cores.
        command: what makes it all again, for the page of results.
    """

    benchmark: SimulatedOptions = field(default_factory=SimulatedOptions)
    methods: Mapping[str, Path] = field(default_factory=dict)
    landmarks: str = "builtin"
    presets: tuple[str, ...] = PRESETS
    network: str = "auto"
    heat: bool = True
    jobs: int = 1
    command: str = ""

    def own_methods(self) -> dict[str, str]:
        """Return facekit's own methods: name to preset."""
        return {f"{OWN}-{preset}": preset for preset in self.presets}


def evaluate_all(
    output: Path, options: AllOptions, *, stage: Stage | None = None
) -> dict[str, Any]:
    """Build the benchmark, fit its pictures, score every method, and write it all.

    Makes ``output/benchmark``, ``output/fit/PRESET`` (facekit's results), ``output/now``,
    ``output/now_metrical``, ``output/landmarks``, ``report.json`` and ``results.md``. Running
    again makes only the pictures and fits that are missing.

    Args:
        output: folder.
        options: what to measure.
        stage: called with what is being done, how many are done, and of how many.

    Returns:
        The JSON document: ``metrics`` are those of ``protocol.main`` by NoW's protocol: the
        default fit, else the first method.

    Raises:
        InputError, OutputExistsError, MissingDependencyError: something could not be started.
    """
    tell = stage or (lambda _name, _done, _total: None)
    benchmark = build_benchmark(
        output / "benchmark",
        options.benchmark,
        jobs=options.jobs,
        progress=lambda done, total: tell("rendering", done, total),
    )
    methods = {name: output / "fit" / preset for name, preset in options.own_methods().items()}
    for preset in options.presets:
        _fit(benchmark, output / "fit" / preset, options, preset, tell)
    methods |= options.methods
    main = f"{OWN}-default" if "default" in options.presets else next(iter(methods))
    now = {
        name: _score(output / name, methods, benchmark, options, metrical, tell)
        for name, metrical in (("now", False), ("now_metrical", True))
    }
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "protocol": {
            "name": "all",
            "truth": "simulated",
            "main": main,
            **benchmark.description,
            "pictures_sha256": pictures_sha256(benchmark),
            "facekit": __version__,
            "command": options.command,
            "landmarks": options.landmarks,
            "network": options.network,
        },
        "metrics": {},
        "benchmarks": now,
        "items": [],
    }
    document["metrics"] = methods_of(document, "now")[main]["metrics"]
    if options.presets:
        truth = landmark_truth(benchmark)
        detector = open_detector(options.landmarks)
        found = evaluate_landmarks(
            truth, detector, progress=lambda done, total: tell("landmarks", done, total)
        )
        write_landmark_report(output / "landmarks", found)
        now["landmarks"] = found
    write_json(output / "report.json", document)
    write_text(output / "results.md", results_page(document))
    return document


def _fit(
    benchmark: SimulatedBenchmark, folder: Path, options: AllOptions, preset: str, tell: Stage
) -> None:
    chosen = choose_preset(preset)
    fit_photos(
        [benchmark.root / IMAGE_FOLDER],
        folder,
        FitOptions(
            landmarks=options.landmarks,
            largest=True,
            texture_size=256,
            photometric=chosen.photometric,
            first_order=chosen.first_order,
            network=options.network if chosen.network else "none",
        ),
        jobs=options.jobs,
        progress=lambda done, total: tell(f"fitting {preset}", done, total),
    )


def _score(
    folder: Path,
    methods: Mapping[str, Path],
    benchmark: SimulatedBenchmark,
    options: AllOptions,
    metrical: bool,
    tell: Stage,
) -> dict[str, Any]:
    """Score every method by NoW's protocol, write the report, and return its document."""
    dataset = open_dataset(benchmark.root)
    results: dict[str, ScanEvaluation] = {}
    for name, path in methods.items():
        # The controls do not depend on the method.
        model = None if results else load_model("builtin")
        results[name] = evaluate_now(
            path,
            dataset,
            options=NowOptions(metrical=metrical),
            run=NowRun(
                model,
                options.jobs,
                folder / name / "heat" if options.heat and not metrical else None,
            ),
            progress=lambda done, total: tell("scoring", done, total),
        ).as_scans()
    if len(results) > 1:
        document = compare_methods(results, value="median distance", unit="mm")
        write_comparison(folder, results, document, limit=5.0, unit="mm", value="median distance")
        return document
    ((name, only),) = results.items()
    write_scan_report(folder, only, limit=5.0, value="median distance")
    return only.document | {"against_controls": {name: against_controls(only)}}
