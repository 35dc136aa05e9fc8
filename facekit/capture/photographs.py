"""The photographs of a subject: found, read upright, matched to their cameras, bad ones named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from facekit.errors import InputError, ItemError
from facekit.geometry.cameras import scale_intrinsics
from facekit.io.discover import find_images
from facekit.io.images import SUFFIXES, read_photo, write_image
from facekit.io.masks import read_mask
from facekit.types import Camera, Rig

# Fewer photographs than this make no surface that is checked.
LEAST_VIEWS = 3


class Photograph(NamedTuple):
    """A photograph that is used.

    Attributes:
        name: its name, without suffix; its camera's name where cameras are given.
        path: the file.
        sha256: of the file.
        image: (H, W, 3) uint8 RGB, upright, scaled down if asked.
        camera: its measured camera at that size, or None.
        focal_px: focal length from EXIF at that size, or None.
        mask: (H, W) bool or None.
    """

    name: str
    path: Path
    sha256: str
    image: np.ndarray
    camera: Camera | None
    focal_px: float | None
    mask: np.ndarray | None


class Subject(NamedTuple):
    """Photographs that are used, and those that are not, with the reason."""

    photographs: list[Photograph]
    failures: list[dict[str, str]]


def read_subject(
    folder: Path, *, rig: Rig | None, masks: Path | None, max_side: int, output: Path
) -> Subject:
    """Read a subject's photographs.

    Args:
        folder: with one photograph per camera, or of any views.
        rig: measured cameras, named like the photographs; None when unknown.
        masks: folder of masks with the photographs' names, or None.
        max_side: larger photographs are scaled down to this longest side.
        output: left out of the search.

    Raises:
        InputError: no photographs, or fewer than three that can be used.
    """
    items = find_images([folder], output=output)
    photographs: list[Photograph] = []
    failures: list[dict[str, str]] = []
    first: dict[str, str] = {}
    for item in items:
        try:
            digest = hashlib.sha256(item.path.read_bytes()).hexdigest()
            if digest in first:
                raise ItemError(f"is the same picture as {first[digest]}; used once")
            photograph = _read(item.key, item.path, digest, rig, masks, max_side)
        except (ItemError, InputError) as error:
            failures.append({"input": str(item.path), "error": str(error)})
            continue
        first[digest] = item.path.name
        photographs.append(photograph)
    if rig is not None:
        names = {item.key for item in items}
        for name in rig.cameras:
            if name not in names:
                failures.append({"input": name, "error": f"no photograph of camera {name!r}"})
    if rig is None:
        _leave_out_odd_sizes(photographs, failures)
    if len(photographs) < LEAST_VIEWS:
        reasons = "; ".join(f"{Path(f['input']).name}: {f['error']}" for f in failures[:5])
        raise InputError(
            f"{folder}: expected at least {LEAST_VIEWS} photographs that can be used, got "
            f"{len(photographs)}" + (f" ({reasons})" if reasons else "")
        )
    return Subject(photographs, failures)


def _read(
    name: str, path: Path, digest: str, rig: Rig | None, masks: Path | None, max_side: int
) -> Photograph:
    photo = read_photo(path, max_side=max_side)
    height, width = photo.image.shape[:2]
    camera = None
    if rig is not None:
        camera = _camera(name, rig.cameras, photo.width, photo.height, width, height)
    mask = None
    if masks is not None:
        mask = _mask(masks, name, (width, height))
    focal = photo.focal_px * photo.scale if photo.focal_px else None
    return Photograph(name, path, digest, photo.image, camera, focal, mask)


def _camera(
    name: str,
    cameras: Mapping[str, Camera],
    full_width: int,
    full_height: int,
    width: int,
    height: int,
) -> Camera:
    if name not in cameras:
        raise ItemError(
            f"there is no camera {name!r} in the cameras' file (it has "
            f"{', '.join(list(cameras)[:4])}, ...)"
        )
    camera = cameras[name]
    if (camera.width, camera.height) != (full_width, full_height):
        raise ItemError(
            f"is {full_width} x {full_height}, but its camera was calibrated at "
            f"{camera.width} x {camera.height}"
        )
    if width == full_width:
        return camera
    return Camera(
        scale_intrinsics(camera.intrinsics, width / full_width),
        camera.rotation,
        camera.translation,
        width,
        height,
        camera.distortion,
    )


def _mask(folder: Path, name: str, size: tuple[int, int]) -> np.ndarray:
    for suffix in sorted(SUFFIXES):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            mask = read_mask(path).astype(np.uint8)
            return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0
    raise ItemError(f"there is no mask {name}.png in {folder}")


def _leave_out_odd_sizes(photographs: list[Photograph], failures: list[dict[str, str]]) -> None:
    """Without calibration all photographs share one lens, so they must have one size."""
    sizes = [p.image.shape[:2] for p in photographs]
    if len(set(sizes)) <= 1:
        return
    usual = max(sorted(set(sizes)), key=sizes.count)
    for photograph in [p for p in photographs if p.image.shape[:2] != usual]:
        height, width = photograph.image.shape[:2]
        failures.append(
            {
                "input": str(photograph.path),
                "error": f"is {width} x {height}; most are {usual[1]} x {usual[0]}, and without "
                "--cameras all must be of one camera",
            }
        )
        photographs.remove(photograph)


def write_working_copies(folder: Path, photographs: list[Photograph]) -> tuple[Path, Path | None]:
    """Write the upright pictures, and their masks, where COLMAP reads them.

    Returns:
        ``(images, masks)``: folder of ``<name>.png``, and of ``<name>.png.png`` or None.
    """
    images, masks = folder / "images", folder / "masks"
    for photograph in photographs:
        path = images / f"{photograph.name}.png"
        if not path.exists():
            write_image(path, photograph.image)
        if photograph.mask is not None:
            path = masks / f"{photograph.name}.png.png"
            if not path.exists():
                write_image(path, photograph.mask.astype(np.uint8) * 255)
    return images, masks if any(p.mask is not None for p in photographs) else None
