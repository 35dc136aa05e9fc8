"""Colour of every pixel that sees the scene: paint, light, shadow and highlights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facekit.render.interpolate import interpolate_at, unit
from facekit.render.rasterise import Fragments
from facekit.simulate.body import paint_cloth
from facekit.simulate.eyes import paint_eyeballs, paint_flat_eyes
from facekit.simulate.hair import hair_mask, paint_hair, strand_direction
from facekit.simulate.light import SKIN_WRAP, ShadowMap
from facekit.simulate.look import Look
from facekit.simulate.parallel_view import vertex_box
from facekit.simulate.pixels import Placed, bend, gather, lit_colours
from facekit.simulate.scene import Scene
from facekit.simulate.skin import paint_skin_and_lips, skin_bumps
from facekit.simulate.subject import CLOTH, EYE, FRAME, HAIR, LENS, MOUTH, SKIN, TEETH

if TYPE_CHECKING:
    from facekit.simulate.portrait import View

_CAP = 1
_MOUTH_COLOUR = np.array([0.10, 0.022, 0.02], np.float32)
_TEETH_COLOUR = np.array([0.42, 0.375, 0.30], np.float32)


class Shaded(NamedTuple):
    """The seen surface: colours (N, 3) float32 linear RGB, flat pixels (N,), depths (N,) mm."""

    colours: np.ndarray
    pixels: np.ndarray
    depths: np.ndarray


def shade_scene(
    scene: Scene, placed: Placed, fragments: Fragments, view: View, rotation: np.ndarray, look: Look
) -> Shaded:
    """Return the colours of all pixels that see the scene.

    Args:
        scene: the geometry.
        placed: its vertices in the camera frame and projected.
        fragments: of rasterising them.
        view: the pose; rotation: (3, 3) head frame to camera.
        look: paint and light.
    """
    covered = np.flatnonzero(fragments.triangle.reshape(-1) >= 0)
    triangle = fragments.triangle.reshape(-1)[covered]
    surface = gather(
        triangle,
        fragments.barycentric.reshape(-1, 3)[covered],
        scene.faces,
        placed,
        scene.posed_normals(view),
        scene.places,
        scene.occlusion,
        rotation,
    )
    material, piece = scene.material[triangle], scene.piece[triangle]
    places, open_to = surface.places, surface.open_to
    skin = material == SKIN
    if skin.any():
        bend(surface.normal, np.flatnonzero(skin), skin_bumps(places[skin], look.skin), rotation)

    own = None
    if scene.albedo is not None:
        weights = fragments.barycentric.reshape(-1, 3)[covered]
        own = interpolate_at(triangle, weights, scene.faces, scene.albedo)
    albedo, gloss, roughness = _surface(places, material, piece, scene, look, own)
    # The inside of the head seen through an opening is dark.
    inside = surface.behind & ~scene.two_sided[triangle]
    albedo[inside] = 0.2 * _MOUTH_COLOUR
    gloss[inside] = 0
    cavity = (material == MOUTH) | (material == TEETH)
    open_to[cavity] = np.clip(open_to[cavity], 0.15, 0.55)

    bounds = vertex_box(placed.in_camera[: scene.num_head_vertices])
    bounds += np.array([[-25.0], [25.0]])
    light = look.light
    shadow = ShadowMap(placed.in_camera, scene.faces, light.key, bounds=bounds)
    lit = shadow.lit(
        surface.position, surface.normal, softness_mm=light.softness_mm, seed=look.seed
    )
    lit[cavity] *= 0.6
    colour = lit_colours(
        surface,
        albedo,
        gloss,
        roughness,
        lit,
        skin,
        ambient=light.ambient,
        lights=np.array([[*light.key, *light.key_colour], [*light.fill, *light.fill_colour]]),
        wrap=SKIN_WRAP,
    )
    strands = np.flatnonzero(material == HAIR)
    if len(strands):
        colour[strands] += _strand_shine(
            places[strands], surface.view[strands], rotation, lit[strands], look
        )
    return Shaded(colour, covered, surface.position[:, 2])


def _surface(
    places: np.ndarray,
    material: np.ndarray,
    piece: np.ndarray,
    scene: Scene,
    look: Look,
    own: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return albedo (N, 3), strength (N,) and roughness (N,) of the highlight."""
    albedo = np.zeros((len(places), 3), np.float32)
    gloss = np.zeros(len(places), np.float32)
    roughness = np.full(len(places), 0.5, np.float32)
    capped = (material == HAIR) & (piece == _CAP)
    bare = (material == SKIN) | capped
    if bare.any():
        here = places[bare]
        paint = paint_skin_and_lips(here, scene.paint_marks, look.skin)
        if scene.painted_eyes:
            paint_flat_eyes(paint.albedo, here, scene.paint_marks, look.eyes)
        # A model's albedo has brows, lips and lids of its own.
        albedo[bare] = paint.albedo if own is None else np.clip(own[bare], 0.002, 0.95)
        gloss[bare] = look.skin.gloss * (1 + 0.8 * paint.lips)
        roughness[bare] = 0.52 - 0.14 * paint.lips
    if capped.any():
        cover = hair_mask(places[capped], look.hair)[:, None]
        strands = paint_hair(places[capped], look.hair)
        albedo[capped] += cover * (strands - albedo[capped])
        gloss[capped] *= 1 - cover[:, 0]
    falling = (material == HAIR) & ~capped
    if falling.any():
        albedo[falling] = paint_hair(places[falling], look.hair)
    eyes = material == EYE
    if eyes.any():
        albedo[eyes], iris = paint_eyeballs(places[eyes], scene.paint_marks, look.eyes)
        gloss[eyes] = 0.35 + 0.9 * iris
        roughness[eyes] = 0.14
    for kind, colour, shine in ((MOUTH, _MOUTH_COLOUR, 0.5), (TEETH, _TEETH_COLOUR, 1.0)):
        chosen = material == kind
        albedo[chosen], gloss[chosen], roughness[chosen] = colour, shine, 0.35
    cloth = material == CLOTH
    if cloth.any():
        albedo[cloth] = paint_cloth(places[cloth], look.cloth, look.skin.tone)
    for kind, factor in ((FRAME, 1.0), (LENS, 0.3)):
        chosen = material == kind
        albedo[chosen] = np.array(look.glasses.colour, np.float32) * factor
        gloss[chosen], roughness[chosen] = 1.5, 0.25
    return albedo, gloss, roughness


def _strand_shine(
    places: np.ndarray, view: np.ndarray, rotation: np.ndarray, lit: np.ndarray, look: Look
) -> np.ndarray:
    """Kajiya and Kay's highlight: brightest where strands lie across the half vector."""
    tangent = strand_direction(places) @ rotation.T.astype(np.float32)
    half = unit(view + look.light.key.astype(np.float32))
    along = np.einsum("nc,nc->n", tangent, half)
    shine = np.maximum(1 - along * along, 0) ** 24
    tint = 0.06 + 0.5 * np.array(look.hair.colour, np.float32)
    return (0.5 * shine * lit)[:, None] * tint * look.light.key_colour.astype(np.float32)
