"""A slow, independent twin of the NoW alignment, and a small face-like case for it."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation


def height(x, y):
    head = 80 * np.sqrt(np.maximum(0.02, 1 - (x / 85) ** 2 - (y / 115) ** 2))
    nose = 22 * np.exp(-((x / 13) ** 2) - ((y + 8) / 20) ** 2)
    sockets = -9 * np.exp(-(((np.abs(x) - 32) / 16) ** 2) - ((y - 32) / 13) ** 2)
    mouth = 5 * np.exp(-((x / 25) ** 2) - ((y + 42) / 9) ** 2)
    return head + nose + sockets + mouth


def surface(columns, rows):
    y, x = np.mgrid[-95 : 95 : rows * 1j, -70 : 70 : columns * 1j]
    vertices = np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3)
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([first, first + 1, first + columns], axis=1),
            np.stack([first + 1, first + columns + 1, first + columns], axis=1),
        ]
    )
    return vertices, faces.astype(np.int32)


def landmarks():
    xy = np.array([[-45, 33], [-18, 32], [18, 32], [45, 33], [0, -22], [-24, -42], [24, -42.0]])
    return np.column_stack([xy, height(xy[:, 0], xy[:, 1])])


def small_case(seed=0, *, scan_points=(24, 32), unit=1.0):
    """A scan, its landmarks, and a noisy prediction of another size and pose."""
    rng = np.random.default_rng(seed)
    scan, scan_faces = surface(*scan_points)
    scan = scan + rng.normal(scale=0.4, size=scan.shape)
    vertices, faces = surface(13, 17)
    vertices = vertices + rng.normal(scale=0.8, size=vertices.shape)
    pose = Rotation.from_rotvec([0.2, -0.3, 0.1]).as_matrix()
    marks = landmarks() + rng.normal(scale=1.5, size=(7, 3))

    def move(points):
        return unit * (0.93 * points @ pose.T + [20, -50, 15])

    return scan, scan_faces, landmarks(), move(vertices), faces, move(marks)


def point_to_mesh(points, vertices, faces, *, candidates=None):
    """Distances by signed areas: the plane's foot or the nearest of three edges.

    With ``candidates`` only that many faces with the nearest centres are tried.
    """
    p = points[:, None]
    chosen = np.broadcast_to(np.arange(len(faces)), (len(points), len(faces)))
    if candidates is not None:
        chosen = cKDTree(vertices[faces].mean(axis=1)).query(points, candidates)[1]
    a, b, c = (vertices[faces[chosen, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = (normal**2).sum(-1)

    def weight(u, v):
        return (np.cross(v - u, p - u) * normal).sum(-1) / area

    inside = (weight(a, b) >= 0) & (weight(b, c) >= 0) & (weight(c, a) >= 0)
    plane = ((p - a) * normal).sum(-1) ** 2 / area
    best = np.where(inside, plane, np.inf)
    for u, v in ((a, b), (b, c), (c, a)):
        d = v - u
        t = np.clip(((p - u) * d).sum(-1) / (d**2).sum(-1), 0, 1)
        best = np.minimum(best, ((u + t[..., None] * d - p) ** 2).sum(-1))
    return np.sqrt(best.min(axis=1))


def conjugate_gradients(A, g):
    x, r = np.zeros_like(g), g.copy()
    d = r.copy()
    while np.linalg.norm(r) > 1e-5 * np.linalg.norm(g):
        step = (r @ r) / (d @ A @ d)
        x = x + step * d
        new = r - step * A @ d
        d = new + (new @ new) / (r @ r) * d
        r = new
    return x


def move(parameters, vertices):
    rotation = Rotation.from_rotvec(parameters[1:4]).as_matrix()
    return parameters[0] * vertices @ rotation.T + parameters[4:7]


def refine_twin(points, vertices, faces, *, with_scale):
    """The dogleg of the protocol with a numeric Jacobian."""
    free = slice(0, 7) if with_scale else slice(1, 7)
    p = np.array([1.0, 0, 0, 0, 0, 0, 0])

    def residual(q):
        return point_to_mesh(points, move(q, vertices), faces, candidates=24)

    def jacobian(q):
        columns = []
        for k in range(7)[free]:
            h = 1e-5 * (100 if k > 3 else 1)
            e = np.zeros(7)
            e[k] = h
            columns.append((residual(q + e) - residual(q - e)) / (2 * h))
        return np.stack(columns, axis=1)

    radius, r = 0.1, residual(p)
    costs = [r @ r]
    for _ in range(200):
        J = jacobian(p)
        A, g = J.T @ J, -J.T @ r
        cauchy = (g @ g) / ((J @ g) @ (J @ g)) * g
        newton = conjugate_gradients(A, g)
        while True:
            if np.linalg.norm(newton) <= radius:
                step = newton
            elif np.linalg.norm(cauchy) >= radius:
                step = cauchy / np.linalg.norm(cauchy) * radius
            else:
                leg = newton - cauchy
                roots = np.roots([leg @ leg, 2 * cauchy @ leg, cauchy @ cauchy - radius**2])
                step = cauchy + roots.max() * leg
            trial = p.copy()
            trial[free] += step
            new = residual(trial)
            gain = (costs[-1] - new @ new) / (2 * step @ g - step @ A @ step)
            length = np.linalg.norm(step)
            if gain > 0.9:
                radius = max(radius, 2.5 * length)
            elif gain < 0.05:
                radius /= 4
            if gain > 0:
                break
        done = costs[-1] - new @ new <= 1e-4 * costs[-1]
        p, r = trial, new
        costs.append(r @ r)
        if done:
            break
    return p, r, costs
