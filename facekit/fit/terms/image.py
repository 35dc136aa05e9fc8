"""Terms that compare pictures: colours under a mask, and silhouettes."""

from __future__ import annotations

from torch import Tensor

from facekit.errors import InputError
from facekit.fit.terms.checks import check_same_dtype, check_tensor

# Under the root, in squares of images in [0, 1]: that of Deep3D's code.
EPSILON = 1e-6


def photometric_loss(
    rendered: Tensor, image: Tensor, mask: Tensor, *, epsilon: float = EPSILON
) -> Tensor:
    """Return the masked L2,1 colour difference, one number.

    Computes sum_p M_p sqrt(epsilon + |I_p - I'_p|^2) / max(sum_p M_p, 1) over the pixels of the
    whole batch.

    Args:
        rendered, image: (B, H, W, 3) in one colour space, in [0, 1].
        mask: (B, H, W), at least 0: the probability of skin times the rendered coverage (the
            coverage without its gradient, so that hiding pixels does not pay).
        epsilon: keeps the root smooth at no difference.

    Raises:
        InputError: shapes or dtypes do not fit, or epsilon is not positive.

    Degenerate: an empty mask gives 0.

    Source: Deng et al., Accurate 3D face reconstruction with weakly-supervised learning: from
    single image to image set, 2019, eq. 2; divisor and epsilon are those of its PyTorch code.
    For one-pass kernels on a mesh see ``render.differentiable.photometric``.
    """
    check_tensor(rendered, "rendered", (None, None, None, 3))
    check_tensor(image, "image", tuple(rendered.shape))
    check_tensor(mask, "mask", tuple(rendered.shape[:3]))
    check_same_dtype(rendered=rendered, image=image, mask=mask)
    if not epsilon > 0:
        raise InputError(f"epsilon: expected a positive number, got {epsilon}")
    root = (epsilon + (rendered - image).square().sum(-1)).sqrt()
    return (mask * root).sum() / mask.sum().clamp(min=1)


def silhouette_loss(coverage: Tensor, mask: Tensor) -> Tensor:
    """Return 1 minus the soft overlap of two silhouettes, averaged over the batch.

    Computes 1 - sum S T / sum (S + T - S T) for each image.

    Args:
        coverage: (B, H, W), drawn with antialiasing, in [0, 1]: its gradient moves the outline.
        mask: (B, H, W) in [0, 1], where the object is in the photograph.

    Raises:
        InputError: shapes or dtypes do not fit.

    Degenerate: two empty silhouettes agree: 0.

    Source: Liu, Li, Chen and Li, Soft Rasterizer, 2019, the silhouette term.
    """
    check_tensor(coverage, "coverage", (None, None, None))
    check_tensor(mask, "mask", tuple(coverage.shape))
    check_same_dtype(coverage=coverage, mask=mask)
    both = (coverage * mask).sum((1, 2))
    either = (coverage + mask - coverage * mask).sum((1, 2))
    overlap = (both + (either == 0)) / (either + (either == 0))
    return (1 - overlap).mean()
