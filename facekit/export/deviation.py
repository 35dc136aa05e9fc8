"""How sure a fitted head is, to look at: a heat map, and a mesh in its colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facekit.export.heat import draw_heat_map, heat_colours
from facekit.io.ply import write_ply
from facekit.morphable.model import MorphableModel
from facekit.types import Mesh

PICTURE, MESH = "deviation.png", "deviation.ply"
# The colour map's end: the same in every picture, so that they can be compared.
LIMIT_MM = 4.0
_SIDE_DEG = 50.0
_UP, _OUT = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


def write_deviation(
    folder: Path,
    neutral: np.ndarray,
    std_mm: np.ndarray,
    model: MorphableModel,
    *,
    unit: str = "mm",
) -> list[Path]:
    """Write ``deviation.png`` (front and both sides) and ``deviation.ply`` into a folder.

    Args:
        folder: an existing folder.
        neutral: (V, 3) the neutral head, head frame, mm.
        std_mm: (V,) its deviations along the normal.
        model: gives the faces, and the face region that the picture shows.
        unit: of the PLY's lengths.
    """
    region = model.regions.get("face", np.ones(len(neutral), bool))
    picture = draw_heat_map(
        folder / PICTURE,
        neutral,
        model.faces,
        np.where(region, std_mm, np.nan),
        axes=(_UP, _OUT),
        limit=LIMIT_MM,
        title="deviation along the normal, one standard deviation",
        yaws_deg=(0.0, -_SIDE_DEG, _SIDE_DEG),
    )
    colours = heat_colours(std_mm, limit=LIMIT_MM)
    mesh = Mesh(np.asarray(neutral), model.faces, colours=colours)
    return [picture, write_ply(folder / MESH, mesh, unit=unit)]
