"""The face's outline in a photograph: where the model ends, and where skin ends.

A turned face ends against what lies behind it along the profile of its far side. There the
surface is seen edge-on, so the outline says what shading and landmarks leave open: how far
forehead, cheek and chin reach. ``RimFinder`` gives the points of a model at which its surface turns
away from the camera before an empty background; ``find_ends`` looks along the picture's normal at
each of them for the place where skin ends.

Skin is what has the colour of the face just inside the rim, other things are of any colour: the
logarithm of the probability of an end at d is the sum of a profile's log-likelihood ratios up to d.
The end is that posterior's mean with its deviation, so that one between like colours says little,
and one that is not found (skin goes on: an ear, a hand; or there is none: hair) says nothing.

Sources: R. Hanek, M. Beetz, The contracting curve density algorithm, 2004 (ends between colours
that are learned on the spot); P. Giblin, R. Weiss, Reconstruction of surfaces from profiles, 1987
(a rim slides over the surface along the line of sight, which is not seen, so that it may be held).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from facekit.geometry.mesh import mesh_edges, vertex_normals
from facekit.geometry.sampling import sample_image
from facekit.morphable.model import MorphableModel
from facekit.render.rasterise import rasterise
from facekit.render.shade import srgb_to_linear

# Hair hides where these end, or they are no part of the face.
_LEFT_OUT = ("eyes", "mouth", "nostrils", "eyelid_rim", "lip_rim", "ears", "neck", "scalp")
# Size of a pixel of the raster that says what lies behind the rim, mm.
_RASTER_MM = 1.5
# Beyond the rim nothing of the head may be seen at these distances, mm.
_CLEAR_MM = (2.0, 3.0, 5.0, 10.0)
# The seen surface may be this much nearer than a rim point: it is a slope seen edge-on.
_SLOPE_MM = 40.0
# Colour of skin: where it is read inside the rim, over which distance along it, and its deviations
# (logarithm of light; red over green, green over blue).
_INSIDE_MM = (-12.0, -4.0)
_ALONG_MM = 8.0
_SKIN_STD = (0.3, 0.08, 0.08)
# Half the squared deviations at which a sample is as likely something else, and what one sample of
# a millimetre says at most for skin and against it.
_EVEN, _FOR, _AGAINST = 6.0, 2.0, -4.0
_STEP_MM = 0.25
# Half the width of the window in which an edge is placed.
_EDGE_MM = 2.5
_LEAST_CONTRAST = 0.15
_BLUR_MM = 0.6


@dataclass(frozen=True)
class OutlineConfig:
    """Settings of the outline.

    Attributes:
        spacing_mm: distance between the rim's points.
        least_turn: sine of the yaw below which a face has no far side.
        reach_mm: how far from the rim skin's end is looked for.
        start_mm: prior deviation of that distance.
        vaguest_mm: deviation beyond which an end is none.
        discrepancy_mm: deviation of real outlines from those that the model can express, and
            of where a finder sees them; length_mm: distance over which it stays alike.
        robust_dof: degrees of freedom of the Student-t noise.
    """

    spacing_mm: float = 4.0
    least_turn: float = 0.2
    reach_mm: float = 10.0
    start_mm: float = 5.0
    vaguest_mm: float = 2.5
    discrepancy_mm: float = 1.5
    length_mm: float = 15.0
    robust_dof: float = 4.0


class Rim(NamedTuple):
    """Points of a model's outline.

    Attributes:
        pairs: (n, 2) int, the vertices it lies between; share: (n,) of the second.
        points: (n, 3) camera frame, mm.
        pixels: (n, 2); normals: (n, 2) unit, out of the face.
        px_per_mm: pixels per mm at the head.
    """

    pairs: np.ndarray
    share: np.ndarray
    points: np.ndarray
    pixels: np.ndarray
    normals: np.ndarray
    px_per_mm: float

    def take(self, index: np.ndarray) -> Rim:
        """Return some of the points."""
        return Rim(
            self.pairs[index],
            self.share[index],
            self.points[index],
            self.pixels[index],
            self.normals[index],
            self.px_per_mm,
        )


class RimFinder:
    """What a model brings to every rim."""

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        region = model.regions.get("face", np.ones(model.num_vertices, bool)).copy()
        for name in _LEFT_OUT:
            region &= ~model.regions.get(name, np.zeros(model.num_vertices, bool))
        pairs = mesh_edges(model.faces).vertices
        self.pairs = pairs[region[pairs].all(axis=1)]

    @cached_property
    def modes(self) -> np.ndarray:
        """(V, 3, K + E) float32, mm per coefficient."""
        modes = np.concatenate([self.model.identity_modes, self.model.expression_modes])
        return np.ascontiguousarray(modes.transpose(1, 2, 0), np.float32)

    def rows(self, rim: Rim) -> tuple[np.ndarray, np.ndarray]:
        """Return the rim's points (n, 3) of the mean head and their modes (n, 3, K + E)."""
        first, second = rim.pairs.T
        near, far = (1 - rim.share)[:, None], rim.share[:, None]
        mean = near * self.model.mean[first] + far * self.model.mean[second]
        modes = near[..., None] * self.modes[first] + far[..., None] * self.modes[second]
        return mean.astype(np.float64), modes.astype(np.float64)

    def find(
        self,
        coefficients: np.ndarray,
        rotation: np.ndarray,
        translation: np.ndarray,
        focal: np.ndarray,
        centre: np.ndarray,
        config: OutlineConfig,
    ) -> Rim:
        """Return the points at which a placed head's facial skin ends before the background.

        Only those of the far side of a turned face; none (n = 0) of one that looks at the camera.

        Args:
            coefficients: (K + E,).
            rotation, translation: head to camera, mm.
            focal, centre: (2,) pixels.
            config: see ``OutlineConfig``.
        """
        model, K = self.model, self.model.num_identity
        head = model.shape(coefficients[:K], coefficients[K:]).astype(np.float64)
        placed = head @ rotation.T + translation
        normals = vertex_normals(head, model.faces).astype(np.float64) @ rotation.T
        away = np.einsum("vd,vd->v", normals, placed) / np.linalg.norm(placed, axis=1)
        first, second = self.pairs.T
        turns = (away[first] < 0) != (away[second] < 0)
        pairs = self.pairs[turns]
        first, second = pairs.T
        share = away[first] / (away[first] - away[second])
        points = _between(placed, first, second, share)
        across = _between(normals, first, second, share)[:, :2]
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
        px_per_mm = float(focal.mean() / max(translation[2], 1.0))
        rim = Rim(pairs, share, points, _project(points, focal, centre), across, px_per_mm)
        # The face looks along the third column of the rotation; its far side is where it looks to.
        looks = rotation[:2, 2]
        turn = float(np.linalg.norm(looks))
        if turn < config.least_turn:
            return rim.take(np.zeros(0, int))
        rim = rim.take(np.flatnonzero(across @ looks > 0.3 * turn))
        spots = np.column_stack([_project(placed, focal, centre), placed[:, 2]])
        rim = rim.take(np.flatnonzero(self._clear(rim, spots)))
        return rim.take(_thinned(rim.points, config.spacing_mm))

    def _clear(self, rim: Rim, spots: np.ndarray) -> np.ndarray:
        """Say which points (n,) are seen themselves with nothing of the head behind them."""
        scale = 1 / (_RASTER_MM * rim.px_per_mm)
        margin = max(_CLEAR_MM) + 2
        low = spots[:, :2].min(axis=0) - margin * rim.px_per_mm
        size = (np.ptp(spots[:, :2], axis=0) + 2 * margin * rim.px_per_mm) * scale
        width, height = (int(n) for n in np.clip(np.ceil(size), 2, 2000))
        raster = np.column_stack([(spots[:, :2] - low) * scale, spots[:, 2]])
        fragments = rasterise(raster, self.model.faces, width, height, near=10.0)
        depth = fragments.depth(raster, self.model.faces)
        depth = np.where(depth > 0, depth, np.inf)

        def behind(distance_mm: float) -> np.ndarray:
            place = rim.pixels + distance_mm * rim.px_per_mm * rim.normals
            x, y = np.rint((place - low) * scale).astype(int).T
            return depth[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]

        clear = behind(-1.0) > rim.points[:, 2] - _SLOPE_MM
        for distance in _CLEAR_MM:
            clear &= np.isinf(behind(distance))
        return clear


def find_ends(
    image: np.ndarray, rim: Rim, config: OutlineConfig, *, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find where skin ends near a rim.

    Args:
        image: (H, W, 3) uint8 RGB.
        rim: of ``RimFinder.find``.
        config: see ``OutlineConfig``.
        mask: (H, W) weights of pixels in [0, 1], or None; where it is under a half is no skin.

    Returns:
        (n,) distances along the normals in mm, NaN where skin does not end or there is none, and
        (n,) their deviations.
    """
    along = np.arange(_INSIDE_MM[0], config.reach_mm + 1e-6, _STEP_MM)
    places = rim.pixels[:, None] + (along * rim.px_per_mm)[None, :, None] * rim.normals[:, None]
    shape = places.shape[:2]
    colours = _colours(image, places.reshape(-1, 2), rim.px_per_mm).reshape(*shape, 3)
    mean = np.median(colours[:, along <= _INSIDE_MM[1]], axis=1)
    apart = ((rim.points[:, None] - rim.points[None]) ** 2).sum(axis=2)
    near = np.exp(-0.5 * apart / _ALONG_MM**2)
    mean = near @ mean / near.sum(axis=1, keepdims=True)
    squared = (((colours - mean[:, None]) / _SKIN_STD) ** 2).sum(axis=2)
    ratio = np.clip(_EVEN - 0.5 * squared, _AGAINST, _FOR)
    if mask is not None:
        x, y = places.reshape(-1, 2).T
        shown = sample_image(np.asarray(mask, np.float32), x, y).reshape(shape)
        ratio[shown < 0.5] = _AGAINST
    looked = along > -config.reach_mm
    ends = along[looked]
    score = np.cumsum(ratio[:, looked], axis=1) * _STEP_MM - 0.5 * (ends / config.start_mm) ** 2
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    found = weight @ ends
    spread = (weight * (ends - found[:, None]) ** 2).sum(axis=1)
    deviation = np.sqrt(spread + _STEP_MM**2 / 3)
    beyond = along[None] - found[:, None]
    inside = _median_where(ratio, (beyond > -5) & (beyond < -0.7))
    outside = _median_where(ratio, (beyond > 0.7) & (beyond < 4))
    good = (np.abs(found) < config.reach_mm - 2.5) & (deviation < config.vaguest_mm)
    good &= (inside > 0.5) & (outside < -1)
    found = _halfway(colours, along, found)
    height, width = image.shape[:2]
    x, y = (rim.pixels + found[:, None] * rim.px_per_mm * rim.normals).T
    good &= (x > 2) & (y > 2) & (x < width - 3) & (y < height - 3)
    return np.where(good, found, np.nan), deviation


def _halfway(colours: np.ndarray, along: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Move ends (n,) to where the colour is halfway between those on either side.

    A blurred edge looks like something else than skin well before that.
    """
    beyond = along[None] - found[:, None]
    red = colours[..., 0] + (2 * colours[..., 1] + colours[..., 2]) / 3
    green = red - colours[..., 1]
    # Blur mixes light and not its logarithm.
    light = np.exp(np.stack([red, green, green - colours[..., 2]], axis=-1))
    sides = []
    for low, high in ((-4.0, -1.5), (1.5, 4.0)):
        mask = (beyond > low) & (beyond < high)
        sides.append(np.stack([_median_where(light[..., c], mask) for c in range(3)], axis=1))
    skin, step = sides[0], sides[1] - sides[0]
    share = np.einsum("nsc,nc->ns", light - skin[:, None], step)
    contrast = (step**2).sum(axis=1)
    share = np.clip(share / np.maximum(contrast, 1e-9)[:, None], 0, 1)
    window = np.abs(beyond) < _EDGE_MM
    first = np.where(window, along, np.inf).min(axis=1) - 0.5 * _STEP_MM
    placed = first + _STEP_MM * np.where(window, 1 - share, 0).sum(axis=1)
    # Where only a mask tells the two apart, its end stays.
    return np.where(contrast > _LEAST_CONTRAST**2 * (skin**2).sum(axis=1), placed, found)


def _colours(image: np.ndarray, places: np.ndarray, px_per_mm: float) -> np.ndarray:
    """Logarithm of light, and of red over green and green over blue, at places (n, 2)."""
    height, width = image.shape[:2]
    if not len(places):
        return np.zeros((0, 3))
    low = np.clip(np.floor(places.min(axis=0)).astype(int) - 4, 0, [width - 2, height - 2])
    high = np.clip(np.ceil(places.max(axis=0)).astype(int) + 5, low + 2, [width, height])
    part = image[low[1] : high[1], low[0] : high[0]]
    light = srgb_to_linear(part / np.float32(255)).astype(np.float32)
    blurred = cv2.GaussianBlur(light, (0, 0), max(_BLUR_MM * px_per_mm, 0.5))
    # A floor keeps darkness from counting without bound.
    value = np.log(blurred + np.float32(0.03 * float(np.median(light)) + 0.004))
    seen = [value.mean(axis=2), value[..., 0] - value[..., 1], value[..., 1] - value[..., 2]]
    return sample_image(np.dstack(seen), *(places - low).T).astype(np.float64)


def _median_where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Medians (n,) of values (n, m) where a mask holds; NaN, which no comparison passes, if not."""
    held = np.where(mask, values, np.inf)
    count = mask.sum(axis=1)
    ordered = np.sort(held, axis=1)
    picked = np.take_along_axis(ordered, np.maximum(count - 1, 0)[:, None] // 2, axis=1)[:, 0]
    return np.where(count > 0, picked, np.nan)


def _between(
    values: np.ndarray, first: np.ndarray, second: np.ndarray, share: np.ndarray
) -> np.ndarray:
    return (1 - share)[:, None] * values[first] + share[:, None] * values[second]


def _project(points: np.ndarray, focal: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return focal * points[:, :2] / np.maximum(points[:, 2:], 1.0) + centre


def _thinned(points: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Rows of points of which none is nearer to one before it than the spacing."""
    kept: list[int] = []
    for row in range(len(points)):
        offset = points[kept] - points[row]
        if not (np.einsum("nd,nd->n", offset, offset) < spacing_mm**2).any():
            kept.append(row)
    return np.array(kept, int)
