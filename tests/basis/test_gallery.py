import json

import numpy as np
import pytest
from toy_scans import scan_model

from facekit.basis.gallery import draw_modes, write_random_heads
from facekit.errors import InputError
from facekit.io.images import read_image
from facekit.io.meshes import read_mesh


def test_the_page_shows_what_a_mode_moves(tmp_path):
    path = draw_modes(scan_model(), tmp_path / "modes.png", shape=2, expression=1, size=60)
    page = read_image(path).astype(float)
    # Three lines of modes, two side by side; each head is drawn from two sides.
    assert page.shape == (30 + 2 * (60 + 22), 2 * (6 * 60 + 20), 3)
    low, high = page[52:112, 0:60], page[52:112, 240:300]
    assert np.abs(low - high).mean() > 1.0


def test_random_heads_have_their_coefficients(tmp_path):
    model = scan_model()
    paths = write_random_heads(model, tmp_path / "a", count=3, seed=5, suffix=".ply")
    table = json.loads((tmp_path / "a" / "heads.json").read_text())
    assert table["model_sha256"] == model.sha256 and len(table["heads"]) == 3
    for path, row in zip(paths, table["heads"], strict=True):
        shape = model.shape(np.array(row["identity"]), np.array(row["expression"]))
        np.testing.assert_allclose(read_mesh(path).vertices, shape, atol=1e-3)
        assert np.abs(row["identity"]).max() <= 2 and not any(row["expression"])


def test_a_head_depends_on_its_number_and_the_seed_alone(tmp_path):
    model = scan_model()
    few = write_random_heads(model, tmp_path / "a", count=1, seed=1)
    more = write_random_heads(model, tmp_path / "b", count=2, seed=1, expressions=False)
    assert few[0].read_bytes() == more[0].read_bytes()
    assert more[0].read_bytes() != more[1].read_bytes()
    with pytest.raises(InputError, match="at least 1"):
        write_random_heads(model, tmp_path / "c", count=0)
