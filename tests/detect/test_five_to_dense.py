"""Five points beside an image (Deep3D's layout) are enough for ``auto`` to place the rest."""

import dataclasses

import numpy as np
import pytest
from skimage import data

from facekit.detect import open_detector
from facekit.errors import ItemError
from facekit.io.images import write_image


def test_auto_places_what_five_points_leave_open(tmp_path):
    image = data.astronaut()
    found = open_detector("builtin").detect(image)
    face = max(found, key=lambda f: f.score)
    path = write_image(tmp_path / "a.png", image)
    (tmp_path / "detections").mkdir()
    moved = face.five + np.array([[1, 0], [-1, 1], [0, 1], [1, -1], [0, -1]])
    np.savetxt(tmp_path / "detections" / "a.txt", moved)
    (placed,) = open_detector("auto").detect(image, path=path)
    np.testing.assert_allclose(placed.five, moved, atol=1e-6)
    eyes = np.linalg.norm(face.ibug68[36] - face.ibug68[45])
    assert np.linalg.norm(placed.ibug68 - face.ibug68, axis=1).mean() < 0.03 * eyes


def test_a_box_alone_is_not_enough():
    detector = open_detector("builtin")
    face = detector.detect(data.astronaut())[0]
    with pytest.raises(ItemError, match="five points"):
        detector.complete(data.astronaut(), dataclasses.replace(face, five=None))
