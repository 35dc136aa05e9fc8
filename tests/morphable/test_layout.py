import json

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.morphable.layout import (
    NAMES,
    CoefficientLayout,
    layout_of_document,
    mirrored_modes,
    model_layout,
)


def test_parts_follow_each_other():
    layout = CoefficientLayout((4, 3, 2, 6, 3, 27))
    assert layout.length == 45
    assert layout.part("identity") == slice(0, 4)
    assert layout.part("albedo") == slice(7, 9)
    assert layout.part("light") == slice(18, 45)


def test_pack_and_unpack():
    layout = model_layout(toy_model())
    rng = np.random.default_rng(0)
    parts = {n: rng.standard_normal(s) for n, s in zip(NAMES, layout.sizes, strict=True)}
    parts["light"] = parts["light"].reshape(9, 3)
    back = layout.unpack(layout.pack(parts))
    for name in NAMES:
        np.testing.assert_allclose(back[name], parts[name], rtol=1e-6)
    many = layout.unpack(np.stack([layout.pack(parts)] * 2))
    assert many["light"].shape == (2, 9, 3)


def test_the_document_survives_json():
    layout = CoefficientLayout((4, 0, 2, 6, 3, 27))
    document = json.loads(json.dumps(layout.document()))
    assert layout_of_document(document, "x") == layout


def test_rejections():
    layout = CoefficientLayout((1, 1, 0, 6, 3, 27))
    with pytest.raises(InputError, match="'light' is missing"):
        layout.pack({name: np.zeros(6) for name in NAMES[:-1]} | _zeros(layout, NAMES[:-1]))
    with pytest.raises(InputError, match="rotation"):
        layout.pack(_zeros(layout, NAMES) | {"rotation": np.zeros(5)})
    with pytest.raises(InputError, match="vectors of 38"):
        layout.unpack(np.zeros(7))
    with pytest.raises(InputError, match="'colour'"):
        layout.part("colour")
    with pytest.raises(InputError, match="lengths"):
        CoefficientLayout((1, 2))
    document = layout.document()
    with pytest.raises(InputError, match=r"x\.pth: expected a coefficient layout"):
        layout_of_document({**document, "schema": "other"}, "x.pth")
    document["parts"]["albedo"] = [3, 5]
    with pytest.raises(InputError, match="does not follow"):
        layout_of_document(document, "x.pth")


def _zeros(layout, names):
    return {name: np.zeros(layout.part(name).stop - layout.part(name).start) for name in names}


def test_mirrored_coefficients_make_the_mirrored_face():
    # Two vertices that mirror each other and one on the axis; an even and an odd mode, mixed.
    mirror = np.array([1, 0, 2])
    even = np.array([[1.0, 0, 2], [-1, 0, 2], [0, 3, 0]])
    odd = np.array([[1.0, 1, 0], [1, -1, 0], [2, 0, 0]])
    modes = np.stack([even + odd, even - odd])
    matrix = mirrored_modes(modes, mirror)
    np.testing.assert_allclose(matrix, [[0, 1], [1, 0]], atol=1e-12)
    c = np.array([0.4, -1.3])
    face = np.tensordot(c, modes, 1)
    np.testing.assert_allclose(
        np.tensordot(matrix @ c, modes, 1), face[mirror] * [-1, 1, 1], atol=1e-12
    )
    assert mirrored_modes(np.zeros((0, 3, 3)), mirror).shape == (0, 0)
    with pytest.raises(InputError, match="left over"):
        mirrored_modes((even + odd)[None], mirror)
