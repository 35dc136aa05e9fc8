"""Eyelids that close: the source's blink stops a millimetre short and cuts into a round eyeball."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from facekit.basis.anatomy import EYELID_RIM, SKIN_PART, edge_graph
from facekit.basis.template import Template

# The lid follows its edge over this distance from it.
_REACH_MM = 13.0
# The gap is measured in this many columns from corner to corner, and closed by this much more.
_COLUMNS = 13
_COLUMN_WIDTH_MM = 1.6
_OVERLAP_MM = 0.8
# How far closed lids stay in front of the eyeball: skin, and the lid's inner side.
_SKIN_GAP_MM = 0.6
_INSIDE_GAP_MM = 0.15


def close_left_eyelids(
    neutral: np.ndarray,
    blink: np.ndarray,
    template: Template,
    *,
    centre: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Return the closed pose (V, 3) in which the left upper lid's edge meets the lower one's.

    Args:
        neutral: (V, 3) eyes open; blink: (V, 3) left eye nearly shut, mm.
        template: their topology.
        centre, radius: the left eyeball's sphere.
    """
    rim = np.flatnonzero((template.rim == EYELID_RIM) & (neutral[:, 0] > 0))
    graph = edge_graph(neutral, template.faces)
    inner, outer = rim[np.argmin(neutral[rim, 0])], rim[np.argmax(neutral[rim, 0])]
    chord = np.interp(neutral[rim, 0], neutral[[inner, outer], 0], neutral[[inner, outer], 1])
    upper = neutral[rim, 1] > chord
    to_upper = _distance(graph, rim[upper])
    to_lower = _distance(graph, rim[~upper])
    skin = template.part == SKIN_PART
    above = np.flatnonzero(skin & (to_upper < to_lower) & (to_upper < _REACH_MM))
    below = np.flatnonzero(skin & (to_lower < to_upper) & (to_lower < _REACH_MM))
    columns = np.linspace(neutral[inner, 0], neutral[outer, 0], _COLUMNS + 2)[1:-1]
    edge = np.array([_extreme(blink[above], x, lowest=True) for x in columns])
    other = np.array([_extreme(blink[below], x, lowest=False) for x in columns])
    # A low polynomial keeps the lid's edge smooth.
    gap = np.polynomial.Polynomial.fit(columns, edge - other + _OVERLAP_MM, 4)
    edge_line = np.polynomial.Polynomial.fit(columns, edge, 4)
    x, y = blink[:, 0], blink[:, 1]
    inside = (x > columns[0]) & (x < columns[-1])
    taper = np.minimum(1, 9 * np.minimum(x - columns[0], columns[-1] - x) / np.ptp(columns))
    height = np.clip((y - edge_line(np.clip(x, columns[0], columns[-1]))) / _REACH_MM, 0, 1)
    share = np.where(inside & (to_upper < to_lower), taper * (1 - height**2 * (3 - 2 * height)), 0)
    closed = blink.copy()
    closed[:, 1] -= share * np.maximum(gap(np.clip(x, columns[0], columns[-1])), 0)
    near = (template.part <= 2) & (np.minimum(to_upper, to_lower) < _REACH_MM)
    gap_mm = np.where(template.part == SKIN_PART, _SKIN_GAP_MM, _INSIDE_GAP_MM)
    away = closed - centre
    length = np.linalg.norm(away, axis=1)
    least = radius + gap_mm
    # Only what the lid covers when open is pushed: the corners lie beside the eyeball.
    pushed = near & (length < least) & (away[:, 2] > 0.35 * length)
    closed[pushed] = centre + away[pushed] * (least / np.maximum(length, 1e-9))[pushed, None]
    return closed


def _extreme(points: np.ndarray, x: float, *, lowest: bool) -> float:
    """Return the lowest or highest y of the points in a column about x, or of the nearest one."""
    off = np.abs(points[:, 0] - x)
    y = points[off < max(_COLUMN_WIDTH_MM, float(off.min()) + 1e-9), 1]
    return float(y.min() if lowest else y.max())


def _distance(graph: sp.csr_array, start: np.ndarray) -> np.ndarray:
    return csgraph.dijkstra(graph, indices=start, min_only=True, limit=2 * _REACH_MM)
