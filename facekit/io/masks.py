"""Masks in image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from facekit.errors import ItemError


def read_mask(path: Path) -> np.ndarray:
    """Read a mask (H, W) bool, upright: the grey level is at least 128 of 255.

    Raises:
        ItemError: the file is no readable image.
    """
    with _open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("L")) >= 128


def read_coverage(path: Path) -> np.ndarray | None:
    """Read where a picture (with an alpha channel) is wholly opaque, (H, W) bool; else None.

    Raises:
        ItemError: the file is no readable image.
    """
    with _open(path) as image:
        if "A" not in image.getbands() and "transparency" not in image.info:
            return None
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))[..., 3] == 255


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except UnidentifiedImageError:
        raise ItemError(f"{path}: is not an image of a known format") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ItemError(f"{path}: the image cannot be read ({error})") from None
    return image
