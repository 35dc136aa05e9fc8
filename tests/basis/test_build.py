import numpy as np
import pytest
from toy_heads import FLIP, toy_modes, toy_template

from facekit.basis.build import align_rigidly, build_identity_basis
from facekit.errors import InputError
from facekit.geometry.mesh import vertex_areas
from facekit.geometry.rotations import rotvec_to_matrix


@pytest.fixture(scope="module")
def template():
    return toy_template()


def draw(template, count=60, seed=3, modes=6):
    rng = np.random.default_rng(seed)
    fields = toy_modes(template.vertices, modes)
    return template.vertices + np.tensordot(rng.standard_normal((count, modes)), fields, 1)


def importance(template, mean):
    areas = vertex_areas(mean, template.faces)
    return areas / areas.sum()


def test_the_modes_span_the_shapes_and_have_their_variance(template):
    shapes = draw(template)
    basis = build_identity_basis(shapes, template.faces, num_modes=6)
    assert basis.explained[-1] == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(basis.mean, shapes.mean(axis=0), atol=1e-9)
    w = importance(template, basis.mean)
    units = basis.modes / basis.deviations[:, None, None]
    gram = np.einsum("kvd,v,lvd->kl", units, w, units)
    np.testing.assert_allclose(gram, np.eye(6), atol=1e-9)
    coefficients = np.einsum("nvd,v,kvd->nk", shapes - basis.mean, w, units) / basis.deviations
    np.testing.assert_allclose(coefficients.std(axis=0, ddof=1), 1, atol=1e-9)
    back = basis.mean + np.tensordot(coefficients, basis.modes, 1)
    np.testing.assert_allclose(back, shapes, atol=1e-8)


def test_it_agrees_with_a_plain_svd(template):
    shapes = draw(template, count=20)
    basis = build_identity_basis(shapes, template.faces, num_modes=4)
    w = np.sqrt(importance(template, shapes.mean(axis=0)))
    scaled = ((shapes - shapes.mean(axis=0)) * w[:, None]).reshape(20, -1)
    _, s, vt = np.linalg.svd(scaled, full_matrices=False)
    np.testing.assert_allclose(basis.deviations, s[:4] / np.sqrt(19), rtol=1e-9)
    for k in range(4):
        mode = (basis.modes[k] * w[:, None]).ravel() / basis.deviations[k]
        assert abs(mode @ vt[k]) == pytest.approx(1, abs=1e-9)


def test_with_mirror_images_modes_are_symmetric_or_antisymmetric(template):
    shapes = draw(template)
    basis = build_identity_basis(shapes, template.faces, num_modes=10, mirror=template.mirror)
    np.testing.assert_allclose(basis.mean[template.mirror] * FLIP, basis.mean, atol=1e-9)
    signs = []
    for mode in basis.modes:
        image = mode[template.mirror] * FLIP
        gaps = np.abs(mode - image).max(), np.abs(mode + image).max()
        assert min(gaps) < 1e-9
        signs.append(gaps[0] < gaps[1])
    assert 0 < sum(signs) < 10
    both = np.concatenate([shapes, shapes[:, template.mirror] * FLIP])
    plain = build_identity_basis(both, template.faces, num_modes=10)
    np.testing.assert_allclose(basis.deviations, plain.deviations, rtol=1e-6)
    np.testing.assert_allclose(basis.explained, plain.explained, rtol=1e-6)


def test_weights_decide_what_counts(template):
    shapes = draw(template)
    weights = np.where(template.vertices[:, 2] > 0, 1.0, 1e-6)
    basis = build_identity_basis(shapes, template.faces, num_modes=2, weights=weights)
    plain = build_identity_basis(shapes, template.faces, num_modes=2)

    def left(found):
        units = found.modes.reshape(2, -1)
        rest = shapes - found.mean
        mask = np.sqrt(weights * vertex_areas(found.mean, template.faces))[:, None]
        a = (units.reshape(2, -1, 3) * mask).reshape(2, -1).T
        b = (rest * mask).reshape(len(rest), -1).T
        return np.linalg.norm(b - a @ np.linalg.lstsq(a, b, rcond=None)[0])

    assert left(basis) < left(plain)


def test_alignment_undoes_rigid_motion_and_keeps_size(template):
    shapes = draw(template, count=8)
    rng = np.random.default_rng(1)
    moved = np.array(
        [s @ rotvec_to_matrix(rng.normal(0, 0.2, 3)).T + rng.normal(0, 30, 3) for s in shapes]
    )
    aligned = align_rigidly(moved, weights=np.ones(len(template.vertices)))
    assert aligned.std(axis=0).mean() < 1.3 * shapes.std(axis=0).mean()
    for before, after in zip(moved, aligned, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(before[0] - before[50]), np.linalg.norm(after[0] - after[50])
        )


def test_bad_input_is_refused(template):
    shapes = draw(template, count=5)
    with pytest.raises(InputError, match="at least 2"):
        build_identity_basis(shapes[:1], template.faces, num_modes=1)
    with pytest.raises(InputError, match="1 to 4 modes"):
        build_identity_basis(shapes, template.faces, num_modes=5)
    with pytest.raises(InputError, match="1 to 4 modes"):
        build_identity_basis(shapes, template.faces, num_modes=0)
    weights = np.zeros(len(template.vertices))
    with pytest.raises(InputError, match="not all zero"):
        build_identity_basis(shapes, template.faces, num_modes=1, weights=weights)
    with pytest.raises(InputError, match="3 vertices"):
        align_rigidly(shapes, weights=weights)
    bad = shapes.copy()
    bad[2, 7, 1] = np.nan
    with pytest.raises(InputError, match=r"\(2, 7, 1\)"):
        build_identity_basis(bad, template.faces, num_modes=1)
