"""The outline on the toy head: where its rim is, where skin ends, and what that pulls at."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.fit.image_set import ImageSetConfig, ImageSetFitter, Member
from facekit.fit.joint import minimise
from facekit.fit.landmark import FaceState, LandmarkFitConfig, LandmarkProblem
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.outline import OutlineConfig, RimFinder, find_ends
from facekit.fit.outline_term import OutlinedTerm, OutlineProblem
from facekit.fit.photo import FaceFitter, Setting
from facekit.fit.shared_terms import LandmarkTerm
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.rasterise import rasterise
from facekit.types import Camera, DetectedFace

MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
FINDER = RimFinder(MODEL)
CONFIG = OutlineConfig()
K, E = MODEL.num_identity, MODEL.num_expression
SIZE, FOCAL = 320, 900.0
INTRINSICS = np.array([[FOCAL, 0, 159.5], [0, FOCAL, 159.5], [0, 0, 1]])
SKIN, WALL = np.array([190, 140, 120]), np.array([60, 90, 140])


def pose(yaw, shift=(0.0, 0.0, 0.0)):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw), 0.05, 0.03)
    return rotation, np.array([3.0, -5, 900]) + shift


def picture(identity, yaw, *, wall=WALL):
    """A head of one colour before a wall, and which pixels are its."""
    rotation, translation = pose(yaw)
    camera = Camera(INTRINSICS, rotation, translation, SIZE, SIZE)
    points = project(camera, MODEL.shape(identity))
    covered = rasterise(points, MODEL.faces, SIZE, SIZE, near=10.0).covered
    noise = np.random.default_rng(0).normal(0, 2, (SIZE, SIZE, 3))
    image = np.where(covered[..., None], SKIN, wall) + noise
    return np.clip(image, 0, 255).astype(np.uint8), covered


def rim_of(yaw, *, shift=(0.0, 0.0, 0.0), identity=None):
    coefficients = np.concatenate([np.zeros(K) if identity is None else identity, np.zeros(E)])
    place = pose(yaw, shift)
    return FINDER.find(coefficients, *place, np.full(2, FOCAL), np.full(2, 159.5), CONFIG)


def marks_of(identity, yaw):
    rotation, translation = pose(yaw)
    camera = Camera(INTRINSICS, rotation, translation, SIZE, SIZE)
    return project(camera, BASIS.points(np.concatenate([identity, np.zeros(E)]))[:68])[:, :2]


def problem_of(identity, yaw, *, log_focal_std=0.0, **settings):
    image, _ = picture(identity, yaw)
    marks = LandmarkProblem(
        BASIS,
        MODEL,
        marks_of(identity, yaw),
        np.ones(68),
        INTRINSICS,
        LandmarkFitConfig(log_focal_std=log_focal_std),
    )
    return OutlineProblem(FINDER, marks, image, replace(CONFIG, **settings))


@pytest.mark.parametrize("yaw", [-40, -20, 20, 40])
def test_the_rim_is_where_the_head_ends_on_its_far_side(yaw):
    _, covered = picture(np.zeros(K), yaw)
    rim = rim_of(yaw)
    assert len(rim.share) > 10
    assert (np.sign(yaw) * rim.normals[:, 0] > 0).all()
    for sign, inside in ((-1.5, True), (1.5, False)):
        x, y = np.rint(rim.pixels + sign * rim.normals).astype(int).T
        assert (covered[y, x] == inside).mean() > 0.95
    apart = np.linalg.norm(rim.points[:, None] - rim.points[None], axis=2)
    assert apart[~np.eye(len(apart), dtype=bool)].min() >= CONFIG.spacing_mm


def test_a_face_that_looks_at_the_camera_has_no_rim():
    assert len(rim_of(0).share) == 0


def test_rows_are_the_rims_points():
    identity = np.random.default_rng(1).normal(size=K)
    rim = rim_of(30, identity=identity)
    mean, modes = FINDER.rows(rim)
    rotation, translation = pose(30)
    points = mean + modes @ np.concatenate([identity, np.zeros(E)])
    np.testing.assert_allclose(points @ rotation.T + translation, rim.points, atol=1e-3)


@pytest.mark.parametrize("shift", [-4.0, 2.0, 5.0])
def test_ends_are_found_where_a_displaced_head_really_ends(shift):
    image, _ = picture(np.zeros(K), 30)
    rim = rim_of(30, shift=(shift, 0, 0))
    found, deviation = find_ends(image, rim, CONFIG)
    expected = -shift * rim.normals[:, 0]
    steep = rim.normals[:, 0] > 0.8
    assert (~np.isnan(found[steep])).all()
    # Pixels are a millimetre wide, and the edges of this picture are not smoothed.
    assert np.abs(found - expected)[steep].max() < 0.9
    assert abs((found - expected)[steep].mean()) < 0.4
    assert (deviation[steep] < 1).all()


def test_there_is_no_end_before_a_wall_of_the_skins_colour():
    image, _ = picture(np.zeros(K), 30, wall=SKIN)
    found, _ = find_ends(image, rim_of(30), CONFIG)
    assert np.isnan(found).all()


def test_there_is_no_end_without_a_rim():
    image, _ = picture(np.zeros(K), 0)
    found, deviation = find_ends(image, rim_of(0), CONFIG)
    assert found.shape == deviation.shape == (0,)


def test_a_mask_says_where_skin_ends_before_a_like_wall():
    image, covered = picture(np.zeros(K), 30, wall=SKIN)
    found, _ = find_ends(image, rim_of(30), CONFIG, mask=covered.astype(np.float32))
    assert (~np.isnan(found)).mean() > 0.9
    assert np.nanmax(np.abs(found)) < 1.0


def test_ends_outside_the_picture_do_not_count():
    image, _ = picture(np.zeros(K), 30)
    rim = rim_of(30)
    cut = int(np.median(rim.pixels[:, 0]))
    found, _ = find_ends(np.ascontiguousarray(image[:, :cut]), rim, CONFIG)
    assert np.isnan(found[rim.pixels[:, 0] > cut]).all()


@pytest.mark.parametrize("log_focal_std", [0.0, 0.2])
def test_the_gradient_is_that_of_the_cost(log_focal_std):
    rng = np.random.default_rng(2)
    problem = problem_of(0.5 * rng.normal(size=K), 35, log_focal_std=log_focal_std)
    marks = problem.landmarks
    coefficients = np.concatenate([0.3 * rng.normal(size=K), np.full(E, 0.3)])
    face = FaceState(coefficients, *pose(33, (1, 1, 5)), 0.05 if log_focal_std else 0.0)
    problem.look(face)
    hessian, gradient = problem.linearise(face)
    assert gradient.shape == (marks.num_free,)
    assert np.linalg.eigvalsh(hessian).min() > -1e-8
    for index in range(marks.num_free):
        step = np.zeros(marks.num_free)
        step[index] = 1e-5
        ahead, back = (problem.cost(marks.moved(face, sign * step)) for sign in (1, -1))
        assert (ahead - back) / 4e-5 == pytest.approx(gradient[index], rel=1e-3, abs=1e-3)


def test_without_ends_nothing_is_added():
    problem = problem_of(np.zeros(K), 0)
    face = FaceState(np.zeros(K + E), *pose(0), 0.0)
    problem.look(face)
    assert problem.cost(face) == 0
    assert not problem.linearise(face)[1].any()


def test_noise_that_is_louder_weighs_less():
    quiet = problem_of(np.zeros(K), 35)
    loud = problem_of(np.zeros(K), 35)
    loud.louder = 2.0
    face = FaceState(np.zeros(K + E), *pose(35, (2, 0, 0)), 0.0)
    for problem in (quiet, loud):
        problem.look(face)
    assert loud.cost(face) == pytest.approx(quiet.cost(face) / 4)


def test_the_outline_pulls_a_displaced_face_back():
    wide = np.zeros(K)
    wide[0] = 1.5  # six millimetres to each side
    states, far = [], []
    for outlined in (False, True):
        problem = problem_of(wide, 35, discrepancy_mm=0.5)
        marks = problem.landmarks
        # Only the middle of the face is labelled: nothing but the outline tells its width.
        marks.trust[:] = 0.0
        marks.trust[27:36] = 1.0
        judge = LandmarkProblem(
            BASIS, MODEL, marks.observed, marks.trust, INTRINSICS, LandmarkFitConfig()
        )
        state = FaceState(np.concatenate([np.zeros(K), np.full(E, 0.05)]), *pose(35), 0.0)
        term = LandmarkTerm(marks, judge, state)
        if outlined:
            term = OutlinedTerm(term, problem)
        shared = np.zeros(K)
        for _ in range(3):
            shared = minimise([term], shared, np.zeros((K, K))).shared
            term.reweigh()
        states.append(shared)
        rim = FINDER.find(
            term.face.coefficients,
            term.face.rotation,
            term.face.translation,
            marks.focal,
            marks.centre,
            CONFIG,
        )
        far.append(np.abs(find_ends(problem.image, rim, CONFIG)[0]).mean())

    assert far[0] > 2
    assert far[1] < 0.3 * far[0]
    truth = MODEL.shape(wide)
    errors = [np.abs(MODEL.shape(identity) - truth)[:, 0].mean() for identity in states]
    assert errors[1] < 0.85 * errors[0]


def test_sets_with_outlines_come_nearer_to_the_person():
    identity = np.array([2.0, -0.5, 1.0, 0.5, 0, 0, 0.5, 0])
    members = []
    for seed, yaw in enumerate((-40, 0, 40)):
        marks = marks_of(identity, yaw)
        marks = marks + 2 * np.random.default_rng(seed).normal(size=marks.shape)
        box = np.concatenate([marks.min(0), np.ptp(marks, axis=0)])
        face = DetectedFace(box, 1.0, ibug68=marks)
        members.append(Member(picture(identity, yaw)[0], [face], Setting(focal_px=FOCAL)))
    errors = []
    for outline in (None, CONFIG):
        solver = ImageSetFitter(FaceFitter(MODEL, LandmarkFitConfig()), ImageSetConfig(9, outline))
        found = solver.fit(members).faces[0].neutral
        truth = MODEL.shape(identity)
        found = found * (np.linalg.norm(truth) / np.linalg.norm(found))
        errors.append(np.linalg.norm(found - truth, axis=1).mean())
    assert errors[1] < 0.9 * errors[0]
