"""Heat maps: a mesh coloured by a length at each of its vertices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekit.checks import check_array
from facekit.io.images import write_image
from facekit.render.images import render_shaded, turned_camera
from facekit.render.shade import ambient_sh, directional_light_sh, srgb_to_linear

_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_UNSCORED = np.array([0.25, 0.25, 0.25])
# Pixels right of the views.
_LEGEND = 105


def heat_colours(errors: np.ndarray, *, limit: float) -> np.ndarray:
    """Return sRGB colours (..., 3) in [0, 1] of errors (...); ``limit`` and more have the last."""
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
    yaws_deg: Sequence[float] = (0.0, 40.0),
) -> Path:
    """Write a mesh coloured by lengths on it, from the front and turned, with a scale beside it.

    Args:
        path: the ``.png``.
        vertices: (V, 3) mm; faces: (F, 3).
        errors: (V,) in ``unit``; NaN where there is none (grey).
        axes: unit vectors up and out of the face (3,) in the mesh's frame.
        limit: the error at the colour map's end; larger ones have its colour, as the scale says.
        unit: of the errors, for the scale.
        title: over the pictures.
        height: of each view, pixels.
        yaws_deg: how the face is turned in each view.

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
    for yaw in yaws_deg:
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
    right = len(views) * height
    canvas = Image.new("RGB", (right + _LEGEND, height + 40), _PAPER)
    for i, view in enumerate(views):
        canvas.paste(Image.fromarray(view), (i * height, 40))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    draw.text((10, 12), title, fill=_INK, font=font)
    scale = heat_colours(np.linspace(limit, 0, height - 60), limit=limit)
    bar = np.round(255 * np.repeat(scale[:, None], 16, axis=1)).astype(np.uint8)
    canvas.paste(Image.fromarray(bar), (right + 10, 70))
    low, middle, high = 70 + height - 60, 70 + (height - 60) // 2, 70
    # The top colour stands for everything beyond it, too.
    for y, text in ((high, f"{limit:g} {unit}"), (high + 17, "and more"), (low, "0"),
                    (middle, f"{limit / 2:g}")):  # fmt: skip
        draw.text((right + 32, y), text, fill=_INK, font=font, anchor="lm")
    return write_image(path, np.asarray(canvas))
