import numpy as np
import pytest

from facekit.detect.faces import CROP_MARGIN
from facekit.detect.landmark_sets import FLIP478
from facekit.detect.passes import PASSES, TOLERANCE, VIEWS, Candidate, PointNetwork

# Points of a face in image pixels; its first half mirrors onto its second.
RNG = np.random.default_rng(0)
HALF = RNG.uniform(-1, 1, (478, 2))
FACE = 40 * 0.5 * (HALF + HALF[FLIP478] * [-1, 1]) + [150, 120]


class Sees:
    """A network that finds the face wherever a crop shows it, by the gradient of the image."""

    def __init__(self, sha, size, margin=None, shift=0.0):
        self.sha256, self.size, self.shift = sha * 64, size, shift
        self.metadata = {"facekit.size": str(size)}
        if margin is not None:
            self.metadata["facekit.margin"] = str(margin)
        self.shapes = []

    def __call__(self, image):
        self.shapes.append(image.shape)
        points = np.empty((len(image), 478, 2), np.float32)
        for k, crop in enumerate(image):
            points[k] = place(crop) + self.shift / self.size
        log_sigma = np.full((len(image), 68), np.log(0.02), np.float32)
        return {"points": points, "log_sigma": log_sigma, "presence": np.ones((len(image), 1))}


def place(crop):
    """Fractions of the crop at which it shows the face, from red = x and green = y."""
    size = len(crop)
    y, x = np.mgrid[:size, :size]
    inner = (x > 0.2 * size) & (x < 0.8 * size) & (y > 0.2 * size) & (y < 0.8 * size)
    grid = np.column_stack([x[inner], y[inner], np.ones(inner.sum())])
    to_image = np.linalg.lstsq(grid, crop[inner][:, :2].astype(float), rcond=None)[0]
    inverse = np.linalg.inv(to_image[:2])
    mirrored = np.linalg.det(to_image[:2]) < 0
    pixels = ((FACE[FLIP478] if mirrored else FACE) - to_image[2]) @ inverse
    return (pixels + 0.5) / size - 0.5


@pytest.fixture
def image():
    y, x = np.mgrid[:240, :255]
    return np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)


def candidate():
    low, high = FACE.min(0), FACE.max(0)
    five = np.array([[130.0, 110], [170, 110], [150, 125], [135, 140], [165, 140]])
    return Candidate(np.concatenate([low, high - low]), 0.9, five)


def test_passes_and_views(image):
    network = Sees("a", 96, margin=1.1)
    points, confidence, presence = PointNetwork(network).place(image, [candidate(), candidate()])
    assert network.shapes == [(2, 96, 96, 3)] * PASSES + [(2 * len(VIEWS), 96, 96, 3)] * 2
    np.testing.assert_allclose(points[0], FACE, atol=0.6)
    np.testing.assert_allclose(points[1], points[0])
    assert presence.shape == (2,)
    # The spread is told in the network's crops, the tolerance in the usual ones.
    expected = 1 - np.exp(-TOLERANCE * CROP_MARGIN / (0.02 * 1.1))
    np.testing.assert_allclose(confidence, expected, rtol=1e-5)


def test_the_mirror_image_cancels_a_shift_across(image):
    """What a network errs by to one side, it errs by to the other in the mirror image."""
    steady, shifted = (
        PointNetwork(Sees("a", 96, shift=shift)).place(image, [candidate()])[0][0]
        for shift in (0.0, 3.0)
    )
    # Each pass follows the shift of the one before; the last one's own cancels out.
    offset = shifted - steady
    drift = offset[:, 0].mean()
    assert offset[:, 0] == pytest.approx(drift, abs=0.2)
    assert offset[:, 1].mean() > drift + 0.5
