import numpy as np
from toy import toy_model

from facekit.fit.light import estimate_light
from facekit.geometry.cameras import project
from facekit.geometry.mesh import vertex_normals
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix
from facekit.render.rasterise import rasterise
from facekit.render.shade import directional_light_sh, sh_shading, to_uint8
from facekit.types import Camera

MODEL = toy_model()


def camera(translation=(0, 0, 700.0)):
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(0.2, 0.1, 0)
    K = np.array([[800.0, 0, 160], [0, 800, 160], [0, 0, 1]])
    return Camera(K, rotation, np.array(translation, float), 321, 321)


def shaded(light, view):
    vertices = MODEL.mean
    points = project(view, vertices)
    fragments = rasterise(points, MODEL.faces, 321, 321)
    normals = vertex_normals(vertices, MODEL.faces) @ view.rotation.T
    colours = MODEL.albedo_mean * sh_shading(normals, light)
    image = np.zeros((321, 321, 3), np.float32)
    hit = fragments.covered
    corners = colours[MODEL.faces[fragments.triangle[hit]]]
    image[hit] = np.einsum("nc,ncd->nd", fragments.barycentric[hit], corners)
    return to_uint8(image)


def test_the_shading_of_a_known_light_comes_back():
    view = camera()
    direction = np.array([0.5, -0.4, -0.77])
    light = directional_light_sh(direction / np.linalg.norm(direction), [1.2, 1.0, 0.8])
    light[0] += 0.8
    found = estimate_light(shaded(light, view), MODEL.mean, MODEL, view)
    normals = vertex_normals(MODEL.mean, MODEL.faces) @ view.rotation.T
    seen = normals[:, 2] < -0.4
    truth, estimate = sh_shading(normals[seen], light), sh_shading(normals[seen], found)
    assert np.abs(estimate - truth).mean() < 0.05 * truth.mean()


def test_a_face_outside_the_image_gets_even_light():
    view = camera(translation=(900, 0, 700))
    found = estimate_light(np.zeros((321, 321, 3), np.uint8), MODEL.mean, MODEL, view)
    normals = vertex_normals(MODEL.mean, MODEL.faces)
    np.testing.assert_allclose(sh_shading(normals, found), 1, atol=1e-6)
