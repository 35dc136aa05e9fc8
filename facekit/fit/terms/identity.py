"""The identity-feature term: rendered and photographed face, seen by a face recogniser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from facekit.errors import InputError
from facekit.fit.terms.checks import check_same_dtype, check_tensor

# Where ArcFace's 112-px crop has the eyes, nose tip and mouth corners, the person's right first.
ARCFACE_FIVE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)

Embedding = Callable[[Tensor], Tensor]


def identity_loss(
    embedding: Embedding,
    image: Tensor,
    rendered: Tensor,
    image_five: Tensor,
    rendered_five: Tensor,
    *,
    size: int = 112,
) -> Tensor:
    """Return one minus the cosine of both pictures' identity features, averaged over the batch.

    Both are warped by the similarity that takes their five points to ``ARCFACE_FIVE`` and mapped
    from [0, 1] to [-1, 1]. The gradient goes to the rendered picture; the points only say where
    the face is.

    Args:
        embedding: crops (B, 3, size, size) in [-1, 1], RGB, to features (B, K): any torch module
            in evaluation mode, or ``onnx_network.load_onnx`` of a network file.
        image, rendered: (B, H, W, 3) sRGB in [0, 1]; they may differ in size.
        image_five, rendered_five: (B, 5, 2) right eye, left eye, nose tip, right and left mouth
            corner, pixels; of the rendered picture, its own predicted ones.
        size: side of the crop.

    Raises:
        InputError: shapes or dtypes do not fit, five points fall together, or the network does not
            give one feature vector for each crop.

    Degenerate: a feature of length zero counts as cosine 0.

    Source: Deng et al., 2019, eq. 4; crop and points of Deng, Guo, Xue and Zafeiriou, ArcFace,
    2019.
    """
    check_tensor(image, "image", (None, None, None, 3))
    check_tensor(rendered, "rendered", (len(image), None, None, 3))
    check_same_dtype(image=image, rendered=rendered)
    with torch.no_grad():
        seen = embedding(2 * warp(image, image_five, size=size) - 1)
    drawn = embedding(2 * warp(rendered, rendered_five, size=size) - 1)
    for name, feature in (("image", seen), ("rendered", drawn)):
        if feature.dim() != 2 or len(feature) != len(image):
            raise InputError(
                f"embedding: expected ({len(image)}, K) features of the {name}, got "
                f"{tuple(feature.shape)}"
            )
    return (1 - functional.cosine_similarity(seen, drawn, dim=1)).mean()


def warp(picture: Tensor, five: Tensor, *, size: int = 112) -> Tensor:
    """Return crops (B, C, size, size) in which five points (B, 5, 2) lie at ArcFace's places.

    Bilinear, zero outside; pixel (0, 0) is the CENTRE of the top-left pixel in both pictures. The
    gradient goes to the picture (B, H, W, C), not to the points.

    Raises:
        InputError: shapes do not fit, or all five points of an image are equal.
    """
    check_tensor(picture, "picture", (None, None, None, None))
    check_tensor(five, "five", (len(picture), 5, 2))
    _, height, width, _ = picture.shape
    target = torch.tensor(ARCFACE_FIVE, dtype=torch.float64).to(picture) * (size / 112)
    # From the crop to the picture: y = a x + b in complex numbers.
    a, b = _similarity(target.expand(len(picture), -1, -1), five.detach().to(picture))
    steps = torch.arange(size, dtype=picture.dtype, device=picture.device)
    grid = torch.complex(*torch.meshgrid(steps, steps, indexing="xy"))
    place = a[:, None, None] * grid + b[:, None, None]
    x = (2 * place.real + 1) / width - 1
    y = (2 * place.imag + 1) / height - 1
    return functional.grid_sample(
        picture.movedim(-1, 1), torch.stack([x, y], -1), mode="bilinear", align_corners=False
    )


def _similarity(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The least-squares a, b (B,) of target = a source + b, points as complex numbers."""
    p, q = (torch.view_as_complex(points.contiguous()) for points in (source, target))
    centre_p, centre_q = p.mean(1, keepdim=True), q.mean(1, keepdim=True)
    p, q = p - centre_p, q - centre_q
    if bool((q.abs().sum(1) == 0).any()):
        raise InputError("warp: all five points of a face are equal, so no crop is defined")
    a = (p.conj() * q).sum(1) / p.abs().square().sum(1)
    return a, (centre_q - a[:, None] * centre_p)[:, 0]
