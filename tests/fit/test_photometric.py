from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError, ItemError
from facekit.fit.colour_noise import ColourNoise, relief_process
from facekit.fit.landmark import FaceState, LandmarkFitConfig, LandmarkProblem, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.patch import build_patch, spread
from facekit.fit.photometric import PhotometricFitter
from facekit.fit.photometric_problem import (
    NUM_LIGHT,
    PhotometricConfig,
    PhotometricProblem,
    Point,
    build_surface,
)
from facekit.fit.pixels import channel_weights, make_level
from facekit.fit.shading import harmonics, harmonics_slope
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.interpolate import interpolate, unit
from facekit.render.rasterise import rasterise
from facekit.render.shade import ambient_sh, directional_light_sh, sh_basis, sh_shading, to_uint8
from facekit.threads import limit_threads
from facekit.types import Camera, DetectedFace

MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
PATCH = build_patch(MODEL, count=200)
K = MODEL.num_identity
COEFFICIENTS = K + MODEL.num_expression
QUIET = ColourNoise(broad=0.02, fine=0.01, white=0.01, relief=((0.05, 10.0),))
LIGHT = ambient_sh(np.full(3, 0.4)) + directional_light_sh(
    np.array([0.6, -0.5, -0.6]) / np.linalg.norm([0.6, -0.5, -0.6]), np.full(3, 0.6)
)
INTRINSICS = np.array([[700.0, 0, 127.5], [0, 700, 127.5], [0, 0, 1]])


def pose(yaw=12.0):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw), 0.05, 0.03)
    return rotation, np.array([3.0, -5, 900])


def photograph(identity, expression):
    """A face without hidden hollows, its picture, and its landmarks."""
    rotation, translation = pose()
    camera = Camera(INTRINSICS, rotation, translation, 256, 256)
    vertices = MODEL.shape(identity, expression)
    points = project(camera, vertices)
    fragments = rasterise(points, MODEL.faces, 256, 256, near=10.0)
    normals = vertex_normals(vertices, MODEL.faces) @ rotation.T
    normal = unit(interpolate(fragments, MODEL.faces, normals))
    shade = np.maximum(sh_shading(normal, LIGHT), 0)
    image = to_uint8(interpolate(fragments, MODEL.faces, MODEL.albedo()) * shade)
    marks = BASIS.points(np.concatenate([identity, expression]))
    rows = BASIS.visible_rows(marks, rotation, translation)
    spots = project(camera, marks[rows])[:, :2]
    box = np.concatenate([spots.min(0), np.ptp(spots, axis=0)])
    return image, DetectedFace(box, 1.0, ibug68=spots)


def problem_at(coefficients, **settings):
    config = PhotometricConfig(noise=QUIET, **settings)
    image, face = photograph(np.zeros(K), np.zeros(MODEL.num_expression))
    marks = LandmarkProblem(BASIS, MODEL, face.ibug68, np.ones(68), INTRINSICS, LandmarkFitConfig())
    problem = PhotometricProblem(marks, build_surface(MODEL, PATCH, config), MODEL, config)
    rotation, translation = pose()
    camera = Camera(INTRINSICS, rotation, translation, 256, 256)
    weights = channel_weights(config.red)
    level = make_level(image, camera, (20, 20, 236, 236), weights=weights, blur_px=3.0, floor=0.02)
    light = np.append(LIGHT @ weights, 0.4)
    return problem, level, Point(FaceState(coefficients, rotation, translation, 0.0), light)


def test_normals_are_the_meshs_own():
    rng = np.random.default_rng(0)
    coefficients = np.concatenate([rng.normal(size=K), rng.uniform(0, 1, COEFFICIENTS - K)])
    normals = PATCH.normals(PATCH.points(coefficients))
    truth = vertex_normals(MODEL.shape(coefficients[:K], coefficients[K:]), MODEL.faces)
    np.testing.assert_allclose(
        normals / np.linalg.norm(normals, axis=1, keepdims=True), truth[PATCH.samples], atol=1e-4
    )


def test_pull_back_is_the_derivative():
    rng = np.random.default_rng(1)
    at = 0.3 * rng.normal(size=COEFFICIENTS)
    step = rng.normal(size=COEFFICIENTS)
    place, normal = rng.normal(size=(2, len(PATCH.samples), 3))

    def value(coefficients):
        points = PATCH.points(coefficients)
        return (place * points[PATCH.own]).sum(1) + (normal * PATCH.normals(points)).sum(1)

    h = 1e-4
    numeric = (value(at + h * step) - value(at - h * step)) / (2 * h)
    analytic = PATCH.pull_back(PATCH.points(at), place, normal) @ step
    np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-5)


def test_pull_back_does_not_depend_on_threads():
    rng = np.random.default_rng(2)
    points = PATCH.points(np.zeros(COEFFICIENTS))
    place, normal = rng.normal(size=(2, len(PATCH.samples), 3))
    with limit_threads(1):
        one = PATCH.pull_back(points, place, normal)
    big = build_patch(MODEL, count=400)
    place, normal = rng.normal(size=(2, len(big.samples), 3))
    with limit_threads(1):
        first = big.pull_back(big.points(np.zeros(COEFFICIENTS)), place, normal)
    with limit_threads(2):
        second = big.pull_back(big.points(np.zeros(COEFFICIENTS)), place, normal)
    np.testing.assert_array_equal(first, second)
    assert one.shape == (len(PATCH.samples), COEFFICIENTS)


def test_spread_takes_the_farthest():
    line = np.column_stack([np.arange(11.0), np.zeros((11, 2))])
    assert spread(line, 3).tolist() == [5, 0, 10]


def test_a_model_without_skin_is_refused():
    bare = replace(MODEL, regions={"face": np.zeros(MODEL.num_vertices, bool)})
    with pytest.raises(InputError, match="at least 20 vertices"):
        build_patch(bare)


def test_harmonics_are_the_renderers():
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(harmonics(directions), sh_basis(directions), atol=1e-6)
    h, step = 1e-6, rng.normal(size=(50, 3))
    numeric = (harmonics(directions + h * step) - harmonics(directions - h * step)) / (2 * h)
    analytic = np.einsum("nbd,nd->nb", harmonics_slope(directions), step)
    np.testing.assert_allclose(analytic, numeric, atol=1e-8)


def test_sampled_slopes_are_those_of_the_values():
    rng = np.random.default_rng(4)
    image = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    camera = Camera(INTRINSICS, np.eye(3), np.zeros(3), 50, 40)
    level = make_level(
        image, camera, (5, 5, 40, 30), weights=channel_weights(0.5), blur_px=2.0, floor=0.1
    )
    height, width = level.values.shape
    points = np.floor(rng.uniform([0, 0], [width - 2, height - 2], (60, 2))) + 0.4
    value, slope, inside = level.sample(points)
    assert inside.all()
    for axis in range(2):
        moved, _, _ = level.sample(points + 1e-4 * np.eye(2)[axis])
        np.testing.assert_allclose((moved - value) / 1e-4, slope[:, axis], atol=1e-8)
    assert not level.sample(np.array([[-0.1, 3.0], [np.nan, 1.0]]))[2].any()


def test_a_level_keeps_places():
    image = np.zeros((80, 100, 3), np.uint8)
    image[40, 60] = 255
    intrinsics = np.array([[100.0, 0, 60], [0, 100, 40], [0, 0, 1]])
    camera = Camera(intrinsics, np.eye(3), np.zeros(3), 100, 80)
    level = make_level(
        image, camera, (20, 10, 95, 70), weights=channel_weights(0.5), blur_px=3.0, floor=0.01
    )
    # The camera's axis goes through the white pixel before and after.
    value, slope, _ = level.sample(level.intrinsics[None, :2, 2])
    assert value[0] == pytest.approx(level.values.max(), abs=0.05)
    assert np.abs(slope).max() < 0.3


def test_the_jacobian_is_the_derivative():
    rng = np.random.default_rng(5)
    coefficients = np.concatenate([0.3 * rng.normal(size=K), np.full(COEFFICIENTS - K, 0.2)])
    problem, level, at = problem_at(coefficients)
    index = problem.see(at, level).chosen
    _, jacobian = problem.jacobian(at, level, index)
    n = problem.num_face
    steps = np.full(problem.num_free, 1e-6)
    for column in range(problem.num_free):
        step = np.zeros(problem.num_free)
        step[column] = steps[column]

        def value(sign, step=step):
            face = problem.landmarks.moved(at.face, sign * step[:n])
            moved = Point(face, at.light + sign * step[n:])
            return problem.residuals(moved, level, index)[0]

        numeric = (value(1) - value(-1)) / (2 * steps[column])
        # Where a point crosses from pixel to pixel the interpolation has a corner.
        error = np.abs(numeric - jacobian[:, column])
        assert np.median(error) < 1e-6 * (1 + np.abs(numeric).max())
        assert np.quantile(error, 0.97) < 1e-5 * (1 + np.abs(numeric).max())


def relief_of(noise, points, tilt, index=None):
    index = np.arange(len(points)) if index is None else index
    return relief_process(noise.relief_shares(points), points, tilt, index)


def test_relief_noise_is_a_covariance_and_follows_the_light():
    rng = np.random.default_rng(6)
    points = rng.uniform(-40, 40, (80, 3))
    tilt = rng.normal(size=(80, 3))
    noise = ColourNoise(relief=((0.5, 12.0),))
    covariance = relief_of(noise, points, tilt)
    assert np.linalg.eigvalsh(0.5 * (covariance + covariance.T)).min() > -1e-9
    np.testing.assert_allclose(relief_of(noise, points, 2 * tilt), 4 * covariance)
    assert not relief_of(noise, points, np.zeros((80, 3))).any()
    some = np.array([4, 70, 9])
    np.testing.assert_array_equal(
        relief_of(noise, points, tilt, some), covariance[np.ix_(some, some)]
    )


def test_relief_noise_is_that_of_a_derivative():
    # c . grad d by differences of the height's own covariance.
    noise = ColourNoise(relief=((0.7, 9.0),))
    one, two = np.array([1.0, 2, 3]), np.array([5.0, -3, 4])
    c, e = np.array([0.3, -0.2, 0.5]), np.array([-0.4, 0.6, 0.1])
    covariance = relief_of(noise, np.stack([one, two]), np.stack([c, e]))[0, 1]

    def height(p, q):
        return 0.7**2 * np.exp(-((p - q) ** 2).sum() / (2 * 9.0**2))

    h = 1e-3
    numeric = (
        height(one + h * c, two + h * e)
        - height(one + h * c, two - h * e)
        - height(one - h * c, two + h * e)
        + height(one - h * c, two - h * e)
    ) / (4 * h * h)
    assert covariance == pytest.approx(numeric, rel=1e-4)


def fitter(noise=QUIET):
    config = PhotometricConfig(
        noise=noise, red=0.5, blur_mm=(2.0,), hollows=(0.0, 1e-4), rounds=4, steps=10
    )
    return PhotometricFitter(MODEL, BASIS, PATCH, LandmarkFitConfig(), config)


def similar_error(identity, truth):
    from facekit.geometry.alignment import align_similarity

    found, right = MODEL.shape(identity)[PATCH.support], MODEL.shape(truth)[PATCH.support]
    return np.linalg.norm(align_similarity(found, right).apply(found) - right, axis=1).mean()


def test_pixels_bring_a_face_of_the_model_nearer_its_shape():
    rng = np.random.default_rng(8)
    before, after = [], []
    for _ in range(4):
        truth = rng.normal(size=K)
        image, face = photograph(truth, np.zeros(MODEL.num_expression))
        start = fit_landmarks(BASIS, MODEL, face.ibug68, intrinsics=INTRINSICS)
        result = fitter().fit(image, face, start, INTRINSICS)
        before.append(similar_error(start.identity, truth))
        after.append(similar_error(result.fit.identity, truth))
        assert np.isfinite(result.log_evidence)
        covariance = result.fit.covariance
        assert covariance.shape == start.covariance.shape
        assert np.linalg.eigvalsh(covariance).min() > 0
        assert (result.fit.expression >= MODEL.expression_bounds[:, 0]).all()
        assert (result.fit.expression <= MODEL.expression_bounds[:, 1]).all()
    assert (np.array(after) < before).all()
    assert np.mean(after) < 0.85 * np.mean(before)


def test_the_same_picture_gives_the_same_fit():
    image, face = photograph(np.full(K, 0.5), np.zeros(MODEL.num_expression))
    start = fit_landmarks(BASIS, MODEL, face.ibug68, intrinsics=INTRINSICS)
    first = fitter().fit(image, face, start, INTRINSICS)
    second = fitter().fit(image, face, start, INTRINSICS)
    np.testing.assert_array_equal(first.fit.identity, second.fit.identity)
    assert len(first.light) == NUM_LIGHT


def test_a_black_picture_is_no_fit():
    image, face = photograph(np.zeros(K), np.zeros(MODEL.num_expression))
    start = fit_landmarks(BASIS, MODEL, face.ibug68, intrinsics=INTRINSICS)
    with pytest.raises(ItemError, match="black or outside"):
        fitter().fit(np.zeros_like(image), face, start, INTRINSICS)


def test_what_is_no_skin_is_left_out_with_its_neighbours_for_good():
    problem, level, at = problem_at(np.zeros(COEFFICIENTS), outlier=2.5, reach_mm=15.0)
    seen = problem.see(at, level)
    spots = level.intrinsics[:2, 2] + level.intrinsics[0, 0] * (
        problem.camera_points(at.face)[1][:, :2] / problem.camera_points(at.face)[1][:, 2:]
    )
    centre = spots[seen.chosen[len(seen.chosen) // 2]]
    y, x = np.indices(level.values.shape)
    dark = np.hypot(x - centre[0], y - centre[1]) < 6
    stained = level._replace(values=np.where(dark, level.values - 1.5, level.values))
    weights = problem.robust_weights(at, stained, seen.chosen)
    hit = stained.sample(spots[seen.chosen])[0] < level.sample(spots[seen.chosen])[0] - 1
    assert hit.sum() >= 1
    assert (weights[seen.chosen[hit]] <= 1e-3).all()
    assert np.median(weights[seen.chosen]) > 0.5
    gone = weights <= 1e-3
    again = problem.robust_weights(at, level, seen.chosen, weights)
    assert (again[gone] <= 1e-3).all()


def test_a_face_of_which_nothing_is_skin_is_refused():
    problem, level, at = problem_at(np.zeros(COEFFICIENTS))
    nothing = np.full(len(problem.patch.samples), 1e-3)
    with pytest.raises(ItemError, match="skin"):
        problem.robust_weights(at, level, problem.see(at, level).chosen, nothing)


def test_samples_that_are_not_seen_keep_their_weight():
    problem, level, at = problem_at(np.zeros(COEFFICIENTS), outlier=3.0)
    index = problem.see(at, level).chosen
    weights = problem.robust_weights(at, level, index)
    outside = np.setdiff1d(np.arange(len(weights)), index)
    assert len(outside)
    assert (weights[outside] == 1).all()
    assert (weights > 0).all()
    assert (weights <= 1).all()


def test_the_fitter_fits_pixels_only_when_asked():
    from facekit.fit.photo import FaceFitter

    image, face = photograph(np.full(K, 0.8), np.zeros(MODEL.num_expression))
    plain = FaceFitter(MODEL, LandmarkFitConfig(), focal_px=700.0).fit(image, face)
    pixels = FaceFitter(MODEL, LandmarkFitConfig(), focal_px=700.0, photometric=True).fit(
        image, face
    )
    start = fit_landmarks(BASIS, MODEL, face.ibug68, intrinsics=plain.camera.intrinsics)
    np.testing.assert_array_equal(plain.fit.identity, start.identity)
    assert (pixels.fit.identity != plain.fit.identity).any()
    assert pixels.vertex_std_mm.shape == plain.vertex_std_mm.shape
