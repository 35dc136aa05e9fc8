"""A slow, independent twin of the point-to-plane ICP and of the estimator built on it."""

import numpy as np
from scan_case import closest_twin
from scipy.spatial.transform import Rotation


def normals_twin(where, vertices, faces, which):
    """Area-weighted vertex normals, interpolated to the points."""
    total = np.zeros_like(vertices)
    for f in faces:
        total[f] += np.cross(vertices[f[1]] - vertices[f[0]], vertices[f[2]] - vertices[f[0]])
    total /= np.linalg.norm(total, axis=1, keepdims=True)
    found = np.zeros_like(where)
    for i, (point, f) in enumerate(zip(where, faces[which], strict=True)):
        system = np.vstack([vertices[f].T, np.ones(3)])
        weights = np.linalg.lstsq(system, np.append(point, 1), rcond=None)[0]
        found[i] = weights @ total[f]
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def icp_twin(points, normals, vertices, faces, options, *, matrix):
    """The same rules in plain numpy, moving the vertices; steps by lstsq on the Jacobian."""
    current = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    total, previous = matrix, np.inf
    for iteration in range(options.iterations + 1):
        where, which, border = closest_twin(points, current, faces)
        n = normals_twin(where, current, faces, which)
        r = ((where - points) * normals).sum(1)
        ok = np.linalg.norm(where - points, axis=1) <= options.max_distance_mm
        ok &= (n * normals).sum(1) >= np.cos(np.radians(options.max_angle_deg))
        ok &= ~border
        rows = np.flatnonzero(ok)
        drop = int(options.trim * len(rows))
        rows = rows[np.argsort(np.abs(r[rows]), kind="stable")][: len(rows) - drop]
        rmse = np.sqrt((r[rows] ** 2).mean())
        if abs(previous - rmse) < options.tolerance_mm or iteration == options.iterations:
            return total, rmse, iteration
        previous = rmse
        p, m = where[rows], normals[rows]
        middle = p.mean(0)
        columns = [np.cross(np.eye(3)[k], p - middle) for k in range(3)]
        columns += [np.broadcast_to(np.eye(3)[k], p.shape) for k in range(3)]
        if options.with_scale:
            columns.append(p - middle)
        jacobian = np.stack([(column * m).sum(1) for column in columns], axis=1)
        # Damped as documented, in units of the arms' root mean square.
        size = np.sqrt(((p - middle) ** 2).sum(1).mean())
        units = np.array([size] * 3 + [1] * 3 + [size])[: jacobian.shape[1]]
        scaled = jacobian / units
        extra = np.sqrt(1e-5 * (scaled**2).sum()) * np.eye(len(units))
        right = np.concatenate([-r[rows], np.zeros(len(units))])
        x = np.linalg.lstsq(np.vstack([scaled, extra]), right, rcond=None)[0] / units
        step = np.eye(4)
        growth = np.exp(x[6]) if options.with_scale else 1.0
        step[:3, :3] = growth * Rotation.from_rotvec(x[:3]).as_matrix()
        step[:3, 3] = middle + x[3:6] - step[:3, :3] @ middle
        total = step @ total
        current = current @ step[:3, :3].T + step[:3, 3]
    return None


def umeyama_twin(source, target, *, with_scale):
    """The least-squares similarity as a matrix (4, 4), by quaternions (Horn 1987)."""
    x, y = source - source.mean(0), target - target.mean(0)
    m = x.T @ y
    skew = [m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]]
    system = np.zeros((4, 4))
    system[0, 0] = np.trace(m)
    system[0, 1:] = system[1:, 0] = skew
    system[1:, 1:] = m + m.T - np.trace(m) * np.eye(3)
    w, *v = np.linalg.eigh(system)[1][:, -1]
    turn = Rotation.from_quat([*v, w]).as_matrix()
    scale = (y * (x @ turn.T)).sum() / (x**2).sum() if with_scale else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = scale * turn
    matrix[:3, 3] = target.mean(0) - scale * turn @ source.mean(0)
    return matrix


def estimator_twin(scan, prediction, marks, tip, options, *, forehead, radius, plane, stat):
    """MICC's estimator written out: crop, landmarks, ICP, distances, one number.

    Args:
        scan, prediction: (vertices, faces); marks: (scan's, prediction's) five points.
        tip: the scan's nose tip.
        forehead: (eyes' middle, up, mm above them that is kept), or None.
        radius: of the crop.
        plane: distance along the prediction's normal, else to its surface.
        stat: rmse or mean.
    """
    vertices, faces = scan
    keep = [i for i in range(len(vertices)) if np.linalg.norm(vertices[i] - tip) <= radius]
    if forehead is not None:
        eyes, up, most = forehead
        keep = [i for i in keep if (vertices[i] - eyes) @ up <= most]
    points = vertices[keep]
    total = np.zeros_like(vertices)
    for f in faces:
        total[f] += np.cross(vertices[f[1]] - vertices[f[0]], vertices[f[2]] - vertices[f[0]])
    normals = total[keep] / np.linalg.norm(total[keep], axis=1, keepdims=True)
    start = umeyama_twin(marks[1], marks[0], with_scale=options.with_scale)
    matrix, _, _ = icp_twin(points, normals, *prediction, options, matrix=start)
    moved = prediction[0] @ matrix[:3, :3].T + matrix[:3, 3]
    where, which, _ = closest_twin(points, moved, prediction[1])
    distance = np.linalg.norm(points - where, axis=1)
    if plane:
        n = normals_twin(where, moved, prediction[1], which)
        distance = np.abs(((points - where) * n).sum(1))
    value = np.sqrt((distance**2).mean()) if stat == "rmse" else distance.mean()
    return value, keep, distance
