"""What a stage's subject looks like: paint at the vertices, fine detail at every sample.

Broad colour (tone, redness, lips, brows, eyes) is painted on the refined mesh's vertices. Detail at
the scale of a pixel is solid noise at the surface point, evaluated in ``stage_render``'s kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from facekit.geometry.mesh import vertex_normals
from facekit.simulate.eyes import paint_eyeballs, paint_flat_eyes, random_eyes
from facekit.simulate.light import ambient_occlusion
from facekit.simulate.skin import paint_skin, random_skin
from facekit.simulate.stage_heads import StageHead
from facekit.simulate.subject import EYE, MOUTH, TEETH

# Linear RGB, strength and roughness of the highlight.
_MOUTH_PAINT = ((0.10, 0.022, 0.02), 0.5, 0.35)
_TEETH_PAINT = ((0.42, 0.375, 0.30), 1.0, 0.3)
HAIR_COLOUR = (0.035, 0.022, 0.015)
# Columns of the attributes.
PLACE, POSITION, NORMAL, COLOUR = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)
OPEN, GLOSS, ROUGHNESS, DETAIL = 12, 13, 14, 15
CHANNELS = 16


class Painted(NamedTuple):
    """A subject placed on the stage, ready to be rendered.

    Attributes:
        faces: (F, 3) int32, the head's first.
        attributes: (V, 16) float32: place on the neutral head (3, mm), position on the stage
            (3, mm), unit normal (3), linear RGB albedo (3), share of the surroundings it sees,
            strength and roughness of its highlight, strength of the fine detail.
        num_faces: how many faces are the head's own; the rest occludes it.
    """

    faces: np.ndarray
    attributes: np.ndarray
    num_faces: int

    @property
    def positions(self) -> np.ndarray:
        """(V, 3) float64, on the stage."""
        return self.attributes[:, POSITION].astype(np.float64)


def paint_head(
    head: StageHead,
    placed: np.ndarray,
    rng: np.random.Generator,
    *,
    hair: tuple[np.ndarray, np.ndarray] | None = None,
) -> Painted:
    """Paint a head.

    Args:
        head: whose.
        placed: (V, 3) its vertices on the stage, mm.
        rng: draws skin and eyes.
        hair: vertices and faces of what hangs before it (see ``stage_hair``), or None.
    """
    scale, origin = head.standard
    places = ((head.neutral - origin) * scale).astype(np.float32)
    marks = head.landmarks(head.neutral)
    skin = random_skin(rng, hair_colour=np.array(HAIR_COLOUR))
    eyes = random_eyes(rng, ita_deg=skin.ita_deg)
    # Stages light dark skin up; what tells subjects apart is hue more than exposure.
    skin = replace(skin, ita_deg=float(np.clip(skin.ita_deg, -30, 50)), mottle=0.6, freckles=0.0)
    values = np.zeros((len(places), CHANNELS), np.float32)
    values[:, PLACE] = head.neutral
    values[:, POSITION] = placed
    normals = vertex_normals(placed, head.faces)
    values[:, NORMAL] = normals
    values[:, GLOSS], values[:, ROUGHNESS], values[:, DETAIL] = skin.gloss, 0.5, 1.0
    if marks is None:
        values[:, COLOUR] = skin.tone
    else:
        standard = (marks - origin) * scale
        paint = paint_skin(places, standard, skin)
        if not (head.material == EYE).any():
            paint_flat_eyes(paint, places, standard, eyes)
        values[:, COLOUR] = paint
        chosen = _vertices(head, EYE)
        if len(chosen):
            values[chosen, COLOUR], iris = paint_eyeballs(places[chosen], standard, eyes)
            values[chosen, GLOSS], values[chosen, ROUGHNESS] = 0.5 + 0.9 * iris, 0.16
            values[chosen, DETAIL] = 0.2
    for kind, (colour, gloss, roughness) in ((MOUTH, _MOUTH_PAINT), (TEETH, _TEETH_PAINT)):
        chosen = _vertices(head, kind)
        values[chosen, COLOUR], values[chosen, GLOSS] = colour, gloss
        values[chosen, ROUGHNESS], values[chosen, DETAIL] = roughness, 0.5
    values[:, OPEN] = ambient_occlusion(
        np.asarray(placed, np.float32), head.faces, normals.astype(np.float32)
    )
    if hair is None:
        return Painted(head.faces, values, len(head.faces))
    strands, strand_faces = hair
    more = np.zeros((len(strands), CHANNELS), np.float32)
    more[:, PLACE] = more[:, POSITION] = strands
    more[:, NORMAL] = vertex_normals(strands, strand_faces)
    more[:, COLOUR], more[:, OPEN] = HAIR_COLOUR, 0.8
    more[:, GLOSS], more[:, ROUGHNESS] = 1.0, 0.4
    faces = np.concatenate([head.faces, strand_faces + len(values)]).astype(np.int32)
    return Painted(faces, np.concatenate([values, more]), len(head.faces))


def _vertices(head: StageHead, kind: int) -> np.ndarray:
    return np.unique(head.faces[head.material == kind])
