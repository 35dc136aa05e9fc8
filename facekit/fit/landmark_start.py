"""Where the landmark solvers start: the pose of a face from 68 points."""

from __future__ import annotations

import numba
import numpy as np

from facekit.errors import ItemError
from facekit.geometry.rotations import HEAD_TO_CAMERA

# The jaw's points slide.
_TRUST = np.where(np.arange(68) < 17, 0.2, 1.0)
_FRONT = HEAD_TO_CAMERA.astype(np.float64)
_UNTRUSTED, _FLAT = 1, 2


def start_pose(
    points: np.ndarray,
    observed: np.ndarray,
    trust: np.ndarray,
    focal: np.ndarray,
    centre: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and translation (3,) by scaled orthography from least squares.

    An affine camera fits the points best; the nearest rotation is its rows, made orthonormal. Where
    that shows the back of the head, as a nearly flat set may, the face is turned to the camera.

    Args:
        points: (68, 3) mm, head frame; observed: (68, 2) pixels; trust: (68,) in [0, 1].
        focal: (2,) pixels; centre: (2,) pixels.

    Raises:
        ItemError: no point is trusted, or they lie on a point or a line.
    """
    rotation, translation = np.empty((3, 3)), np.empty(3)
    failed = _orthography(
        points, observed, _TRUST * trust, focal, centre, _FRONT, rotation, translation
    )
    if failed == _UNTRUSTED:
        raise ItemError("landmark fit: every landmark has confidence 0")
    if failed == _FLAT:
        raise ItemError("landmark fit: the landmarks lie on a point or a line")
    return rotation, translation


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _orthography(points, observed, weights, focal, centre, front, rotation, translation):
    """Write rotation and translation; return why not, or 0. Arguments as in ``start_pose``."""
    total, m0, m1, m2, u, v = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(weights)):
        w = weights[i]
        total += w
        m0, m1, m2 = m0 + w * points[i, 0], m1 + w * points[i, 1], m2 + w * points[i, 2]
        u, v = u + w * observed[i, 0], v + w * observed[i, 1]
    if not total > 0:
        return _UNTRUSTED
    m0, m1, m2, u, v = m0 / total, m1 / total, m2 / total, u / total, v / total
    # Squared weights: each equation counts by its point's.
    iuu, iuv, ivv = 0.0, 0.0, 0.0
    sxx, sxy, sxz, syy, syz, szz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    ux, uy, uz, vx, vy, vz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(weights)):
        w = weights[i] * weights[i]
        x, y, z = points[i, 0] - m0, points[i, 1] - m1, points[i, 2] - m2
        a, b = observed[i, 0] - u, observed[i, 1] - v
        iuu, iuv, ivv = iuu + w * a * a, iuv + w * a * b, ivv + w * b * b
        sxx, sxy, sxz = sxx + w * x * x, sxy + w * x * y, sxz + w * x * z
        syy, syz, szz = syy + w * y * y, syz + w * y * z, szz + w * z * z
        ux, uy, uz = ux + w * a * x, uy + w * a * y, uz + w * a * z
        vx, vy, vz = vx + w * b * x, vy + w * b * y, vz + w * b * z
    # The roots of its eigenvalues are the points' extents.
    middle, half = 0.5 * (iuu + ivv), np.hypot(0.5 * (iuu - ivv), iuv)
    narrow, wide = np.sqrt(max(middle - half, 0.0)), np.sqrt(max(middle + half, 0.0))
    if not (narrow >= 1e-3 * max(wide, 1e-9) and narrow >= 1e-3):
        return _FLAT
    # The affine rows by the inverse of the symmetric 3 x 3 matrix, from its cofactors.
    cxx, cxy, cxz = syy * szz - syz * syz, sxz * syz - sxy * szz, sxy * syz - sxz * syy
    cyy, cyz, czz = sxx * szz - sxz * sxz, sxy * sxz - sxx * syz, sxx * syy - sxy * sxy
    determinant = sxx * cxx + sxy * cxy + sxz * cxz
    if not determinant > 1e-12 * sxx * syy * szz:
        return _FLAT
    a0 = (cxx * ux + cxy * uy + cxz * uz) / determinant
    a1 = (cxy * ux + cyy * uy + cyz * uz) / determinant
    a2 = (cxz * ux + cyz * uy + czz * uz) / determinant
    b0 = (cxx * vx + cxy * vy + cxz * vz) / determinant
    b1 = (cxy * vx + cyy * vy + cyz * vz) / determinant
    b2 = (cxz * vx + cyz * vy + czz * vz) / determinant
    # The nearest orthonormal rows: (A A^T)^(-1/2) A, the root of a 2 x 2 matrix in closed form.
    xx, xy = a0 * a0 + a1 * a1 + a2 * a2, a0 * b0 + a1 * b1 + a2 * b2
    yy = b0 * b0 + b1 * b1 + b2 * b2
    scale = 0.5 * (np.sqrt(xx) + np.sqrt(yy))
    root = np.sqrt(max(xx * yy - xy * xy, 0.0))
    if not root > 1e-12 * scale * scale:
        return _FLAT
    share = 1 / (root * np.sqrt(xx + yy + 2 * root))
    p, q, r = (yy + root) * share, -xy * share, (xx + root) * share
    a0, b0 = p * a0 + q * b0, q * a0 + r * b0
    a1, b1 = p * a1 + q * b1, q * a1 + r * b1
    a2, b2 = p * a2 + q * b2, q * a2 + r * b2
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = a0, a1, a2
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = b0, b1, b2
    rotation[2, 0], rotation[2, 1] = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2
    rotation[2, 2] = a0 * b1 - a1 * b0
    facing = 0.0
    for d in range(3):
        facing += front[2, d] * rotation[d, 2]
    if facing < 0:
        roll = np.arctan2(b0, a0)
        c, s = np.cos(roll), np.sin(roll)
        for d in range(3):
            rotation[0, d] = c * front[0, d] - s * front[1, d]
            rotation[1, d] = s * front[0, d] + c * front[1, d]
            rotation[2, d] = front[2, d]
    depth = (focal[0] + focal[1]) / (2 * scale)
    translation[0] = depth * (u - centre[0]) / focal[0]
    translation[1] = depth * (v - centre[1]) / focal[1]
    translation[2] = depth
    for d in range(3):
        translation[d] -= rotation[d, 0] * m0 + rotation[d, 1] * m1 + rotation[d, 2] * m2
    return 0
