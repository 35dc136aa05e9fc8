"""Deep3D's training files: a folder of images with ``detections``, ``landmarks`` and ``mask``.

``detections/x.txt`` holds five points (y down) and ``landmarks/x.txt`` 68 points with y counted
UP from the bottom row, as Deep3D's own preparation writes and its training reads them;
``mask/x.png`` is where the face is seen. ``datalist/{images,landmarks,masks}.txt`` name them all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.errors import ItemError
from facekit.io.atomic import write_text
from facekit.io.images import read_photo, write_image
from facekit.types import DetectedFace


def write_deep3d(
    folder: Path, key: str, source: Path, face: DetectedFace, mask: np.ndarray
) -> None:
    """Write one photograph's files.

    Args:
        folder: root; the key's own folders are made below it.
        key: the photograph's name without a suffix, with forward slashes.
        source: the photograph; an upright copy is written as PNG.
        face: its face with ``ibug68``, in pixels of the upright file.
        mask: (H, W) bool of that file.

    Raises:
        ItemError: the face has no 68 points.
    """
    if face.ibug68 is None:
        raise ItemError(f"{source}: expected 68 landmarks for Deep3D's files")
    place = folder / key
    image = read_photo(source).image
    points = np.asarray(face.ibug68, np.float64)
    five = ibug68_to_five(points) if face.five is None else np.asarray(face.five, np.float64)
    upwards = np.column_stack([points[:, 0], image.shape[0] - 1 - points[:, 1]])
    write_image(place.parent / f"{place.name}.png", image)
    write_text(place.parent / "detections" / f"{place.name}.txt", _rows(five))
    write_text(place.parent / "landmarks" / f"{place.name}.txt", _rows(upwards))
    write_image(
        place.parent / "mask" / f"{place.name}.png",
        np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2),
    )


def write_lists(folder: Path) -> int:
    """Write ``datalist/`` of everything that lies in a folder, and return how many images."""
    found = sorted(folder.rglob("landmarks/*.txt"))
    names = [path.parent.parent.relative_to(folder) / path.stem for path in found]
    lists = {
        "images": [name.with_name(f"{name.name}.png") for name in names],
        "landmarks": [name.parent / "landmarks" / f"{name.name}.txt" for name in names],
        "masks": [name.parent / "mask" / f"{name.name}.png" for name in names],
    }
    for what, paths in lists.items():
        text = "".join(f"{path.as_posix()}\n" for path in paths)
        write_text(folder / "datalist" / f"{what}.txt", text)
    return len(names)


def _rows(points: np.ndarray) -> str:
    return "".join(f"{x:.4f} {y:.4f}\n" for x, y in points)
