"""MeshLab's picked points (``.pp``, XML)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facekit.errors import InputError


class PickedPoints(NamedTuple):
    """Points picked on a mesh, in the file's order.

    Attributes:
        names: one a point, ``""`` where the file has none.
        points: (N, 3) float64 in the mesh's unit.
    """

    names: tuple[str, ...]
    points: np.ndarray


def read_pp(path: Path) -> PickedPoints:
    """Read every ``point`` element in order, whatever surrounds it; ``active`` is ignored.

    Raises:
        InputError: the file cannot be read, is no XML, or a point lacks a finite x, y or z.
    """
    try:
        root = ET.fromstring(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ET.ParseError as error:
        raise InputError(f"{path}: expected MeshLab's XML of picked points ({error})") from error
    names = []
    points = []
    for element in root.iter("point"):
        try:
            points.append([float(element.attrib[axis]) for axis in "xyz"])
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: point {len(points)} has no readable x, y, z") from error
        names.append(element.get("name", ""))
    table = np.array(points, dtype=np.float64).reshape(-1, 3)
    if not np.isfinite(table).all():
        raise InputError(f"{path}: expected finite coordinates")
    return PickedPoints(tuple(names), table)
