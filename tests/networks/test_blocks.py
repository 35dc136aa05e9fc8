import pytest
import torch
from torch import nn

from facekit.networks.blocks import (
    ConvBlock,
    Normalise,
    PatchStem,
    fold_normalisation,
    fuse_conv_norm,
    fuse_linear_norm,
)


def shake(module):
    """Give batch norms statistics and weights that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for child in module.modules():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            child.running_mean.normal_(generator=generator)
            child.running_var.uniform_(0.5, 2, generator=generator)
            child.weight.data.uniform_(0.5, 2, generator=generator)
            child.bias.data.normal_(generator=generator)
    return module.eval()


@pytest.mark.parametrize(
    "block",
    [
        ConvBlock(6, 6),
        ConvBlock(6, 9),
        ConvBlock(6, 6, stride=2),
        PatchStem(8, patch=4, channels_in=6),
    ],
)
def test_fused_is_the_same_function(block):
    shake(block)
    x = torch.randn(2, 6, 16, 16)
    with torch.no_grad():
        assert torch.allclose(block.fused()(x), block(x), atol=1e-5)


def test_residual_exists_only_where_shapes_agree():
    assert ConvBlock(4, 4).residual
    assert not ConvBlock(4, 5).residual and not ConvBlock(4, 4, stride=2).residual


def test_linear_and_norm():
    linear, norm = nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3)
    shake(nn.ModuleList([norm]))
    x = torch.randn(7, 5)
    with torch.no_grad():
        assert torch.allclose(fuse_linear_norm(linear, norm)(x), norm(linear(x)), atol=1e-6)


def test_a_norm_without_statistics_is_refused():
    with pytest.raises(ValueError, match="running statistics"):
        fuse_conv_norm(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))


def test_a_stem_takes_pixels_as_they_are():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 4, 4)
    images = torch.randint(0, 256, (2, 3, 16, 16)).float()
    with torch.no_grad():
        expected = conv(Normalise()(images))
        fold_normalisation(conv)
        torch.testing.assert_close(conv(images), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="without padding"):
        fold_normalisation(nn.Conv2d(3, 5, 3, padding=1))
