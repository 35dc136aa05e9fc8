"""Focal length, distance and size: what is known, what is measured, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.fit.landmark import LandmarkFitConfig, fit_landmarks
from facekit.fit.landmark_basis import build_landmark_basis
from facekit.fit.scale import (
    BRIDGE_ROW,
    IRIS_MM,
    FocalPrior,
    ScaleCue,
    apply_cue,
    face_distance,
    film_focal_mm,
    film_focal_px,
    focal_prior,
    iris_cue,
    scale_source,
    size_std,
    with_focal_variance,
)
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix, rotvec_to_matrix
from facekit.types import DetectedFace

MODEL = toy_model()
BASIS = build_landmark_basis(MODEL)
K, C = BASIS.num_identity, BASIS.modes.shape[2]
CONFIG = LandmarkFitConfig(discrepancy_mm=0.3, label_noise_px=0.1, perspective_noise=1e-5)


def observe(distance, *, focal=None, seed=0, yaw=10.0):
    """Landmarks of a toy head whose bridge is at a distance; it fills the same part always."""
    rng = np.random.default_rng(seed)
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians([yaw, 5.0, 3.0]))
    points = BASIS.points(np.concatenate([rng.normal(size=K), np.zeros(C - K)]))
    translation = np.array([5.0, 10.0, distance]) - rotation @ points[BRIDGE_ROW]
    rows = BASIS.visible_rows(points, rotation, translation)
    camera = points[rows] @ rotation.T + translation
    focal = focal or 2.5 * distance
    return focal * camera[:, :2] / camera[:, 2:] + 499.5, focal


def near_interval(fit):
    """Half the logarithm of the interval, in deviations."""
    found = face_distance(fit, BASIS)
    return np.log(found.high / found.low) / 2 / 1.645


def told(fit):
    """The distance with its interval, as the fitter states it."""
    points = observe_again(fit)
    return face_distance(fit, BASIS, focal_prior(points, 1000, 1000))


def observe_again(fit):
    camera = BASIS.points(np.concatenate([fit.identity, fit.expression]))[fit.rows]
    camera = camera @ fit.rotation.T + fit.translation
    return fit.focal * camera[:, :2] / camera[:, 2:] + 499.5 - fit.residuals_px


def fit_at(distance, *, free=True, focal=None, seed=0):
    points, focal = observe(distance, focal=focal, seed=seed)
    prior = focal_prior(points, 1000, 1000)
    start = prior.focal_px if free else focal
    K3 = np.array([[start, 0, 499.5], [0, start, 499.5], [0, 0, 1]])
    config = replace(CONFIG, log_focal_std=prior.log_std if free else 0.0)
    return fit_landmarks(BASIS, MODEL, points, intrinsics=K3, config=config), K3


def test_film_equivalents_count_over_the_diagonal():
    # 36 x 24 mm film, a pixel a millimetre: the equivalent is the focal length itself.
    assert film_focal_px(50, 36, 24) == pytest.approx(50)
    assert film_focal_mm(film_focal_px(28, 4000, 3000), 4000, 3000) == pytest.approx(28)


@pytest.mark.parametrize(("distance", "share"), [(250.0, 0.15), (400.0, 0.15), (600.0, 0.3)])
def test_perspective_tells_the_distance_of_a_near_face(distance, share):
    fit, _ = fit_at(distance)
    found = told(fit)
    assert found.mm == pytest.approx(distance, rel=share)
    assert found.low < distance < found.high


@pytest.mark.parametrize("distance", [1500.0, 4000.0])
def test_far_away_the_interval_is_wide_and_holds(distance):
    fit, _ = fit_at(distance)
    found = told(fit)
    assert found.low < distance < found.high
    assert found.high > 2 * found.low


def test_a_known_focal_length_gives_the_distance():
    fit, _ = fit_at(2000.0, free=False)
    found = face_distance(fit, BASIS)
    assert found.mm == pytest.approx(2000, rel=0.1)
    assert near_interval(fit) == pytest.approx(size_std(fit, BASIS), abs=0.05)


def test_the_posterior_follows_the_dolly():
    # The last variable of the posterior moves the head with the focal length.
    fit, _ = fit_at(500.0)
    zoom = 0.2
    moved = replace(fit, translation=fit.translation * np.exp(zoom))
    change = np.log(face_distance(moved, BASIS).mm / face_distance(fit, BASIS).mm)
    only = np.zeros_like(fit.covariance)
    only[-1, -1] = zoom**2
    assert near_interval(fit.with_covariance(only)) == pytest.approx(change, rel=0.1)


@pytest.mark.parametrize("kind", ["iris", "distance"])
@pytest.mark.parametrize("free", [True, False])
def test_gradients_of_the_measurements(kind, free):
    from facekit.fit.scale import _predict

    fit, _ = fit_at(400.0, free=free)
    value, gradient = _predict(fit, BASIS, kind)
    eps = 1e-5
    for i in range(len(gradient)):
        step = np.zeros(C + 7)
        step[i] = eps
        moved = replace(
            fit,
            identity=fit.identity + step[:K],
            expression=fit.expression + step[K:C],
            rotation=rotvec_to_matrix(step[C : C + 3]) @ fit.rotation,
            translation=(fit.translation + step[C + 3 : C + 6]) * np.exp(step[C + 6]),
            focal=fit.focal * np.exp(step[C + 6]),
        )
        slope = (_predict(moved, BASIS, kind)[0] - value) / eps
        assert gradient[i] == pytest.approx(slope, abs=1e-5)


def test_a_sharp_distance_under_a_known_focal_length_gives_the_size():
    # A head a fifth larger and further away looks the same: only the distance tells them apart.
    fit, K3 = fit_at(1000.0, free=False)
    before = face_distance(fit, BASIS)
    value = before.mm * 1.05
    after = apply_cue(fit, BASIS, K3, ScaleCue("distance", value, 0.005))
    assert face_distance(after, BASIS).mm == pytest.approx(value, rel=0.01)
    assert size_std(after, BASIS) < 0.6 * size_std(fit, BASIS)
    ends = BASIS.mean[[36, 45]] + BASIS.modes[[36, 45], :, :K] @ after.identity
    old = BASIS.mean[[36, 45]] + BASIS.modes[[36, 45], :, :K] @ fit.identity
    ratio = np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(old[0] - old[1])
    assert ratio == pytest.approx(1.05, abs=0.02)
    # The image hardly changes: the face's place there was not what was measured.
    assert np.abs(after.residuals_px - fit.residuals_px).max() < 3.0
    np.testing.assert_allclose(after.expression, fit.expression)


@pytest.mark.parametrize("again", [False, True])
def test_a_turned_face_stays_where_its_landmarks_are(again):
    points, _ = observe(800.0, yaw=45.0)
    prior = focal_prior(points, 1000, 1000)
    K3 = np.array([[prior.focal_px, 0, 499.5], [0, prior.focal_px, 499.5], [0, 0, 1]])
    fit = fit_landmarks(
        BASIS, MODEL, points, intrinsics=K3, config=replace(CONFIG, log_focal_std=prior.log_std)
    )
    if again:
        # As after a fit of the pixels, which holds the focal length.
        K3[[0, 1], [0, 1]] = fit.focal
        held = fit_landmarks(BASIS, MODEL, points, intrinsics=K3, config=CONFIG)
        fit = with_focal_variance(held, fit, C + 6)
    rows = BASIS.points(np.concatenate([fit.identity, fit.expression]))[36:48].mean(axis=0)
    depth = (fit.rotation @ rows + fit.translation)[2]
    after = apply_cue(fit, BASIS, K3, ScaleCue("iris", 0.92 * IRIS_MM * fit.focal / depth, 0.06))
    eye = np.linalg.norm(points[45] - points[36])
    moved = np.linalg.norm(after.residuals_px - fit.residuals_px, axis=1)
    assert moved[17:].max() < 0.02 * eye


def test_a_vague_cue_changes_nothing():
    fit, K3 = fit_at(400.0)
    after = apply_cue(fit, BASIS, K3, ScaleCue("iris", 20.0, 1e3))
    np.testing.assert_allclose(after.identity, fit.identity, atol=1e-4)
    np.testing.assert_allclose(after.covariance, fit.covariance, atol=1e-4)


def test_an_iris_of_the_right_size_narrows_the_size():
    fit, K3 = fit_at(800.0, free=False)
    rows = BASIS.points(np.concatenate([fit.identity, fit.expression]))[36:48].mean(axis=0)
    depth = (fit.rotation @ rows + fit.translation)[2]
    cue = ScaleCue("iris", IRIS_MM * fit.focal / depth, 0.01)
    after = apply_cue(fit, BASIS, K3, cue)
    np.testing.assert_allclose(after.identity, fit.identity, atol=1e-3)
    assert size_std(after, BASIS) < size_std(fit, BASIS)


def test_the_posterior_stays_a_covariance():
    fit, K3 = fit_at(400.0)
    after = apply_cue(fit, BASIS, K3, ScaleCue("distance", 450.0, 0.01))
    assert np.linalg.eigvalsh(after.covariance).min() > -1e-9


def ring(diameter, shrink=1.0):
    dense = np.zeros((478, 2))
    for centre, x in ((468, 100.0), (473, 300.0)):
        r = diameter / 2
        dense[centre] = (x, 50)
        offsets = [(r * shrink, 0), (0, -r), (-r * shrink, 0), (0, r)]
        dense[centre + 1 : centre + 5] = np.array([x, 50]) + offsets
    return DetectedFace(np.array([0, 0, 10, 10.0]), 1.0, dense478=dense)


def test_the_iris_is_measured_by_its_larger_axis():
    assert iris_cue(ring(24.0)).value == pytest.approx(24)
    assert iris_cue(ring(24.0, shrink=0.7)).value == pytest.approx(24)
    assert iris_cue(ring(24.0)).log_std > 0.5 / 11.7
    assert iris_cue(ring(6.0)) is None
    assert iris_cue(DetectedFace(np.zeros(4), 1.0)) is None


def test_where_the_millimetres_come_from():
    iris, far = ScaleCue("iris", 20.0, 0.05), ScaleCue("distance", 600.0, 0.02)
    known, unknown = FocalPrior(1000.0, 0.0, "given"), FocalPrior(1000.0, 1.0, "estimated")
    assert scale_source(unknown, []) == "prior"
    # A distance without a focal length tells the lens, not the head's size.
    assert scale_source(unknown, [far]) == "prior"
    assert scale_source(known, []) == "focal"
    assert scale_source(unknown, [iris]) == "iris"
    assert scale_source(known, [iris, far]) == "stage"


def test_what_is_known_of_the_focal_length():
    points, _ = observe(400.0)
    assert focal_prior(points, 1000, 1000, given_px=900.0) == (900.0, 0.0, "given")
    prior = focal_prior(points, 1000, 1000, exif_px=800.0)
    assert (prior.focal_px, prior.source, prior.known) == (800.0, "exif", True)
    assert 0 < prior.log_std < 0.1
    assert focal_prior(points, 1000, 1000, given_px=900.0, exif_px=800.0).source == "given"
    near = focal_prior(points, 1000, 1000, distance_mm=400.0)
    assert near.focal_px == pytest.approx(2.5 * 400, rel=0.25)
    assert not near.known
    # A small face in a large picture: an ordinary lens, not a crop.
    small = focal_prior(points / 20, 1000, 1000)
    assert film_focal_mm(small.focal_px, 1000, 1000) == pytest.approx(43, abs=0.1)


def test_the_focal_variance_is_carried_over():
    fit, _ = fit_at(400.0)
    fixed = fit.with_covariance(fit.covariance[:-1, :-1])
    joined = with_focal_variance(fixed, fit, C + 6)
    assert joined.covariance[-1, -1] == fit.covariance[-1, -1]
    assert with_focal_variance(fixed, fixed, C + 6) is fixed


@pytest.mark.parametrize("bad", [{"given_px": -1.0}, {"exif_px": 0.0}, {"distance_mm": -5.0}])
def test_impossible_cameras_are_refused(bad):
    points, _ = observe(400.0)
    with pytest.raises(InputError, match="expected"):
        focal_prior(points, 1000, 1000, **bad)


@pytest.mark.parametrize("cue", [("ears", 3.0, 0.1), ("iris", -3.0, 0.1), ("iris", 3.0, 0.0)])
def test_impossible_cues_are_refused(cue):
    fit, K3 = fit_at(400.0)
    with pytest.raises(InputError, match="scale cue"):
        apply_cue(fit, BASIS, K3, ScaleCue(*cue))


def test_the_interval_is_that_of_the_inverse_distance_and_the_prior():
    # An oracle by sampling: a prior normal in the logarithm, a likelihood normal in 1 / distance.
    fit, _ = fit_at(1500.0)
    prior = focal_prior(observe_again(fit), 1000, 1000)
    only = np.zeros_like(fit.covariance)
    only[-1, -1] = 0.3**2
    at_prior = replace(fit.with_covariance(only), focal=prior.focal_px)
    found = face_distance(at_prior, BASIS, prior)
    rng = np.random.default_rng(0)
    zoom = rng.normal(0, prior.log_std, 400_000)
    weight = np.exp(-0.5 * (0.3**-2.0 - prior.log_std**-2.0) * (np.exp(-zoom) - 1) ** 2)
    drawn = rng.choice(zoom, 200_000, p=weight / weight.sum())
    slope = float(at_prior.covariance[-1] @ _gradient(at_prior)) / 0.3**2
    low, high = np.exp(slope * np.quantile(drawn, [0.05, 0.95])) * found.mm
    assert found.low == pytest.approx(low, rel=0.02)
    assert found.high == pytest.approx(high, rel=0.05)
    assert found.high / found.mm > found.mm / found.low


def _gradient(fit):
    from facekit.fit.scale import _predict

    return _predict(fit, BASIS, "distance")[1]
