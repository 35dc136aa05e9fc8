"""Colour of every pixel that sees the scene: paint, light, shadow and highlights."""

from __future__ import annotations

import numpy as np

from facekit.geometry.mesh import vertex_normals
from facekit.render.interpolate import interpolate_at, unit
from facekit.render.rasterise import Fragments
from facekit.render.shade import specular
from facekit.simulate.body import paint_cloth
from facekit.simulate.curves import curve_distance, smooth_curve, smoothstep
from facekit.simulate.eyes import paint_eyeballs, paint_flat_eyes
from facekit.simulate.hair import hair_mask, paint_hair, strand_direction
from facekit.simulate.light import ShadowMap, diffuse
from facekit.simulate.look import Look
from facekit.simulate.scene import Scene
from facekit.simulate.skin import paint_skin, skin_bumps
from facekit.simulate.subject import CLOTH, EYE, FRAME, HAIR, LENS, MOUTH, SKIN, TEETH

_CAP = 1
_MOUTH_COLOUR = np.array([0.10, 0.022, 0.02], np.float32)
_TEETH_COLOUR = np.array([0.42, 0.375, 0.30], np.float32)


def shade_scene(
    scene: Scene,
    placed: np.ndarray,
    points: np.ndarray,
    fragments: Fragments,
    in_camera: np.ndarray,
    rotation: np.ndarray,
    look: Look,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the seen surface's colours, (N, 3) float32 linear RGB, and its pixels, (N,) flat.

    Args:
        scene: the geometry.
        placed: (V, 3) its vertices as posed, head frame; points: (V, 3) projected.
        fragments: of rasterising them.
        in_camera: (V, 3) vertices in the camera frame.
        rotation: (3, 3) head frame to camera.
        look: paint and light.
    """
    covered = np.flatnonzero(fragments.triangle.reshape(-1) >= 0)
    triangle = fragments.triangle.reshape(-1)[covered]
    weights = fragments.barycentric.reshape(-1, 3)[covered]
    normals = vertex_normals(placed, scene.faces) @ rotation.T
    attributes = np.column_stack([in_camera, normals, scene.places, scene.occlusion])
    values = interpolate_at(triangle, weights, scene.faces, attributes.astype(np.float32))
    position, places, open_to = values[:, :3], values[:, 6:9], values[:, 9]
    material, piece = scene.material[triangle], scene.piece[triangle]
    behind = _seen_from_behind(points, scene.faces)[triangle]
    normal = unit(values[:, 3:6])
    normal[behind] *= -1
    view = -unit(position)
    bumpy = material == SKIN
    if bumpy.any():
        bumps = skin_bumps(places[bumpy], look.skin) @ rotation.T.astype(np.float32)
        normal[bumpy] = unit(normal[bumpy] - bumps)

    albedo, gloss, roughness = _surface(places, material, piece, scene, look)
    # The inside of the head seen through an opening is dark.
    inside = behind & ~scene.two_sided[triangle]
    albedo[inside] = 0.2 * _MOUTH_COLOUR
    gloss[inside] = 0
    cavity = (material == MOUTH) | (material == TEETH)
    open_to[cavity] = np.clip(open_to[cavity], 0.15, 0.55)

    head = in_camera[: scene.num_head_vertices]
    bounds = np.stack([head.min(0) - 25, head.max(0) + 25])
    shadow = ShadowMap(in_camera, scene.faces, look.light.key, bounds=bounds)
    lit = shadow.lit(position, normal, softness_mm=look.light.softness_mm, seed=look.seed)
    lit[cavity] *= 0.6
    received = diffuse(normal, look.light, open_to=open_to, lit=lit, skin=material == SKIN)
    colour = albedo * received
    shine = _highlights(normal, view, lit, open_to, gloss, roughness, look)
    colour += shine
    strands = material == HAIR
    if strands.any():
        colour[strands] += _strand_shine(
            places[strands], view[strands], rotation, lit[strands], look
        )
    return np.ascontiguousarray(colour, np.float32), covered


def _surface(
    places: np.ndarray, material: np.ndarray, piece: np.ndarray, scene: Scene, look: Look
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return albedo (N, 3), strength (N,) and roughness (N,) of the highlight."""
    albedo = np.zeros((len(places), 3), np.float32)
    gloss = np.zeros(len(places), np.float32)
    roughness = np.full(len(places), 0.5, np.float32)
    capped = (material == HAIR) & (piece == _CAP)
    bare = (material == SKIN) | capped
    if bare.any():
        here = places[bare]
        paint = paint_skin(here, scene.landmarks, look.skin)
        if scene.painted_eyes:
            paint_flat_eyes(paint, here, scene.landmarks, look.eyes)
        albedo[bare] = paint
        gloss[bare] = look.skin.gloss
        lips = _lip_mask(here, scene.landmarks)
        gloss[bare] *= 1 + 0.8 * lips
        roughness[bare] = 0.52 - 0.14 * lips
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
        albedo[eyes], iris = paint_eyeballs(places[eyes], scene.landmarks, look.eyes)
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


def _lip_mask(places: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    mask = np.zeros(len(places), np.float32)
    mouth = landmarks[48:60]
    low, high = mouth[:, :2].min(0) - 2, mouth[:, :2].max(0) + 2
    x, y, z = places.T
    near = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])
    near &= z > mouth[:, 2].min() - 16
    if near.any():
        edge = curve_distance(
            places[near, :2], smooth_curve(mouth[:, :2], closed=True), closed=True
        )
        mask[near] = np.where(edge.inside, smoothstep(0, 1.5, edge.distance), 0)
    return mask


def _highlights(
    normal: np.ndarray,
    view: np.ndarray,
    lit: np.ndarray,
    open_to: np.ndarray,
    gloss: np.ndarray,
    roughness: np.ndarray,
    look: Look,
) -> np.ndarray:
    colour = np.zeros_like(normal)
    shiny = gloss > 0
    if not shiny.any():
        return colour
    total = np.zeros((int(shiny.sum()), 3), np.float32)
    for toward, strength, seen in (
        (look.light.key, look.light.key_colour, lit),
        (look.light.fill, look.light.fill_colour, open_to),
    ):
        shine = specular(normal[shiny], view[shiny], toward, roughness=roughness[shiny])
        total += np.minimum(shine * np.pi * seen[shiny], 3.0)[:, None] * strength.astype(np.float32)
    # The surroundings' own reflection, strongest at grazing angles.
    cosine = np.clip(np.einsum("nc,nc->n", normal[shiny], view[shiny]), 0, 1)
    edge = (0.028 + 0.3 * (1 - cosine) ** 5) * (1 - roughness[shiny]) * open_to[shiny]
    total += edge[:, None] * np.maximum(look.light.ambient[0] * 0.28, 0).astype(np.float32)
    colour[shiny] = total * gloss[shiny, None]
    return colour


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


def _seen_from_behind(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (points[faces[:, i], :2] for i in range(3))
    first, second = b - a, c - a
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0
