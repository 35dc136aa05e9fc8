"""Terms of coefficients, albedo and light, which need no picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from facekit.errors import InputError
from facekit.fit.terms.checks import check_same_dtype, check_tensor, check_weights

# Weights inside the prior: Deng et al., 2019. The paper prints 1.7e-3 for the albedo; both public
# codes use 1.7e-2.
DEEP3D_PRIOR = {"identity": 1.0, "expression": 0.8, "albedo": 1.7e-2}


def coefficient_prior(
    coefficients: Mapping[str, Tensor], weights: Mapping[str, float] | None = None
) -> Tensor:
    """Return the weighted sums of squared coefficients over the batch size, one number.

    Computes sum_k w_k sum_i c_ki^2 / B: sums, not means, over each block.

    Args:
        coefficients: name to (B, K) in standard deviations.
        weights: name to weight; None is ``DEEP3D_PRIOR``.

    Raises:
        InputError: a block without a weight, no block, or batches that differ.

    Source: Deng et al., 2019, eq. 5.
    """
    factor = DEEP3D_PRIOR if weights is None else weights
    total: Tensor | None = None
    batch: int | None = None
    for name, block in coefficients.items():
        if name not in factor:
            raise InputError(f"prior: expected some of {', '.join(factor)}, got {name!r}")
        check_tensor(block, name, (batch, None))
        batch = len(block)
        part = factor[name] * block.square().sum() / max(batch, 1)
        total = part if total is None else total + part
    if total is None:
        raise InputError("prior: expected at least one block of coefficients")
    return total


def albedo_constancy(albedo: Tensor, skin: Tensor) -> Tensor:
    """Return the spread of the skin's albedo about its mean, one number.

    Computes sum_b sum_v s_v |T_bv - mean_b|^2 / (B sum_v s_v) with mean_b = sum s T / sum s; the
    colours are summed, not averaged.

    Args:
        albedo: (B, V, 3); Deep3D's is sRGB in [0, 1].
        skin: (V,) weights at least 0, 1 on skin.

    Raises:
        InputError: shapes or dtypes do not fit, or no vertex is skin.

    Source: Deng et al., 2019, eq. 6 (the reflectance term of its code); after Tewari et al.,
    MoFA, 2017.
    """
    check_tensor(albedo, "albedo", (None, None, 3))
    weight = check_weights(skin, "skin", albedo.shape[1]).to(albedo)[None, :, None]
    share = weight / weight.sum()
    mean = (share * albedo).sum(1, keepdim=True)
    return (share * (albedo - mean).square()).sum() / max(len(albedo), 1)


def albedo_symmetry(albedo: Tensor, mirror: Tensor, *, epsilon: float = 1e-16) -> Tensor:
    """Return the mean distance of an albedo from its mirror image, one number.

    Computes mean_v sqrt(epsilon + |T_v - T_m(v)|^2).

    Args:
        albedo: (B, V, 3).
        mirror: (V,) integer, the vertex on the other side; a vertex on the middle is its own.
        epsilon: keeps the root's gradient finite where both sides agree.

    Raises:
        InputError: shapes do not fit, or ``mirror`` is no symmetric permutation.

    Source: Lin, Yuan, Shao and Zhou, Towards high-fidelity 3D face reconstruction from in-the-wild
    images using graph convolutional networks, 2020, the symmetry term; epsilon is its code's.
    """
    check_tensor(albedo, "albedo", (None, None, 3))
    own = torch.arange(albedo.shape[1], device=albedo.device)
    if mirror.shape != own.shape or mirror.dtype.is_floating_point:
        raise InputError(
            f"mirror: expected integers of shape {tuple(own.shape)}, got {mirror.dtype} of "
            f"{tuple(mirror.shape)}"
        )
    if len(own) and (
        int(mirror.min()) < 0
        or int(mirror.max()) >= len(own)
        or not torch.equal(mirror[mirror.long()].long(), own)
    ):
        raise InputError("mirror: expected a permutation that is its own inverse")
    difference = albedo - albedo[:, mirror.long()]
    return (epsilon + difference.square().sum(-1)).sqrt().mean()


def light_whiteness(light: Tensor) -> Tensor:
    """Return how far a light is from white: the variance of its colours, one number.

    Computes mean (L_bic - mean_c L_bic)^2 over images, harmonics and colours.

    Args:
        light: (B, 9, 3) coefficients (for Deep3D's order (3, 9) transpose first).

    Raises:
        InputError: another shape.

    Source: Deng et al., 2019, the gamma term of its PyTorch code (10 times it in the total).
    """
    check_tensor(light, "light", (None, 9, 3))
    check_same_dtype(light=light)
    return (light - light.mean(-1, keepdim=True)).square().mean()
