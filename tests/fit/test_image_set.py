"""Joint fits of the toy model: known identity, poses and expressions."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import ItemError
from facekit.fit.image_set import ImageSetConfig, ImageSetFitter, Member
from facekit.fit.joint import minimise, normal_equations
from facekit.fit.landmark import FaceState, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.louder import louder
from facekit.fit.photo import FaceFitter, Setting
from facekit.fit.shared_terms import LandmarkTerm
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.types import DetectedFace

MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
CERTAIN = replace(BASIS, covariance_mm2=np.tile(np.eye(2) * 1e-2, (68, 1, 1)))
CONFIG = LandmarkFitConfig(discrepancy_mm=0.3, label_noise_px=0.1)
GREY = np.full((480, 640, 3), 120, np.uint8)
KNOWN = Setting(focal_px=1200.0)
IDENTITY = np.random.default_rng(4).normal(size=8)


def photograph(identity, yaw, seed=0, *, noise=0.0, faces=1, outline=False):
    """A member whose landmarks are those of a head under a drawn expression."""
    rng = np.random.default_rng(seed)
    expression = rng.uniform(0, 0.6, MODEL.num_expression)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw), 0.05, 0.03)
    camera = BASIS.points(np.concatenate([identity, expression]))[:68] @ rotation.T
    camera = camera + [10.0, -5, 800]
    marks = camera[:, :2] / camera[:, 2:] * 1200 + [319.5, 239.5]
    marks = marks + noise * rng.normal(size=marks.shape)
    box = np.concatenate([marks.min(0), np.ptp(marks, axis=0)])
    face = DetectedFace(box, 0.9, ibug68=marks, jaw_on_outline=outline)
    return Member(GREY, [face] * faces, KNOWN)


def solver(**settings):
    fitter = FaceFitter(MODEL, CONFIG)
    fitter.__dict__["basis"] = CERTAIN
    return ImageSetFitter(fitter, ImageSetConfig(**settings))


def shape_error(face, identity=IDENTITY):
    found, truth = face.neutral, MODEL.shape(identity)
    found = found * (np.linalg.norm(truth) / np.linalg.norm(found))
    return float(np.linalg.norm(found - truth, axis=1).mean())


def test_several_photographs_recover_the_identity_better_than_one():
    yaws = (0, -40, 40, -15)
    members = [photograph(IDENTITY, yaw, seed) for seed, yaw in enumerate(yaws)]
    together = solver().fit(members)
    alone = [shape_error(solver().fit([member]).faces[0]) for member in members]
    assert shape_error(together.faces[0]) < 0.7 * min(alone)
    assert together.reasons == [""] * 4


def test_all_photographs_get_one_identity_and_their_own_pose_and_expression():
    members = [photograph(IDENTITY, yaw, seed) for seed, yaw in enumerate((0, -30, 30))]
    faces = solver().fit(members).faces
    for face in faces[1:]:
        np.testing.assert_allclose(face.fit.identity, faces[0].fit.identity, atol=1e-9)
        np.testing.assert_allclose(face.neutral, faces[0].neutral, atol=1e-4)
    for face in faces:
        np.testing.assert_allclose(
            face.fit.covariance[:8, :8], faces[0].fit.covariance[:8, :8], atol=1e-9
        )
        assert np.linalg.eigvalsh(face.fit.covariance).min() > 0
    turns = [face.fit.rotation[2, 0] for face in faces]
    assert np.ptp(turns) > 0.8
    assert np.abs(faces[0].fit.expression - faces[1].fit.expression).max() > 0.05


def test_one_photograph_is_the_plain_fit():
    member = photograph(IDENTITY, 20)
    fitter = FaceFitter(MODEL, CONFIG)
    plain = fitter.fit(member.image, member.faces[0], setting=KNOWN)
    found = ImageSetFitter(fitter).fit([member]).faces[0]
    np.testing.assert_array_equal(found.fit.identity, plain.fit.identity)
    np.testing.assert_array_equal(found.vertices, plain.vertices)
    np.testing.assert_array_equal(found.vertex_std_mm, plain.vertex_std_mm)


def test_the_same_photograph_twice_tells_nothing_new():
    # Copies err alike, so they must not make the result surer than one of them is.
    member = photograph(IDENTITY, 10, noise=0.5, outline=True)
    once = solver().fit([member]).faces[0]
    thrice = solver().fit([member] * 3).faces[0]
    ratio = np.trace(thrice.fit.covariance[:8, :8]) / np.trace(once.fit.covariance[:8, :8])
    assert 0.8 < ratio < 1.2


def test_somebody_else_is_left_out_and_named():
    stranger = -2.0 * np.sign(IDENTITY)
    members = [photograph(IDENTITY, yaw, seed) for seed, yaw in enumerate((0, -30, 30, 15))]
    members.insert(2, photograph(stranger, 10, 9))
    result = solver().fit(members)
    assert result.faces[2] is None
    assert "somebody else" in result.reasons[2]
    assert [bool(reason) for reason in result.reasons] == [False, False, True, False, False]
    assert result.disagreement[2] == np.nanmax(result.disagreement)
    without = solver().fit(members[:2] + members[3:])
    np.testing.assert_allclose(result.faces[0].neutral, without.faces[0].neutral, atol=0.05)


def test_a_photograph_of_several_people_gives_the_one_that_fits():
    stranger = photograph(-2.0 * np.sign(IDENTITY), 10, 9).faces[0]
    members = [photograph(IDENTITY, yaw, seed) for seed, yaw in enumerate((0, -30, 30, 15))]
    members[1] = members[1]._replace(faces=[stranger, members[1].faces[0]])
    result = solver().fit(members)
    assert result.chosen == [0, 1, 0, 0]
    assert result.reasons == [""] * 4


def test_failed_landmarks_leave_the_rest():
    members = [photograph(IDENTITY, yaw, seed) for seed, yaw in enumerate((0, -30, 30))]
    broken = DetectedFace(np.array([0, 0, 9, 9.0]), 0.9, ibug68=np.zeros((68, 2)))
    bare = DetectedFace(np.array([0, 0, 9, 9.0]), 0.9)
    members += [Member(GREY, [broken], KNOWN), Member(GREY, [bare], KNOWN)]
    result = solver().fit(members)
    assert [face is None for face in result.faces] == [False] * 3 + [True] * 2
    assert "point or a line" in result.reasons[3]
    assert "no 68 landmarks" in result.reasons[4]
    with pytest.raises(ItemError, match="no 68 landmarks"):
        solver().fit(members[3:])


def test_the_joint_step_is_that_of_the_dense_problem():
    # Two photographs' equations put together by hand, and solved as one dense system.
    terms = []
    for seed, yaw in enumerate((0, 30)):
        marks = photograph(IDENTITY, yaw, seed).faces[0].ibug68
        intrinsics = np.array([[1200.0, 0, 319.5], [0, 1200, 239.5], [0, 0, 1]])
        problem, judge = (
            LandmarkProblem(CERTAIN, MODEL, marks, np.ones(68), intrinsics, CONFIG) for _ in "ab"
        )
        start = problem.initial_pose()
        terms.append(LandmarkTerm(problem, judge, FaceState(*start)))
    K, rest = 8, MODEL.num_expression + 6
    shared, nothing = np.zeros(K), np.zeros((K, K))
    blocks, left = normal_equations(terms, shared, nothing)
    dense, right = np.zeros((K + 2 * rest,) * 2), np.zeros(K + 2 * rest)
    for number, term in enumerate(terms):
        hessian, gradient = term.problem.linearise(term.state, term.rows, term.noise)
        where = np.concatenate([np.arange(K), K + number * rest + np.arange(rest)])
        free = np.concatenate([np.ones(K, bool), blocks[number].free])
        hessian[~free] = hessian[:, ~free] = 0
        gradient[~free] = 0
        hessian[~free, ~free] = 1
        dense[np.ix_(where, where)] += hessian
        right[where] += gradient
    expected = np.linalg.solve(dense, right)
    np.testing.assert_allclose(
        np.linalg.solve(left.hessian, left.gradient), expected[:K], atol=1e-8
    )
    joint = minimise(terms, shared, nothing)
    _, after = normal_equations(terms, joint.shared, nothing)
    assert np.abs(after.gradient).max() < 1e-2 * np.abs(left.gradient).max()


def test_louder_noise_has_so_many_times_the_variance():
    config = louder(CONFIG, 4)
    assert config.discrepancy_mm == pytest.approx(2 * CONFIG.discrepancy_mm)
    assert config.label_noise_px == pytest.approx(2 * CONFIG.label_noise_px)
