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
    VIDEO = "video"


def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to write.", metavar="DIR")],
    what: Annotated[What, typer.Option(help="Kind of samples.")] = What.PHOTOS,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
) -> int:
    """Write samples: photographs of a public-domain portrait and renders, or a rendered clip.

    The astronaut is scikit-image's (NASA, public domain). The renders' truth lies in
    DIR/truth: of photographs in the format of params.npz, of the clip frame by frame.

    Example: facekit samples photos
    """
    from facekit.simulate.samples import write_sample_photos, write_sample_video

    writers = {What.PHOTOS: write_sample_photos, What.VIDEO: write_sample_video}
    paths = writers[what](folder, seed=seed, overwrite=overwrite)
    for path in paths:
        out.data(path)
    noun = "photographs" if what is What.PHOTOS else "clip"
    out.info(f"{len(paths)} {noun} -> {folder}")
    return 0
