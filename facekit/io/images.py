"""Still images: RGB uint8 (H, W, 3) at the edges, whatever the file holds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from facekit.errors import InputError, ItemError
from facekit.io.atomic import atomic_path
from facekit.io.exif import exif_focal

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 200_000_000

# The limit is checked below with a message of its own; Pillow's is lower and raises twice.
Image.MAX_IMAGE_PIXELS = None


class Photo(NamedTuple):
    """A decoded photograph.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright (EXIF orientation applied).
        scale: read size over the file's size, at most 1; a point p of the file (pixel centres
            at integers) lies at ``scale * (p + 0.5) - 0.5`` in ``image``.
        width, height: upright size in the file, pixels.
        focal_px: focal length in pixels of the file, from EXIF, or None; see ``io.exif``.
        focal_note: why a focal length in EXIF is not used, or empty.
    """

    image: np.ndarray
    scale: float
    width: int
    height: int
    focal_px: float | None
    focal_note: str = ""


def read_photo(path: Path, *, max_side: int | None = None) -> Photo:
    """Read a photograph, upright, as RGB; grey, 16-bit, palette and alpha images are converted.

    Transparent pixels are put on white. With ``max_side`` a larger image is averaged down to
    that longest side while it is decoded, so that a 200-megapixel file needs little memory.

    Raises:
        ItemError: the file is missing, empty, no image, truncated, or over 200 megapixels.
    """
    try:
        if path.stat().st_size == 0:
            raise ItemError(f"{path}: is empty; expected an image")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF blocks do not harm the pixels
            with Image.open(path) as file:
                return _decode(file, path, max_side)
    except UnidentifiedImageError:
        raise ItemError(f"{path}: is not an image of a known format") from None
    except FileNotFoundError:
        raise ItemError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ItemError(f"{path}: the image is corrupt or truncated ({error})") from None


def read_image(path: Path) -> np.ndarray:
    """Read an image at full size as RGB uint8 (H, W, 3); see ``read_photo``."""
    return read_photo(path).image


def write_image(
    path: Path, image: np.ndarray, *, quality: int = 92, compress_level: int = 6
) -> Path:
    """Write an RGB or grey uint8 image; the suffix chooses PNG or JPEG.

    Args:
        path: the file.
        image: (H, W, 3) or (H, W).
        quality: of a JPEG, 1 to 100.
        compress_level: of a PNG, 0 to 9; 1 writes a noisy picture in a quarter of the time.

    Raises:
        InputError: the suffix names no format.
    """
    if path.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"{path}: expected a name that ends in .png or .jpg")
    with atomic_path(path) as temporary:
        options: dict[str, Any] = {"compress_level": compress_level}
        if path.suffix.lower() in (".jpg", ".jpeg"):
            options = {"quality": quality}
        Image.fromarray(image).save(temporary, **options)
    return path


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Resize (H, W, 3) uint8 with antialiasing: x' = scale (x + 0.5) - 0.5, sizes rounded."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3))


def _decode(file: Image.Image, path: Path, max_side: int | None) -> Photo:
    width, height = file.size
    if width * height > MAX_PIXELS:
        raise ItemError(
            f"{path}: {width} x {height} is {width * height / 1e6:.0f} megapixels; at most "
            f"{MAX_PIXELS // 1_000_000} are read; scale the image down first"
        )
    shrink = max_side is not None and max(width, height) > max_side
    if shrink and max_side is not None:
        file.draft("RGB", (max_side, max_side))  # JPEG decodes straight to 1/2, 1/4 or 1/8
    file.load()
    exif = file.getexif()
    orientation = exif.get(0x0112, 1)
    focal = exif_focal(exif, width, height)
    image = file
    if shrink and max_side is not None:
        ratio = max_side / max(width, height)
        target = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        image = _to_rgb(image) if image.mode not in ("RGB", "L") else image
        image = image.resize(target, Image.Resampling.LANCZOS, reducing_gap=2)
    rgb = _to_rgb(image)
    scale = rgb.size[0] / width
    if orientation != 1:
        rgb.getexif()[0x0112] = orientation
        ImageOps.exif_transpose(rgb, in_place=True)
        if orientation >= 5:
            width, height = height, width
    return Photo(np.asarray(rgb), scale, width, height, *focal)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        # 16-bit files span 0..65535; 32-bit and floating ones have no agreed range.
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0) > 1 else 1.0
        grey = np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")
