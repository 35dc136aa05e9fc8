"""``facekit label``: photographs to labelled crops that networks train on."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli import options as opt
from facekit.cli.output import out


class Persons(StrEnum):
    """Which photographs are taken for one person's."""

    FILES = "files"
    FOLDERS = "folders"


def label(
    paths: opt.InputPaths,
    output: opt.OutputFolder = Path("labels"),
    model: opt.Model = "builtin",
    landmarks: opt.Landmarks = opt.LandmarkSource.AUTO,
    largest: Annotated[
        bool, typer.Option("--largest", help="Only the largest face of each photograph.")
    ] = False,
    min_face: opt.MinFace = 0.0,
    photometric: Annotated[
        bool, typer.Option("--photometric", help="Fit the pixels too, as fit --preset best does.")
    ] = False,
    persons: Annotated[
        Persons,
        typer.Option(
            help="files: every photograph is another person's unless identity embeddings beside "
            "the folder say otherwise; folders: each folder is one person. One person is in one "
            "split."
        ),
    ] = Persons.FILES,
    masks: opt.MaskFolder = None,
    segmentation: opt.Segmentation = None,
    face_labels: opt.FaceLabels = opt.CELEB_FACE,
    segmentation_range: opt.SegmentationInput = opt.SegmentationRange.IMAGENET,
    per_shard: Annotated[int, typer.Option(help="Photographs a shard.", min=1)] = 256,
    shard: opt.ShardShare = "",
    deep3d: Annotated[
        Path | None,
        typer.Option(
            help="Also write images, detections, landmarks and masks as Deep3D's training reads "
            "them.",
            metavar="DIR",
        ),
    ] = None,
    jobs: opt.Jobs = 1,
    overwrite: opt.Overwrite = False,
    allow_download: opt.AllowDownload = False,
    as_json: opt.Json = False,
) -> int:
    """Label every face of a photo collection by fitting, for training.

    Writes DIR/shard-NNNNN.tar with, per face, a 256-px crop, a mask, the fitted coefficients with
    their deviations and a JSON of where they come from; index.csv, dataset.json, failures.json
    and manifest.json. Reads plain folders and Deep3D's (images and detections/*.txt). Running
    again does only what is missing.

    Example: facekit label photos -o labels --jobs 0
    """
    from facekit.learn.shards import parse_share
    from facekit.train.label import label_photos
    from facekit.train.label_photo import LabelOptions

    start = time.monotonic()
    options = LabelOptions(
        model=model,
        landmarks=landmarks.value,
        allow_download=allow_download,
        largest=largest,
        min_face=min_face,
        photometric=photometric,
        persons=persons.value,
        per_shard=per_shard,
        masks=str(masks or ""),
        segmentation=str(segmentation or ""),
        face_labels=opt.class_numbers(face_labels),
        segmentation_range=segmentation_range.value,
    )
    with out.progress("label") as progress:
        result = label_photos(
            paths,
            output,
            options,
            jobs=jobs,
            share=parse_share(shard),
            deep3d=deep3d,
            overwrite=overwrite,
            progress=progress,
        )
    for failure in result.failures:
        out.warn(f"{failure['input']}: {failure['error']}")
    counts = dict.fromkeys(("train", "validation", "held_out"), 0)
    for row in result.rows:
        counts[row["split"]] += 1
    if as_json:
        out.json(
            {
                "schema": "facekit.label/1",
                "output": str(output),
                "faces": len(result.rows),
                "made": result.made,
                "splits": counts,
                "failures": result.failures,
            }
        )
    else:
        out.data(output)
    parts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    count = len(result.rows)
    out.info(
        f"{count} labelled {'face' if count == 1 else 'faces'} ({parts}; {result.made} made in "
        f"{time.monotonic() - start:.1f} s) -> {output}"
    )
    return 5 if result.failures else 0
