"""``facekit simulate stage``: synthetic captures by many cameras."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


class BoardKind(StrEnum):
    """Kinds of calibration boards."""

    CHARUCO = "charuco"
    APRIL = "april"
    CHECKER = "checker"


def stage(
    output: opt.OutputFolder,
    cameras: Annotated[int, typer.Option(help="How many cameras.", min=1)] = 30,
    size: Annotated[int, typer.Option(help="Side of the pictures, pixels.", min=64)] = 1024,
    subjects: Annotated[int, typer.Option(help="How many heads.", min=0)] = 1,
    first: Annotated[int, typer.Option(help="Number of the first head.", min=0)] = 0,
    boards: Annotated[int, typer.Option(help="Poses of the calibration board.", min=0)] = 24,
    seed: opt.Seed = 0,
    model: opt.Model = "builtin",
    heads: Annotated[
        Path | None,
        typer.Option(
            help="Take heads from this .npz (ICT-FaceKit's, or a file of heads).", metavar="FILE"
        ),
    ] = None,
    mesh: Annotated[
        Path | None,
        typer.Option(help="Capture this .obj or .ply (mm) instead.", metavar="FILE"),
    ] = None,
    expressions: Annotated[
        str,
        typer.Option(help="Expressions each head is captured with, e.g. neutral,jawOpen."),
    ] = "neutral",
    texture_contrast: Annotated[
        float,
        typer.Option(help="Strength of the skin's fine texture; real skin: 0.3 to 0.6.", min=0),
    ] = 1.0,
    specular: Annotated[
        float, typer.Option(help="Strength of highlights; 1 is skin without polarisers.", min=0)
    ] = 0.0,
    exposure_spread: Annotated[
        float, typer.Option(help="Deviation of the cameras' log exposure.", min=0)
    ] = 0.06,
    noise: Annotated[float, typer.Option(help="Sensor noise, 8-bit steps.", min=0)] = 1.5,
    blur: Annotated[float, typer.Option(help="Lens blur in pixels at 1024 px.", min=0)] = 0.5,
    occluders: Annotated[
        int, typer.Option(help="Strands of hair that hang before the face.", min=0)
    ] = 0,
    azimuth: Annotated[
        float | None,
        typer.Option(help="Rings reach from minus to plus this angle, degrees.", min=0, max=180),
    ] = None,
    board: Annotated[BoardKind, typer.Option(help="Kind of board.")] = BoardKind.CHARUCO,
    board_file: Annotated[
        Path | None, typer.Option(help="The board as a .json file.", metavar="FILE")
    ] = None,
    depth: Annotated[bool, typer.Option(help="Write depth maps too.")] = True,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
) -> int:
    """Render captures of heads and of a calibration board by a ring of cameras, with truth.

    Writes DIR/boards/CAMERA/FRAME.png, DIR/subjects/SUBJECT/CAMERA.png and DIR/truth: cameras,
    board poses, and each subject's mesh, landmarks, masks and depth. Running again makes only what
    is missing; more subjects may be added later.

    Example: facekit simulate stage -o stage --subjects 2
    """
    from facekit.geometry.board import board_from_document, standard_board
    from facekit.io.atomic import read_json
    from facekit.simulate.stage import StageOptions, write_stage
    from facekit.simulate.stage_boards import BoardOptions
    from facekit.simulate.stage_render import SkinOptions
    from facekit.simulate.stage_rig import RigOptions

    start = time.monotonic()
    shown = standard_board(board.value)
    if board_file is not None:
        shown = board_from_document(read_json(board_file))
    options = StageOptions(
        model=model,
        heads=heads,
        mesh=mesh,
        seed=seed,
        rig=RigOptions(cameras=cameras, size=size, azimuth_deg=azimuth),
        boards=BoardOptions(board=shown, frames=boards),
        skin=SkinOptions(contrast=texture_contrast, specular=specular),
        subjects=subjects,
        first=first,
        expressions=tuple(part.strip() for part in expressions.split(",") if part.strip()),
        exposure_spread=exposure_spread,
        blur_px=blur,
        noise=noise,
        occluders=occluders,
        depth=depth,
    )
    with out.progress("stage") as progress:
        result = write_stage(output, options, overwrite=overwrite, progress=progress)
    if as_json:
        out.json(
            {
                "schema": "facekit.simulate_stage/1",
                "output": str(output),
                "cameras": list(result.rig.cameras),
                "subjects": [str(path) for path in result.subjects],
                "board_images": result.board_images,
            }
        )
    else:
        for path in result.subjects:
            out.data(path)
    out.info(
        f"{len(result.rig.cameras)} cameras, {result.board_images} board pictures, "
        f"{len(result.subjects)} captures in {time.monotonic() - start:.1f} s -> {output}"
    )
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``facekit simulate``."""
    app.command("stage")(stage)
