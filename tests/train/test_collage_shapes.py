import numpy as np

from facekit.train.collage_shapes import cover_mask


def test_covers_hide_a_part_of_the_face_and_hardly_ever_all():
    box = np.array([60.0, 50.0, 80.0, 100.0])
    shares = []
    for seed in range(200):
        mask = cover_mask(box, 200, np.random.default_rng(seed))
        assert mask.shape == (200, 200) and set(np.unique(mask)) <= {0, 255}
        shares.append((mask[50:150, 60:140] > 0).mean())
    shares = np.array(shares)
    assert (shares > 0).mean() > 0.9
    assert shares.max() < 0.75
    assert 0.05 < np.median(shares) < 0.4


def test_a_face_beyond_the_canvas_is_no_error():
    box = np.array([190.0, -60.0, 80.0, 100.0])
    for seed in range(20):
        assert cover_mask(box, 200, np.random.default_rng(seed)).shape == (200, 200)
