import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError, ItemError
from facekit.fit.landmark import FaceState, LandmarkFitConfig, LandmarkProblem, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.morphable import load_model
from facekit.types import Camera

INTRINSICS = np.array([[1200.0, 0, 320], [0, 1200, 240], [0, 0, 1]])
EXACT = LandmarkFitConfig(discrepancy_mm=0.02, label_noise_px=0.01)
MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)


def angle_deg(a, b):
    return np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1)))


def observe(identity, expression, yaw=0.0, pitch=0.0, roll=0.0, translation=(20, -30, 800)):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians([yaw, pitch, roll]))
    points = BASIS.points(np.concatenate([identity, expression]))
    rows = BASIS.visible_rows(points, rotation, np.array(translation, float))
    camera = points[rows] @ rotation.T + translation
    image = camera[:, :2] / camera[:, 2:] * 1200 + INTRINSICS[:2, 2]
    return image, rotation, np.array(translation, float)


def certain(basis):
    import dataclasses

    return dataclasses.replace(basis, covariance_mm2=np.tile(np.eye(2) * 1e-4, (68, 1, 1)))


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (30, 10, -20), (-45, -15, 35), (10, 30, 170)]
)
def test_exact_landmarks_give_back_pose_and_shape(yaw, pitch, roll):
    rng = np.random.default_rng(3)
    identity = rng.normal(size=8)
    expression = np.array([0.5, 0.0, 0.3, 0.0])
    points, rotation, translation = observe(identity, expression, yaw, pitch, roll)
    fit = fit_landmarks(certain(BASIS), MODEL, points, intrinsics=INTRINSICS, config=EXACT)
    assert np.abs(fit.residuals_px).max() < 0.5
    assert angle_deg(fit.rotation, rotation) < 1.0
    # Size and distance trade off exactly, so shapes are compared after taking out the scale.
    truth = MODEL.shape(identity, expression)
    found = MODEL.shape(fit.identity, fit.expression)
    found = found * (np.linalg.norm(truth) / np.linalg.norm(found))
    assert np.linalg.norm(found - truth, axis=1).mean() < 2.0
    assert fit.translation[2] / translation[2] == pytest.approx(1, abs=0.1)


def test_the_rotation_is_proper():
    points, _, _ = observe(np.zeros(8), np.zeros(4), yaw=20)
    fit = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS)
    np.testing.assert_allclose(fit.rotation @ fit.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(fit.rotation) == pytest.approx(1)


def test_expression_stays_in_its_bounds():
    points, _, _ = observe(np.zeros(8), np.array([2.5, -1.5, 0, 0]))
    fit = fit_landmarks(certain(BASIS), MODEL, points, intrinsics=INTRINSICS, config=EXACT)
    assert (fit.expression >= 0).all()
    assert (fit.expression <= 1).all()
    assert fit.expression[0] == pytest.approx(1)


def test_uncertain_landmarks_leave_the_mean_face():
    points, _, _ = observe(np.full(8, 1.5), np.zeros(4))
    vague = LandmarkFitConfig(discrepancy_mm=1e4)
    fit = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS, config=vague)
    assert np.abs(fit.identity).max() < 0.01


def test_more_noise_gives_a_wider_posterior():
    points, _, _ = observe(np.zeros(8), np.zeros(4))
    spreads = []
    for noise in (0.5, 2.0, 8.0):
        config = LandmarkFitConfig(discrepancy_mm=noise)
        fit = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS, config=config)
        spreads.append(np.trace(fit.covariance[:8, :8]))
    assert spreads[0] < spreads[1] < spreads[2] < 8.001


def test_the_posterior_covers_the_truth():
    # Identities drawn from the prior and seen with the noise that is stated: the squared
    # Mahalanobis distance of the error to the posterior averages its dimension.
    rng = np.random.default_rng(5)
    config = LandmarkFitConfig(
        discrepancy_mm=1.0, discrepancy_length_mm=0, label_noise_px=0.5, robust_dof=1e6
    )
    distances = []
    for _ in range(60):
        identity = rng.normal(size=8)
        points, _, translation = observe(identity, MODEL.expression_mean)
        covariance = BASIS.covariance_mm2 + np.eye(2)
        spread = np.linalg.cholesky(covariance * (1200 / translation[2]) ** 2 + 0.25 * np.eye(2))
        points = points + np.einsum("nij,nj->ni", spread, rng.normal(size=(68, 2)))
        fit = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS, config=config)
        error = fit.identity - identity
        distances.append(error @ np.linalg.solve(fit.covariance[:8, :8], error))
    assert 5.0 < np.mean(distances) < 12.0


def test_an_outlier_loses_its_weight():
    identity = np.array([1.0, -1, 0.5, 0, 0, 0, 0, 0])
    points, _, _ = observe(identity, np.zeros(4))
    clean = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS)
    points[30] += 60
    spoilt = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS)
    gaussian = fit_landmarks(
        BASIS, MODEL, points, intrinsics=INTRINSICS, config=LandmarkFitConfig(robust_dof=1e6)
    )
    change = np.linalg.norm(spoilt.identity - clean.identity)
    assert change < 0.5 * np.linalg.norm(gaussian.identity - clean.identity)


def test_a_point_of_no_confidence_is_left_out():
    points, _, _ = observe(np.ones(8), np.zeros(4))
    trust = np.ones(68)
    trust[30] = 0
    moved = points.copy()
    moved[30] += 300
    a = fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS, confidence=trust)
    b = fit_landmarks(BASIS, MODEL, moved, intrinsics=INTRINSICS, confidence=trust)
    np.testing.assert_allclose(a.identity, b.identity, atol=1e-4)


def test_derivatives_match_finite_differences():
    config = LandmarkFitConfig(log_focal_std=0.3, robust_dof=1e9)
    rng = np.random.default_rng(1)
    points, _, _ = observe(rng.normal(size=8), np.full(4, 0.4), yaw=25, pitch=-10)
    problem = LandmarkProblem(BASIS, MODEL, points, np.ones(68), INTRINSICS, config)
    state = problem.moved(problem.initial_pose(), np.append(rng.normal(size=18) * 0.05, 0.02))
    rows, noise = problem.rows(state), problem.noise(state)
    _, gradient = problem.linearise(state, rows, noise)
    for index in range(problem.num_free):
        step = np.zeros(problem.num_free)
        step[index] = 1e-5
        ahead = problem.cost(problem.moved(state, step), rows, noise)
        behind = problem.cost(problem.moved(state, -step), rows, noise)
        numeric = (ahead - behind) / 2e-5
        assert 2 * gradient[index] == pytest.approx(numeric, rel=2e-4, abs=2e-3)


def test_a_free_focal_length_is_recovered_where_perspective_shows():
    points, _, _ = observe(np.zeros(8), MODEL.expression_mean, translation=(0, 0, 260))
    wrong = INTRINSICS.copy()
    wrong[[0, 1], [0, 1]] = 1500
    config = LandmarkFitConfig(
        discrepancy_mm=0.05,
        discrepancy_length_mm=0,
        label_noise_px=0.01,
        log_focal_std=1.0,
        max_rounds=200,
        tolerance_mm=1e-6,
    )
    fit = fit_landmarks(certain(BASIS), MODEL, points, intrinsics=wrong, config=config)
    assert fit.focal == pytest.approx(1200, rel=0.05)


def model_with_strips():
    import dataclasses

    from toy import ellipsoid, frontal_landmarks, on_surface

    vertices, faces = ellipsoid()
    strips = {}
    for index, (x, y) in enumerate(frontal_landmarks()[:17]):
        line = np.stack([np.linspace(x, 0.1 * x, 12), np.full(12, y)], axis=1)
        strips[f"jaw_strip_{index:02d}"] = on_surface(vertices, faces, line)
    model = dataclasses.replace(MODEL, landmarks={**MODEL.landmarks, **strips})
    return model, build_landmark_basis(model)


def test_the_jaw_moves_to_the_outline_of_a_turned_head():
    _, basis = model_with_strips()
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(50), 0, 0)
    points = basis.points(np.zeros(12))
    rows = basis.visible_rows(points, rotation, np.array([0, 0, 900.0]))
    # The nose turns to image right, so the cheek at image right (landmarks 9 to 16) turns away.
    assert (rows[11:16] >= 68).all()
    assert (rows[:6] == np.arange(6)).all()
    facing = basis.normals[rows[11:16]] @ rotation.T
    assert (facing[:, 2] < 0.05).all()


def test_a_jaw_on_the_surface_keeps_its_rows():
    model, basis = model_with_strips()
    identity = np.random.default_rng(2).normal(size=8)
    coefficients = np.concatenate([identity, np.zeros(4)])
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(45), 0, 0)
    camera = basis.points(coefficients)[:68] @ rotation.T + [0, 0, 800]
    points = camera[:, :2] / camera[:, 2:] * 1200 + INTRINSICS[:2, 2]
    errors = {}
    for outline in (False, True):
        fit = fit_landmarks(
            certain(basis), model, points, intrinsics=INTRINSICS, config=EXACT, outline=outline
        )
        assert (fit.rows == np.arange(68)).all() != outline
        errors[outline] = np.abs(fit.residuals_px).max()
    assert errors[False] < 0.5
    assert errors[True] > 5


def test_deviations_grow_with_the_turn_as_the_jaw_is_marked():
    model, basis = model_with_strips()
    config = LandmarkFitConfig(turn_growth=0.5, outline_turn_growth=4.0, label_noise_px=0.0)
    turned = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(30), 0, 0)
    size = []
    for outline in (False, True):
        problem = LandmarkProblem(
            basis, model, np.zeros((68, 2)), np.ones(68), INTRINSICS, config, outline=outline
        )
        factors = [
            problem.noise(FaceState(np.zeros(12), pose, np.array([0, 0, 800.0]), 0.0))
            for pose in (HEAD_TO_CAMERA, turned)
        ]
        front, side = ((factor @ factor.T)[60, 60] for factor in factors)
        shared = (1200 / 800 * config.discrepancy_mm) ** 2
        size.append((side - shared) / (front - shared))
    np.testing.assert_allclose(size, [1 + 0.25**2, 1 + 2.0**2])


@pytest.mark.parametrize("bad", [np.zeros((68, 2)), np.tile(np.arange(68.0)[:, None], (1, 2))])
def test_degenerate_points_are_an_item_that_fails(bad):
    with pytest.raises(ItemError, match="point or a line"):
        fit_landmarks(BASIS, MODEL, bad, intrinsics=INTRINSICS)


def test_bad_input_is_refused():
    points, _, _ = observe(np.zeros(8), np.zeros(4))
    with pytest.raises(InputError, match="expected shape"):
        fit_landmarks(BASIS, MODEL, points[:51], intrinsics=INTRINSICS)
    points[3, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        fit_landmarks(BASIS, MODEL, points, intrinsics=INTRINSICS)
    with pytest.raises(ItemError, match="confidence 0"):
        fit_landmarks(
            BASIS,
            MODEL,
            np.nan_to_num(points),
            intrinsics=INTRINSICS,
            confidence=np.zeros(68),
        )


def test_a_face_beside_the_middle_stays_in_its_place_under_a_free_focal_length():
    model = load_model("builtin")
    basis = build_landmark_basis(model)
    intrinsics = np.array([[700.0, 0, 255.5], [0, 700.0, 255.5], [0, 0, 1]])
    rng = np.random.default_rng(0)
    for side in (-1, 1):
        place = np.array([side * 250.0, -130.0, 900.0])
        camera = Camera(intrinsics, HEAD_TO_CAMERA @ euler_to_matrix(0.1, 0.05, 0), place, 512, 512)
        face = model.shape(0.7 * rng.standard_normal(model.num_identity))
        points = project(camera, model.landmark_points("ibug68", face))[:, :2]
        wrong = intrinsics.copy()
        wrong[[0, 1], [0, 1]] *= 1.3
        config = LandmarkFitConfig(log_focal_std=0.3)
        fit = fit_landmarks(basis, model, points, intrinsics=wrong, config=config)
        # A wrong focal length that is corrected leaves little; a free shift left ten times this.
        assert np.abs(fit.residuals_px[17:].mean(0)).max() < 4
