"""A narrower network that begins with the strongest channels of a wider one."""

import pytest
import torch

from facekit.errors import InputError
from facekit.learn.grow import grow
from facekit.networks.params import ParameterNetwork
from facekit.networks.slim import slim


def network(widths=(8, 12), hidden=10, *, depths=(2, 2), size=32, length=5, seed=0):
    torch.manual_seed(seed)
    made = ParameterNetwork(length, size=size, patch=4, widths=widths, depths=depths, hidden=hidden)
    for layer in (made.coefficients, made.spread):
        torch.nn.init.normal_(layer.weight)
    return made.eval()


def outputs(made):
    torch.manual_seed(9)
    return made(255 * torch.rand(3, 3, made.size, made.size))


def same(first, second):
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(first, second, strict=True))


def test_what_nobody_reads_is_what_goes():
    """Growth adds channels that are read by nobody: slimming must find and drop exactly those."""
    narrow = network()
    wide = network((14, 20), 17, seed=1)
    grow(wide, narrow.state_dict())
    wide.eval()
    with torch.no_grad():
        # New channels feed nothing old; their readers among the new ones do not count either.
        for layer in (wide.coefficients, wide.spread, wide.presence):
            layer.weight[:, 10:] = 0
        for block in wide.features[1:]:
            block.conv.weight[:, 8 if block.conv.in_channels == 14 else 12 :] = 0
        wide.hidden.weight.view(17, 20, -1)[:, 12:] = 0
    again = network(seed=2)
    slim(again, wide)
    assert same(outputs(again.eval()), outputs(narrow))


def test_equal_widths_are_a_copy():
    first, second = network(), network(seed=3)
    first.set_scale(torch.arange(5.0), torch.arange(1.0, 6))
    assert not same(outputs(first), outputs(second))
    slim(second, first)
    assert same(outputs(first), outputs(second.eval()))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"widths": (8, 10)}, "at most 10 channels, got 12"),
        ({"hidden": 6}, "hidden: expected at most 6"),
        ({"depths": (2, 3)}, "stem, depths"),
        ({"size": 64}, "same grid"),
        ({"length": 4}, "5 coefficients, got 4"),
    ],
)
def test_networks_that_do_not_fit(other, said):
    with pytest.raises(InputError, match=said):
        slim(network(), network(**other))
