from functools import cache

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from toy_scans import CLEAN, scan_model, toy_head, toy_scan

from facekit.basis.elastic import landmark_matrix
from facekit.basis.field_fit import FieldOptions, RandomField, _Facts
from facekit.geometry.alignment import IDENTITY, SimilarityTransform
from facekit.geometry.closest_point import closest_points
from facekit.geometry.rotations import rotvec_to_matrix
from facekit.geometry.surface import Surface

MIRROR = np.diag([-1.0, 1.0, 1.0])


@cache
def field(modes=True, **options):
    model = scan_model()
    count = model.num_vertices
    return RandomField(
        model.mean,
        model.faces,
        weights=model.regions["face"].astype(float),
        marks=landmark_matrix(model.faces, count, model.landmarks["ibug68"]),
        modes=model.identity_modes if modes else None,
        options=FieldOptions(**{"samples": 400, **options}),
    )


def scan_of(vertices, seed=0):
    mesh, marks = toy_scan(vertices, CLEAN, seed)
    return Surface(mesh.vertices, mesh.faces), marks


def bumpy(vertices, size=6.0):
    """Displace by a smooth field that is no mode of the toy model's."""
    x, y, z = vertices.T / 35.0
    out = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    return (
        vertices + size * (np.sin(1.3 * x + 0.4) * np.cos(1.7 * y) + 0.3 * np.sin(z))[:, None] * out
    )


def random_facts(tool, count, seed=0):
    rng = np.random.default_rng(seed)
    nodes = rng.choice(len(tool.rows) + 68, count, replace=False)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return _Facts(nodes, directions, rng.standard_normal(count), rng.uniform(0.05, 0.5, count))


def twin_covariance(tool, points, shapes, others, other_shapes, amplitude):
    """Covariance (n, 3, m, 3) of the field, entry by entry from its definition."""
    options = tool.options
    result = np.zeros((len(points), 3, len(others), 3))

    def kernel(p, q):
        r = np.sqrt(3.0) * np.linalg.norm(p - q) / options.length_mm
        return (1 + r) * np.exp(-r)

    def powers(p):
        x, y, z = p / 100.0
        squares = np.array([x * x, y * y, z * z, x * y, y * z, z * x])
        return np.r_[options.linear * np.array([x, y, z]), options.quadratic * squares]

    for i, p in enumerate(points):
        for j, q in enumerate(others):
            block = (kernel(p, q) + powers(p) @ powers(q)) * np.eye(3)
            block = block + options.symmetry * kernel(p, MIRROR @ q) * MIRROR
            result[i, :, j] = amplitude**2 * shapes[i] @ block @ other_shapes[j].T
    return result


def test_displacements_are_those_of_the_conditioned_process():
    tool = field()
    facts, amplitude = random_facts(tool, 25), 1.5
    moved, coefficients = tool._expect(facts, amplitude)
    watched = np.array([3, 500, 900])
    at, shapes = tool._nodes[facts.nodes], tool._shapes[1][facts.nodes]
    own = twin_covariance(tool, at, shapes, at, shapes, amplitude)
    cross = twin_covariance(
        tool, tool.base[watched], tool._shapes[0][watched], at, shapes, amplitude
    )
    e = facts.directions
    linear = np.einsum("knd,nd->nk", tool._node_modes[:, facts.nodes], e)
    total = np.einsum("id,idje,je->ij", e, own, e) + linear @ linear.T + np.diag(facts.variances)
    dual = np.linalg.solve(total, facts.values)
    assert coefficients == pytest.approx(linear.T @ dual, rel=1e-3, abs=1e-4)
    modes = np.tensordot((linear.T @ dual)[:-6], tool.modes[:, watched].astype(float), axes=1)
    expected = np.einsum("vdje,je,j->vd", cross, e, dual) + modes
    assert moved[watched] == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_the_field_is_a_covariance_and_symmetric():
    tool = field()
    plain, mirrored = tool._node_covariance
    assert np.linalg.eigvalsh((plain + mirrored).astype(float)).min() > -1e-3
    assert np.linalg.eigvalsh((plain - mirrored).astype(float)).min() > -1e-3


def test_a_rigid_motion_is_found_and_costs_nothing():
    tool = field()
    surface, marks = scan_of(toy_head(1))
    plain = tool.fit(surface, marks, IDENTITY)
    turn = rotvec_to_matrix(np.array([0.05, -0.08, 0.06]))
    start = SimilarityTransform(1.0, turn, np.array([3.0, -2.0, 1.0]))
    found = tool.fit(surface, marks, start)
    face = scan_model().regions["scan"]
    apart = np.linalg.norm(found.vertices - plain.vertices, axis=1)[face]
    assert apart.mean() < 0.15
    assert found.coefficients == pytest.approx(plain.coefficients, abs=0.1)


def test_the_evidence_tells_a_model_s_own_heads_from_others():
    tool = field()
    own = tool.fit(*scan_of(toy_head(2)), IDENTITY)
    other = tool.fit(*scan_of(bumpy(toy_head(2))), IDENTITY)
    amplitudes, boldness = tool.options.amplitudes_mm, tool.options.boldness
    assert own.amplitude_mm == boldness * min(amplitudes)
    assert other.amplitude_mm == boldness * max(amplitudes)


def test_the_likeliest_amplitude_is_that_of_the_density_of_the_facts():
    amplitudes = (0.25, 0.5, 1.0, 2.0, 4.0)
    tool = field(amplitudes_mm=amplitudes, boldness=3.0, evidence_every=1)
    facts = random_facts(tool, 60)
    at, shapes = tool._nodes[facts.nodes], tool._shapes[1][facts.nodes]
    e = facts.directions
    unit = twin_covariance(tool, at, shapes, at, shapes, 1.0)
    unit = np.einsum("id,idje,je->ij", e, unit, e)
    linear = np.einsum("knd,nd->nk", tool._node_modes[:, facts.nodes], e)
    rest = linear @ linear.T + np.diag(facts.variances)
    draws = np.random.default_rng(1).standard_normal(60)
    for size in (0.0, 3.0):
        values = np.linalg.cholesky(size**2 * unit + rest) @ draws
        density = [multivariate_normal.logpdf(values, cov=a**2 * unit + rest) for a in amplitudes]
        wanted = amplitudes[int(np.argmax(density))]
        assert tool._amplitude(facts._replace(values=values)) == 3.0 * wanted


@pytest.mark.parametrize("modes", [True, False])
def test_a_surface_that_is_no_mode_is_reached(modes):
    truth = bumpy(toy_head(3), 4.0)
    surface, marks = scan_of(truth)
    tool = field(modes=modes)
    found = tool.fit(surface, marks, IDENTITY)
    assert found.coefficients.shape == (len(tool.modes),)
    face = scan_model().regions["scan"]
    before, after = (
        np.sqrt(closest_points(surface.tree, v[face]).squared_distance).mean()
        for v in (tool.base, found.vertices)
    )
    assert after < 0.2 * before
    assert np.linalg.norm(tool._marks @ found.vertices - marks, axis=1).mean() < 1.5


def test_where_no_surface_is_near_landmarks_alone_are_followed():
    tool = field(modes=False, symmetry=0.0)
    surface, marks = scan_of(toy_head(1))
    far = Surface(surface.tree.vertices + [0.0, 0.0, 500.0], surface.tree.faces)
    found = tool.fit(far, marks, IDENTITY)
    read = tool._marks @ found.vertices
    start = np.linalg.norm(tool._marks @ tool.base - marks, axis=1).mean()
    assert np.linalg.norm(read - marks, axis=1).mean() < 0.5 * start


def test_a_landmark_far_off_is_let_go():
    tool = field()
    surface, marks = scan_of(toy_head(2))
    wrong = marks.copy()
    wrong[30] += [0.0, 25.0, 0.0]
    good, bad = tool.fit(surface, marks, IDENTITY), tool.fit(surface, wrong, IDENTITY)
    assert np.linalg.norm(good.vertices - bad.vertices, axis=1).max() < 2.0


def test_unknown_landmarks_are_not_read():
    tool = field()
    surface, marks = scan_of(toy_head(2))
    some = np.where(np.arange(68)[:, None] % 2, marks, np.nan)
    assert np.isfinite(tool.fit(surface, some, IDENTITY).vertices).all()
    none = tool.fit(surface, np.full((68, 3), np.nan), IDENTITY)
    face = scan_model().regions["scan"]
    assert np.linalg.norm(none.vertices - toy_head(2), axis=1)[face].mean() < 2.0
