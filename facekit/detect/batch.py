"""Folders of photographs to landmark files, with resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from facekit.detect.registry import Detector, open_detector
from facekit.errors import ItemError
from facekit.io.atomic import write_json
from facekit.io.discover import InputImage, find_images
from facekit.io.images import read_photo, write_image
from facekit.io.landmark_files import write_landmarks
from facekit.runs import RunFolder, file_sha256
from facekit.types import DetectedFace

# Larger photographs are searched at this longest side; results are in the file's own pixels.
WORKING_SIDE = 2048


class LabelResult(NamedTuple):
    """Images that were labelled (input, file, faces) and those that could not be read."""

    images: list[dict[str, Any]]
    failures: list[dict[str, str]]


def label_photos(
    paths: Sequence[Path],
    output: Path,
    *,
    source: str = "auto",
    draw: bool = False,
    allow_download: bool = False,
    min_face: float = 0.0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LabelResult:
    """Write a landmark file for every photograph.

    Args:
        paths: files and folders.
        output: folder to write.
        source: name of a detector (``open_detector``).
        draw: also write ``<stem>.png`` with boxes and points drawn.
        allow_download: let an optional package download its own weights.
        min_face: side in pixels of the smallest face looked for: photographs are then searched
            at full size, in tiles; 0 searches the whole view only.
        overwrite: replace an earlier run of other options.
        progress: called with the number done and the total.

    Raises:
        InputError, OutputExistsError, MissingDependencyError: nothing could be started.
    """
    items = find_images(paths, output=output)
    detector = open_detector(source, allow_download=allow_download, least_face=min_face or None)
    side = None if min_face else WORKING_SIDE
    run = RunFolder(
        output,
        command="landmarks",
        options={"landmarks": source, "draw": draw, "min_face": min_face},
        assets={"landmarks": detector.fingerprint},
        overwrite=overwrite,
    )
    run.keep_only(item.key for item in items)
    try:
        for index, item in enumerate(items):
            sha256 = file_sha256(item.path)
            if not run.is_done(item.key, sha256):
                record = _label(item, output, detector, draw, max_side=side)
                run.record(item.key, {"input": str(item.path), "sha256": sha256, **record})
            if progress is not None:
                progress(index + 1, len(items))
    finally:
        images, failures = [], []
        for key in sorted(run.records):
            record = run.records[key]
            if record.get("error"):
                failures.append({"input": record["input"], "error": record["error"]})
            else:
                images.append(
                    {"input": record["input"], "file": f"{key}.json", "faces": record["faces"]}
                )
        write_json(output / "failures.json", failures)
        run.close()
    return LabelResult(images, failures)


def draw_faces(image: np.ndarray, faces: Sequence[DetectedFace]) -> np.ndarray:
    """Return a copy of an RGB image with boxes, 68 landmarks and irises drawn."""
    canvas = image.copy()
    for face in faces:
        x, y, w, h = face.box
        unit = max(1, round(max(w, h) / 160))
        corner = (round(x), round(y))
        cv2.rectangle(canvas, corner, (round(x + w), round(y + h)), (255, 200, 0), unit)
        for points, colour in ((face.ibug68, (0, 255, 120)), (face.iris, (60, 160, 255))):
            for px, py in [] if points is None else points:
                # Four bits below the pixel keep the dots where the points are.
                centre = (round(px * 16), round(py * 16))
                cv2.circle(canvas, centre, unit * 16, colour, -1, cv2.LINE_AA, 4)
    return canvas


def _label(
    item: InputImage, output: Path, detector: Detector, draw: bool, *, max_side: int | None
) -> dict[str, Any]:
    try:
        photo = read_photo(item.path, max_side=max_side)
        faces = detector.detect(photo.image, path=item.path)
    except ItemError as error:
        return {"error": str(error), "outputs": []}
    path = output / f"{item.key}.json"
    write_landmarks(
        path,
        [face.rescaled(1 / photo.scale) for face in faces],
        image=item.path.name,
        width=photo.width,
        height=photo.height,
    )
    outputs = [f"{item.key}.json"]
    if draw:
        write_image(output / f"{item.key}.png", draw_faces(photo.image, faces))
        outputs.append(f"{item.key}.png")
    return {"outputs": outputs, "faces": len(faces)}
