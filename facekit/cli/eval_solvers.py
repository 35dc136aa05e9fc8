"""``facekit eval solvers``: the second-order fit beside the published Adam schedules."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.eval_gates import Gate
from facekit.cli.fit import Renderer
from facekit.cli.output import finish, out


def solvers(
    gate: Annotated[Gate, typer.Argument(help="a, b, c or d: see eval gates.", metavar="GATE")],
    heads: Annotated[
        Path | None,
        typer.Option(help=".npz of heads of known neutral shape, for c and d.", metavar="FILE"),
    ] = None,
    count: opt.HeadCount = 8,
    yaw: Annotated[str, typer.Option(help="Views of each head, degrees.")] = "0,30",
    schedule: Annotated[
        str, typer.Option(help="adam-3dmm or adam-deep3d.", metavar="NAME")
    ] = "adam-3dmm",
    renderer: Annotated[Renderer, typer.Option(help="What it draws through.")] = Renderer.BUILTIN,
    model: opt.Model = "builtin",
    source: opt.BenchLandmarks = opt.LandmarkSource.BUILTIN,
    size: opt.PictureSize = 512,
    heat: opt.Heat = True,
    seed: opt.Seed = 0,
    output: opt.ReportFolder = None,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Time facekit's solver and a published Adam schedule on the same pictures, one by one.

    Both start from the same detection and camera. Prints both times and their ratio, the energy
    that each of them minimises at both results, and the error of both shapes beside the mean
    face's and the landmark fit's.

    Example: facekit eval solvers b --count 4 --json
    """
    from facekit.evaluate.gate_bench import gate_rows
    from facekit.evaluate.head_reports import write_head_report
    from facekit.evaluate.solvers import ADAM_FIT, PHOTOMETRIC_FIT, evaluate_solvers
    from facekit.evaluate.truth import TruthOptions, parse_angles

    start = time.monotonic()
    options = TruthOptions(
        count=count,
        yaws_deg=parse_angles(yaw),
        seed=seed,
        model=model,
        landmarks=source.value,
        allow_download=allow_download,
        size=size,
    )
    with out.progress("solvers") as progress:
        result = evaluate_solvers(
            gate.value,
            options,
            schedule=schedule,
            renderer=renderer.value,
            heads_file=heads,
            progress=progress,
        )
    document = result.document
    if output is not None:
        write_head_report(output, result.scores, document, result.heads, heat=heat)
    found = document["solvers"]
    if as_json:
        out.json(document)
    else:
        out.table(["mm", "median", "mean", "std", "count", "missing"], gate_rows(document))
    seconds, cpu = found["seconds"], found["cpu_seconds"]
    out.info(
        f"time: {seconds[PHOTOMETRIC_FIT]:.2f} s against {seconds[ADAM_FIT]:.2f} s a picture, "
        f"{found['ratio']:.1f} times as fast; processor time {cpu[PHOTOMETRIC_FIT]:.2f} s against "
        f"{cpu[ADAM_FIT]:.2f} s, {found['cpu_ratio']:.1f} times"
    )
    named = {
        "posterior energy, as seen from our result": found["posterior_energy"]["at_ours"],
        "posterior energy, as seen from Adam's": found["posterior_energy"]["at_theirs"],
        "Adam's energy": found["published_energy"],
    }
    for name, energy in named.items():
        out.info(
            f"{name}: {energy['ours']:.4g} against {energy['adam']:.4g}, ours lower on "
            f"{energy['ours_lower_percent']:.0f} % of {found['pictures']} pictures"
        )
    return finish(document["metrics"], "pictures", start, output)


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit eval``."""
    app.command("solvers")(solvers)
