"""Option types shared by commands, so that one name means one thing everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

InputPaths = Annotated[
    list[Path],
    typer.Argument(help="Photographs, or folders that are searched recursively.", metavar="PATHS…"),
]
OutputFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write.", metavar="DIR")
]
OutputFile = Annotated[Path, typer.Option("--output", "-o", help="File to write.", metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Jobs = Annotated[int, typer.Option(min=0, help="Parallel processes; 0 uses every core.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Do everything again, also over other options' results.")
]
Model = Annotated[str, typer.Option(help="Morphable model: 'builtin' or a model file.")]
MinFace = Annotated[
    float,
    typer.Option(
        help="Look closer, in tiles, for faces down to this side in pixels; 0: down to a 27th of "
        "the photograph's longer side.",
        metavar="PX",
        min=0,
    ),
]
ShardShare = Annotated[
    str,
    typer.Option(
        "--shard",
        help="Make part i of n of the shards (0/4 to 3/4), so that several runs share a job.",
        metavar="I/N",
    ),
]
AllowDownload = Annotated[
    bool,
    typer.Option("--allow-download", help="Let an optional package download its own weights."),
]


class LandmarkSource(StrEnum):
    """Where boxes and landmarks come from."""

    AUTO = "auto"
    BUILTIN = "builtin"
    FAN = "fan"
    MEDIAPIPE = "mediapipe"
    YUNET = "yunet"
    FILES = "files"


class Unit(StrEnum):
    """Unit of length in mesh files."""

    MM = "mm"
    CM = "cm"
    M = "m"


Landmarks = Annotated[
    LandmarkSource,
    typer.Option(help="Boxes and landmarks: files beside the image where they lie, else builtin."),
]


class SegmentationRange(StrEnum):
    """How a segmentation network wants its picture; see ``fit.masks``."""

    IMAGENET = "imagenet"
    UNIT = "unit"
    SIGNED = "signed"
    BYTE = "byte"


# Classes of CelebAMask-HQ that are face.
CELEB_FACE = "1,2,3,10,12,13"
MaskFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of masks named as the images (white: face); without it x.mask.png beside "
        "x.jpg is taken. A fit uses them where it fits pixels.",
        metavar="DIR",
    ),
]
Segmentation = Annotated[
    Path | None, typer.Option(help="ONNX network that makes masks of faces.", metavar="FILE")
]
FaceLabels = Annotated[
    str,
    typer.Option(help="That network's classes that are face; as it stands those of CelebAMask-HQ."),
]
SegmentationInput = Annotated[
    SegmentationRange, typer.Option(help="How that network's input is scaled.")
]
HeadCount = Annotated[int, typer.Option(min=1, help="Heads.")]
PictureSize = Annotated[int, typer.Option(min=64, max=4096, help="Side of the pictures, px.")]
BenchLandmarks = Annotated[LandmarkSource, typer.Option("--landmarks", help="Boxes and landmarks.")]
Heat = Annotated[
    bool,
    typer.Option("--heat/--no-heat", help="With -o, also draw the errors on the surfaces."),
]
ReportFolder = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the report.", metavar="DIR")
]


def class_numbers(text: str) -> tuple[int, ...]:
    """Return a network's classes of a ``--face-labels``.

    Raises:
        UsageError: not whole numbers with commas.
    """
    from facekit.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--face-labels: expected class numbers with commas, got {text!r}"
        ) from None


TruthNetwork = Annotated[
    str,
    typer.Option(
        help="Also score fits that start from what a parameter network sees: auto, none or an "
        "ONNX file.",
        metavar="NAME",
    ),
]
