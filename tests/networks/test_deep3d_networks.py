import pytest
import torch

from facekit.errors import InputError
from facekit.networks.deep3d import ConfidenceNetwork, Deep3DNetwork, aggregate
from facekit.networks.resnet import ResNet

SIZES = (80, 64, 80, 3, 27, 2, 1)


@pytest.mark.parametrize(
    ("name", "units", "weights"), [("resnet18", 512, 11_176_512), ("resnet50", 2048, 23_508_032)]
)
def test_backbones_have_the_published_size(name, units, weights):
    network = ResNet(name).eval()
    # The classifiers' 11,689,512 and 25,557,032 less their last layers of 1000 classes.
    assert sum(p.numel() for p in network.parameters()) == weights
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, units, 1, 1)
    names = network.state_dict().keys()
    assert "layer2.0.downsample.0.weight" in names and "layer4.1.bn2.running_var" in names


def test_the_stride_lies_on_the_3x3_convolution():
    block = ResNet("resnet50").layer2[0]
    assert block.conv1.stride == (1, 1) and block.conv2.stride == (2, 2)


def test_a_classifiers_weights_load_by_name():
    torch.manual_seed(0)
    one, two = ResNet("resnet18").eval(), ResNet("resnet18").eval()
    weights = {k: v for k, v in one.state_dict().items() if "num_batches" not in k}
    two.load_classifier({**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1)})
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(one(images), two(images))
    with pytest.raises(InputError, match="differs"):
        two.load_classifier(ResNet("resnet50").state_dict())
    with pytest.raises(InputError, match="resnet18"):
        ResNet("resnet34")


def test_seven_heads_start_at_zero():
    torch.manual_seed(0)
    network = Deep3DNetwork(SIZES, backbone="resnet18")
    assert [head.out_channels for head in network.heads] == list(SIZES)
    assert not any(p.any() for p in network.heads.parameters())
    out = network(torch.rand(2, 3, 64, 64))
    assert out.shape == (2, 257) and not out.any()
    # Zero is a start, not an end: every head gets a gradient.
    (out - 1).square().sum().backward()
    assert all(head.weight.grad.any() and head.bias.grad.any() for head in network.heads)
    without = Deep3DNetwork((80, 53, 0, 3, 27, 2, 1), backbone="resnet18")
    assert without(torch.rand(2, 3, 64, 64)).shape == (2, 166)


def test_the_confidence_starts_even_and_stays_positive():
    torch.manual_seed(0)
    network = ConfidenceNetwork(16, 5, hidden=8)
    features = torch.randn(6, 16, 1, 1)
    assert torch.equal(network(features), torch.ones(6, 5))
    torch.nn.init.normal_(network.confidence.weight, std=50)
    found = network(features)
    assert (found > 0).all() and found.max() <= torch.e**3 + 1e-3


def test_the_aggregate_is_the_weighted_mean_of_each_set():
    identity = torch.tensor([[1.0, 10], [3, 20], [5, 30]])
    sets = torch.tensor([0, 0, 1])
    even = aggregate(identity, torch.ones(3, 2), sets, 2)
    torch.testing.assert_close(even, torch.tensor([[2.0, 15], [5, 30]]))
    weighted = aggregate(identity, torch.tensor([[3.0, 1], [1, 1], [7, 7]]), sets, 2)
    torch.testing.assert_close(weighted, torch.tensor([[1.5, 15], [5, 30]]))
    # Of one size for all: the scale of the confidences does not matter.
    torch.testing.assert_close(aggregate(identity, torch.full((3, 2), 0.01), sets, 2), even)
    i, c = identity.double().requires_grad_(), torch.rand(3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: aggregate(a, b.exp(), sets, 2), (i, c))
