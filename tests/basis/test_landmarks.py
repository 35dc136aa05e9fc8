"""Calibration finds the surface points that a labeller of known habits means."""

import dataclasses

import numpy as np
import pytest
from toy import toy_model
from toy_heads import FLIP, mirror_of

from facekit.basis.jaw_strips import STRIP_OFFSETS_MM, jaw_strips
from facekit.basis.landmarks import (
    LabelledHead,
    back_project,
    calibrate_landmarks,
    label_heads,
)
from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.types import Camera, LandmarkMap

ROWS = [36, 45, 30, 48, 54, 8]
PARTNER = np.array([1, 0, 2, 4, 3, 5])


@pytest.fixture(scope="module")
def model():
    """The toy head with a symmetric triangulation."""
    toy = toy_model()
    mean = toy.mean.astype(np.float64)
    mirror = mirror_of(np.round(mean, 4))
    half = toy.faces[mean[toy.faces][:, :, 0].mean(axis=1) > 1e-6]
    faces = np.concatenate([half, mirror[half][:, ::-1]]).astype(np.int32)
    return dataclasses.replace(
        toy, faces=faces, mirror=mirror, face_uvs=None, uvs=None, landmarks={}
    )


def camera(rng, yaw=20.0):
    angles = np.radians(rng.uniform([-yaw, -15, -8], [yaw, 15, 8]))
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*angles)
    intrinsics = np.array([[900.0, 0, 255.5], [0, 900, 255.5], [0, 0, 1]])
    return Camera(intrinsics, rotation, np.array([5.0, -3, 700]), 512, 512)


def truth(model):
    """Points to find: on the surface where the toy's landmarks are, symmetric."""
    wanted = toy_model().landmark_points("ibug68", toy_model().mean)[ROWS]
    distance = np.linalg.norm(model.mean[None] - wanted[:, None], axis=2)
    vertices = distance.argmin(axis=1)
    vertices[[1, 4]] = model.mirror[vertices[[0, 3]]]
    middle = np.flatnonzero(model.mirror == np.arange(model.num_vertices))
    for i in (2, 5):
        vertices[i] = middle[distance[i, middle].argmin()]
    return vertices


def labelled(model, vertices, *, count=40, noise=0.0, shift=(0.0, 0.0), seed=0):
    rng = np.random.default_rng(seed)
    heads = []
    for _ in range(count):
        shape = model.shape(0.7 * rng.standard_normal(model.num_identity)).astype(np.float64)
        view = camera(rng)
        points = project(view, shape[vertices])[:, :2]
        heads.append(LabelledHead(shape, view, points + shift + noise * rng.normal(size=(6, 2))))
    return heads


def front(model):
    return (model.mean[model.faces][:, :, 2] > 0).all(axis=1)


def mapped(model, marks):
    return np.einsum("nk,nkd->nd", marks.barycentric, model.mean[model.faces[marks.faces]])


def test_exact_labels_give_the_exact_points(model):
    vertices = truth(model)
    found = calibrate_landmarks(
        model, labelled(model, vertices), partner=PARTNER, allowed=front(model)
    )
    gap = np.linalg.norm(mapped(model, found.marks) - model.mean[vertices], axis=1)
    assert gap.max() < 0.3
    assert found.bias_mm.max() < 0.2 and found.scatter_mm.max() < 0.3
    assert found.num_heads == 40


def test_noise_is_averaged_and_measured(model):
    vertices = truth(model)
    heads = labelled(model, vertices, count=120, noise=2.0)
    found = calibrate_landmarks(model, heads, partner=PARTNER, allowed=front(model))
    gap = np.linalg.norm(mapped(model, found.marks) - model.mean[vertices], axis=1)
    assert gap[:5].max() < 1.0
    assert found.bias_mm.max() < 0.8
    # 2 px at about 620 mm and 900 px focal length, less the trimmed tenth.
    deviation = np.sqrt(np.diagonal(found.marks.covariance_mm2, axis1=1, axis2=2))
    assert (np.abs(deviation - 2.0 * 620 / 900) < 0.45).all()


def test_a_habit_of_the_labeller_moves_the_point(model):
    vertices = truth(model)
    heads = labelled(model, vertices, shift=(0.0, 6.0))
    found = calibrate_landmarks(model, heads, partner=PARTNER, allowed=front(model))
    moved = mapped(model, found.marks) - model.mean[vertices]
    np.testing.assert_allclose(moved[:5, 1], -6 * 620 / 900, atol=1.2)
    assert found.bias_mm[:5].max() < 0.7


def test_a_wild_label_does_not_matter(model):
    vertices = truth(model)
    heads = labelled(model, vertices)
    heads[3] = heads[3]._replace(points=heads[3].points + 150)
    found = calibrate_landmarks(model, heads, partner=PARTNER, allowed=front(model))
    gap = np.linalg.norm(mapped(model, found.marks) - model.mean[vertices], axis=1)
    assert gap.max() < 0.5


def test_the_map_is_symmetric(model):
    heads = labelled(model, truth(model), noise=3.0, count=10)
    found = calibrate_landmarks(model, heads, partner=PARTNER, allowed=front(model))
    points = mapped(model, found.marks)
    np.testing.assert_allclose(points[PARTNER] * FLIP, points, atol=1e-3)


def test_back_projection_inverts_projection(model):
    rng = np.random.default_rng(4)
    view = camera(rng)
    shape = model.mean.astype(np.float64)
    rows = np.flatnonzero(front(model))[::37]
    weights = rng.dirichlet(np.ones(3), len(rows))
    points = np.einsum("nk,nkd->nd", weights, shape[model.faces[rows]])
    corner = shape[model.faces[rows]]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    towards = points @ view.rotation.T + view.translation
    facing = ((normal @ view.rotation.T) * towards).sum(axis=1) < 0
    head = LabelledHead(shape, view, project(view, points[facing])[:, :2])
    found = back_project(head, model.faces, front(model))
    np.testing.assert_allclose(mapped(model, found), points[facing], atol=0.05)


def test_a_ray_beside_the_head_takes_the_nearest_outline(model):
    view = camera(np.random.default_rng(0), yaw=0)
    head = LabelledHead(model.mean, view, np.array([[500.0, 255]]))
    found = back_project(head, model.faces, np.ones(len(model.faces), bool))
    assert found.barycentric.max() == 1
    assert mapped(model, found)[0, 0] > 65


def test_pictures_without_a_face_drop_out():
    def render(index):
        return np.zeros((2, 2, 3), np.uint8) + index, np.zeros((4, 3)), f"camera {index}"

    seen = []
    heads = label_heads(
        render,
        lambda image: None if image[0, 0, 0] == 1 else np.zeros((5, 2)),
        3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [h.camera for h in heads] == ["camera 0", "camera 2"]
    assert seen[-1] == (3, 3)


def test_bad_input_is_refused(model):
    heads = labelled(model, truth(model), count=2)
    with pytest.raises(InputError, match="at least 2"):
        calibrate_landmarks(model, heads[:1], partner=PARTNER, allowed=front(model))
    with pytest.raises(InputError, match="head vertices"):
        bad = [h._replace(vertices=h.vertices[:9]) for h in heads]
        calibrate_landmarks(model, bad, partner=PARTNER, allowed=front(model))
    lens = dataclasses.replace(heads[0].camera, distortion=np.array([0.1, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="distortion"):
        back_project(heads[0]._replace(camera=lens), model.faces, front(model))


def test_strips_lie_on_the_surface_at_their_distances(model):
    jaw = toy_model().landmark_points("ibug68", toy_model().mean)[[1, 8, 15]]
    rows = [
        int(np.linalg.norm(model.mean[model.faces].mean(axis=1) - p, axis=1).argmin()) for p in jaw
    ]
    marks = LandmarkMap(np.array(rows, np.int32), np.full((3, 3), 1 / 3, np.float32))
    centre = np.array([0.0, 0.0, 90.0])
    start = mapped(model, marks)
    for i, strip in enumerate(jaw_strips(model.mean, model.faces, marks, centre=centre)):
        points = mapped(model, strip)
        assert len(points) == len(STRIP_OFFSETS_MM)
        assert np.linalg.norm(points[3] - start[i]) < 1e-3
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        np.testing.assert_allclose(steps, np.diff(STRIP_OFFSETS_MM), rtol=0.12)
        # In the frontal view a strip runs straight towards the centre.
        toward = (centre - start[i])[:2]
        off = np.cross(points[:, :2] - start[i, :2], toward / np.linalg.norm(toward))
        assert np.abs(off).max() < 0.1
        assert points[-1, 2] > points[0, 2]


def test_a_landmark_at_the_centre_is_refused(model):
    marks = LandmarkMap(np.array([0], np.int32), np.array([[1, 0, 0]], np.float32))
    with pytest.raises(InputError, match="middle"):
        jaw_strips(model.mean, model.faces, marks, centre=model.mean[model.faces[0, 0]])
