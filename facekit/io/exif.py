"""The focal length that a photograph's EXIF block says, where its pixels still are the camera's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

_EXIF_BLOCK = 0x8769
_FOCAL_LENGTH, _FOCAL_35MM, _DIGITAL_ZOOM = 0x920A, 0xA405, 0xA404
_WIDTH, _HEIGHT = 0xA002, 0xA003
_DENSITY_X, _DENSITY_UNIT = 0xA20E, 0xA210
# Millimetres of FocalPlaneResolutionUnit's values.
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
# 35 mm equivalents of lenses that exist.
_LEAST_35MM, _MOST_35MM = 8.0, 2000.0
# Relative difference of the sides' scales beyond which an image is a crop, not a reduction.
_CROP_TOLERANCE = 0.015


class ExifFocal(NamedTuple):
    """A focal length in pixels of the file or None, and why one that is there is not used."""

    focal_px: float | None
    note: str


def exif_focal(exif: Image.Exif, width: int, height: int) -> ExifFocal:
    """Return the focal length of an image of ``width`` x ``height`` stored pixels.

    FocalLengthIn35mmFilm counts over the diagonal of a 36 x 24 mm frame; else FocalLength with the
    sensor's pixel density (FocalPlaneXResolution). Where the block states the picture's original
    size, a reduced image keeps its lens; one cut to other proportions does not, and says so. A
    programme that cuts an image and rewrites that size leaves no trace.
    """
    block = exif.get_ifd(_EXIF_BLOCK)
    film, lens = _number(block.get(_FOCAL_35MM)), _number(block.get(_FOCAL_LENGTH))
    original = (_number(block.get(_WIDTH)), _number(block.get(_HEIGHT)))
    reduced = 1.0
    if original[0] and original[1] and (film or lens):
        scales = _scales(original[0], original[1], width, height)
        if scales is None:
            return ExifFocal(
                None,
                f"EXIF's focal length is not used: the camera made {original[0]:.0f} x "
                f"{original[1]:.0f} pixels and the file has {width} x {height}, so it was cropped",
            )
        reduced = scales
    diagonal = float(np.hypot(width, height))
    if film and _LEAST_35MM <= film <= _MOST_35MM:
        return ExifFocal(film / float(np.hypot(36, 24)) * diagonal, "")
    density = _number(block.get(_DENSITY_X))
    unit = _UNIT_MM.get(int(_number(block.get(_DENSITY_UNIT)) or 2))
    if not (lens and density and unit):
        return ExifFocal(None, "")
    if (_number(block.get(_DIGITAL_ZOOM)) or 1.0) > 1.0:
        return ExifFocal(
            None, "EXIF's focal length is not used: the camera zoomed digitally, that is, cropped"
        )
    focal = lens * density / unit * reduced
    if not _LEAST_35MM <= focal * float(np.hypot(36, 24)) / diagonal <= _MOST_35MM:
        return ExifFocal(None, "EXIF's focal length is not used: no lens has this angle of view")
    return ExifFocal(focal, "")


def _scales(made_x: float, made_y: float, width: int, height: int) -> float | None:
    """The common scale of both sides, in either orientation, or None for a crop."""
    for x, y in ((made_x, made_y), (made_y, made_x)):
        across, down = width / x, height / y
        # A side is rounded to whole pixels.
        slack = _CROP_TOLERANCE + 0.5 / min(width, height)
        if abs(across / down - 1) <= slack:
            return float(np.sqrt(across * down))
    return None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if np.isfinite(number) and number > 0 else None
