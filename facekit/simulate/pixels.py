"""Compiled passes over the pixels that see a scene: place, gather, bend and light them."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types

_F32 = types.Array(types.float32, 1, "C", readonly=True)
_ROWS32 = types.Array(types.float32, 2, "C", readonly=True)
_ROWS64 = types.Array(types.float64, 2, "C", readonly=True)
_F64 = types.Array(types.float64, 1, "C", readonly=True)
_FACES = types.Array(types.int32, 2, "C", readonly=True)
_BOOL = types.Array(types.boolean, 1, "C", readonly=True)


class Surface(NamedTuple):
    """What N pixels see, float32.

    Attributes:
        position: (N, 3) mm, camera frame; normal: (N, 3) unit, camera frame, towards the camera's
            side of a two-sided face; view: (N, 3) unit, towards the camera.
        places: (N, 3) where paint is looked up.
        open_to: (N,) share of the surroundings that is seen.
        behind: (N,) bool, the face is seen from behind.
    """

    position: np.ndarray
    normal: np.ndarray
    view: np.ndarray
    places: np.ndarray
    open_to: np.ndarray
    behind: np.ndarray


class Placed(NamedTuple):
    """Vertices (V, 3) float64 in the camera frame, and projected: pixels x, y and depth."""

    in_camera: np.ndarray
    points: np.ndarray


def place_vertices(
    vertices: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    intrinsics: np.ndarray,
    *,
    body: slice,
    body_rotation: np.ndarray,
    body_translation: np.ndarray,
) -> Placed:
    """Take a scene's vertices (V, 3) float32 to the camera (no distortion) and project them.

    Args:
        vertices: head frame, mm.
        rotation, translation: head frame to camera; intrinsics: (3, 3).
        body: rows that move with ``body_rotation`` and ``body_translation`` instead.
    """
    placed = Placed(np.empty((len(vertices), 3)), np.empty((len(vertices), 3)))
    rows = np.ascontiguousarray(vertices, np.float32)
    K = np.ascontiguousarray(intrinsics, np.float64)
    for start, stop, turn, shift in (
        (0, len(rows), rotation, translation),
        (body.start, body.stop, body_rotation, body_translation),
    ):
        frame, origin = np.ascontiguousarray(turn, np.float64), np.asarray(shift, np.float64)
        _place(rows, frame, origin, K, placed.in_camera, placed.points, start, stop)
    return placed


def gather(
    triangle: np.ndarray,
    weights: np.ndarray,
    faces: np.ndarray,
    placed: Placed,
    normals: np.ndarray,
    places: np.ndarray,
    occlusion: np.ndarray,
    rotation: np.ndarray,
) -> Surface:
    """Interpolate what pixels see from the vertices of their faces.

    Args:
        triangle: (N,) int32 faces; weights: (N, 3) float32.
        faces: (F, 3).
        placed: the vertices.
        normals: (V, 3) float32 unit, head frame; ``rotation`` (3, 3) takes them to the camera.
        places: (V, 3) float32; occlusion: (V,) float32.
    """
    count = len(triangle)
    position, normal, view, place = (np.empty((count, 3), np.float32) for _ in range(4))
    open_to, behind = np.empty(count, np.float32), np.empty(count, np.bool_)
    turn = np.ascontiguousarray(rotation, np.float32)
    _gather(
        triangle, weights, faces, placed.in_camera, placed.points, normals, places, occlusion,
        turn, position, normal, view, place, open_to, behind,
    )  # fmt: skip
    return Surface(position, normal, view, place, open_to, behind)


def bend(normal: np.ndarray, rows: np.ndarray, slopes: np.ndarray, rotation: np.ndarray) -> None:
    """Subtract slopes (M, 3), head frame, from the normals in ``rows`` (M,) of (N, 3), in place."""
    _bend(
        normal,
        np.ascontiguousarray(rows, np.int64),
        np.ascontiguousarray(slopes, np.float32),
        np.ascontiguousarray(rotation, np.float32),
    )


def lit_colours(
    surface: Surface,
    albedo: np.ndarray,
    gloss: np.ndarray,
    roughness: np.ndarray,
    lit: np.ndarray,
    skin: np.ndarray,
    *,
    ambient: np.ndarray,
    lights: np.ndarray,
    wrap: np.ndarray,
) -> np.ndarray:
    """Return the colour (N, 3) float32 linear RGB of a surface under ambient, key and fill light.

    Diffuse light is ``max(0, sh(n)) * open + sum max(0, (n.l + wrap) / (1 + wrap)) seen colour``,
    where ``seen`` is ``lit`` for the key light and ``open_to`` for the fill, and ``wrap`` is 0 off
    the skin. Highlights are ``render.shade.specular`` times pi, at most 3, and the surroundings'
    own reflection, strongest at grazing angles; times ``gloss``.

    Args:
        surface: of ``gather``.
        albedo: (N, 3); gloss, roughness, lit: (N,) float32; skin: (N,) bool.
        ambient: (9, 3) shading of the surroundings.
        lights: (2, 6) direction towards key and fill light and their colours.
        wrap: (3,) of the skin's red, green and blue.
    """
    colour = np.empty_like(surface.normal)
    _light(
        surface.normal, surface.view, np.ascontiguousarray(albedo, np.float32), gloss, roughness,
        lit, surface.open_to, skin, _basis_polynomial(ambient),
        np.ascontiguousarray(lights, np.float32), np.ascontiguousarray(wrap, np.float32), colour,
    )  # fmt: skip
    return colour


def _basis_polynomial(ambient: np.ndarray) -> np.ndarray:
    """Return (10, 3) float32: factors of 1, y, z, x, xy, yz, z^2, xz, x^2, y^2, and level 0."""
    one = np.sqrt(1 / np.pi)
    y2 = 0.5 * np.sqrt(15 / np.pi)
    flat = 0.25 * np.sqrt(5 / np.pi)
    band = np.array([0.5 * one, *[0.5 * np.sqrt(3 / np.pi)] * 3, y2, y2, 3 * flat, y2, 0.5 * y2])
    factors = np.empty((10, 3))
    factors[:9] = band[:, None] * ambient
    factors[0] -= flat * ambient[6]
    factors[9] = np.maximum(ambient[0] * 0.28, 0)
    return factors.astype(np.float32)


@numba.njit(
    types.void(
        _ROWS32, _ROWS64, _F64, _ROWS64, types.float64[:, ::1], types.float64[:, ::1],
        types.int64, types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)  # fmt: skip
def _place(vertices, rotation, translation, intrinsics, in_camera, points, start, stop):
    for v in range(start, stop):
        a, b, c = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        x = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c + translation[0]
        y = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c + translation[1]
        z = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c + translation[2]
        in_camera[v, 0] = x
        in_camera[v, 1] = y
        in_camera[v, 2] = z
        inverse = 1 / z if abs(z) > 1e-9 else 1e9
        points[v, 0] = intrinsics[0, 0] * x * inverse + intrinsics[0, 2]
        points[v, 1] = intrinsics[1, 1] * y * inverse + intrinsics[1, 2]
        points[v, 2] = z


@numba.njit(
    types.void(
        types.Array(types.int32, 1, "C", readonly=True), _ROWS32, _FACES, _ROWS64, _ROWS64,
        _ROWS32, _ROWS32, _F32, _ROWS32,
        types.float32[:, ::1], types.float32[:, ::1], types.float32[:, ::1],
        types.float32[:, ::1], types.float32[::1], types.boolean[::1],
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)  # fmt: skip
def _gather(
    triangle, weights, faces, in_camera, points, normals, places, occlusion, rotation,
    position, normal, view, place, open_to, behind,
):  # fmt: skip
    for p in range(triangle.shape[0]):
        t = triangle[p]
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        a, b, c = weights[p, 0], weights[p, 1], weights[p, 2]
        x = a * in_camera[i, 0] + b * in_camera[j, 0] + c * in_camera[k, 0]
        y = a * in_camera[i, 1] + b * in_camera[j, 1] + c * in_camera[k, 1]
        z = a * in_camera[i, 2] + b * in_camera[j, 2] + c * in_camera[k, 2]
        position[p, 0] = x
        position[p, 1] = y
        position[p, 2] = z
        inverse = -1 / np.sqrt(x * x + y * y + z * z)
        view[p, 0] = x * inverse
        view[p, 1] = y * inverse
        view[p, 2] = z * inverse
        for d in range(3):
            place[p, d] = a * places[i, d] + b * places[j, d] + c * places[k, d]
        open_to[p] = a * occlusion[i] + b * occlusion[j] + c * occlusion[k]
        # +y is down, so a face seen from outside turns the other way round.
        area = (points[j, 0] - points[i, 0]) * (points[k, 1] - points[i, 1]) - (
            points[j, 1] - points[i, 1]
        ) * (points[k, 0] - points[i, 0])
        behind[p] = area > 0
        n0 = a * normals[i, 0] + b * normals[j, 0] + c * normals[k, 0]
        n1 = a * normals[i, 1] + b * normals[j, 1] + c * normals[k, 1]
        n2 = a * normals[i, 2] + b * normals[j, 2] + c * normals[k, 2]
        length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
        side = (np.float32(-1) if area > 0 else np.float32(1)) / (
            length if length > 0 else np.float32(1)
        )
        for d in range(3):
            normal[p, d] = side * (rotation[d, 0] * n0 + rotation[d, 1] * n1 + rotation[d, 2] * n2)


@numba.njit(
    types.void(
        types.float32[:, ::1],
        types.Array(types.int64, 1, "C", readonly=True),
        _ROWS32,
        _ROWS32,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _bend(normal, rows, slopes, rotation):
    for m in range(rows.shape[0]):
        p = rows[m]
        a, b, c = slopes[m, 0], slopes[m, 1], slopes[m, 2]
        x = normal[p, 0] - (rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c)
        y = normal[p, 1] - (rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c)
        z = normal[p, 2] - (rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c)
        length = np.sqrt(x * x + y * y + z * z)
        scale = np.float32(1) / length if length > 0 else np.float32(1)
        normal[p, 0] = x * scale
        normal[p, 1] = y * scale
        normal[p, 2] = z * scale


@numba.njit(inline="always")
def _specular(n_l, n_v, n_h, v_h, roughness):
    # See render.shade.specular.
    alpha = max(roughness * roughness, np.float32(1e-3))
    squared = alpha * alpha
    base = n_h * n_h * (squared - np.float32(1)) + np.float32(1)
    distribution = squared / (np.float32(np.pi) * base * base)
    away = np.float32(1) - v_h
    fresnel = np.float32(0.028) + np.float32(0.972) * (away * away * away * away * away)
    both = np.float32(2) * n_l * n_v
    visibility = np.float32(0.5) / max(both + alpha * (n_l + n_v - both), np.float32(1e-4))
    return distribution * fresnel * visibility * n_l


@numba.njit(
    types.void(
        _ROWS32, _ROWS32, _ROWS32, _F32, _F32, _F32, _F32, _BOOL, _ROWS32, _ROWS32, _F32,
        types.float32[:, ::1],
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)  # fmt: skip
def _light(
    normal, view, albedo, gloss, roughness, lit, open_to, skin, ambient, lights, wrap, colour
):
    one, zero = np.float32(1), np.float32(0)
    for p in range(normal.shape[0]):
        x, y, z = normal[p, 0], normal[p, 1], normal[p, 2]
        for c in range(3):
            shading = ambient[0, c] + ambient[1, c] * y + ambient[2, c] * z + ambient[3, c] * x
            shading += ambient[4, c] * x * y + ambient[5, c] * y * z + ambient[6, c] * z * z
            shading += ambient[7, c] * x * z + ambient[8, c] * (x * x - y * y)
            colour[p, c] = albedo[p, c] * max(shading, zero) * open_to[p]
        for number in range(2):
            seen = lit[p] if number == 0 else open_to[p]
            if seen <= zero:
                continue
            lx, ly, lz = lights[number, 0], lights[number, 1], lights[number, 2]
            cosine = x * lx + y * ly + z * lz
            for c in range(3):
                around = wrap[c] if skin[p] else zero
                shade = max((cosine + around) / (one + around), zero)
                colour[p, c] += albedo[p, c] * shade * seen * lights[number, 3 + c]
        if gloss[p] <= zero:
            continue
        n_v = x * view[p, 0] + y * view[p, 1] + z * view[p, 2]
        for number in range(2):
            lx, ly, lz = lights[number, 0], lights[number, 1], lights[number, 2]
            n_l = x * lx + y * ly + z * lz
            if n_l <= zero:
                continue
            hx, hy, hz = view[p, 0] + lx, view[p, 1] + ly, view[p, 2] + lz
            scale = one / max(np.sqrt(hx * hx + hy * hy + hz * hz), np.float32(1e-6))
            n_h = min(max((x * hx + y * hy + z * hz) * scale, zero), one)
            v_h = (view[p, 0] * hx + view[p, 1] * hy + view[p, 2] * hz) * scale
            v_h = min(max(v_h, zero), one)
            shine = _specular(n_l, max(n_v, np.float32(1e-3)), n_h, v_h, roughness[p])
            seen = lit[p] if number == 0 else open_to[p]
            strength = min(shine * np.float32(np.pi) * seen, np.float32(3)) * gloss[p]
            for c in range(3):
                colour[p, c] += strength * lights[number, 3 + c]
        away = one - min(max(n_v, zero), one)
        edge = np.float32(0.028) + np.float32(0.3) * (away * away * away * away * away)
        edge *= (one - roughness[p]) * open_to[p] * gloss[p]
        for c in range(3):
            colour[p, c] += edge * ambient[9, c]
