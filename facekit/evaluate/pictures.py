"""Pictures of an evaluation: cumulative curves and heat maps of errors on a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.io.images import write_image
from facekit.metrics.distances import cumulative_curve
from facekit.render.images import render_shaded, turned_camera
from facekit.render.shade import ambient_sh, directional_light_sh, srgb_to_linear

# Lines that stay apart for colour-blind readers (Okabe and Ito's set, dark first).
_LINES = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (90, 90, 90))
_INK, _PALE, _PAPER = (30, 30, 30), (215, 215, 215), (255, 255, 255)
_UNSCORED = np.array([0.25, 0.25, 0.25])


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
    width, height = size
    left, right, top, bottom = 70, width - 20, 44, height - 60
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    font, small = ImageFont.load_default(16), ImageFont.load_default(14)
    draw.text((left, 12), title, fill=_INK, font=font)
    for i in range(6):
        y = bottom - (bottom - top) * i / 5
        draw.line([(left, y), (right, y)], fill=_PALE)
        draw.text((left - 8, y), f"{20 * i}%", fill=_INK, font=small, anchor="rm")
        x = left + (right - left) * i / 5
        draw.line([(x, top), (x, bottom)], fill=_PALE)
        draw.text((x, bottom + 6), f"{limit * i / 5:g}", fill=_INK, font=small, anchor="ma")
    draw.rectangle([left, top, right, bottom], outline=_INK)
    draw.text(((left + right) / 2, height - 26), xlabel, fill=_INK, font=font, anchor="mm")
    marks = np.linspace(0, limit, 401)
    row = 0
    for index, (name, errors) in enumerate(values.items()):
        if not len(errors):
            continue
        colour = _LINES[index % len(_LINES)]
        percent = cumulative_curve(np.asarray(errors), marks).percent
        xs = left + (right - left) * marks / limit
        ys = bottom - (bottom - top) * percent / 100
        points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        draw.line(points, fill=colour, width=3, joint="curve")
        y = bottom - 18 - 20 * row
        draw.line([(right - 210, y), (right - 180, y)], fill=colour, width=3)
        draw.text((right - 172, y), name, fill=_INK, font=small, anchor="lm")
        row += 1
    return write_image(path, np.asarray(canvas))


def heat_colours(errors: np.ndarray, *, limit: float) -> np.ndarray:
    """Return sRGB colours (..., 3) in [0, 1] of errors (...), the map's end at ``limit``."""
    share = np.clip(np.asarray(errors, np.float64) / limit, 0, 1)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_TURBO)
    table = table.reshape(256, 3)[:, ::-1]
    return table[np.round(255 * share).astype(np.int64)] / 255


def draw_heat_map(
    path: Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    errors: np.ndarray,
    *,
    axes: Sequence[np.ndarray],
    limit: float = 5.0,
    unit: str = "mm",
    title: str = "",
    height: int = 420,
) -> Path:
    """Write a scan coloured by its errors, from the front and turned, with a scale.

    Args:
        path: the ``.png``.
        vertices: (V, 3) mm; faces: (F, 3).
        errors: (V,) in ``unit``; NaN where nothing was scored (grey).
        axes: unit vectors up and out of the face (3,) in the mesh's frame.
        limit: the error at the colour map's end.
        unit: of the errors, for the scale.
        title: over the pictures.
        height: of each view, pixels.

    Raises:
        InputError: bad shapes.
    """
    mesh = check_array(vertices, "vertices", shape=("V", 3)).astype(np.float64)
    values = check_array(errors, "errors", shape=(len(mesh),), finite=False)
    scored = np.isfinite(values)
    up, out = (np.asarray(axis, np.float64) for axis in axes)
    head = mesh @ np.stack([np.cross(up, out), up, out]).T
    colours = np.where(scored[:, None], heat_colours(np.nan_to_num(values), limit=limit), _UNSCORED)
    # The frame is what was scored: whole heads would leave the face small.
    focus = head[scored] if scored.any() else head
    # Mostly even, so that colours keep their meaning; a little from above, so that a face is seen.
    light = ambient_sh(np.full(3, 0.75)) + directional_light_sh(
        np.array([0.0, -0.5, -0.87]), np.full(3, 0.3)
    )
    views = []
    for yaw in (0.0, 40.0):
        camera = turned_camera(focus, yaw_deg=yaw, width=height, height=height)
        picture = render_shaded(
            head,
            faces,
            camera,
            albedo=srgb_to_linear(colours),
            light=light,
            cull=False,
        )
        views.append(picture.over(np.array(_PAPER, np.uint8)))
    canvas = Image.new("RGB", (2 * height + 90, height + 40), _PAPER)
    for i, view in enumerate(views):
        canvas.paste(Image.fromarray(view), (i * height, 40))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    draw.text((10, 12), title, fill=_INK, font=font)
    scale = heat_colours(np.linspace(limit, 0, height - 60), limit=limit)
    bar = np.round(255 * np.repeat(scale[:, None], 16, axis=1)).astype(np.uint8)
    canvas.paste(Image.fromarray(bar), (2 * height + 10, 70))
    for share, y in ((1.0, 70), (0.5, 70 + (height - 60) // 2), (0.0, 70 + height - 60)):
        text = f"{share * limit:g} {unit}" if share == 1 else f"{share * limit:g}"
        draw.text((2 * height + 32, y), text, fill=_INK, font=font, anchor="lm")
    return write_image(path, np.asarray(canvas))
