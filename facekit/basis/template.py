"""facekit's own head topology, made once from the mean head of ICT-FaceKit.

The left half (x >= 0) of the symmetrised mean is remeshed to facekit's own density, mirrored, and
given eyeballs. Every skin vertex remembers the source vertices it lies on, which is the one map
that carries sampled heads and expressions to the template.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from facekit.basis.ict_source import EYE_SOCKET, MOUTH, SKIN, IctSource
from facekit.basis.remesh import Remeshed, SurfacePoints, remesh
from facekit.geometry.closest_point import build_tree, closest_points

# The pose in which the surface is remeshed: lips apart, so that neither lip is the closest
# surface of the other's points.
REST_POSE = {"jawOpen": 0.4, "mouthLowerDown_L": 0.5, "mouthLowerDown_R": 0.5}
EYEBALL_SEGMENTS = 24
EYEBALL_RINGS = 13
# The eyeball stops at this polar angle from the gaze: its back is never seen.
EYEBALL_END = np.radians(140)


class Template(NamedTuple):
    """The template's topology and how it hangs on its source.

    Vertices are ordered: left half's interior, midline, right half's interior (in the left's
    order), left eyeball, right eyeball.

    Attributes:
        faces: (F, 3) int32.
        mirror: (V,) int32, the partner across x = 0; a midline vertex is its own.
        skin: source points of the first ``len(skin.corners)`` vertices.
        part: (V,) int8: 0 skin, 1 mouth bag, 2 eye socket, 3 left eyeball, 4 right eyeball.
        rim: (V,) int8: 1 lip rim, 2 eyelid rim, 3 neck border, 0 elsewhere.
    """

    faces: np.ndarray
    mirror: np.ndarray
    skin: SurfacePoints
    part: np.ndarray
    rim: np.ndarray


def build_template(
    source: IctSource,
    *,
    num_vertices: int = 12000,
    iterations: int = 12,
    progress: Callable[[int, int], None] | None = None,
) -> Template:
    """Remesh the source's left half to about ``num_vertices`` in all, mirror it, add eyeballs.

    Deterministic: nothing is drawn at random.
    """
    half = source.left_half()
    rest = source.symmetric + sum(
        weight * source.symmetric_expression(name) for name, weight in REST_POSE.items()
    )
    rest[source.midline, 0] = 0.0
    eyeball = (EYEBALL_RINGS - 1) * EYEBALL_SEGMENTS + 1
    wanted = num_vertices / 2 - eyeball
    sizing = sizing_field(source, rest)
    # The number of vertices goes with the inverse square of the edge length.
    curves = [half.midline, half.lip_rim, half.eyelid_rim, half.neck_border]

    def run(
        lengths: np.ndarray, rounds: int, report: Callable[[int, int], None] | None
    ) -> Remeshed:
        return remesh(
            rest,
            half.faces,
            sizing=lengths,
            regions=half.regions,
            curves=curves,
            iterations=rounds,
            progress=report,
        )

    trial = run(sizing, 5, None)
    sizing = sizing * np.sqrt(len(trial.vertices) / wanted)
    result = run(sizing, iterations, progress)
    return _assemble(source, result)


def sizing_field(source: IctSource, rest: np.ndarray) -> np.ndarray:
    """Return the wanted edge length (V,) in mm at each source vertex: short at eyes, nose, lips.

    From each feature the length grows by a fixed share of the distance, up to the region's own.
    """
    half = source.left_half()
    marks = rest[source.landmarks68]
    base = np.full(len(rest), 9.0)
    face = source.region("face")
    base[face] = 4.0
    front = np.zeros(len(rest), bool)
    front[source.region("narrow_face")] = True
    base[face][~front[face]] = 5.0
    base[source.region("mouth_socket")] = 9.0
    base[source.region("eye_socket_left")] = 5.0
    # What lies behind a rim is hardly seen: there the length grows faster.
    inside = np.zeros(len(rest), bool)
    for name in ("mouth_socket", "eye_socket_left", "eye_socket_right"):
        inside[source.region(name)] = True
    eyelids, lips = rest[np.unique(half.eyelid_rim)], rest[np.unique(half.lip_rim)]
    sizes = [base]
    sizes.append(1.4 + np.where(inside, 0.6, 0.13) * _distance(rest, eyelids))
    sizes.append(1.5 + np.where(inside, 0.5, 0.11) * _distance(rest, lips))
    for rows, shortest, growth in (
        ([30, 31, 32, 33, 34, 35], 1.6, 0.09),
        ([27, 28, 29, 30], 2.1, 0.09),
        (list(range(48, 60)), 1.6, 0.13),
        (list(range(17, 27)), 2.7, 0.12),
        ([8], 3.6, 0.04),
    ):
        outer = shortest + growth * _distance(rest, marks[rows])
        sizes.append(np.where(inside, np.inf, outer))
    ears = source.symmetric[source.ear_left]
    sizes.append(np.where(inside, np.inf, 3.4 + 0.15 * _distance(rest, ears)))
    return np.minimum.reduce(sizes)


def _distance(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    tree = build_tree(to, np.repeat(np.arange(len(to))[:, None], 3, axis=1).astype(np.int32))
    return np.sqrt(closest_points(tree, points).squared_distance)


def _assemble(source: IctSource, half: Remeshed) -> Template:
    """Mirror the half, order the vertices and append the eyeballs."""
    on_midline = np.abs(half.vertices[:, 0]) < 1e-9
    order = np.concatenate([np.flatnonzero(~on_midline), np.flatnonzero(on_midline)])
    rank = np.argsort(order)
    faces = rank[half.faces]
    n, sides = len(order), int((~on_midline).sum())
    partner = np.concatenate([np.arange(n, n + sides), np.arange(sides, n)])
    mirrored = partner[faces][:, ::-1]
    corners = half.source.corners[order]
    weights = half.source.weights[order]
    skin = SurfacePoints(
        np.concatenate([corners, source.mirror[corners[:sides]]]),
        np.concatenate([weights, weights[:sides]]),
    )
    ball = eyeball_faces()
    size = eyeball_directions().shape[0]
    first = n + sides
    # The right ball is the left one mirrored vertex for vertex, so its faces turn round.
    all_faces = [faces, mirrored, ball + first, ball[:, ::-1] + first + size]
    balls = np.arange(first, first + size)
    mirror = np.concatenate([partner, np.arange(sides), balls + size, balls])
    part = np.zeros(len(mirror), np.int8)
    for face, region in zip(faces, half.region, strict=True):
        code = {SKIN: 0, MOUTH: 1, EYE_SOCKET: 2}[int(region)]
        part[face] = np.maximum(part[face], code)
    rim = np.zeros(len(mirror), np.int8)
    curve = half.curve[order]
    rim[:n] = np.select([curve == 1, curve == 2, curve == 3], [1, 2, 3], 0)
    corner = np.isin(corners[:, 0], np.unique(source.left_half().lip_rim)) & (weights.max(1) == 1.0)
    rim[:n][corner] = 1
    part[:n][rim[:n] > 0] = 0
    for array in (part, rim):
        array[n : n + sides] = array[:sides]
    part[first : first + size] = 3
    part[first + size :] = 4
    return Template(
        np.concatenate(all_faces).astype(np.int32), mirror.astype(np.int32), skin, part, rim
    )


def eyeball_directions() -> np.ndarray:
    """Return unit directions (N, 3) of the left eyeball's vertices: pole on the gaze (+Z).

    Rings are denser towards the pole, where the iris is painted.
    """
    share = np.linspace(0, 1, EYEBALL_RINGS)[1:]
    polar = EYEBALL_END * (0.55 * share + 0.45 * share**2)
    around = 2 * np.pi * np.arange(EYEBALL_SEGMENTS) / EYEBALL_SEGMENTS
    polar, around = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    rings = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1
    )
    return np.concatenate([[[0.0, 0.0, 1.0]], rings])


def eyeball_faces() -> np.ndarray:
    """Return the faces (F, 3) int32 of one eyeball, counter-clockwise from outside."""
    s = EYEBALL_SEGMENTS
    here = np.arange(s)
    after = (here + 1) % s
    faces = [np.stack([np.zeros(s, int), 1 + here, 1 + after], axis=1)]
    for ring in range(EYEBALL_RINGS - 2):
        a, b = 1 + ring * s, 1 + (ring + 1) * s
        faces.append(np.stack([a + here, b + here, b + after], axis=1))
        faces.append(np.stack([a + here, b + after, a + after], axis=1))
    return np.concatenate(faces).astype(np.int32)
