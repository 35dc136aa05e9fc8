import pytest
import torch
from torch import nn

from facekit.networks.blocks import ConvBlock, PatchStem, fuse_conv_norm, fuse_linear_norm


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
