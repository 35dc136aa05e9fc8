"""A model looked at: pictures of its modes, and random heads of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekit.errors import InputError
from facekit.io.atomic import make_folder, write_text
from facekit.io.images import write_image
from facekit.io.meshes import write_mesh
from facekit.morphable.model import MorphableModel
from facekit.render.images import render_shaded, turned_camera
from facekit.render.shade import linear_to_srgb
from facekit.simulate.subject import random_coefficients
from facekit.types import Camera, Mesh

_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_LABEL = 22
_CAPTION = 30


class ModeRow(NamedTuple):
    """A line of the page: its name and the heads (vertices, albedo) from low over 0 to high."""

    name: str
    heads: tuple[tuple[np.ndarray, np.ndarray], ...]


def draw_modes(
    model: MorphableModel,
    path: Path,
    *,
    shape: int = 6,
    expression: int = 6,
    albedo: int = 3,
    deviations: float = 2.0,
    size: int = 150,
) -> Path:
    """Write one page: the first modes at minus and plus some deviations, the mean between them.

    Identity and ``pca`` modes move by deviations; a blendshape is shown at 0, one half and 1.
    Shape modes are seen from the front and from the side.

    Args:
        model: whose modes.
        path: the ``.png``.
        shape, expression, albedo: how many modes of each kind, fewer where it has fewer.
        deviations: how far.
        size: of each head, pixels.
    """
    rows = _rows(model, shape, expression, albedo, deviations)
    cameras = [
        turned_camera(model.mean, yaw_deg=yaw, width=size, height=size, margin=0.02)
        for yaw in (0.0, 60.0)
    ]
    # Two rows of modes side by side keep the page near a screen's shape.
    wide = 6 * size + 20
    tall = size + _LABEL
    lines = -(-len(rows) // 2)
    canvas = Image.new("RGB", (2 * wide, _CAPTION + lines * tall), _PAPER)
    draw = ImageDraw.Draw(canvas)
    caption = (
        f"{model.name}: {model.num_identity} shape, {model.num_expression} expression,"
        f" {model.num_albedo} albedo modes; -{deviations:g}, mean, +{deviations:g} deviations"
        " (blendshapes: 0, 1/2, 1)"
    )
    draw.text((8, 6), caption, fill=_INK, font=ImageFont.load_default(15))
    for number, row in enumerate(rows):
        left, top = (number % 2) * wide, _CAPTION + (number // 2) * tall
        draw.text((left + 6, top + 3), row.name, fill=_INK, font=ImageFont.load_default(14))
        for k, (vertices, colours) in enumerate(row.heads):
            for c, camera in enumerate(cameras):
                tile = _tile(vertices, model.faces, camera, colours)
                canvas.paste(tile, (left + (2 * k + c) * size, top + _LABEL))
    return write_image(path, np.asarray(canvas))


def write_random_heads(
    model: MorphableModel,
    folder: Path,
    *,
    count: int = 10,
    seed: int = 0,
    expressions: bool = False,
    suffix: str = ".obj",
) -> list[Path]:
    """Write heads of random coefficients and return their paths.

    Identity is normal, clipped to two deviations; colours are normal; head i depends on the seed
    and i alone. ``heads.json`` has every head's coefficients.

    Raises:
        InputError: a count below 1.
    """
    if count < 1:
        raise InputError(f"count: expected at least 1 head, got {count}")
    make_folder(folder)
    paths, table = [], []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        identity, expression = random_coefficients(model, rng)
        if not expressions:
            expression = np.zeros_like(expression)
        albedo = rng.standard_normal(model.num_albedo).astype(np.float32)
        mesh = model.mesh(identity, expression)
        colours = linear_to_srgb(model.albedo(albedo)).astype(np.float32)
        head = Mesh(mesh.vertices, mesh.faces, mesh.uvs, mesh.face_uvs, colours)
        paths.append(write_mesh(folder / f"head_{i:04d}{suffix}", head))
        row = {"file": paths[-1].name}
        for name, values in (
            ("identity", identity),
            ("expression", expression),
            ("albedo", albedo),
        ):
            row[name] = np.round(values, 5).tolist()
        table.append(row)
    document = {
        "schema": "facekit.heads/1",
        "model": model.name,
        "model_sha256": model.sha256,
        "seed": seed,
        "heads": table,
    }
    write_text(folder / "heads.json", json.dumps(document))
    return paths


def _rows(
    model: MorphableModel, shape: int, expression: int, albedo: int, far: float
) -> list[ModeRow]:
    mean, colour = model.mean, model.albedo()
    rows = []
    for k in range(min(shape, model.num_identity)):
        moved = [mean + step * model.identity_modes[k] for step in (-far, 0.0, far)]
        size = float(np.sqrt((model.identity_modes[k] ** 2).sum(axis=1).mean()))
        heads = tuple((v.astype(np.float32), colour) for v in moved)
        rows.append(ModeRow(f"shape {k + 1}: {size:.2f} mm rms", heads))
    for k in _shown_expressions(model, expression):
        steps = (0.0, 0.5, 1.0) if model.expression_kind[k] == "blendshape" else (-far, 0.0, far)
        heads = tuple((mean + step * model.expression_modes[k], colour) for step in steps)
        rows.append(ModeRow(f"expression: {model.expression_names[k]}", heads))
    for k in range(min(albedo, model.num_albedo)):
        unit = np.zeros(k + 1, np.float32)
        unit[k] = far
        heads = tuple((mean, model.albedo(sign * unit)) for sign in (-1.0, 0.0, 1.0))
        rows.append(ModeRow(f"albedo {k + 1}", heads))
    return rows


def _shown_expressions(model: MorphableModel, count: int) -> list[int]:
    """Return the largest expressions; of blendshape twins only one."""
    size = (model.expression_modes.astype(np.float64) ** 2).sum(axis=(1, 2))
    chosen: list[int] = []
    stems: set[str] = set()
    for k in np.argsort(-size, kind="stable").tolist():
        stem = model.expression_names[k].removesuffix("_L").removesuffix("_R")
        if stem not in stems and len(chosen) < count:
            stems.add(stem)
            chosen.append(k)
    return chosen


def _tile(
    vertices: np.ndarray, faces: np.ndarray, camera: Camera, colours: np.ndarray
) -> Image.Image:
    picture = render_shaded(vertices, faces, camera, albedo=colours)
    return Image.fromarray(picture.over(np.array(_PAPER, np.uint8)))
