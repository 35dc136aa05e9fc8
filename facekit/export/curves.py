"""Pictures of curves: any lines over an axis, and cumulative error curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekit.errors import InputError
from facekit.io.images import write_image
from facekit.metrics.distances import cumulative_curve

# Lines that stay apart for colour-blind readers (Okabe and Ito's set, dark first).
_LINES = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (90, 90, 90))
_INK, _PALE, _PAPER = (30, 30, 30), (215, 215, 215), (255, 255, 255)


def draw_curves(
    path: Path,
    values: Mapping[str, np.ndarray],
    *,
    limit: float,
    xlabel: str,
    title: str = "",
    size: tuple[int, int] = (840, 560),
) -> Path:
    """Write a picture of cumulative error curves.

    Args:
        path: the ``.png``.
        values: errors (N,) of each method, one line each; an empty one is left out.
        limit: the right end of the x axis, in the errors' unit.
        xlabel: what x is, with its unit.
        title: over the plot.
        size: width and height in pixels.

    Raises:
        InputError: a limit that is not positive.
    """
    if not limit > 0:
        raise InputError(f"curves: expected a positive limit, got {limit}")
    marks = np.linspace(0, limit, 401)
    lines = {
        name: (marks, cumulative_curve(np.asarray(errors), marks).percent)
        for name, errors in values.items()
        if len(errors)
    }
    return draw_lines(
        path, lines, limits=(limit, 100.0), xlabel=xlabel, unit="%", title=title, size=size
    )


def draw_lines(
    path: Path,
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    limits: tuple[float, float],
    xlabel: str,
    unit: str = "",
    title: str = "",
    size: tuple[int, int] = (840, 560),
) -> Path:
    """Write a picture of lines over an x axis; both axes begin at 0.

    Args:
        path: the ``.png``.
        lines: x and y (N,) of each named line.
        limits: the ends of the x and the y axis; what lies beyond is drawn at the end.
        xlabel: what x is, with its unit.
        unit: written after the numbers of the y axis.
        title: over the plot.
        size: width and height in pixels.

    Raises:
        InputError: limits that are not positive.
    """
    if not min(limits) > 0:
        raise InputError(f"lines: expected positive limits, got {limits}")
    width, height = size
    left, right, top, bottom = 70, width - 20, 44, height - 60
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    font, small = ImageFont.load_default(16), ImageFont.load_default(14)
    draw.text((left, 12), title, fill=_INK, font=font)
    for i in range(6):
        y = bottom - (bottom - top) * i / 5
        draw.line([(left, y), (right, y)], fill=_PALE)
        text = f"{limits[1] * i / 5:g}{unit}"
        draw.text((left - 8, y), text, fill=_INK, font=small, anchor="rm")
        x = left + (right - left) * i / 5
        draw.line([(x, top), (x, bottom)], fill=_PALE)
        text = f"{limits[0] * i / 5:g}"
        draw.text((x, bottom + 6), text, fill=_INK, font=small, anchor="ma")
    draw.rectangle([left, top, right, bottom], outline=_INK)
    draw.text(((left + right) / 2, height - 26), xlabel, fill=_INK, font=font, anchor="mm")
    for row, (name, (along, values)) in enumerate(lines.items()):
        colour = _LINES[row % len(_LINES)]
        xs = left + (right - left) * np.clip(np.asarray(along, float) / limits[0], 0, 1)
        ys = bottom - (bottom - top) * np.clip(np.asarray(values, float) / limits[1], 0, 1)
        y = bottom - 18 - 20 * row
        # Lines beyond the colours are dashed.
        stroke = _draw_line if row < len(_LINES) else _draw_dashes
        stroke(draw, np.stack([xs, ys], axis=1), colour)
        stroke(draw, np.array([(right - 210.0, y), (right - 180.0, y)]), colour)
        draw.text((right - 172, y), name, fill=_INK, font=small, anchor="lm")
    return write_image(path, np.asarray(canvas))


def _draw_line(draw: ImageDraw.ImageDraw, points: np.ndarray, colour: tuple[int, ...]) -> None:
    draw.line([(float(x), float(y)) for x, y in points], fill=colour, width=3, joint="curve")


def _draw_dashes(draw: ImageDraw.ImageDraw, points: np.ndarray, colour: tuple[int, ...]) -> None:
    """Draw a line through points (N, 2) as dashes of eight pixels with five between them."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    for start in np.arange(0.0, along[-1], 13.0):
        ends = np.linspace(start, min(start + 8, along[-1]), 5)
        _draw_line(draw, np.stack([np.interp(ends, along, p) for p in points.T], axis=1), colour)
