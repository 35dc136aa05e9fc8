import pytest
import torch

from facekit.errors import InputError
from facekit.networks.detector import STRIDES, DetectorExport, DetectorNetwork
from facekit.networks.landmarks import LandmarkExport, LandmarkNetwork


def test_landmark_network_starts_from_the_mean_shape():
    mean = torch.randn(478, 2) * 0.2
    model = LandmarkNetwork(size=64, widths=(4, 8, 8, 8), depths=(1, 1, 1, 1), hidden=8).eval()
    model.set_mean_shape(mean)
    out = model(torch.rand(3, 3, 64, 64) * 255)
    assert out.points.shape == (3, 478, 2)
    assert torch.allclose(out.points, mean.expand(3, -1, -1))
    assert out.log_sigma.shape == (3, 68) and out.presence.shape == (3, 1)


def test_landmark_export_is_the_same_function_on_bytes():
    torch.manual_seed(0)
    model = LandmarkNetwork(size=64, widths=(4, 8, 8, 8), depths=(1, 2, 1, 1), hidden=8)
    torch.nn.init.normal_(model.points.weight)
    for _ in range(3):
        model(torch.rand(8, 3, 64, 64) * 255)
    model.eval()
    image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(image.permute(0, 3, 1, 2).float())
        points, log_sigma, presence = LandmarkExport(model)(image)
    assert torch.allclose(points, expected.points, atol=1e-4)
    assert torch.allclose(log_sigma, expected.log_sigma, atol=1e-4)
    assert torch.allclose(presence, torch.sigmoid(expected.presence), atol=1e-5)


def test_detector_maps_have_their_strides_and_see_translation():
    torch.manual_seed(0)
    model = DetectorNetwork(widths=(4, 4, 4, 4), depths=(1, 1, 1, 1), neck=4).eval()
    image = torch.zeros(1, 3, 256, 320)
    image[..., 100:120, 100:120] = 255
    with torch.no_grad():
        maps = model(image)
        moved = model(torch.roll(image, 32, dims=-1))
    for stride, grid, other in zip(STRIDES, maps, moved, strict=True):
        assert grid.shape == (1, 15, 256 // stride, 320 // stride)
        step = 32 // stride
        # Away from the borders a shift by the coarsest stride shifts every map.
        inner = slice(64 // stride, 192 // stride)
        a, b = grid[..., inner], other[..., 64 // stride + step : 192 // stride + step]
        assert torch.allclose(a, b, atol=1e-3)


def test_detector_starts_from_rare_faces():
    model = DetectorNetwork().eval()
    with torch.no_grad():
        scores = torch.sigmoid(
            torch.cat([m[:, 0].flatten() for m in model(torch.zeros(1, 3, 64, 64))])
        )
    assert 0.005 < float(scores.mean()) < 0.05


def test_detector_export_calibrates_the_logit_alone():
    torch.manual_seed(1)
    model = DetectorNetwork(widths=(4, 4, 4, 4), depths=(1, 1, 1, 1), neck=4).eval()
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        before = model(image.permute(0, 3, 1, 2).float())
        after = DetectorExport(model, slope=2.0, offset=-0.5)(image)
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(2.0 * a[:, 0] - 0.5, b[:, 0], atol=1e-4)
        assert torch.allclose(a[:, 1:], b[:, 1:], atol=1e-4)


def test_crops_are_whole_patches():
    with pytest.raises(InputError, match="multiple of 40 pixels, got 64"):
        LandmarkNetwork(size=64, patch=5)
