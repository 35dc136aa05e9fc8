import pytest
import torch
from torch import nn

from facekit.errors import InputError
from facekit.learn.grow import grow
from facekit.networks.detector import DetectorNetwork
from facekit.networks.landmarks import LandmarkNetwork


def _used(network: nn.Module) -> nn.Module:
    """Give batch norms statistics and weights that are not those of the start."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (
            LandmarkNetwork(size=64, widths=(4, 8, 8, 8), depths=(1, 2, 1, 1), hidden=8),
            LandmarkNetwork(size=64, widths=(4, 12, 16, 12), depths=(1, 2, 1, 1), hidden=20),
        ),
        (
            DetectorNetwork(widths=(4, 8, 8, 8), depths=(1, 2, 1, 1), neck=8),
            DetectorNetwork(widths=(8, 8, 12, 16), depths=(1, 2, 1, 1), neck=12),
        ),
    ],
)
def test_a_grown_network_computes_what_the_narrow_one_did(narrow, wide):
    _used(narrow)
    grow(wide, narrow.state_dict())
    images = 255 * torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, got = narrow(images), wide.eval()(images)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_new_channels_learn():
    narrow = _used(DetectorNetwork(widths=(4, 4, 4, 4), depths=(1, 1, 1, 1), neck=4))
    wide = DetectorNetwork(widths=(4, 4, 4, 8), depths=(1, 1, 1, 1), neck=4)
    grow(wide, narrow.state_dict())
    sum(m.square().mean() for m in wide(255 * torch.rand(2, 3, 64, 64))).backward()
    lateral = wide.laterals[-1].weight.grad
    assert (lateral[:, 4:].abs().sum(dim=(0, 2, 3)) > 0).any()


def test_a_network_does_not_shrink():
    state = nn.Linear(4, 4).state_dict()
    with pytest.raises(InputError, match="can only grow"):
        grow(nn.Linear(4, 3), state)
    with pytest.raises(InputError, match="one network only"):
        grow(nn.Sequential(nn.Linear(4, 4)), state)
