"""``facekit basis``: from heads to a morphable model."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from facekit.cli import basis_model, basis_refine, basis_register
from facekit.cli import options as opt
from facekit.cli.output import out

app = typer.Typer(
    help="From heads to a morphable model.", no_args_is_help=True, rich_markup_mode=None
)

Source = Annotated[
    Path, typer.Option(help="ICT-FaceKit's mean, modes and expressions.", metavar="NPZ")
]


@app.command("template")
def template(
    source: Source,
    output: opt.OutputFile,
    vertices: Annotated[int, typer.Option(help="About how many vertices.", min=2000)] = 12000,
) -> int:
    """Make facekit's head template: topology, texture chart, regions, landmarks.

    Example: facekit basis template --source ict_facekit.npz -o template.npz
    """
    from facekit.basis.ict_source import IctSource
    from facekit.basis.ict_template import make_template
    from facekit.basis.template_file import write_template

    start = time.monotonic()
    with out.progress("template") as progress:
        made = make_template(IctSource(source), num_vertices=vertices, progress=progress)
    out.data(write_template(made, output))
    out.info(
        f"{len(made.vertices)} vertices, {len(made.faces)} faces in"
        f" {time.monotonic() - start:.1f} s -> {output}"
    )
    return 0


app.command("register")(basis_register.register)

app.command("build")(basis_model.build)
app.command("info")(basis_model.info)
app.command("sample")(basis_model.sample)
app.command("compare")(basis_model.compare)
app.command("refine")(basis_refine.refine)


@app.command("albedo")
def albedo(
    model: Annotated[Path, typer.Argument(help="A facekit model.", metavar="MODEL")],
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Folder of portraits; after one, better labels for it."),
    ],
    output: opt.OutputFile,
    modes: Annotated[int, typer.Option(help="Modes of skin colour.", min=1)] = 10,
    as_json: opt.Json = False,
) -> int:
    """Learn a model's skin colour and its modes from labelled photographs.

    Photographs of training persons are used (see 'facekit train').

    Example: facekit basis albedo model.npz --data portraits --data labels -o coloured.npz
    """
    from facekit.basis.albedo import learn_albedo
    from facekit.basis.skin_observations import AlbedoConfig
    from facekit.morphable.native import read_native, write_native
    from facekit.train.recipes import load_data
    from facekit.train.skin import portrait_colours

    start = time.monotonic()
    base = read_native(model)
    portraits = load_data(data, splits=("train",))
    with out.progress("photographs") as progress:
        photographs = portrait_colours(base, portraits, progress=progress)
    with out.progress("albedo") as progress:
        learned = learn_albedo(base, photographs, AlbedoConfig(modes=modes), progress=progress)
    coloured = replace(base, albedo_mean=learned.mean, albedo_modes=learned.modes)
    write_native(coloured, output)
    document = {
        "schema": "facekit.basis/1",
        "model": str(output),
        "photographs": len(photographs),
        "vertices": int(learned.known.sum()),
        "modes": modes,
        "explained": [round(float(share), 4) for share in learned.explained],
        "noise": round(learned.noise, 4),
        "level": [round(float(v), 3) for v in learned.level],
    }
    if as_json:
        out.json(document)
    else:
        out.data(output)
    out.info(
        f"{len(photographs)} photographs, {modes} modes that hold"
        f" {100 * float(learned.explained[-1]):.0f} % of the variance,"
        f" in {time.monotonic() - start:.0f} s -> {output}"
    )
    return 0


@app.command("landmarks")
def landmarks(
    model: Annotated[Path, typer.Argument(help="A facekit model.", metavar="MODEL")],
    output: opt.OutputFile,
    labeller: Annotated[
        opt.LandmarkSource, typer.Option(help="Whose 478 points the maps shall stand for.")
    ] = opt.LandmarkSource.MEDIAPIPE,
    count: Annotated[int, typer.Option(help="Pictures a round.", min=4)] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds; the first is plain.", min=1)] = 2,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> int:
    """Calibrate a model's landmark maps to a labeller on renders of random heads.

    Example: facekit basis landmarks model.npz --labeller mediapipe -o calibrated.npz
    """
    from facekit.basis.calibrate import calibrate_model, detector_labels
    from facekit.detect.registry import open_detector
    from facekit.morphable.native import read_native, write_native

    start = time.monotonic()
    label = detector_labels(open_detector(labeller.value))
    with out.progress("landmarks") as progress:
        result = calibrate_model(
            read_native(model), label, count=count, rounds=rounds, seed=seed, progress=progress
        )
    write_native(result.model, output)
    sparse = result.ibug68
    within = int((sparse.bias_mm <= 1).sum())
    if as_json:
        out.json(
            {
                "schema": "facekit.calibration/1",
                "model": str(output),
                "heads": sparse.num_heads,
                "bias_mm": [round(float(b), 3) for b in sparse.bias_mm],
                "scatter_mm": [round(float(s), 3) for s in sparse.scatter_mm],
            }
        )
    else:
        out.data(output)
    out.info(
        f"{sparse.num_heads} labelled heads; bias of the 68 points: median"
        f" {_median(sparse.bias_mm):.2f} mm, {within} within 1 mm; scatter: median"
        f" {_median(sparse.scatter_mm):.2f} mm; {time.monotonic() - start:.0f} s -> {output}"
    )
    return 0


def _median(values: Any) -> float:
    ordered = sorted(float(v) for v in values)
    return ordered[len(ordered) // 2]
