"""The plain twin of the rasteriser: every face against every pixel, one rule a line."""

import numpy as np

ONE = 4096


def rasterise_reference(points, faces, width, height, cull=True, near=1e-3):
    """Triangle numbers (H, W) and perspective-correct barycentrics (H, W, 3)."""
    triangle = np.full((height, width), -1)
    barycentric = np.zeros((height, width, 3))
    nearest = np.zeros((height, width), np.float32)
    row, column = np.mgrid[:height, :width]
    for f, face in enumerate(faces):
        corners = points[face].astype(np.float64)
        if not np.isfinite(corners).all() or (corners[:, 2] <= near).any():
            continue
        if (np.abs(corners[:, :2]) >= 1 << 17).any():
            continue
        x, y = np.rint(corners[:, :2] * ONE).astype(np.int64).T
        clockwise = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if clockwise == 0 or (cull and clockwise > 0):
            continue
        edge = []
        for c in range(3):
            a, b = (c + 1) % 3, (c + 2) % 3
            value = (x[b] - x[a]) * (row * ONE - y[a]) - (y[b] - y[a]) * (column * ONE - x[a])
            edge.append(value * np.sign(clockwise))
        inside = (np.array(edge) >= 0).all(0)
        weight = [e / abs(int(clockwise)) for e in edge]
        inverse = sum(w / z for w, z in zip(weight, corners[:, 2], strict=True)).astype(np.float32)
        # Later faces win only when strictly nearer: the lower number keeps a tie.
        better = inside & (inverse > nearest)
        nearest[better] = inverse[better]
        triangle[better] = f
        barycentric[better] = _perspective(corners, column[better], row[better])
    return triangle, barycentric


def _perspective(corners, column, row):
    x, y, z = corners.T
    weight = []
    for c in range(3):
        a, b = (c + 1) % 3, (c + 2) % 3
        weight.append((x[b] - x[a]) * (row - y[a]) - (y[b] - y[a]) * (column - x[a]))
    weight = np.array(weight, float).T
    weight *= np.sign(weight.sum(1, keepdims=True))
    weight = np.maximum(weight, 0) / z
    return weight / weight.sum(1, keepdims=True)
