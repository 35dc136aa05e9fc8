import csv

import numpy as np
import pytest
from toy_heads import toy_modes, toy_template

from facekit.basis.build import build_identity_basis
from facekit.basis.styner import basis_curves, write_curves
from facekit.errors import InputError

TEMPLATE = toy_template(rows=9, columns=16)
REST, FACES = TEMPLATE.vertices, TEMPLATE.faces
EVERYWHERE = np.ones(len(REST), bool)


def along(amounts):
    """Heads moved as a whole along x by amounts, mm: one mode of one size everywhere."""
    return REST + np.asarray(amounts, float)[:, None, None] * [1.0, 0.0, 0.0]


def test_shapes_on_a_line_need_one_mode():
    amounts = np.array([-3.0, -1.0, 1.0, 3.0])
    shapes = along(amounts)
    basis = build_identity_basis(shapes, FACES, num_modes=1)
    deviation = np.sqrt((amounts**2).sum() / 3)
    np.testing.assert_allclose(basis.deviations, [deviation], rtol=1e-9)
    curves = basis_curves(shapes, FACES, basis, region=EVERYWHERE, counts=(1,), folds=4, draws=4000)
    np.testing.assert_allclose(curves.compactness, [1.0])
    np.testing.assert_allclose(curves.generalisation, [0.0], atol=1e-5)
    # Random shapes are at c times the deviation, c normal: their distance to the nearest amount.
    drawn = deviation * np.random.default_rng(1).standard_normal(200_000)
    expected = np.abs(drawn[:, None] - amounts).min(axis=1).mean()
    np.testing.assert_allclose(curves.specificity, [expected], rtol=0.05)
    assert abs(curves.specificity[0] - expected) < 5 * curves.specificity_error[0]


def test_what_a_left_out_shape_has_alone_is_its_generalisation_error():
    # Three shapes on a line and one that moves along y: leaving that one out, its 4 mm (about
    # the others' mean) cannot be expressed; the others can.
    shapes = along([-2.0, 0.0, 2.0, 0.0])
    shapes[3, :, 1] += 4.0
    basis = build_identity_basis(shapes, FACES, num_modes=2)
    curves = basis_curves(shapes, FACES, basis, region=EVERYWHERE, counts=(1, 2), folds=4, draws=5)
    np.testing.assert_allclose(curves.generalisation[1], 4.0 / 4, atol=1e-5)


def test_more_modes_generalise_better_and_are_less_specific():
    rng = np.random.default_rng(0)
    shapes = REST + np.tensordot(rng.standard_normal((30, 6)), toy_modes(REST, 6), axes=1)
    basis = build_identity_basis(shapes, FACES, num_modes=6)
    curves = basis_curves(
        shapes, FACES, basis, region=TEMPLATE.regions["face"], counts=(1, 2, 4, 6, 99), draws=100
    )
    assert curves.modes.tolist() == [1, 2, 4, 6]
    assert (np.diff(curves.generalisation) < 0).all() and (np.diff(curves.compactness) > 0).all()
    assert curves.generalisation[-1] < 0.01 and curves.specificity[-1] > curves.specificity[0]
    again = basis_curves(
        shapes, FACES, basis, region=TEMPLATE.regions["face"], counts=(1, 2, 4, 6), draws=100
    )
    np.testing.assert_array_equal(curves.specificity, again.specificity)


def test_curves_are_written(tmp_path):
    shapes = along([-3.0, -1.0, 1.0, 3.0])
    basis = build_identity_basis(shapes, FACES, num_modes=1)
    curves = basis_curves(shapes, FACES, basis, region=EVERYWHERE, counts=(1,), folds=2, draws=9)
    table, picture = write_curves(curves, tmp_path / "model.measures")
    assert table.name == "model.measures.csv" and picture.stat().st_size > 1000
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[0]["modes"] == "1" and float(rows[0]["compactness"]) == 1.0


def test_too_few_shapes_are_refused():
    shapes = along([0.0, 1.0])
    basis = build_identity_basis(shapes, FACES, num_modes=1)
    with pytest.raises(InputError, match="3 shapes"):
        basis_curves(shapes, FACES, basis, region=EVERYWHERE)
    shapes = along([0.0, 1.0, 3.0])
    with pytest.raises(InputError, match="region"):
        basis_curves(shapes, FACES, basis, region=~EVERYWHERE)
    with pytest.raises(InputError, match="counts"):
        basis_curves(shapes, FACES, basis, region=EVERYWHERE, counts=(50,))
