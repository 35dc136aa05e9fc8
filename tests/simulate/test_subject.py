import numpy as np
import pytest
import toy
from simulated_heads import mesh_subject, toy_subject, write_heads

from facekit.errors import InputError
from facekit.simulate.jaw import trace_jaw
from facekit.simulate.subject import (
    EYE,
    SKIN,
    ForeignHeads,
    random_coefficients,
    subject_from_mesh,
    subject_from_model,
)
from facekit.types import LandmarkMap


def test_a_models_subject_is_the_models_shape():
    model = toy.toy_model()
    identity, expression = np.array([1.0, -0.5]), np.array([0.3, 0, 0, 0.1])
    subject = subject_from_model(model, identity=identity, expression=expression)
    np.testing.assert_array_equal(subject.vertices, model.shape(identity, expression))
    np.testing.assert_array_equal(subject.neutral, model.shape(identity))
    np.testing.assert_array_equal(subject.identity, [1, -0.5, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(
        subject.neutral_landmarks, model.landmark_points("ibug68", subject.neutral), atol=1e-5
    )
    assert subject.model_sha256 == model.sha256


def test_the_standard_head_has_its_eyes_90_mm_apart():
    subject = toy_subject()
    scale, origin = subject.standard
    standard = (subject.neutral_landmarks - origin) * scale
    assert np.linalg.norm(standard[45] - standard[36]) == pytest.approx(90, rel=1e-5)
    np.testing.assert_allclose(standard[[36, 45]].mean(0), 0, atol=1e-3)


def test_random_coefficients_are_seeded_and_within_bounds():
    model = toy.toy_model()
    draws = [random_coefficients(model, np.random.default_rng(s)) for s in range(200)]
    again = random_coefficients(model, np.random.default_rng(7))
    np.testing.assert_array_equal(draws[7][0], again[0])
    np.testing.assert_array_equal(draws[7][1], again[1])
    identity = np.array([d[0] for d in draws])
    expression = np.array([d[1] for d in draws])
    assert np.abs(identity).max() <= 2
    assert abs(identity.std() - 0.96) < 0.03  # a normal that is clipped at two deviations
    assert (expression >= 0).all()
    assert (expression <= 1).all()
    assert 0.1 < (expression == 0).all(axis=1).mean() < 0.45
    twice = random_coefficients(
        model, np.random.default_rng(7), identity_strength=2.0, expression_strength=0.5
    )
    np.testing.assert_array_equal(twice[0], 2 * again[0])
    np.testing.assert_allclose(twice[1], 0.5 * again[1], rtol=1e-6)
    # Left and right eyelids move together.
    left, right = expression[:, 1], expression[:, 2]
    both = (left > 0) & (right > 0)
    assert (both == ((left > 0) | (right > 0))).all()


def test_the_traced_jaw_lies_on_the_outline():
    subject = mesh_subject()
    jaw = subject.neutral_landmarks[:17]
    # On an ellipsoid the frontal outline is where the normal turns sideways.
    normal = jaw / toy.RADII**2
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    assert (normal[:, 2] > 0.05).all()
    # (the chin's rays end where the neck would be cut off)
    sides = [*range(6), *range(11, 17)]
    assert (normal[sides, 2] < 0.3).all()
    assert 7 <= jaw[:, 1].argmin() <= 9
    assert (np.diff(jaw[:8, 1]) < 0).all()
    assert (np.diff(jaw[9:, 1]) > 0).all()
    np.testing.assert_allclose(jaw[::-1] * [-1, 1, 1], jaw, atol=3)


def test_tracing_rejects_what_it_cannot_do():
    model = toy.toy_model()
    marks = model.landmark_map("ibug68")
    with pytest.raises(InputError, match="17-67"):
        trace_jaw(model.mean, model.faces, marks)
    inner = LandmarkMap(marks.faces[17:], marks.barycentric[17:])
    inside_out = np.ascontiguousarray(model.faces[:, ::-1])
    with pytest.raises(InputError, match="jaw point 0"):
        trace_jaw(model.mean, inside_out, inner)


def test_foreign_heads_are_refined_and_keep_their_truth(tmp_path):
    heads = ForeignHeads(write_heads(tmp_path / "heads.npz"))
    assert len(heads) == 3
    subject = heads.subject(1)
    assert len(subject.faces) == 4 * len(subject.truth_faces)
    with np.load(tmp_path / "heads.npz") as file:
        np.testing.assert_allclose(subject.truth_neutral, file["neutral"][1] * 0.01, atol=1e-4)
        coarse = np.einsum(
            "nc,ncd->nd",
            file["landmark_weights"],
            subject.truth_neutral[file["landmark_vertices"]],
        )
    # Refinement moves points a little towards the smooth surface, never along it.
    assert np.abs(subject.neutral_landmarks[17:] - coarse).max() < 0.5
    eyes = subject.material == EYE
    assert eyes.sum() == 4 * (len(subject.truth_faces) - len(toy.toy_model().faces))
    assert (subject.material[~eyes] == SKIN).all()


def test_refined_landmarks_are_exact_on_a_flat_face():
    # Loop subdivision keeps a plane, and the children's weights must then give the same point.
    heads_faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2]])
    points = np.array([[0.0, 0], [4, 0], [0, 4], [5, 5], [1, 9]])
    from facekit.geometry.mesh import loop_subdivide
    from facekit.simulate.subject import _child

    refined = loop_subdivide(points, heads_faces)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), 300)
    parents = rng.integers(0, 3, 300)
    child, inner = _child(parents, weights)
    assert (inner > -1e-12).all()
    # Linear midpoint positions stand in for the refined ones.
    fine = np.zeros((len(refined.matrix.toarray()), 2))
    fine[:5] = points
    for face, kids in zip(heads_faces, refined.faces.reshape(-1, 4, 3), strict=True):
        a, b, c = points[face]
        for vertex, place in zip(kids[3], ((a + b) / 2, (b + c) / 2, (c + a) / 2), strict=True):
            fine[vertex] = place
    found = np.einsum("nc,ncd->nd", inner, fine[refined.faces[child]])
    expected = np.einsum("nc,ncd->nd", weights, points[heads_faces[parents]])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bad_heads_are_rejected(tmp_path):
    with pytest.raises(InputError, match="heads file"):
        ForeignHeads(tmp_path / "none.npz")
    np.savez(tmp_path / "bad.npz", neutral=np.zeros((1, 3, 3)))
    with pytest.raises(InputError, match="expressed"):
        ForeignHeads(tmp_path / "bad.npz")
    heads = ForeignHeads(write_heads(tmp_path / "heads.npz"))
    with pytest.raises(InputError, match="from 0 to 2"):
        heads.subject(3)


def test_subjects_need_68_landmarks():
    model = toy.toy_model()
    marks = model.landmark_map("now7")
    with pytest.raises(InputError, match="68 landmarks"):
        subject_from_mesh("seven", model.mean, model.faces, marks)


def test_the_real_heads_trace_like_an_annotated_head(data_folder):
    heads = ForeignHeads(data_folder / "foreign_heads.npz")
    for index in (0, 57, 133):
        jaw = heads.subject(index).neutral_landmarks[:17]
        scale, origin = heads.subject(index).standard
        jaw = (jaw - origin) * scale
        assert (np.diff(jaw[:8, 1]) < 0).all()
        assert 55 < jaw[16, 0] < 90
        assert -125 < jaw[8, 1] < -90
