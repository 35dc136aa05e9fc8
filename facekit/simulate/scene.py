"""The geometry of a portrait: the head and what is put on and under it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import euler_to_matrix
from facekit.simulate.body import find_neck, glasses, torso
from facekit.simulate.hair import hair_cap, long_hair
from facekit.simulate.light import ambient_occlusion
from facekit.simulate.look import Look
from facekit.simulate.pieces import Piece
from facekit.simulate.pixels import Placed, place_vertices
from facekit.simulate.subject import EYE, SKIN, TEETH, Subject
from facekit.simulate.teeth import teeth
from facekit.types import Camera

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
        paint_marks: (68, 3) what paint is placed by: the landmarks, or points near them.
        face_region: (F,) bool, the face proper of the head's own faces.
        num_head_vertices: how many vertices are the head's.
        body: the shoulders' vertices; neck: (3,) what they turn about.
        painted_eyes: the head has no eyeballs.
        follows: (V,) int64, the vertex of the head that each moves with, -1 for none.
        teeth: the vertices of teeth that were put in.
        albedo: (V, 3) linear RGB of the head's skin where it is not drawn, 0 elsewhere; or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    piece: np.ndarray
    two_sided: np.ndarray
    places: np.ndarray
    occlusion: np.ndarray
    landmarks: np.ndarray
    paint_marks: np.ndarray
    face_region: np.ndarray
    num_head_vertices: int
    body: slice
    neck: np.ndarray
    painted_eyes: bool
    follows: np.ndarray
    teeth: slice
    albedo: np.ndarray | None = None

    def placed(self, view: View, camera: Camera) -> Placed:
        """Return the vertices as a camera sees them, the shoulders turned back towards it."""
        turn = self._body_turn(view)
        return place_vertices(
            self.vertices,
            camera.rotation,
            camera.translation,
            camera.intrinsics,
            body=self.body,
            body_rotation=camera.rotation @ turn,
            body_translation=camera.rotation @ (self.neck - turn @ self.neck) + camera.translation,
        )

    def posed_normals(self, view: View) -> np.ndarray:
        """Return the vertices' normals (V, 3) float32 in the head frame, with turned shoulders."""
        normals = self._normals.copy()
        normals[self.body] = normals[self.body] @ self._body_turn(view).T
        return normals

    def with_expression(self, before: Subject, after: Subject) -> Scene:
        """Return the scene of the same head with another expression.

        Hair grows on the moved skin and teeth follow the lips; glasses and what is seen of the
        surroundings stay as they were.

        Args:
            before: the subject that the scene was built for.
            after: the same with other ``vertices``.
        """
        vertices = self.vertices.copy()
        moving = self.follows >= 0
        moved = after.vertices - before.vertices
        vertices[moving] += moved[self.follows[moving]]
        if self.teeth.stop:
            scale, origin = after.standard
            marks = (after.points(after.vertices) - origin) * scale
            vertices[self.teeth] = teeth(self.landmarks, marks).vertices / scale + origin
        return replace(self, vertices=vertices)

    def with_albedo(self, vertex_albedo: np.ndarray) -> Scene:
        """Return the scene with the head painted by its vertices' albedo, (V, 3) linear RGB."""
        albedo = np.zeros((len(self.vertices), 3), np.float32)
        moving = self.follows >= 0
        albedo[moving] = vertex_albedo[self.follows[moving]]
        return replace(self, albedo=albedo)

    @cached_property
    def face_mask(self) -> np.ndarray:
        """(F + 1,) bool, which faces are the face itself; the last stands for no face."""
        in_face = np.zeros(len(self.faces) + 1, bool)
        skin = (self.material >= SKIN) & (self.material <= TEETH)
        in_face[:-1] = skin & self.face_region
        return in_face

    @cached_property
    def _normals(self) -> np.ndarray:
        return vertex_normals(self.vertices, self.faces)

    def _body_turn(self, view: View) -> np.ndarray:
        rotation = euler_to_matrix(view.yaw, view.pitch, view.roll)
        follow = euler_to_matrix(_BODY_FOLLOWS * view.yaw, 0.35 * view.pitch, 0.35 * view.roll)
        return rotation.T @ follow


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
    narrow = find_neck(places, chin)
    above = places[subject.faces, 1].mean(axis=1) > narrow.height - 3
    own = np.ascontiguousarray(subject.faces[above])
    head = Piece(shown, own, subject.material[above], places, two_sided=False)
    pieces = [head]
    bodies = [
        hair_cap(shown, own, places, skin[above], look.hair),
        torso(narrow, look.cloth),
        long_hair(shown, look.hair),
        glasses(posed_marks, look.glasses),
        teeth(marks, posed_marks) if not (subject.material == TEETH).any() else None,
    ]
    kinds = [0]
    body = put_in = slice(0, 0)
    offset = len(shown)
    for kind, piece in enumerate(bodies, start=1):
        if piece is None:
            continue
        if kind == 2:
            body = slice(offset, offset + len(piece.vertices))
        if kind == len(bodies):
            put_in = slice(offset, offset + len(piece.vertices))
        pieces.append(piece)
        kinds.append(kind)
        offset += len(piece.vertices)
    starts = np.cumsum([0] + [len(p.vertices) for p in pieces])
    vertices = np.concatenate([p.vertices for p in pieces])
    faces = np.concatenate([p.faces + s for p, s in zip(pieces, starts[:-1], strict=True)])
    faces = np.ascontiguousarray(faces, np.int32)
    material = np.concatenate([p.material for p in pieces])
    centre = places[own].mean(axis=1)
    follows = np.full(len(vertices), -1)
    follows[: len(shown)] = np.arange(len(shown))
    for start, piece in zip(starts[1:-1], pieces[1:], strict=True):
        if piece.rows is not None:
            follows[start : start + len(piece.rows)] = piece.rows
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
        paint_marks=marks,
        face_region=region,
        num_head_vertices=len(shown),
        body=body,
        neck=neck / scale + origin,
        painted_eyes=not (subject.material == EYE).any(),
        follows=follows,
        teeth=put_in,
    )
