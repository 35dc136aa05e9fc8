"""Terms of image points: landmarks and outlines."""

from __future__ import annotations

import torch
from torch import Tensor

from facekit.errors import InputError
from facekit.fit.terms.checks import check_same_dtype, check_tensor, check_weights

_NOSE = (28, 29, 30)
_INNER_MOUTH = range(60, 68)
_MOUTH = range(48, 68)
# Eye corners, nose tip and mouth corners of the 68 points: ``five`` is linear in them.
_FIVE = ((36, 39), (42, 45), (30,), (48,), (54,))


def five_of_68(points: Tensor) -> Tensor:
    """Return right eye, left eye, nose tip, right and left mouth corner (B, 5, D) of 68 points.

    An eye is the middle of its corners.
    """
    return torch.stack([points[:, list(rows)].mean(1) for rows in _FIVE], dim=1)


def deep3d_landmark_weights() -> Tensor:
    """Return (68,) float64 weights: 20 for points 28 to 30 and the inner mouth, else 1.

    Source: Deng et al., 2019, section 4.1; indices (0-based) as in its PyTorch code.
    """
    weights = torch.ones(68, dtype=torch.float64)
    weights[[*_NOSE, *_INNER_MOUTH]] = 20
    return weights


def adam_landmark_weights() -> Tensor:
    """Return (68,) float64 weights with sum 1: 10 parts for points 28 to 30 and the mouth.

    Source: the public Adam-based 3DMM fitter that follows Deng et al. (ascust/3DMM-Fitting-Pytorch,
    2020).
    """
    weights = torch.ones(68, dtype=torch.float64)
    weights[[*_NOSE, *_MOUTH]] = 10
    return weights / weights.sum()


def landmark_loss(
    points: Tensor, target: Tensor, weights: Tensor, *, average: bool = True
) -> Tensor:
    """Return the weighted squared distance of landmarks, one number.

    Computes sum_b sum_i w_i |p_bi - q_bi|^2 / (B N), or over B alone.

    Args:
        points, target: (B, N, 2) in one unit (Deep3D: pixels of its 224-px crop; the Adam fitter:
            shares of the picture's side).
        weights: (N,).
        average: divide by N too (Deep3D). The Adam fitter's weights have the sum 1 and it does
            not.

    Raises:
        InputError: shapes or dtypes do not fit, or the weights are not usable.

    Degenerate: at no distance value and gradient are 0.

    Source: Deng et al., 2019, eq. 3.
    """
    check_tensor(points, "points", (None, None, 2))
    check_tensor(target, "target", tuple(points.shape))
    check_weights(weights, "weights", points.shape[1])
    check_same_dtype(points=points, target=target)
    batch, count = points.shape[:2]
    total = ((points - target).square().sum(-1) * weights.to(points)).sum()
    return total / (batch * count if average else batch)


def contour_loss(outline: Tensor, edges: Tensor) -> Tensor:
    """Return the mean squared distance from edge points to their nearest outline vertex.

    Computes mean_e min_v |p_v - e|^2 for each image, averaged over the batch. Which vertex is
    nearest is held, so the gradient pulls that vertex to the edge.

    Args:
        outline: (B, V, 2) projected vertices of the occluding boundary (for instance the ends of
            ``render.differentiable.silhouette.find_silhouettes``); rows of NaN are no vertices,
            so that images with fewer can be padded.
        edges: (B, E, 2) points of the photograph's edge.

    Raises:
        InputError: shapes or dtypes do not fit, no edge points, or an image without vertices.

    Source: Bas, Smith, Bolkart and Wuhrer, Fitting a 3D morphable model to edges: a comparison
    between hard and soft correspondences, 2016 (hard correspondences).
    """
    check_tensor(outline, "outline", (None, None, 2))
    check_tensor(edges, "edges", (len(outline), None, 2))
    check_same_dtype(outline=outline, edges=edges)
    missing = outline.detach().isnan().any(-1)
    if edges.shape[1] == 0 or bool(missing.all(1).any()):
        raise InputError("contour: expected at least one edge point and one vertex in each image")
    with torch.no_grad():
        apart = torch.cdist(edges, outline.nan_to_num())
        nearest = apart.masked_fill(missing[:, None], torch.inf).argmin(-1)
    found = outline.gather(1, nearest[..., None].expand(-1, -1, 2))
    return (found - edges).square().sum(-1).mean()


def outside_loss(points: Tensor, mask: Tensor, *, margin: float = 0.01) -> Tensor:
    """Return how far vertices stick out of a face's mask along their rows, averaged.

    With l and r the first and last mask pixel of the row a vertex lies in, d is its distance to
    the nearer of both over the picture's width, negative between them. The value is the mean of
    max(0, d + margin). Rows without mask, and vertices outside the picture, do not count.

    Args:
        points: (B, V, 2) projected vertices of the face's border, pixels.
        mask: (B, H, W) bool.
        margin: share of the width inside the border that is kept free.

    Raises:
        InputError: shapes or dtypes do not fit.

    Degenerate: 0 where no vertex counts.

    Source: Lei et al., A hierarchical representation network for accurate and detailed face
    reconstruction from in-the-wild images, 2023, the contour-aware loss; as in its code.
    """
    check_tensor(points, "points", (None, None, 2))
    if mask.dtype != torch.bool or mask.dim() != 3 or len(mask) != len(points):
        raise InputError(
            f"mask: expected bool of shape ({len(points)}, H, W), got {mask.dtype} of "
            f"{tuple(mask.shape)}"
        )
    _, height, width = mask.shape
    row = points[..., 1].detach().round().long()
    kept = (row >= 0) & (row < height)
    row = row.clamp(0, height - 1)
    filled = mask.any(-1)
    first = mask.int().argmax(-1)
    last = width - 1 - mask.flip(-1).int().argmax(-1)
    x = points[..., 0]
    left = first.gather(1, row).to(points) - x
    right = x - last.gather(1, row).to(points)
    kept = kept & filled.gather(1, row)
    # Outside on one side only: the larger of the two signed distances.
    out = torch.maximum(left, right) / width
    total = torch.where(kept, (out + margin).clamp(min=0), 0.0).sum()
    return total / kept.sum().clamp(min=1)
