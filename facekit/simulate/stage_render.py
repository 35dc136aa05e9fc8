"""Render a stage's subject: supersampled, with detail as fine as the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numba
import numpy as np
from numba import types

from facekit.geometry.cameras import project
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.render.rasterise import Workspace, rasterise
from facekit.render.shade import linear_to_srgb
from facekit.simulate.noise import _S, _cell, _quintic
from facekit.simulate.stage_paint import Painted
from facekit.threads import run_ranges
from facekit.types import Camera

_NEAR = 50.0
# Sizes (mm) and strengths of the solid noise at texture contrast 1: share of the albedo from a
# lattice cell's extreme to the mean.
_DETAIL = np.array([[0.9, 0.10], [1.8, 0.10], [5.0, 0.08], [18.0, 0.06]], np.float32)
# Stage panels: direction towards them (x, y, z of the stage) and strength.
_PANELS = np.array(
    [
        [-0.75, 0.45, 0.60, 0.29],
        [0.75, 0.45, 0.60, 0.29],
        [0.0, 0.85, 0.55, 0.26],
        [-0.55, -0.35, 0.75, 0.16],
        [0.55, -0.35, 0.75, 0.16],
        [-0.98, 0.10, 0.05, 0.19],
        [0.98, 0.10, 0.05, 0.19],
    ]
)
_AMBIENT = 0.40
# How the lattice of each size of noise is turned.
_TURNS = np.stack(
    [rotvec_to_matrix(v) for v in np.random.default_rng(0).normal(0, 1.5, (len(_DETAIL), 3))]
).astype(np.float32)


@dataclass(frozen=True)
class SkinOptions:
    """How much a surface gives to match.

    Attributes:
        contrast: of the fine texture, 1 strong (6 % standard deviation of the albedo), 0 none;
            real skin is at 0.3 to 0.6.
        specular: strength of the highlights, 1 typical skin, 0 none (cross-polarised).
        detail_mm: smallest size of the texture, mm.
    """

    contrast: float = 1.0
    specular: float = 0.0
    detail_mm: float = 0.9


class StageSensor(NamedTuple):
    """One camera's picture chain.

    Attributes:
        gain: (3,) factors on linear RGB: exposure and colour.
        blur_px: deviation of the lens blur.
        noise: deviation in 8-bit steps of the file.
    """

    gain: np.ndarray
    blur_px: float
    noise: float


class StageView(NamedTuple):
    """One picture and its truth.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        depth_mm: (H, W) float32 of the head at pixel centres, 0 where it is not seen.
        mask: (H, W) bool, the head is seen at the pixel's centre.
    """

    image: np.ndarray
    depth_mm: np.ndarray
    mask: np.ndarray


def draw_sensor(
    rng: np.random.Generator, *, spread: float, blur_px: float, noise: float
) -> StageSensor:
    """Draw a camera's chain; ``spread`` is of the log exposure, a third of it of each colour."""
    gain = np.exp(rng.normal(0, spread) + rng.normal(0, spread / 3, 3))
    return StageSensor(gain, blur_px * float(rng.uniform(0.85, 1.15)), noise)


def render_view(
    painted: Painted,
    camera: Camera,
    skin: SkinOptions,
    sensor: StageSensor,
    *,
    seed: int,
    noise_seed: tuple[int, ...],
    supersample: int = 2,
    truth: bool = True,
    workspace: Workspace | None = None,
) -> StageView:
    """Render one view.

    Args:
        painted: the subject.
        camera: where from.
        skin: texture and highlights.
        sensor: exposure, blur, noise.
        seed: of the texture, the same for every view of a subject.
        noise_seed: of the sensor's noise.
        supersample: samples per pixel and side.
        truth: also find depth and mask; else both are empty arrays.
        workspace: buffers to use again, one per thread of callers.
    """
    factor = supersample
    fine = enlarged(camera, factor)
    points = project(fine, painted.positions)
    fragments = rasterise(
        points, painted.faces, fine.width, fine.height, near=_NEAR, workspace=workspace
    )
    picture = _backdrop(camera)
    eye = (-camera.rotation.T @ camera.translation).astype(np.float32)
    panels = _panels()
    detail = _DETAIL * np.array([1, skin.contrast], np.float32)
    detail[:, 0] *= skin.detail_mm / _DETAIL[0, 0]
    run_ranges(
        lambda start, stop: _shade(
            fragments.triangle,
            fragments.barycentric,
            painted.faces,
            painted.attributes,
            detail,
            _TURNS,
            panels,
            eye,
            np.float32(_AMBIENT),
            np.float32(skin.specular),
            np.float32(skin.contrast),
            seed & 0x7FFFFFFF,
            factor,
            picture,
            start,
            stop,
        ),
        camera.height,
        min_chunk=32,
    )
    image = develop(picture, sensor, np.random.default_rng(noise_seed))
    if not truth:
        return StageView(image, np.zeros((0, 0), np.float32), np.zeros((0, 0), bool))
    centres = project(camera, painted.positions)
    seen = rasterise(
        centres, painted.faces, camera.width, camera.height, near=_NEAR, workspace=workspace
    )
    depth = seen.depth(centres, painted.faces)
    mask = (seen.triangle >= 0) & (seen.triangle < painted.num_faces)
    depth[~mask] = 0
    return StageView(image, depth, mask)


def enlarged(camera: Camera, factor: int) -> Camera:
    """Return the camera of a picture with ``factor`` times the pixels a side, same lens."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2] *= factor
    intrinsics[:2, 2] += (factor - 1) / 2
    return Camera(
        intrinsics,
        camera.rotation,
        camera.translation,
        camera.width * factor,
        camera.height * factor,
        camera.distortion,
    )


def develop(picture: np.ndarray, sensor: StageSensor, rng: np.random.Generator) -> np.ndarray:
    """Turn linear light (H, W, C) float32 into a file's uint8 sRGB: blur, gain, noise."""
    if sensor.blur_px > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), sensor.blur_px).reshape(picture.shape)
    gain = sensor.gain if picture.shape[2] == 3 else sensor.gain.mean(keepdims=True)
    encoded = linear_to_srgb(np.clip(picture * gain.astype(np.float32), 0, 1)) * np.float32(255)
    if sensor.noise > 0:
        encoded += np.float32(sensor.noise) * rng.standard_normal(encoded.shape, np.float32)
    return np.clip(encoded + np.float32(0.5), 0, 255).astype(np.uint8)


def _panels() -> np.ndarray:
    panels = _PANELS.copy()
    panels[:, :3] /= np.linalg.norm(panels[:, :3], axis=1, keepdims=True)
    return panels.astype(np.float32)


def _backdrop(camera: Camera) -> np.ndarray:
    """A dark cloth with a soft gradient, (H, W, 3) float32."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32)
    tone = 0.028 + 0.02 * (1 - y / camera.height) + 0.008 * x / camera.width
    return np.ascontiguousarray(tone[..., None] * np.array([0.95, 1.0, 1.06], np.float32))


@numba.njit(inline="always")
def _value(x, y, z, seed):
    """Smooth noise in [-1, 1] with lattice cells of 1; the seed is multiplied by its constant."""
    a, b, c, d, e, f, g, h, u, v, w = _cell(x, y, z, seed)
    u, v, w = _quintic(u), _quintic(v), _quintic(w)
    near = a + u * (b - a) + v * (c - a + u * (a - b - c + d))
    far = e + u * (f - e) + v * (g - e + u * (e - f - g + h))
    return near + w * (far - near)


@numba.njit(
    types.void(
        types.Array(types.int32, 2, "C", readonly=True),
        types.Array(types.float32, 3, "C", readonly=True),
        types.Array(types.int32, 2, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 3, "C", readonly=True),
        types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.float32, 1, "C", readonly=True),
        types.float32,
        types.float32,
        types.float32,
        types.int64,
        types.int64,
        types.float32[:, :, ::1],
        types.int64,
        types.int64,
    ),
    nogil=True,
    cache=True,
    error_model="numpy",
)
def _shade(
    triangle,
    barycentric,
    faces,
    attributes,
    detail,
    turns,
    panels,
    eye,
    ambient,
    specular,
    contrast,
    seed,
    factor,
    picture,
    start,
    stop,
):
    """Average the samples of the pixels of rows [start, stop) over the backdrop in ``picture``."""
    at = np.empty(attributes.shape[1], np.float32)
    one, half = np.float32(1), np.float32(0.5)
    share = one / np.float32(factor * factor)
    for y in range(start, stop):
        for x in range(picture.shape[1]):
            red = green = blue = np.float32(0)
            hits = 0
            for sub in range(factor * factor):
                row, column = y * factor + sub // factor, x * factor + sub % factor
                t = triangle[row, column]
                if t < 0:
                    continue
                hits += 1
                p, q, r = faces[t, 0], faces[t, 1], faces[t, 2]
                wp = barycentric[row, column, 0]
                wq = barycentric[row, column, 1]
                wr = barycentric[row, column, 2]
                for c in range(at.shape[0]):
                    at[c] = wp * attributes[p, c] + wq * attributes[q, c] + wr * attributes[r, c]
                # Fine texture: melanin darkens all channels, blood (the 5 mm scale) green most.
                grain = blood = spots = spare = np.float32(0)
                for octave in range(detail.shape[0]):
                    f = one / detail[octave, 0]
                    # Lattices of different octaves lie askew, so that none shows.
                    m = turns[octave]
                    gx = f * (m[0, 0] * at[0] + m[0, 1] * at[1] + m[0, 2] * at[2])
                    gy = f * (m[1, 0] * at[0] + m[1, 1] * at[1] + m[1, 2] * at[2])
                    gz = f * (m[2, 0] * at[0] + m[2, 1] * at[1] + m[2, 2] * at[2])
                    n = _value(gx, gy, gz, np.uint32(np.uint32(seed + octave) * _S))
                    grain += detail[octave, 1] * n
                    if octave == 2:
                        blood = detail[octave, 1] * n
                        f = np.float32(1.9)
                        spots = np.float32(0.62) * _value(
                            f * gx, f * gy, f * gz, np.uint32(np.uint32(seed + 17) * _S)
                        )
                    if octave == 1:
                        spare = n
                spots += np.float32(0.3) * spare
                dark = min(max((spots - np.float32(0.38)) * np.float32(5), np.float32(0)), one)
                grain = at[15] * (grain - np.float32(0.3) * contrast * dark)
                blood *= at[15]
                length = np.sqrt(at[6] * at[6] + at[7] * at[7] + at[8] * at[8])
                nx, ny, nz = at[6] / length, at[7] / length, at[8] / length
                vx, vy, vz = eye[0] - at[3], eye[1] - at[4], eye[2] - at[5]
                length = np.sqrt(vx * vx + vy * vy + vz * vz)
                vx, vy, vz = vx / length, vy / length, vz / length
                nv = max(nx * vx + ny * vy + nz * vz, np.float32(1e-3))
                light = ambient * at[12]
                shine = np.float32(0)
                alpha = at[14] * at[14]
                squared = alpha * alpha
                for panel in range(panels.shape[0]):
                    lx, ly, lz = panels[panel, 0], panels[panel, 1], panels[panel, 2]
                    nl = nx * lx + ny * ly + nz * lz
                    # A panel is wide: its light wraps a little round the form.
                    wrapped = (nl + np.float32(0.15)) / np.float32(1.15)
                    if wrapped <= 0:
                        continue
                    light += panels[panel, 3] * wrapped * (half + half * at[12])
                    if specular > 0 and nl > 0:
                        hx, hy, hz = lx + vx, ly + vy, lz + vz
                        length = np.sqrt(hx * hx + hy * hy + hz * hz)
                        nh = min((nx * hx + ny * hy + nz * hz) / length, one)
                        vh = min((vx * hx + vy * hy + vz * hz) / length, one)
                        # GGX, Schlick's Fresnel term and the fast height-correlated visibility,
                        # as in render.shade.specular.
                        base = nh * nh * (squared - one) + one
                        fresnel = np.float32(0.028) + np.float32(0.972) * (one - vh) ** 5
                        lit = np.float32(2) * nl * nv
                        vis = half / max(lit + alpha * (nl + nv - lit), np.float32(1e-4))
                        strength = squared / (base * base) * fresnel * vis * nl
                        shine += panels[panel, 3] * min(strength, np.float32(3))
                shine *= specular * at[13] * at[12]
                red += light * at[9] * (one + grain - half * blood) + shine
                green += light * at[10] * (one + grain + half * blood) + shine
                blue += light * at[11] * (one + grain + half * blood) + shine
            if hits > 0:
                rest = one - share * np.float32(hits)
                picture[y, x, 0] = rest * picture[y, x, 0] + share * red
                picture[y, x, 1] = rest * picture[y, x, 1] + share * green
                picture[y, x, 2] = rest * picture[y, x, 2] + share * blue
