"""Each term against its formula written out, finite differences, its degenerate cases."""

import numpy as np
import pytest
import torch

from facekit.errors import InputError
from facekit.fit.terms.image import photometric_loss, silhouette_loss
from facekit.fit.terms.points import (
    adam_landmark_weights,
    contour_loss,
    deep3d_landmark_weights,
    landmark_loss,
    outside_loss,
)
from facekit.fit.terms.surface import (
    DEEP3D_PRIOR,
    albedo_constancy,
    albedo_symmetry,
    coefficient_prior,
    light_whiteness,
)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


MASK = (draw(2, 5, 6, seed=3) > 0.4).double()
MIRROR = torch.tensor([1, 0, 2, 4, 3])


IMAGE, EDGES, MARKS = draw(2, 5, 6, 3), 5 * draw(2, 9, 2), draw(2, 68, 2)
# Roots have a kink where two things agree, which finite differences see: a larger epsilon there.
TERMS = {
    "photometric": (
        lambda r: photometric_loss(r, IMAGE, MASK, epsilon=1e-3),
        [draw(2, 5, 6, 3, seed=1)],
    ),
    "silhouette": (lambda c: silhouette_loss(c, MASK), [draw(2, 5, 6)]),
    "landmark": (
        lambda p: landmark_loss(p, MARKS, deep3d_landmark_weights()),
        [draw(2, 68, 2, seed=1)],
    ),
    "contour": (lambda p: contour_loss(p, EDGES), [5 * draw(2, 7, 2, seed=1)]),
    "outside": (lambda p: outside_loss(p, MASK > 0), [7 * draw(2, 12, 2)]),
    "prior": (
        lambda a, b: coefficient_prior({"identity": a, "albedo": b}),
        [draw(2, 4), draw(2, 3)],
    ),
    "constancy": (lambda a: albedo_constancy(a, draw(5)), [draw(2, 5, 3)]),
    "symmetry": (lambda a: albedo_symmetry(a, MIRROR, epsilon=1e-3), [draw(2, 5, 3)]),
    "whiteness": (light_whiteness, [draw(2, 9, 3)]),
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_equal_finite_differences(name):
    term, tensors = TERMS[name]
    assert torch.autograd.gradcheck(term, tuple(t.clone().requires_grad_() for t in tensors))


def test_photometric_is_the_masked_sum_of_colour_distances():
    rendered, image = torch.zeros(1, 2, 2, 3).double(), torch.zeros(1, 2, 2, 3).double()
    image[0, 0, 0] = torch.tensor([0.2, 0.3, 0.6])
    image[0, 1, 1] = 1.0
    mask = torch.tensor([[[1.0, 0.5], [1.0, 0.0]]]).double()
    expected = (0.7 + 1.5 * 1e-3) / 2.5
    assert float(photometric_loss(rendered, image, mask)) == pytest.approx(expected, rel=1e-5)
    assert float(photometric_loss(rendered, image, 0 * mask)) == 0
    with pytest.raises(InputError, match="mask: expected shape"):
        photometric_loss(rendered, image, mask[:, :1])
    with pytest.raises(InputError, match="epsilon"):
        photometric_loss(rendered, image, mask, epsilon=-1.0)


def test_silhouettes_that_agree_are_free_and_disjoint_ones_cost_all():
    mask = torch.zeros(1, 4, 4)
    mask[0, :2] = 1
    assert float(silhouette_loss(mask, mask)) == 0
    assert float(silhouette_loss(1 - mask, mask)) == 1
    half = mask.clone()
    half[0, 1] = 0
    assert float(silhouette_loss(half, mask)) == pytest.approx(0.5)
    assert float(silhouette_loss(0 * mask, 0 * mask)) == 0
    coverage = torch.zeros(1, 4, 4, requires_grad=True)
    assert torch.isfinite(
        torch.autograd.grad(silhouette_loss(coverage, 0 * mask), coverage)[0]
    ).all()


def test_published_landmark_weights():
    ours = deep3d_landmark_weights()
    assert [k for k in range(68) if ours[k] == 20] == [28, 29, 30, *range(60, 68)]
    assert float(ours.sum()) == 57 + 11 * 20
    adam = adam_landmark_weights()
    assert float(adam.sum()) == pytest.approx(1)
    heavy = [k for k in range(68) if adam[k] == adam.max()]
    assert heavy == [28, 29, 30, *range(48, 68)]
    assert float(adam.max() / adam.min()) == pytest.approx(10)


def test_landmark_loss_by_hand():
    points = torch.zeros(2, 3, 2)
    target = torch.tensor([[[3.0, 4], [0, 0], [0, 0]], [[0, 0], [0, 1], [0, 0]]])
    weights = torch.tensor([1.0, 2.0, 5.0])
    assert float(landmark_loss(points, target, weights)) == pytest.approx((25 + 2) / 6)
    assert float(landmark_loss(points, target, weights, average=False)) == pytest.approx(27 / 2)
    with pytest.raises(InputError, match="weights of at least 0"):
        landmark_loss(points, target, -weights)
    with pytest.raises(InputError, match="weights: expected shape"):
        landmark_loss(points, target, weights[:2])


def test_contour_pulls_the_nearest_vertex_of_each_edge_point():
    outline = torch.tensor([[[0.0, 0], [10, 0], [torch.nan, torch.nan]]], requires_grad=True)
    edges = torch.tensor([[[1.0, 2], [9.0, 0]]])
    value = contour_loss(outline, edges)
    assert float(value.detach()) == pytest.approx((5 + 1) / 2)
    (gradient,) = torch.autograd.grad(value, outline)
    np.testing.assert_allclose(gradient[0], [[-1, -2], [1, 0], [0, 0]])
    with pytest.raises(InputError, match="at least one edge point"):
        contour_loss(outline, edges[:, :0])
    with pytest.raises(InputError, match="one vertex in each image"):
        contour_loss(outline.detach() * torch.nan, edges)


def test_only_vertices_outside_the_mask_cost():
    mask = torch.zeros(1, 8, 20, dtype=torch.bool)
    mask[0, 2:6, 5:15] = True
    points = torch.tensor([[[10.0, 3], [2, 3], [16.0, 4], [1, 0], [10, 40]]])
    # Left by 3 and right by 2 of 20; the row without mask and the one outside do not count.
    expected = (3 / 20 + 2 / 20) / 3
    assert float(outside_loss(points, mask, margin=0.0)) == pytest.approx(expected)
    assert float(outside_loss(points, mask)) == pytest.approx(expected + 0.02 / 3)
    assert float(outside_loss(points, ~mask & mask)) == 0
    with pytest.raises(InputError, match="expected bool"):
        outside_loss(points, mask.float())


def test_prior_sums_blocks_with_the_published_weights():
    blocks = {
        "identity": torch.full((2, 3), 2.0),
        "expression": torch.full((2, 2), 1.0),
        "albedo": torch.full((2, 1), 10.0),
    }
    expected = (1.0 * 24 + 0.8 * 4 + 1.7e-2 * 200) / 2
    assert float(coefficient_prior(blocks)) == pytest.approx(expected)
    assert DEEP3D_PRIOR["albedo"] == 1.7e-2
    assert float(coefficient_prior({"x": torch.ones(1, 2)}, {"x": 3.0})) == 6
    with pytest.raises(InputError, match="expected some of identity"):
        coefficient_prior({"jaw": torch.ones(1, 2)})
    with pytest.raises(InputError, match="at least one block"):
        coefficient_prior({})
    with pytest.raises(InputError, match="albedo: expected shape"):
        coefficient_prior({"identity": torch.ones(2, 3), "albedo": torch.ones(1, 3)})


def test_a_constant_albedo_and_a_white_light_are_free():
    flat = torch.tensor([0.3, 0.5, 0.2]).expand(2, 5, 3)
    skin = torch.tensor([1.0, 1, 0, 1, 0])
    assert float(albedo_constancy(flat, skin)) == pytest.approx(0, abs=1e-12)
    spotted = flat.clone()
    spotted[:, 2] = 9.0
    assert float(albedo_constancy(spotted, skin)) == pytest.approx(0, abs=1e-12)
    spotted[:, 0, 1] += 0.3
    # Offsets of 0.2, -0.1, -0.1 about the mean.
    assert float(albedo_constancy(spotted, skin)) == pytest.approx(0.06 / 3, rel=1e-4)
    with pytest.raises(InputError, match="some above"):
        albedo_constancy(flat, 0 * skin)
    white = torch.arange(18.0).reshape(2, 9, 1).expand(2, 9, 3)
    assert float(light_whiteness(white)) == 0
    tinted = white + torch.tensor([0.3, 0.0, -0.3])
    assert float(light_whiteness(tinted)) == pytest.approx(0.06, rel=1e-5)


def test_symmetry_is_the_mean_distance_of_both_sides():
    albedo = torch.zeros(1, 5, 3)
    albedo[0, 0] = torch.tensor([0.2, 0.3, 0.6])
    albedo[0, 2] = 5.0
    assert float(albedo_symmetry(albedo, MIRROR)) == pytest.approx(2 * 0.7 / 5, rel=1e-5)
    same = torch.zeros(1, 5, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(albedo_symmetry(same, MIRROR), same)
    assert (gradient == 0).all()
    with pytest.raises(InputError, match="its own inverse"):
        albedo_symmetry(albedo, torch.tensor([1, 2, 0, 4, 3]))
    with pytest.raises(InputError, match="mirror: expected integers"):
        albedo_symmetry(albedo, MIRROR[:4])
