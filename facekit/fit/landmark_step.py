"""The landmark solver's step: by how much forces are out of balance, and where they lead.

Compiled, in loops; ``fit.landmark_solver`` has the equations and goes through BLAS in between,
``fit.landmark_kernels`` has the order of residuals and points.
"""

from __future__ import annotations

import numba
import numpy as np

from facekit.fit.landmark_kernels import NUM


@numba.njit(nogil=True, cache=True, error_model="numpy")
def balance(
    observed,
    camera,
    discrepancy,
    scatter,
    zooming,
    size,
    translation,
    force,
    seen,
    image,
    slope,
    head,
    short,
    back,
    turn,
):
    """Write by how much forces on the points in the picture are not those of their residuals.

    Args:
        observed: (2, 68); discrepancy, scatter, zooming, size: see ``landmark_kernels.noise``.
        camera, translation, seen, image, slope, head: see ``landmark_kernels.slopes``.
        force: (2, 68) what should be the noise's inverse times the residuals.
        short: (136,) the residuals less the noise times the force, written.
        back: (204,) the force on positions in the head's frame, written.
        turn: (7,) the force on pose and focal length, written.

    Returns:
        Twice the negative log likelihood, where the forces are right.
    """
    wide, cost = 0.0, 0.0
    for i in range(NUM):
        wide += zooming[0, i] * force[0, i] + zooming[1, i] * force[1, i]
    for i in range(NUM):
        u, v = force[0, i], force[1, i]
        short[i] = -scatter[0, i] * u - scatter[2, i] * v - wide * zooming[0, i]
        short[NUM + i] = -scatter[2, i] * u - scatter[1, i] * v - wide * zooming[1, i]
    for a in range(2):
        for j in range(NUM):
            pull = size * force[a, j]
            for i in range(NUM):
                short[a * NUM + i] -= pull * discrepancy[j, i]
        for i in range(NUM):
            residual = image[a, i] - observed[a, i]
            short[a * NUM + i] += residual
            cost += force[a, i] * (residual + short[a * NUM + i])
    g0, g1, g2, g3, g4, g5, g6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(NUM):
        u, v = force[0, i], force[1, i]
        for d in range(3):
            back[d * NUM + i] = head[0, d, i] * u + head[1, d, i] * v
        p = slope[0, 0, i] * u + slope[1, 0, i] * v
        q = slope[0, 1, i] * u + slope[1, 1, i] * v
        r = slope[0, 2, i] * u + slope[1, 2, i] * v
        x, y = seen[0, i] - translation[0], seen[1, i] - translation[1]
        z = seen[2, i] - translation[2]
        g0, g1, g2 = g0 + y * r - z * q, g1 + z * p - x * r, g2 + x * q - y * p
        g3, g4, g5 = g3 + p, g4 + q, g5 + r
        g6 += (image[0, i] - camera[2]) * u + (image[1, i] - camera[3]) * v
    turn[0], turn[1], turn[2], turn[3], turn[4], turn[5] = g0, g1, g2, g3, g4, g5
    turn[6] = g6 + g3 * translation[0] + g4 * translation[1] + g5 * translation[2]
    return cost


@numba.njit(nogil=True, cache=True, error_model="numpy")
def hold(gradient, pulled, pull, turn, inner, zoom, low, high, believed, stuck):
    """Complete the other variables' gradient, and turn it round; say whether ``stuck`` changed.

    Args:
        gradient: (n,) what the residuals add to it; written.
        pulled, inner: (K + E,) by the coefficients, and the coefficients; pull: (E,) the prior's.
        turn: see ``balance``; zoom: (1,), with the precision ``believed``.
        low, high: (E,) of the expression; stuck: (E,) bool, which of it is pushed against them.
    """
    n, E = len(gradient), len(low)
    K = len(inner) - E
    changed = False
    for e in range(E):
        slope = gradient[e] + pulled[K + e] + pull[e]
        value = inner[K + e]
        held = (value <= low[e] and slope > 0) or (value >= high[e] and slope < 0)
        changed = changed or held != stuck[e]
        stuck[e] = held
        gradient[e] = 0.0 if held else -slope
    for k in range(E, n):
        gradient[k] = -gradient[k] - turn[k - E]
    if n > E + 6:
        gradient[n - 1] -= believed * zoom[0]
    return changed


@numba.njit(nogil=True, cache=True, error_model="numpy")
def damped(hessian, stuck, damping, out):
    """Write a damped matrix (n, n) in which what is stuck (E,) stays, the upper triangle."""
    n, E = len(hessian), len(stuck)
    for i in range(n):
        fixed = i < E and stuck[i]
        for j in range(i, n):
            out[i, j] = 0.0 if fixed or (j < E and stuck[j]) else hessian[i, j]
        out[i, i] = 1.0 if fixed else hessian[i, i] * (1 + damping)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def go(
    step,
    low,
    high,
    inner,
    rotation,
    translation,
    zoom,
    new_inner,
    new_rotation,
    new_translation,
    new_zoom,
):
    """Write the expression, pose and focal length (``new_...``) after a step (n,).

    The step is cut to the bounds ``low`` and ``high`` (E,) of the expression.
    """
    n, E = len(step), len(low)
    K = len(inner) - E
    for e in range(E):
        value = min(max(inner[K + e] + step[e], low[e]), high[e])
        step[e] = value - inner[K + e]
        new_inner[K + e] = value
    # Rodrigues' formula.
    x, y, z = step[E], step[E + 1], step[E + 2]
    square = x * x + y * y + z * z
    angle = np.sqrt(square)
    s, c = 1.0, 0.5
    if angle > 1e-12:
        s, c = np.sin(angle) / angle, (1 - np.cos(angle)) / square
    for d in range(3):
        u, v, w = rotation[0, d], rotation[1, d], rotation[2, d]
        p, q, r = y * w - z * v, z * u - x * w, x * v - y * u
        new_rotation[0, d] = u + s * p + c * (y * r - z * q)
        new_rotation[1, d] = v + s * q + c * (z * p - x * r)
        new_rotation[2, d] = w + s * r + c * (x * q - y * p)
    # No step changes the distance more than sevenfold.
    change = min(max(step[n - 1], -2.0), 2.0) if n > E + 6 else 0.0
    new_zoom[0] = zoom[0] + change
    for d in range(3):
        new_translation[d] = (translation[d] + step[E + 3 + d]) * np.exp(change)
