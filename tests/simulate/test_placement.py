import numpy as np

from facekit.morphable import load_model
from facekit.simulate.placement import placement_offsets
from facekit.simulate.sampler import PortraitOptions, PortraitSampler


def marks():
    model = load_model("builtin")
    return model.landmark_points("ibug68", model.mean.astype(float))


def test_brows_and_lips_move_and_nothing_else():
    points = marks()
    offsets = placement_offsets(np.random.default_rng(0), points, 3.0)
    still = [*range(17), *range(27, 48)]
    assert not offsets[still].any()
    assert offsets[17:27, 1].any() and offsets[48:, 1].any()
    # Both brows alike, mirrored.
    np.testing.assert_allclose(offsets[17:22, 1], offsets[26:21:-1, 1], atol=1e-12)
    np.testing.assert_allclose(offsets[17:22, 0], -offsets[26:21:-1, 0], atol=1e-12)


def test_the_height_has_its_deviation():
    points = marks()
    heights = [
        placement_offsets(np.random.default_rng(seed), points, 2.0)[19, 1] for seed in range(400)
    ]
    assert 1.8 < np.std(heights) < 2.3
    assert not placement_offsets(np.random.default_rng(0), points, 0.0).any()


def test_only_the_paint_moves_in_the_picture():
    options = PortraitOptions(size=96, face_fraction=(0.6, 0.6), supersample=1)
    moved = PortraitOptions(size=96, face_fraction=(0.6, 0.6), supersample=1, placement_mm=4.0)
    model = load_model("builtin")
    one = PortraitSampler(model, seed=5, options=options).sample(0)
    two = PortraitSampler(model, seed=5, options=moved).sample(0)
    np.testing.assert_array_equal(one.landmarks_2d, two.landmarks_2d)
    np.testing.assert_array_equal(one.depth_mm, two.depth_mm)
    assert (one.image != two.image).any()
