import dataclasses

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.morphable import load_model
from facekit.morphable.arkit import ARKIT_NAMES, arkit_modes, arkit_sources, arkit_weights


def test_the_names_are_arkits():
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52
    assert {"jawOpen", "eyeBlinkLeft", "mouthLeft", "browInnerUp", "tongueOut"} <= set(ARKIT_NAMES)
    assert "browInnerUpLeft" not in ARKIT_NAMES


def test_every_mode_of_the_built_in_model_is_used_once():
    model = load_model("builtin")
    sources = arkit_sources(model)
    used = sorted(row for rows in sources.values() for row in rows)
    assert used == list(range(model.num_expression))
    assert [name for name, rows in sources.items() if not rows] == ["tongueOut"]
    names = model.expression_names
    assert [names[i] for i in sources["mouthLeft"]] == ["mouthLeft"]
    assert [names[i] for i in sources["mouthSmileRight"]] == ["mouthSmile_R"]
    assert [names[i] for i in sources["cheekPuff"]] == ["cheekPuff_L", "cheekPuff_R"]


def test_symmetric_weights_give_back_the_same_shape():
    model = load_model("builtin")
    expression = np.zeros(model.num_expression)
    for index, name in enumerate(model.expression_names):
        expression[index] = 0.1 + 0.01 * (len(name.removesuffix("_L").removesuffix("_R")) % 7)
    weights = arkit_weights(model, expression)
    shape = model.mean + sum(weights[name] * offset for name, offset in arkit_modes(model))
    np.testing.assert_allclose(shape, model.shape(None, expression), atol=2e-3)


def test_one_sided_weights_of_a_shape_of_both_sides_are_averaged():
    model = dataclasses.replace(
        toy_model(), expression_names=("jawOpen", "browInnerUp_L", "browInnerUp_R", "other")
    )
    weights = arkit_weights(model, np.array([0.2, 0.8, 0.4, 1.0]))
    assert weights["jawOpen"] == pytest.approx(0.2)
    assert weights["browInnerUp"] == pytest.approx(0.6)
    assert weights["mouthFunnel"] == 0
    modes = dict(arkit_modes(model))
    np.testing.assert_allclose(
        modes["browInnerUp"], model.expression_modes[1] + model.expression_modes[2]
    )
    assert not modes["tongueOut"].any()


def test_wrong_coefficients_are_refused():
    with pytest.raises(InputError):
        arkit_weights(toy_model(), np.zeros(9))
