"""``facekit samples``: something to try every command on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


class What(StrEnum):
    """Kinds of samples."""

    PHOTOS = "photos"


def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to write.", metavar="DIR")],
    what: Annotated[What, typer.Option(help="Kind of samples.")] = What.PHOTOS,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
) -> int:
    """Write sample face photographs: a public-domain portrait and renders with known truth.

    The astronaut is scikit-image's (NASA, public domain). The renders' truth lies in
    DIR/truth in the format of params.npz.

    Example: facekit samples photos
    """
    from facekit.simulate.samples import write_sample_photos

    writers = {What.PHOTOS: write_sample_photos}
    paths = writers[what](folder, seed=seed, overwrite=overwrite)
    for path in paths:
        out.data(path)
    out.info(f"{len(paths)} photographs -> {folder}")
    return 0
