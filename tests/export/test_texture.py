import dataclasses

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError
from facekit.export.overlay import PANEL, face_panels
from facekit.export.texture import TextureProjector
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.types import Camera

MODEL = toy_model()
SIZE = 512


def view(yaw_deg=0.0, shift=0.0):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(np.radians(yaw_deg), 0, 0)
    K = np.array([[1000.0, 0, 160], [0, 1000, 160], [0, 0, 1]])
    return Camera(K, rotation, np.array([shift, 0, 900.0]), 321, 321)


def gradient():
    x, y = np.meshgrid(np.arange(321), np.arange(321))
    return np.stack([x * 0.75, y * 0.75, 200 - x * 0.5], axis=-1).astype(np.uint8)


def texel(texture, vertices):
    column = np.clip((MODEL.uvs[vertices, 0] * SIZE).astype(int), 0, SIZE - 1)
    row = np.clip(((1 - MODEL.uvs[vertices, 1]) * SIZE).astype(int), 0, SIZE - 1)
    return texture[row, column].astype(float)


def test_seen_texels_have_the_photographs_colour():
    camera, image = view(), gradient()
    texture = TextureProjector(MODEL, size=SIZE).project(image, MODEL.mean, camera)
    normals = vertex_normals(MODEL.mean, MODEL.faces) @ camera.rotation.T
    seen = np.flatnonzero((normals[:, 2] < -0.7) & (np.abs(MODEL.mean[:, 0]) < 70))
    points = project(camera, MODEL.mean[seen])
    expected = image[np.rint(points[:, 1]).astype(int), np.rint(points[:, 0]).astype(int)]
    assert np.abs(texel(texture, seen) - expected).mean() < 3
    assert len(seen) > 200


def test_a_hidden_half_takes_its_mirror():
    mirror = np.array([np.argmin(((MODEL.mean - v * [-1, 1, 1]) ** 2).sum(1)) for v in MODEL.mean])
    model = dataclasses.replace(MODEL, mirror=mirror.astype(np.int32))
    camera = view(yaw_deg=55)
    image = np.zeros((321, 321, 3), np.uint8)
    image[...] = (200, 90, 40)
    texture = TextureProjector(model, size=SIZE).project(image, model.mean, camera)
    # The head turns to image right, so its own right cheek (x < 0) is seen and its left is not.
    hidden = np.flatnonzero((model.mean[:, 0] > 50) & (model.mean[:, 2] > 30))
    np.testing.assert_allclose(texel(texture, hidden).mean(0), [200, 90, 40], atol=12)


def test_outside_the_photograph_the_albedo_stands_in():
    camera = view(shift=600.0)
    texture = TextureProjector(MODEL, size=64).project(gradient(), MODEL.mean, camera)
    # Linear 0.4 is sRGB 168.
    np.testing.assert_allclose(texture.reshape(-1, 3).mean(0), 168, atol=2)


def test_no_background_is_left_beside_the_charts():
    model = dataclasses.replace(MODEL, uvs=MODEL.uvs * 0.5 + 0.25)
    image = np.full((321, 321, 3), 150, np.uint8)
    texture = TextureProjector(model, size=64).project(image, model.mean, view())
    assert texture.min() > 100


def test_a_model_without_uvs_is_refused():
    with pytest.raises(InputError, match="no uvs"):
        TextureProjector(dataclasses.replace(MODEL, uvs=None, face_uvs=None))


@pytest.mark.parametrize("scale", [1, 4])
def test_the_overlay_lies_where_the_face_is(scale):
    camera = view()
    image = np.zeros((321 * scale, 321 * scale, 3), np.uint8)
    K = camera.intrinsics.copy()
    K[:2] *= scale
    K[:2, 2] = scale * (camera.intrinsics[:2, 2] + 0.5) - 0.5
    large = Camera(K, camera.rotation, camera.translation, 321 * scale, 321 * scale)
    marks = MODEL.landmark_points("ibug68", MODEL.mean)[[36, 45]]
    for x, y in np.rint(project(large, marks)[:, :2]).astype(int):
        image[y - 2 * scale : y + 2 * scale + 1, x - 2 * scale : x + 2 * scale + 1] = (255, 0, 0)
    panels = face_panels(image, MODEL.mean, MODEL, large)
    assert panels.shape == (PANEL, 4 * PANEL, 3)
    crop, over = panels[:, :PANEL].astype(int), panels[:, PANEL : 2 * PANEL].astype(int)
    red = (crop[..., 0] > 150) & (crop[..., 1] < 60)
    rows, columns = np.nonzero(red)
    left, right = columns < PANEL / 2, columns >= PANEL / 2
    assert left.any()
    assert right.any()
    # The same places are still redder than grey clay under the overlay.
    assert (over[rows, columns, 0] - over[rows, columns, 1] > 20).mean() > 0.9
    assert over[PANEL // 2, PANEL // 2].min() > 40
