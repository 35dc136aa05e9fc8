"""The published fits' own colours: light in their basis, albedo and shading in sRGB values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# What every channel of the light starts with (Deng et al., 2019: added to band 0).
START_BRIGHTNESS = 0.8
_A0, _A1, _A2 = math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)
# Published harmonics over those of ``render.shade.sh_basis``: their constants, and the signs of
# their y up and z towards the viewer against ours, y down and z away.
_RATIO = (_A0, _A1, -_A1, -_A1, -_A2, -_A2, _A2, _A2, _A2)


def published_light(gamma: Tensor) -> Tensor:
    """Return the light (B, 9, 3) of published coefficients (B, 3, 9), 0 being even and grey.

    The result shades normals of the OpenCV camera frame as ``render.differentiable.shade`` does,
    by the colour that Deng et al.'s basis gives: with a = (pi, 2 pi / sqrt 3, 2 pi / sqrt 8) and
    c = (1, sqrt 3) / sqrt(4 pi), 3 sqrt 5 / sqrt(12 pi): a0 c0, -a1 c1 ny, a1 c1 nz, -a1 c1 nx,
    a2 c2 nx ny, -a2 c2 ny nz, a2 c2 (3 nz^2 - 1) / (2 sqrt 3), -a2 c2 nx nz,
    a2 c2 (nx^2 - ny^2) / 2, y up and z towards the viewer, and 0.8 added to the first.

    Source: Deng et al., 2019, section 3; constants of its PyTorch code.
    """
    ratio = torch.tensor(_RATIO, dtype=gamma.dtype, device=gamma.device)
    even = torch.zeros_like(gamma)
    even[..., 0] = START_BRIGHTNESS
    return ((gamma + even) * ratio).transpose(1, 2)


def encode_srgb(linear: Tensor) -> Tensor:
    """Return sRGB values of linear light (IEC 61966-2-1), clipped to [0, 1]."""
    light = linear.clamp(0, 1)
    curved = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curved)
