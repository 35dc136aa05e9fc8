"""The recipe of facekit's template: everything the template file holds, made from the source."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facekit.basis.anatomy import region_masks
from facekit.basis.carry import Carrier
from facekit.basis.ict_source import IctSource
from facekit.basis.paint import paint_albedo
from facekit.basis.symmetry import symmetric_map
from facekit.basis.template import REST_POSE, Template, build_template, eyeball_directions
from facekit.basis.template_file import HeadTemplate
from facekit.basis.uv import template_chart
from facekit.geometry.closest_point import build_tree, closest_points
from facekit.types import LandmarkMap

# The notch above the tragus of the source's mean head, mm in the source's frame (left side).
_TRAGION = np.array([[-75.0, 15.0, 13.0], [75.0, 15.0, 13.0]])
IBUG68_MIRROR = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
)
NOW7_ROWS = np.array([36, 39, 42, 45, 33, 48, 54])
_NOTICE = (
    "The head shapes were learned from ICT-FaceKit (https://github.com/ICT-VGL/ICT-FaceKit),"
    " which is under the MIT licence:\n\n"
)
MIT_ICT = """MIT License

Copyright (c) 2020 USC Institute for Creative Technologies

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def make_template(
    source: IctSource,
    *,
    num_vertices: int = 12000,
    progress: Callable[[int, int], None] | None = None,
) -> HeadTemplate:
    """Make facekit's head template of about ``num_vertices``; equal inputs give equal bytes."""
    topology = build_template(source, num_vertices=num_vertices, progress=progress)
    carrier = Carrier(source, topology)
    vertices = carrier.carry_neutral()
    marks = source.symmetric[source.landmarks68]
    ear = np.zeros(len(source.symmetric))
    ear[source.ear_left] = ear[source.mirror[source.ear_left]] = 1.0
    on_ear = np.zeros(len(vertices), bool)
    on_ear[: len(topology.skin.corners)] = topology.skin.carry(ear[:, None])[:, 0] > 0.5
    masks = region_masks(
        vertices,
        topology.faces,
        topology.mirror,
        part=topology.part,
        rim=topology.rim,
        landmarks68=marks,
        ear=on_ear,
    )
    directions = eyeball_directions()
    polar = np.arccos(np.clip(directions[:, 2], -1, 1))
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    chart = template_chart(
        vertices,
        topology.faces,
        topology.mirror,
        part=topology.part,
        eyeball_polar=np.column_stack([polar, azimuth]),
        density=_texture_density(vertices, topology, masks),
    )
    albedo = paint_albedo(
        masks,
        topology.faces,
        eyeball_polar=polar,
        eyeball_radius=carrier.spheres[0].radius,
    )
    template = HeadTemplate(
        vertices,
        topology.faces,
        topology.mirror,
        chart.uvs,
        chart.face_uvs,
        topology.part,
        topology.rim,
        albedo,
        topology.skin,
        masks,
        licence=_NOTICE + MIT_ICT,
        provenance="topology, texture chart and regions: facekit basis template; source head:"
        " the mean of ICT-FaceKit",
    )
    return template.with_landmarks(_landmarks(source, carrier, template))


def _texture_density(
    vertices: np.ndarray, topology: Template, masks: dict[str, np.ndarray]
) -> np.ndarray:
    """More texture for the face, less for the back, the neck and what lies inside."""
    by_part = np.select([topology.part == 1, topology.part == 2], [0.3, 0.5], 1.0)
    depth = np.interp(vertices[:, 2], [20, 70], [0.45, 1.0])
    low = np.where(vertices[:, 1] < -100, 0.6, 1.0)
    return by_part * depth * low * np.where(masks["nostrils"], 0.5, 1.0)


def _landmarks(
    source: IctSource, carrier: Carrier, template: HeadTemplate
) -> dict[str, LandmarkMap]:
    """Place the source's landmarks on the template, exactly symmetric."""
    # With the lips apart, the nearest surface of a lip's point is its own lip.
    pose = source.neutral + sum(w * source.expression(name) for name, w in REST_POSE.items())
    skin = (template.part[template.faces] == 0).all(axis=1)
    ibug68 = surface_map(template, carrier.carry(pose), pose[source.landmarks68], skin)
    ibug68 = _symmetric(template, ibug68, IBUG68_MIRROR)
    now7 = LandmarkMap(ibug68.faces[NOW7_ROWS], ibug68.barycentric[NOW7_ROWS])
    tragion = surface_map(template, template.vertices, _TRAGION, skin)
    tragion = _symmetric(template, tragion, np.array([1, 0]))
    return {
        "ibug68": ibug68,
        "now7": now7,
        "five": five_points(template, ibug68),
        "tragion": tragion,
    }


def surface_map(
    template: HeadTemplate, vertices: np.ndarray, points: np.ndarray, allowed: np.ndarray
) -> LandmarkMap:
    """Return the closest surface point of each point (N, 3) among the faces ``allowed`` (F,)."""
    rows = np.flatnonzero(allowed)
    hit = closest_points(build_tree(vertices, template.faces[rows]), points)
    return LandmarkMap(rows[hit.triangle].astype(np.int32), hit.barycentric.astype(np.float32))


def _symmetric(template: HeadTemplate, marks: LandmarkMap, partner: np.ndarray) -> LandmarkMap:
    return symmetric_map(template.vertices, template.faces, template.mirror, marks, partner)


def five_points(template: HeadTemplate, ibug68: LandmarkMap) -> LandmarkMap:
    """Return the map of right eye, left eye, nose tip, right and left mouth corner.

    An eye is the point of the eyeball behind the middle of its two corners.
    """
    points = np.einsum(
        "nk,nkd->nd", ibug68.barycentric, template.vertices[template.faces[ibug68.faces]]
    )
    faces, weights = [], []
    for part, rows in ((4, [36, 39]), (3, [42, 45])):
        ball = (template.part[template.faces] == part).all(axis=1)
        eye = surface_map(template, template.vertices, points[rows].mean(0)[None], ball)
        faces.append(eye.faces)
        weights.append(eye.barycentric)
    eyes = LandmarkMap(np.concatenate(faces), np.concatenate(weights))
    eyes = _symmetric(template, eyes, np.array([1, 0]))
    rest = [30, 48, 54]
    return LandmarkMap(
        np.concatenate([eyes.faces, ibug68.faces[rest]]),
        np.concatenate([eyes.barycentric, ibug68.barycentric[rest]]),
    )
