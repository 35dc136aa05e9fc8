"""Named regions of the template: masks painted from its landmarks on the neutral head."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from facekit.geometry.mesh import mesh_edges, vertex_normals

SKIN_PART, MOUTH_PART, SOCKET_PART, LEFT_BALL, RIGHT_BALL = range(5)
LIP_RIM, EYELID_RIM = 1, 2


def region_masks(
    vertices: np.ndarray,
    faces: np.ndarray,
    mirror: np.ndarray,
    *,
    part: np.ndarray,
    rim: np.ndarray,
    landmarks68: np.ndarray,
    ear: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return named (V,) bool masks, each symmetric under ``mirror``.

    Args:
        vertices: (V, 3) neutral head, mm, +X to the person's left, +Y up, +Z out of the face.
        faces: (F, 3); mirror: (V,).
        part: (V,) 0 skin, 1 mouth bag, 2 eye socket, 3 left, 4 right eyeball.
        rim: (V,) 1 lip rim, 2 eyelid rim.
        landmarks68: (68, 3) iBUG points on the head, symmetric.
        ear: (V,) mask of the ears.
    """
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]
    marks = landmarks68 * [[-1, 1, 1]]
    marks = np.where(landmarks68[:, :1] >= 0, landmarks68, marks)
    skin = part == SKIN_PART
    normals = vertex_normals(vertices, faces)
    graph = edge_graph(vertices, faces)
    eye_distance = _geodesic(graph, rim == EYELID_RIM, limit=40)
    mouth_distance = _geodesic(graph, rim == LIP_RIM, limit=40)

    eye_centre = marks[36:42].mean(0)
    mouth_y = marks[[48, 54], 1].mean()
    chin_y = marks[8, 1]
    nose_base = marks[33]
    masks: dict[str, np.ndarray] = {}
    masks["skin"] = part <= SOCKET_PART
    masks["mouth_inside"] = part == MOUTH_PART
    masks["eye_socket"] = part == SOCKET_PART
    masks["eyeball_left"] = part == LEFT_BALL
    masks["eyeball_right"] = part == RIGHT_BALL
    masks["eyeballs"] = part >= LEFT_BALL
    masks["ears"] = ear & skin
    lips = _lips(vertices, part, rim, marks, mouth_distance)
    upper = _upper_lip_side(vertices, rim, mirror, graph)
    masks["lips"] = lips
    masks["lips_upper"] = lips & upper
    masks["lips_lower"] = lips & ~upper
    masks["mouth"] = skin & ((mouth_distance < 20) | lips) & (z > nose_base[2] - 45)
    masks["eyelids"] = skin & (eye_distance < 5.0)
    masks["eyes"] = skin & (eye_distance < 14)
    masks["brows"] = _brows(x, y, z, skin, eye_centre)
    front = skin & (z > eye_centre[2] - 68) & ~masks["ears"]
    hairline = eye_centre[1] + 68 - 0.004 * x**2
    # From the ear's lobe down to the jaw's angle and along it to under the chin.
    behind = marks[8, 2] - z
    jawline = chin_y + np.interp(
        behind, [-2, 14, 34, 59, 84, 104], [-8.0, 0.0, 8.0, 17.0, 31.0, 58.0]
    )
    face = front & (y < hairline) & (y > jawline)
    masks["face"] = face
    masks["nose"] = (
        face
        & (y > nose_base[1] - 3)
        & (y < eye_centre[1] + 4)
        & (x < np.interp(y, [nose_base[1] - 3, nose_base[1] + 12, eye_centre[1]], [17, 17.5, 8.5]))
        & ~masks["eyes"]
    )
    masks["forehead"] = face & (y > eye_centre[1] + 26)
    masks["chin"] = face & (y < mouth_y - 13) & (x < 26)
    masks["cheeks"] = (
        face
        & (y < eye_centre[1] - 14)
        & (y > mouth_y - 25)
        & (x > 24)
        & ~masks["mouth"]
        & ~masks["nose"]
    )
    masks["neck"] = skin & ~face & (y < np.minimum(jawline, nose_base[1] - 12))
    masks["scalp"] = skin & ~face & ~masks["neck"] & ~masks["ears"]
    low = face & (y < marks[30, 1] + 2) & (y > nose_base[1] - 6) & (x < 17)
    low &= z > nose_base[2] - 25
    masks["nostrils"] = _enclosed(vertices, faces, normals, low, reach=11.0)
    # What a scanner in front of the face sees: no mouth or socket inside, no nostrils.
    inner_lip = lips & (mouth_distance < 3.0) & (normals[:, 2] < 0.25)
    masks["scan"] = face & ~masks["nostrils"] & ~inner_lip & ~(rim == EYELID_RIM)
    masks["lip_rim"] = rim == LIP_RIM
    masks["eyelid_rim"] = rim == EYELID_RIM
    single = {"eyeball_left", "eyeball_right"}
    return {n: m if n in single else m | m[mirror] for n, m in masks.items()}


def _lips(
    vertices: np.ndarray,
    part: np.ndarray,
    rim: np.ndarray,
    marks: np.ndarray,
    mouth_distance: np.ndarray,
) -> np.ndarray:
    """The red of the lips: inside the outer contour, or the rim's inner side."""
    x, y = np.abs(vertices[:, 0]), vertices[:, 1]
    upper = marks[[54, 53, 52, 51]][:, :2]
    lower = marks[[54, 55, 56, 57]][:, :2]
    order = np.argsort(upper[:, 0])
    top = np.interp(x, upper[order, 0], upper[order, 1], right=-np.inf)
    order = np.argsort(lower[:, 0])
    bottom = np.interp(x, lower[order, 0], lower[order, 1], right=np.inf)
    inside = (y < top) & (y > bottom) & (mouth_distance < 16)
    return (part == SKIN_PART) & (inside | (mouth_distance < 1.5) | (rim == LIP_RIM))


def _upper_lip_side(
    vertices: np.ndarray,
    rim: np.ndarray,
    mirror: np.ndarray,
    graph: sp.csr_array,
) -> np.ndarray:
    """Vertices nearer along the surface to the upper than to the lower lip's rim."""
    on_rim = np.flatnonzero(rim == LIP_RIM)
    middle = on_rim[mirror[on_rim] == on_rim]
    top = middle[np.argmax(vertices[middle, 1])]
    corner = on_rim[np.argmax(vertices[on_rim, 0])]
    inside = np.zeros(len(rim), bool)
    inside[on_rim] = True
    keep = sp.diags_array(inside.astype(float))
    along = sp.csr_array(keep @ graph @ keep)
    distance = csgraph.dijkstra(along, indices=int(top))
    upper = inside & (distance <= distance[corner])
    return _geodesic(graph, upper, limit=60) < _geodesic(graph, inside & ~upper, limit=60)


def _brows(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, skin: np.ndarray, eye_centre: np.ndarray
) -> np.ndarray:
    """Two tapering arcs over the eyes, where brows are in portraits.

    The heights are such that the labels of rendered heads agree with those of about 300 near
    frontal portraits, to which the model was fitted by its other landmarks.
    """
    t = x - eye_centre[0]
    middle = eye_centre[1] + np.interp(t, [-21, -10, 1, 9, 19], [10.3, 12.5, 13.9, 14.0, 9.8])
    width = np.interp(t, [-22, -19, 0, 9, 20], [1.5, 3.9, 3.8, 3.0, 0.9])
    return skin & (np.abs(y - middle) < width) & (t > -21.5) & (t < 20) & (z > eye_centre[2] - 30)


def edge_graph(vertices: np.ndarray, faces: np.ndarray) -> sp.csr_array:
    """Return the (V, V) symmetric sparse matrix of edge lengths."""
    pairs = mesh_edges(faces).vertices
    length = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
    n = len(vertices)
    graph = sp.csr_array((length, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return sp.csr_array(graph + graph.T)


def _geodesic(graph: sp.csr_array, start: np.ndarray, *, limit: float) -> np.ndarray:
    """Distance along edges to the nearest start vertex, mm; infinite beyond ``limit``."""
    return csgraph.dijkstra(graph, indices=np.flatnonzero(start), min_only=True, limit=limit)


def _enclosed(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    candidates: np.ndarray,
    *,
    reach: float,
) -> np.ndarray:
    """Candidates (V,) whose outward normal meets the candidates' own surface within ``reach``."""
    near = faces[candidates[faces].all(axis=1)]
    a = vertices[near[:, 0]]
    u, v = vertices[near[:, 1]] - a, vertices[near[:, 2]] - a
    found = np.zeros(len(vertices), bool)
    for row in np.flatnonzero(candidates):
        direction = normals[row].astype(np.float64)
        origin = vertices[row] + 0.3 * direction - a
        p = np.cross(direction, v)
        determinant = (u * p).sum(1)
        safe = np.where(np.abs(determinant) < 1e-12, 1e-12, determinant)
        q = np.cross(origin, u)
        first, second = (origin * p).sum(1) / safe, (q @ direction) / safe
        distance = (v * q).sum(1) / safe
        hit = (first >= 0) & (second >= 0) & (first + second <= 1) & (distance > 0)
        found[row] = bool((hit & (distance < reach)).any())
    return found
