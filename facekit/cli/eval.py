"""``facekit eval``: benchmarks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_compare import (
    Compare,
    Images,
    Pictures,
    named_predictions,
    run_methods,
)
from facekit.cli.eval_scans import MeshUnit, PredictionUnit, Strict
from facekit.cli.output import finish, out
from facekit.errors import UsageError

app = typer.Typer(help="Benchmarks.", no_args_is_help=True, rich_markup_mode=None)

ReportFolder = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the report and the curve.", metavar="DIR"),
]
_COLUMNS = ("median", "mean", "std", "count", "missing")


@app.command("now")
def now(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Folder SUBJECT/CHALLENGE/ with STEM.obj and STEM.npy, or results of fit; several "
            "are compared, each a folder or NAME=FOLDER.",
            metavar="PREDICTIONS…",
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="The NoW benchmark's folder with scans.", metavar="DIR")
    ],
    unit: PredictionUnit = MeshUnit.MM,
    metrical: Annotated[
        bool, typer.Option("--metrical", help="Hold the prediction's own scale.")
    ] = False,
    reference_quirks: Annotated[
        bool,
        typer.Option(
            "--reference-quirks", help="Start the metrical refinement where the reference does."
        ),
    ] = False,
    split: Annotated[
        str, typer.Option(help="validation or test; default: the list that is there.")
    ] = "",
    model: Annotated[
        str,
        typer.Option(help="Model of the controls; auto: builtin where predictions have its faces."),
    ] = "auto",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Score the model's controls too.")
    ] = True,
    strict: Strict = False,
    images: Images = None,
    compare: Compare = False,
    jobs: opt.Jobs = 1,
    heat: opt.Heat = True,
    output: ReportFolder = None,
    as_json: opt.Json = False,
) -> int:
    """Score neutral faces against the NoW benchmark's scans, by its own protocol, in mm.

    Missing predictions are counted and, as in the benchmark, do not change the numbers.

    Example: facekit eval now out --data NoW_Dataset --jobs 2 --json
    """
    from facekit.evaluate.now import NowOptions
    from facekit.evaluate.now_dataset import open_dataset
    from facekit.evaluate.now_evaluation import (
        NowRun,
        NowTiming,
        evaluate_now,
        predictions_model,
    )
    from facekit.io.atomic import make_folder

    options = NowOptions(metrical=metrical, unit=unit.value, reference_quirks=reference_quirks)
    dataset = open_dataset(data, split=split or None)
    own = dataset.root / "iphone_pictures"
    timing = NowTiming()

    def evaluate(path: Path, folder: Path | None) -> Any:
        nonlocal timing
        if folder is not None:
            make_folder(folder)
        known = predictions_model(model if controls else "none", path, dataset)
        pictures = folder / "heat" if heat and folder is not None else None
        run = NowRun(known, jobs, pictures, strict)
        with out.progress("now") as progress:
            result = evaluate_now(path, dataset, options=options, run=run, progress=progress)
        timing = timing.plus(**result.timing._asdict())
        if result.elsewhere:
            out.info(
                f"{len(result.elsewhere)} predictions are of images in the data's other list and "
                f"are not scored (the first: {result.elsewhere[0]})"
            )
        return result.as_scans()

    start = time.monotonic()

    def spent() -> str:
        speed = len(predictions) * len(dataset.images) / (time.monotonic() - start)
        return (
            f"reading {timing.read:.1f} s, scoring {timing.score:.1f} s, checks, controls and "
            f"pictures {timing.other:.1f} s, summed over processes; {speed:.2f} images a second"
        )

    return run_methods(
        predictions,
        compare,
        evaluate,
        output=output,
        as_json=as_json,
        value="median distance",
        note=spent,
        pictures=Pictures(images or (own if own.is_dir() else None), model),
    )


@app.command("truth")
def truth(
    heads: Annotated[
        Path, typer.Option(help=".npz of heads of known neutral shape.", metavar="FILE")
    ],
    count: Annotated[int, typer.Option(min=0, help="Heads drawn from it; 0 takes all.")] = 50,
    yaw: Annotated[str, typer.Option(help="Views of each head, degrees.")] = "0,22,45",
    model: opt.Model = "builtin",
    source: Annotated[
        opt.LandmarkSource, typer.Option("--landmarks", help="Boxes and landmarks.")
    ] = opt.LandmarkSource.BUILTIN,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Side of the pictures, px.")] = 512,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            help="Another method's meshes of the pictures --images wrote, by their names (mm): a "
            "folder or NAME=FOLDER; repeat for more.",
            metavar="DIR",
        ),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Also write the rendered pictures (needs -o).")
    ] = False,
    network: opt.TruthNetwork = "none",
    photometric: Annotated[
        bool, typer.Option("--photometric", help="Also score fits of the pixels.")
    ] = False,
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    output: ReportFolder = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Render heads of known shape, fit each picture, and score the neutral shape by NoW's rules.

    Always also scores the mean face, the landmark-only fit and the model's best projection of the
    true shape, and gives the fullest fit's paired difference to the mean face with its 95 %
    interval.

    Example: facekit eval truth --heads heads.npz --count 50 --yaw 0,22,45 --seed 0 --json
    """
    from facekit.evaluate.comparison import sentence
    from facekit.evaluate.head_reports import write_head_report
    from facekit.evaluate.heads import read_heads
    from facekit.evaluate.truth import TruthOptions, evaluate_truth, parse_angles

    start = time.monotonic()
    if images and output is None:
        raise UsageError("--images needs --output, the folder for the pictures")
    options = TruthOptions(
        count=count,
        yaws_deg=parse_angles(yaw),
        seed=seed,
        model=model,
        landmarks=source.value,
        allow_download=allow_download,
        size=size,
        network=network,
        photometric=photometric,
    )
    pictures = output / "images" if images and output is not None else None
    with out.progress("truth") as progress:
        result = evaluate_truth(
            heads,
            options,
            pictures=pictures,
            predictions=named_predictions(predictions, False) if predictions else {},
            progress=progress,
        )
    document = result.document
    for item in document["items"]:
        if item["missing"]:
            out.warn(f"{item['image']}, {item['method']}: {item['error']}")
    if output is not None:
        write_head_report(output, result.scores, document, read_heads(heads), heat=heat)
    if as_json:
        out.json(document)
    else:
        out.table(["mm", "yaw", *_COLUMNS, "corresponded mean"], _truth_rows(document))
    for name, comparison in document["comparisons"].items():
        if comparison is not None:
            out.info(_sentence(name, comparison))
    for name, comparison in document["compared"].items():
        out.info(sentence(name, comparison, unit="mm"))
    return finish(document["metrics"], "pictures", start, output)


@app.command("speed")
def speed(
    what: Annotated[
        list[str] | None,
        typer.Option("--what", help="A key, or the part before its dot; repeat for more."),
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="Also time a parameter network (student, teacher): an ONNX file or a training "
            "run's folder, or NAME=PATH; repeat for more.",
            metavar="PATH",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of each.")] = 30,
    output: ReportFolder = None,
    as_json: opt.Json = False,
) -> int:
    """Time facekit's parts on this machine, interleaved, with set numbers of threads.

    Keys: detect.1t, landmarks.1t, lm68.1t, decode.1t, rasterise.224.1t, render.224, fit.fast,
    fit.default, fit.best, fit.photometric, track.*, student.*, network.*, now.scan, closest.98k,
    help.import, and on request fit.cold, fit.adam and more. 1t is one thread. Peers that are on
    the machine run beside them: Open3D where it is installed, YuNet and MediaPipe where
    FACEKIT_YUNET and FACEKIT_MEDIAPIPE_TASK name files.

    Example: facekit eval speed --what rasterise --what lm68 --json
    """
    from facekit.evaluate.reports import rows_csv, write_report
    from facekit.evaluate.speed import measure, select_cases
    from facekit.evaluate.speed_cases import default_cases
    from facekit.io.atomic import write_text

    start = time.monotonic()
    names = [name for text in what or [] for name in text.split(",") if name]
    cases = default_cases(networks or [])
    if networks and names:
        names.append("network")
    cases = select_cases(cases, names)
    with out.progress("speed") as progress:
        document = measure(cases, rounds=rounds, strict=bool(names), progress=progress)
    for key, reason in document["unavailable"].items():
        out.warn(f"{key}: {reason}")
    if output is not None:
        write_report(output, document)
        timings = [{"key": key, **row} for key, row in document["metrics"].items()]
        write_text(output / "items.csv", rows_csv(timings))
    metrics = document["metrics"]
    if as_json:
        out.json(document)
    else:
        columns = ("median_ms", "p95_ms", "cpu_ms", "per_second", "threads", "batch", "device")
        rows = [
            [key, *(_cell(row[c]) for c in columns), _times_ours(row), row["what"]]
            for key, row in metrics.items()
        ]
        out.table(["key", *columns, "peer", "what"], rows)
    machine = document["machine"]
    out.info(
        f"{machine['processor']}, {machine['usable_cores']} cores, load {machine['load_1min']}"
    )
    where = f" -> {output}" if output is not None else ""
    out.info(f"{len(metrics)} timings in {time.monotonic() - start:.1f} s{where}")
    return 5 if document["unavailable"] else 0


def _times_ours(row: dict[str, Any]) -> str:
    """Say how a peer's time compares with that of facekit's own case."""
    if "peer_of" not in row:
        return ""
    return "peer" if row["ratio"] is None else f"{row['ratio']:.2f} x {row['peer_of']}"


def _truth_rows(document: dict[str, Any]) -> list[list[object]]:
    """Return every method over all views, then in each view."""
    groups = {"all": document["methods"], **document["views"]}
    return [
        [name, yaw, *(_cell(row[c]) for c in (*_COLUMNS, "corresponded_mean"))]
        for yaw, methods in groups.items()
        for name, row in methods.items()
    ]


def _sentence(name: str, comparison: dict[str, Any]) -> str:
    return (
        f"{name}: {comparison['median_difference_mm']:+.3f} mm against the mean face "
        f"[{comparison['low_mm']:+.3f}, {comparison['high_mm']:+.3f}], pooled median "
        f"{comparison['relative_percent']:+.1f} %, better on "
        f"{comparison['better_on_percent']:.0f} % of {comparison['pictures']} pictures"
    )


def _cell(value: object) -> object:
    return "-" if value is None else value
