"""The geometry of a portrait: the head and what is put on and under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import euler_to_matrix
from facekit.simulate.body import collar_height, glasses, torso
from facekit.simulate.hair import hair_cap, long_hair
from facekit.simulate.light import ambient_occlusion
from facekit.simulate.look import Look
from facekit.simulate.pieces import Piece
from facekit.simulate.subject import EYE, SKIN, TEETH, Subject
from facekit.simulate.teeth import teeth

if TYPE_CHECKING:
    from facekit.simulate.portrait import View

# How far the shoulders follow the head's turn.
_BODY_FOLLOWS = 0.62


@dataclass(frozen=True, eq=False)
class Scene:
    """All geometry of a portrait in the head frame, mm.

    Attributes:
        vertices: (V, 3) float32; the head's own come first. Shoulders as for a head held straight.
        faces: (F, 3) int32; the head's own above the collar come first.
        material: (F,) int8; piece: (F,) int8 number of the piece (0 the head, 1 the cap of hair).
        two_sided: (F,) bool.
        places: (V, 3) float32 where paint is looked up.
        occlusion: (V,) float32, share of the surroundings that a vertex sees.
        landmarks: (68, 3) of the neutral head in standard millimetres.
        face_region: (F,) bool, the face proper of the head's own faces.
        num_head_vertices: how many vertices are the head's.
        body: the shoulders' vertices; neck: (3,) what they turn about.
        painted_eyes: the head has no eyeballs.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    piece: np.ndarray
    two_sided: np.ndarray
    places: np.ndarray
    occlusion: np.ndarray
    landmarks: np.ndarray
    face_region: np.ndarray
    num_head_vertices: int
    body: slice
    neck: np.ndarray
    painted_eyes: bool

    def posed(self, view: View) -> np.ndarray:
        """Return the vertices (V, 3) with the shoulders turned back towards the camera."""
        rotation = euler_to_matrix(view.yaw, view.pitch, view.roll)
        follow = euler_to_matrix(_BODY_FOLLOWS * view.yaw, 0.35 * view.pitch, 0.35 * view.roll)
        back = rotation.T @ follow
        placed = self.vertices.copy()
        placed[self.body] = (placed[self.body] - self.neck) @ back.T + self.neck
        return placed


def build_scene(subject: Subject, look: Look, *, occlusion_directions: int = 16) -> Scene:
    """Put hair, glasses and shoulders on a subject, and find where surroundings are hidden."""
    scale, origin = subject.standard
    places = ((subject.neutral - origin) * scale).astype(np.float32)
    shown = ((subject.vertices - origin) * scale).astype(np.float32)
    marks = (subject.neutral_landmarks - origin) * scale
    posed_marks = (subject.points(subject.vertices) - origin) * scale
    skin = subject.material == SKIN
    chin = float(marks[8, 1])
    # What lies below the collar is hidden by clothes, which turn differently from the head.
    above = places[subject.faces, 1].mean(axis=1) > collar_height(places, chin) - 3
    own = np.ascontiguousarray(subject.faces[above])
    head = Piece(shown, own, subject.material[above], places, two_sided=False)
    pieces = [head]
    bodies = [
        hair_cap(shown, own, places, skin[above], look.hair),
        torso(places, look.cloth, chin=chin),
        long_hair(shown, look.hair),
        glasses(posed_marks, look.glasses),
        teeth(marks, posed_marks) if not (subject.material == TEETH).any() else None,
    ]
    kinds = [0]
    body = slice(0, 0)
    offset = len(shown)
    for kind, piece in enumerate(bodies, start=1):
        if piece is None:
            continue
        if kind == 2:
            body = slice(offset, offset + len(piece.vertices))
        pieces.append(piece)
        kinds.append(kind)
        offset += len(piece.vertices)
    starts = np.cumsum([0] + [len(p.vertices) for p in pieces])
    vertices = np.concatenate([p.vertices for p in pieces])
    faces = np.concatenate([p.faces + s for p, s in zip(pieces, starts[:-1], strict=True)])
    faces = np.ascontiguousarray(faces, np.int32)
    material = np.concatenate([p.material for p in pieces])
    centre = places[own].mean(axis=1)
    region = np.zeros(len(faces), bool)
    region[: len(own)] = (
        (centre[:, 2] > -62)
        & (centre[:, 1] > marks[8, 1] - 6)
        & (centre[:, 1] < 58)
        & (centre[:, 2] > np.interp(centre[:, 1], [marks[8, 1] - 6, marks[8, 1] + 15], [-30, -62]))
    )
    normals = vertex_normals(vertices, faces)
    occlusion = ambient_occlusion(vertices, faces, normals, directions=occlusion_directions)
    # The torso begins within the neck, where nothing is seen of the surroundings.
    occlusion[body] = np.maximum(occlusion[body], 0.55)
    neck = vertices[body].mean(0) if body.stop else np.zeros(3)
    if body.stop:
        neck[1] = vertices[body][:, 1].max() - 55
    back = (vertices / scale + origin).astype(np.float32)
    return Scene(
        vertices=back,
        faces=faces,
        material=material,
        piece=np.repeat(np.array(kinds, np.int8), [len(p.faces) for p in pieces]),
        two_sided=np.repeat([p.two_sided for p in pieces], [len(p.faces) for p in pieces]),
        places=np.concatenate([p.places for p in pieces]),
        occlusion=occlusion.astype(np.float32),
        landmarks=marks,
        face_region=region,
        num_head_vertices=len(shown),
        body=body,
        neck=neck / scale + origin,
        painted_eyes=not (subject.material == EYE).any(),
    )
