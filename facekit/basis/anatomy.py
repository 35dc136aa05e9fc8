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
    graph = _edge_graph(vertices, faces)
    eye_distance = _geodesic(graph, rim == EYELID_RIM, limit=40)
    mouth_distance = _geodesic(graph, rim == LIP_RIM, limit=40)

    def near(points: np.ndarray, radius: float) -> np.ndarray:
        flat = np.column_stack([x, y])
        return _polyline_distance(flat, points[:, :2]) < radius

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
    front = skin & (z > eye_centre[2] - 62) & ~masks["ears"]
    hairline = eye_centre[1] + 68 - 0.004 * x**2
    jawline = np.interp(x, [0, 30, 55, 75, 90], [chin_y - 8, chin_y, chin_y + 28, mouth_y + 22, 5])
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
    nostril = face & (normals[:, 1] < -0.2) & near(marks[32:35], 7.5) & (z < nose_base[2] + 9)
    inside = (z < marks[30, 2] - 4) & (x > 1.5) & (x < 13) & (y > nose_base[1] - 1.5)
    masks["nostrils"] = nostril & inside
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
    """Two tapering arcs over the eyes, where a labeller sees brows on photographs."""
    t = x - eye_centre[0]
    middle = eye_centre[1] + np.interp(t, [-22, -10, 2, 12, 24], [14.5, 18.0, 20.5, 21.0, 16.0])
    width = np.interp(t, [-23, -20, 0, 12, 25], [1.5, 4.0, 3.8, 3.0, 0.8])
    return skin & (np.abs(y - middle) < width) & (t > -22) & (t < 25) & (z > eye_centre[2] - 30)


def _edge_graph(vertices: np.ndarray, faces: np.ndarray) -> sp.csr_array:
    pairs = mesh_edges(faces).vertices
    length = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
    n = len(vertices)
    graph = sp.csr_array((length, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return sp.csr_array(graph + graph.T)


def _geodesic(graph: sp.csr_array, start: np.ndarray, *, limit: float) -> np.ndarray:
    """Distance along edges to the nearest start vertex, mm; infinite beyond ``limit``."""
    return csgraph.dijkstra(graph, indices=np.flatnonzero(start), min_only=True, limit=limit)


def _polyline_distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    a, b = line[:-1], line[1:]
    along = b - a
    t = ((points[:, None] - a) * along).sum(-1) / (along**2).sum(-1)
    nearest = a + np.clip(t, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1)
