"""From what a photograph shows to whole textures: as seen, and under even light.

Seen texels keep the photograph. Hidden ones take their mirror partner, what neither side shows the
model's albedo; each is blended in by its gradients (``texture.membrane``), so that no seam is left.
All of it happens under even light: a half that lies in shade is completed from the lit half without
its light, and takes its own light back in the texture as seen.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from facekit.checks import check_array
from facekit.errors import InputError
from facekit.render.shade import sh_shading, srgb_to_linear, to_uint8
from facekit.texture.atlas import TexelAtlas
from facekit.texture.membrane import blend, fade
from facekit.texture.unwrap import Unwrapped, unwrap
from facekit.types import Camera

# Colours are blended as logarithms of light above this floor, so that gains are offsets.
_FLOOR = 0.01
# The light's variation that is believed: outside, a texel is in a highlight or a deep hollow.
_LIGHT_RANGE = (0.3, 3.0)
# Share of the light's change of colour over the face that is believed: beards, make-up and blush
# are taken for it too.
_TINT_BELIEVED = 0.5
# Parts that are other surfaces than the skin around them: nothing is blended into them.
_INTERIOR = ("mouth_inside", "eyeballs")
# Parts where collars, hair and necklaces lie more often than skin, or (ears) where the fitted
# head seldom lies on the photographed one.
_NOT_SKIN = ("neck", "scalp", "ears", "nostrils")
# Parts where what differs is a feature and not something before the face.
_FEATURES = ("brows", "eyes", "nose", "lips", "mouth", "chin")
# Half width of the middle of the face, mm: beards and cheeks' blush are the face's own.
_MIDDLE_MM = 50.0
# Logarithms of light and of colour ratios by which hair and background differ from skin.
_DARKER, _BRIGHTER, _TINT = 0.45, 0.45, 0.25
# Logarithm of light below which something is dark hair, and the part of it that must lie outside
# the middle of the face; brows, which are as dark, lie inside.
_HAIR, _OUTER_SHARE = 0.8, 0.25
# Blur before that test, and growth of what it finds, mm.
_TEST_BLUR_MM, _GROW_MM = 1.5, 4.0
# Rows of a large texture that are made at a time.
_BAND = 512
# Blending: detail of a border that is not carried along (mm), how far its shift reaches into the
# model's albedo (mm), and the largest one (a factor of 1.6).
_SMOOTH_MM, _REACH_MM, _LARGEST_SHIFT = 1.5, 25.0, 0.5


class FaceTexture(NamedTuple):
    """Textures of one photograph.

    Attributes:
        seen: (S, S, 3) uint8 sRGB, with the photograph's light.
        even: (S, S, 3) uint8 sRGB, with even light of the photograph's brightness and colour: the
            albedo up to one factor per channel, which no photograph tells.
        source: (S, S) uint8: 0 no surface, 1 the model's albedo, 2 the mirror side, 3 the
            photograph.
    """

    seen: np.ndarray
    even: np.ndarray
    source: np.ndarray

    @property
    def photographed(self) -> float:
        """Part of the surface's texels that the photograph itself shows."""
        return float((self.source == PHOTOGRAPH).sum() / max((self.source > 0).sum(), 1))


ALBEDO, MIRROR, PHOTOGRAPH = 1, 2, 3


class Parts(NamedTuple):
    """What larger textures are made of; every texel has values, also beside the charts.

    Attributes:
        even: (S, S, 3) logarithms under even light; varies: (S, S, 3) the light over its mean.
        share: (S, S) the photograph's; spots: (S, S, 2) where the texels lie in it, pixels.
        source: as in ``FaceTexture``.
    """

    even: np.ndarray
    varies: np.ndarray
    share: np.ndarray
    spots: np.ndarray
    source: np.ndarray


def complete_texture(
    atlas: TexelAtlas,
    image: np.ndarray,
    vertices: np.ndarray,
    camera: Camera,
    light: np.ndarray,
    *,
    size: int | None = None,
    mask: np.ndarray | None = None,
    reject: bool = True,
) -> FaceTexture:
    """Make a face's textures from its photograph.

    Args:
        atlas: the texels that are completed.
        image: (H, W, 3) uint8 sRGB.
        vertices: (V, 3) mm, head frame: identity and expression.
        camera: head frame to image.
        size: side of the textures, the atlas's or a power of two times it: larger ones take the
            photograph's detail where it is seen, while the completed rest keeps the atlas's.
        light: (9, 3) spherical harmonics of the photograph; see ``fit.light``.
        mask: (H, W) in [0, 1]: where the photograph shows the head, or None for everywhere.
        reject: leave out hair, collars and background that do not look like the face's skin.

    Raises:
        InputError: arrays of other shapes.

    Degenerate: a photograph that shows nothing of the head gives the model's albedo.
    """
    light = check_array(light, "light", shape=(9, 3))
    own = unwrap(atlas, image, vertices, camera, mask=mask)
    other = None
    if atlas.model.mirror is not None:
        other = unwrap(atlas, image, vertices, camera, mask=mask, mirrored=True)
    albedo = np.maximum(atlas.interpolate(atlas.model.albedo()), 1e-3)
    shade = np.maximum(sh_shading(own.normal, light), 1e-3)
    skin = own.seen & (atlas.share("skin") > 0.5) if atlas.model.regions else own.seen
    if not skin.any():
        skin = own.seen
    level = shade[skin].mean(axis=0) if skin.any() else np.ones(3, np.float32)
    varies = _variation(shade, level)
    logs = _log(own.colour / varies)
    known = own.seen & _belongs(atlas)
    gain = _gain(logs, albedo, known & skin)
    if reject:
        known &= ~_foreign(atlas, logs - _log(albedo) - gain, known)
    gain = _gain(logs, albedo, known & skin)
    base = _log(albedo) + gain
    mirrored, partner = np.zeros(len(known), bool), base
    if other is not None:
        partner, mirrored = _mirror_side(atlas, other, light, level, albedo, gain, reject)
        mirrored &= ~known
    even, share = _completed(atlas, logs, known, partner, mirrored, base)
    source = atlas.image((ALBEDO + mirrored + 2 * known).astype(np.uint8))
    if size is None or size == atlas.size:
        bright = np.exp(even) - _FLOOR
        return FaceTexture(_texture(atlas, bright * varies), _texture(atlas, bright), source)
    parts = Parts(
        atlas.padded(atlas.image(even)),
        atlas.padded(atlas.image(varies)),
        atlas.padded(atlas.image(share)),
        atlas.padded(atlas.image(own.spots)),
        source,
    )
    return enlarged(parts, image, size)


def _variation(shade: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The light (N, 3) over its mean, as far as it is believed."""
    ratio = np.clip(shade / level, *_LIGHT_RANGE)
    grey = np.cbrt(ratio.prod(axis=1, keepdims=True))
    return np.asarray(grey * (ratio / grey) ** _TINT_BELIEVED, np.float32)


def _mirror_side(
    atlas: TexelAtlas,
    other: Unwrapped,
    light: np.ndarray,
    level: np.ndarray,
    albedo: np.ndarray,
    gain: np.ndarray,
    reject: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The mirror partners' logarithms under even light, and where they can be used."""
    shade = np.maximum(sh_shading(other.normal, light), 1e-3)
    logs = _log(other.colour / _variation(shade, level))
    # Gaze and teeth are not symmetric.
    usable = other.seen & _belongs(atlas)
    for name in _INTERIOR:
        usable &= atlas.share(name) < 0.5
    if reject:
        usable &= ~_foreign(atlas, logs - _log(albedo) - gain, usable)
    return logs, usable


def _completed(
    atlas: TexelAtlas,
    logs: np.ndarray,
    known: np.ndarray,
    partner: np.ndarray,
    mirrored: np.ndarray,
    base: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms (N, 3) of every texel, and the photograph's share of each, (N,)."""
    width = _SMOOTH_MM * atlas.texels_per_mm
    reach = _REACH_MM * atlas.texels_per_mm
    inside = np.zeros(len(known), bool)
    for name in _INTERIOR:
        inside |= atlas.share(name) > 0.5
    fixed = atlas.image(known)
    joined = atlas.image(mirrored & ~inside)
    seen, bare = atlas.image(logs), atlas.image(base)
    result = bare
    share = np.zeros(atlas.covered.shape, np.float32)
    # Few texels show the mouth's inside; faded at their border, none would be left.
    for part, smooth in ((atlas.image(~inside), width), (atlas.image(inside), 0.0)):
        filled = blend(
            atlas.image(partner),
            seen,
            known=fixed & part,
            domain=(fixed | joined) & part,
            smooth=smooth,
            limit=_LARGEST_SHIFT,
        )
        whole = blend(
            bare,
            filled,
            known=(fixed | joined) & part,
            domain=part,
            smooth=smooth,
            reach=reach,
            limit=_LARGEST_SHIFT,
        )
        result = np.where(part[..., None], whole, result)
        share += fade(fixed & part, part, smooth)
    return result[atlas.covered], share[atlas.covered]


def _belongs(atlas: TexelAtlas) -> np.ndarray:
    """Texels (N,) where a photograph usually shows the face."""
    result = np.ones(len(atlas.triangle), bool)
    for name in _NOT_SKIN:
        result &= atlas.share(name) < 0.5
    return result


def _gain(logs: np.ndarray, albedo: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Median difference (3,) of a photograph's logarithms to the albedo's; 0 with nothing seen."""
    if chosen.sum() < 50:
        return np.zeros(3, np.float32)
    return np.median(logs[chosen] - _log(albedo[chosen]), axis=0).astype(np.float32)


def _foreign(atlas: TexelAtlas, difference: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Texels that look like hair, cloth or background, away from the face's own features.

    Args:
        difference: (N, 3) logarithm of the photograph over the albedo at the face's gain.
        seen: (N,) bool.
    """
    middle = np.zeros(len(seen), bool)
    for name in _FEATURES:
        middle |= atlas.share(name) > 0.5
    core = middle & (atlas.share("brows") < 0.5)
    across = np.abs(atlas.interpolate(atlas.model.mean[:, 0]))
    forehead = atlas.share("forehead") > 0.5
    middle |= (across < _MIDDLE_MM) & ~forehead
    sigma = _TEST_BLUR_MM * atlas.texels_per_mm
    weight = cv2.GaussianBlur(atlas.image(seen.astype(np.float32)), (0, 0), max(sigma, 0.5))
    smooth = cv2.GaussianBlur(
        atlas.image(difference * seen[:, None]).astype(np.float32), (0, 0), max(sigma, 0.5)
    )
    smooth = (smooth / np.maximum(weight, 1e-3)[..., None])[atlas.covered]
    light = smooth.mean(axis=1)
    tint = np.abs(smooth - light[:, None]).max(axis=1)
    strange = (light < -_DARKER) | (light > _BRIGHTER) | (tint > _TINT)
    # Dark hair that hangs into the middle is known by where it comes from.
    dark, _ = ndimage.label(atlas.image(seen & (light < -_HAIR)))
    outer = np.bincount(dark[atlas.covered], weights=~middle)
    total = np.bincount(dark[atlas.covered])
    hanging = (outer > _OUTER_SHARE * total)[dark[atlas.covered]] & (dark[atlas.covered] > 0)
    hanging &= ~core
    strange = (strange & seen & ~middle) | hanging
    far = cv2.distanceTransform((~atlas.image(strange)).astype(np.uint8), cv2.DIST_L2, 5)
    grown = far[atlas.covered] <= max(1.0, _GROW_MM * atlas.texels_per_mm)
    return np.asarray(grown & (~middle | hanging) & strange.any())


def _log(linear: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(linear, 0) + np.float32(_FLOOR)).astype(np.float32)


def _texture(atlas: TexelAtlas, linear: np.ndarray) -> np.ndarray:
    return atlas.padded(atlas.image(to_uint8(linear)))


def enlarged(parts: Parts, image: np.ndarray, size: int) -> FaceTexture:
    """Make textures of ``size`` texels a side whose seen part is sampled anew.

    Done in bands, since a texture of 4096 texels a side has 16 million of them.
    """
    side = parts.share.shape[0]
    factor = size // side
    if size != factor * side or factor < 1:
        raise InputError(f"texture size: expected a multiple of {side}, got {size}")
    table = srgb_to_linear(np.arange(256) / np.float32(255))
    seen = np.empty((size, size, 3), np.uint8)
    even = np.empty((size, size, 3), np.uint8)
    band = max(1, _BAND // factor)
    for start in range(0, side, band):
        stop = min(side, start + band)
        # A row more at each end, for the interpolation.
        low, high = max(0, start - 1), min(side, stop + 1)
        cut = slice((start - low) * factor, (stop - low) * factor)

        def grown(values: np.ndarray, low: int = low, high: int = high, cut: slice = cut):
            shape = (size, (high - low) * factor)
            return cv2.resize(values[low:high], shape, interpolation=cv2.INTER_LINEAR)[cut]

        spots = grown(parts.spots)
        pixels = cv2.remap(
            image, spots[..., 0], spots[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        varies = grown(parts.varies)
        share = grown(parts.share)[..., None]
        bright = np.exp(grown(parts.even)) - _FLOOR
        bright += share * (table[pixels] / varies - bright)
        rows = slice(start * factor, stop * factor)
        seen[rows], even[rows] = to_uint8(bright * varies), to_uint8(bright)
    source = cv2.resize(parts.source, (size, size), interpolation=cv2.INTER_NEAREST)
    return FaceTexture(seen, even, source)
