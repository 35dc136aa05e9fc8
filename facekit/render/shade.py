"""Colour and light: sRGB, spherical harmonics, and a directional light with a highlight.

Light and albedo are linear RGB; only files and pictures are sRGB.
"""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array

# Real spherical harmonics of degrees 0 to 2 over the unit sphere.
_Y00 = 0.5 * np.sqrt(1 / np.pi)
_Y1 = 0.5 * np.sqrt(3 / np.pi)
_Y2 = 0.5 * np.sqrt(15 / np.pi)
_Y20 = 0.25 * np.sqrt(5 / np.pi)


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB values in [0, 1] (IEC 61966-2-1), float32."""
    value = np.asarray(colour, np.float32)
    high = ((np.maximum(value, 0.04045) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(value <= 0.04045, value / np.float32(12.92), high)


def linear_to_srgb(colour: np.ndarray) -> np.ndarray:
    """Return sRGB values of linear light in [0, 1] (IEC 61966-2-1), float32; no clipping above."""
    value = np.asarray(colour, np.float32)
    high = np.float32(1.055) * np.maximum(value, 0.0031308) ** np.float32(1 / 2.4)
    return np.where(value <= 0.0031308, value * np.float32(12.92), high - np.float32(0.055))


def to_uint8(linear: np.ndarray) -> np.ndarray:
    """Return linear RGB (clipped to [0, 1]) as sRGB uint8, rounded."""
    table = _srgb_table()
    index = np.clip(np.asarray(linear, np.float32), 0, 1) * np.float32(len(table) - 1)
    return table[(index + np.float32(0.5)).astype(np.int32)]


def sh_basis(normals: np.ndarray) -> np.ndarray:
    """Return the nine spherical harmonics of unit directions (..., 3), as (..., 9) float32.

    Order (l, m): (0,0), (1,-1) y, (1,0) z, (1,1) x, (2,-2) xy, (2,-1) yz, (2,0) 3z^2-1, (2,1) xz,
    (2,2) x^2-y^2; orthonormal over the sphere, without the Condon-Shortley phase:
    ``1/2 sqrt(1/pi)``; ``1/2 sqrt(3/pi)``; ``1/2 sqrt(15/pi)``; ``1/4 sqrt(5/pi)`` for (2,0);
    ``1/4 sqrt(15/pi)`` for (2,2).
    """
    direction = np.asarray(normals, np.float32)
    x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
    basis = np.empty((*direction.shape[:-1], 9), np.float32)
    basis[..., 0] = _Y00
    basis[..., 1] = _Y1 * y
    basis[..., 2] = _Y1 * z
    basis[..., 3] = _Y1 * x
    basis[..., 4] = _Y2 * x * y
    basis[..., 5] = _Y2 * y * z
    basis[..., 6] = _Y20 * (3 * z * z - 1)
    basis[..., 7] = _Y2 * x * z
    basis[..., 8] = 0.5 * _Y2 * (x * x - y * y)
    return basis


def sh_shading(normals: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return shading (..., 3), linear RGB: the spherical harmonics of the normals times ``light``.

    A pixel's colour is albedo times shading. ``light`` of ``params.npz`` is this (9, 3): the
    surface's own response (clamped cosine) is already inside it, so the value is shading and
    not incoming light. Normals are in the CAMERA frame (+x right, +y down, +z forward), so that
    light does not turn with the head.

    Source: Ramamoorthi, Hanrahan, An efficient representation for irradiance environment maps,
    2001.
    """
    coefficients = check_array(light, "light", shape=(9, 3)).astype(np.float32)
    return sh_basis(normals) @ coefficients


def roll_light(light: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return a light (9, 3) after the camera's image is turned.

    Args:
        light: (9, 3) in the camera frame.
        turn: (2, 2) proper rotation of the image, x' = turn x: what was seen along n is then
            seen along diag(turn, 1) n.
    """
    coefficients = check_array(light, "light", shape=(9, 3))
    once = check_array(turn, "turn", shape=(2, 2))
    rolled = coefficients.copy()
    for rows, rotation in (([3, 1], once), ([7, 5], once), ([8, 4], once @ once)):
        rolled[rows] = rotation @ coefficients[rows]
    return rolled


def mirror_light(light: np.ndarray) -> np.ndarray:
    """Return the light (9, 3) of the picture mirrored left to right."""
    mirrored = check_array(light, "light", shape=(9, 3)).copy()
    mirrored[[3, 4, 7]] *= -1
    return mirrored


def directional_light_sh(direction: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return the (9, 3) shading coefficients of one distant light.

    The exact shading is ``colour * max(0, n . direction)``; its projection onto nine harmonics
    is off by at most 9.4 % of its peak.

    Args:
        direction: (3,) unit vector TOWARDS the light, camera frame.
        colour: (3,) linear RGB of a surface that faces it.

    Source: Ramamoorthi and Hanrahan, 2001, eqs. 8 and 10: A_l = pi, 2 pi / 3, pi / 4.
    """
    band = np.repeat(np.pi * np.array([1.0, 2 / 3, 1 / 4]), [1, 3, 5])
    return (band * sh_basis(np.asarray(direction)))[:, None] * np.asarray(colour, np.float64)


def ambient_sh(colour: np.ndarray) -> np.ndarray:
    """Return the (9, 3) coefficients of a light that shades every normal with ``colour`` (3,)."""
    light = np.zeros((9, 3))
    light[0] = np.asarray(colour, np.float64) / _Y00
    return light


def specular(
    normals: np.ndarray, view: np.ndarray, light: np.ndarray, *, roughness: np.ndarray | float
) -> np.ndarray:
    """Return the highlight of a distant light, (...,) float32, times its cosine.

    The GGX distribution with Schlick's Fresnel term (0.028 at normal incidence, skin's index of
    refraction 1.4) and the height-correlated visibility in its fast form.

    Args:
        normals: (..., 3) unit; view: (..., 3) unit, TOWARDS the camera; light: (3,) unit,
            towards the light.
        roughness: perceptual roughness in (0, 1], alpha is its square; broadcast.

    Source: Walter et al., Microfacet models for refraction through rough surfaces, 2007; Schlick,
    1994; Hammon, PBR diffuse lighting for GGX, 2017 (visibility).
    """
    toward = np.asarray(light, np.float32)
    half = view + toward
    half = half / np.maximum(np.sqrt(np.einsum("...c,...c->...", half, half)), 1e-6)[..., None]
    n_l = np.maximum(normals @ toward, 0)
    n_v = np.maximum(np.einsum("...c,...c->...", normals, view), 1e-3)
    n_h = np.clip(np.einsum("...c,...c->...", normals, half), 0, 1)
    v_h = np.clip(np.einsum("...c,...c->...", view, half), 0, 1)
    alpha = np.maximum(np.asarray(roughness, np.float32) ** 2, 1e-3)
    squared = alpha * alpha
    distribution = squared / (np.pi * (n_h * n_h * (squared - 1) + 1) ** 2)
    fresnel = 0.028 + 0.972 * (1 - v_h) ** 5
    lit = 2 * n_l * n_v
    visibility = 0.5 / np.maximum(lit + alpha * (n_l + n_v - lit), 1e-4)
    return (distribution * fresnel * visibility * n_l).astype(np.float32)


_TABLE: list[np.ndarray] = []


def _srgb_table() -> np.ndarray:
    # 16 bits of linear light: half a step of the darkest uint8 value is 10 entries of it.
    if not _TABLE:
        linear = np.arange(1 << 16, dtype=np.float32) / ((1 << 16) - 1)
        _TABLE.append((linear_to_srgb(linear) * 255 + 0.5).astype(np.uint8))
    return _TABLE[0]
