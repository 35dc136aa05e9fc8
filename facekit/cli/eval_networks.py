"""``facekit eval networks``: parameter networks beside each other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import options as opt
from facekit.cli.eval_landmarks import Labels, Persons
from facekit.cli.output import out
from facekit.errors import UsageError


def networks(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Networks (.onnx), NAME=FILE, or auto: the shipped one; the first is what the "
            "others are compared with.",
            metavar="NETWORKS…",
        ),
    ],
    heads: Annotated[
        Path | None, typer.Option(help=".npz of heads of known neutral shape.", metavar="FILE")
    ] = None,
    count: Annotated[int, typer.Option(min=0, help="Heads drawn from it; 0 takes all.")] = 50,
    yaw: Annotated[str, typer.Option(help="Views of each head, degrees.")] = "0,25,50,75",
    portraits: Annotated[
        Path | None,
        typer.Option(
            help="Photographs with known landmarks, as eval landmarks reads them.", metavar="DIR"
        ),
    ] = None,
    labels: Labels = None,
    split: Persons = None,
    model: opt.Model = "builtin",
    source: opt.BenchLandmarks = opt.LandmarkSource.BUILTIN,
    size: opt.PictureSize = 512,
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    output: opt.ReportFolder = None,
    as_json: opt.Json = False,
) -> int:
    """Score what parameter networks see, without any fitting: shapes and landmarks.

    Shapes: renders of heads of known neutral shape, by NoW's rules, beside the mean face, the fit
    of 68 landmarks and the model's best projection. Landmarks: those of the face that the network
    sees, in percent of the outer-eye distance. Differences are paired, with 95 % intervals.

    Example: facekit eval networks teacher/params.onnx student/params.onnx --heads heads.npz --json
    """
    from facekit.evaluate.head_reports import write_head_report
    from facekit.evaluate.heads import read_heads
    from facekit.evaluate.landmark_report import write_landmark_report
    from facekit.evaluate.network_bench import (
        evaluate_network_landmarks,
        evaluate_network_shapes,
        open_networks,
    )
    from facekit.evaluate.reports import write_report
    from facekit.evaluate.truth import TruthOptions, parse_angles
    from facekit.morphable import load_model

    start = time.monotonic()
    if heads is None and portraits is None:
        raise UsageError("eval networks: give --heads, --portraits, or both")
    morphable = load_model(model)
    readers = open_networks(files, morphable)
    document: dict[str, Any] = {"schema": "facekit.eval/1", "protocol": {"name": "networks"}}
    missing = 0
    if heads is not None:
        options = TruthOptions(
            count=count,
            yaws_deg=parse_angles(yaw),
            seed=seed,
            model=model,
            landmarks=source.value,
            size=size,
        )
        with out.progress("networks: shapes") as progress:
            result = evaluate_network_shapes(heads, readers, options, progress=progress)
        document["shapes"] = shapes = result.document
        if output is not None:
            known = read_heads(heads)
            write_head_report(output / "shapes", result.scores, shapes, known, heat=heat)
        lost = {item["image"]: item["error"] for item in shapes["items"] if item["missing"]}
        for image, error in lost.items():
            out.warn(f"{image}: {error}")
        missing += len(lost)
    if portraits is not None:
        from facekit.evaluate.landmark_truth import read_landmark_truth

        persons = None if split is None else split.value
        truth = read_landmark_truth(portraits, labels=labels, split=persons)
        with out.progress("networks: landmarks") as progress:
            points = evaluate_network_landmarks(
                truth, readers, morphable, detector=source.value, progress=progress
            )
        document["landmarks"] = points
        if output is not None:
            write_landmark_report(output / "landmarks", points)
        missing += max(one["metrics"]["missing"] for one in points["detectors"].values())
    if output is not None:
        write_report(output, document)
    if as_json:
        out.json(document)
    else:
        _tables(document)
    where = f" -> {output}" if output is not None else ""
    out.info(f"{len(readers)} networks in {time.monotonic() - start:.1f} s{where}")
    return 5 if missing else 0


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("networks")(networks)


def _tables(document: dict[str, Any]) -> None:
    if "shapes" in document:
        shapes = document["shapes"]
        views = list(shapes["views"])
        columns = ["shape, mm", "median", "mean", "count", *(f"yaw {view}" for view in views)]
        rows = [
            [name, one["median"], one["mean"], one["count"]]
            + [shapes["views"][view][name]["median"] for view in views]
            for name, one in shapes["methods"].items()
        ]
        out.table(columns, rows)
        for name, one in shapes["compared"].items():
            if one["items"]:
                out.info(
                    f"{name} against {one['than']}: {one['ratio']:.3f} of its mean error, "
                    f"{one['mean_difference']:+.4f} mm [{one['low']:+.4f}, {one['high']:+.4f}]"
                )
    if "landmarks" in document:
        points = document["landmarks"]
        columns = ["landmarks, %", "median", "mean", "count", "missing", "failures %"]
        rows = []
        for name, one in points["detectors"].items():
            metrics = one["metrics"]
            cells = [metrics[c] for c in ("median", "mean", "count", "missing", "failure_percent")]
            rows.append([name, *cells])
        out.table(columns, rows)
        for name, one in points["comparisons"].items():
            if one["images"]:
                out.info(
                    f"{name} against {one['against']}: {one['mean_difference']:+.3f} "
                    f"[{one['low']:+.3f}, {one['high']:+.3f}]"
                )
