import numpy as np
import pytest

from facekit.errors import InputError
from facekit.fit.vertex_colours import vertex_colours
from facekit.geometry.cameras import to_camera
from facekit.geometry.mesh import vertex_normals
from facekit.morphable import load_model
from facekit.render.images import render_shaded, turned_camera
from facekit.render.shade import ambient_sh, sh_basis


@pytest.fixture(scope="module")
def model():
    return load_model("builtin")


def picture(model, yaw_deg, size=400):
    camera = turned_camera(model.mean, yaw_deg=yaw_deg, width=size, height=size)
    # Smooth colours, so that a blur of less than a millimetre leaves them.
    albedo = 0.3 + 0.2 * np.sin(model.mean / 30.0)
    light = ambient_sh(np.array([1.0, 1.0, 1.0]))
    shot = render_shaded(model.mean, model.faces, camera, albedo=albedo, light=light)
    return camera, albedo, shot.image[..., :3]


@pytest.mark.parametrize("yaw", [0.0, 35.0])
def test_colours_of_an_evenly_lit_head_are_its_albedo(model, yaw):
    camera, albedo, image = picture(model, yaw)
    seen = vertex_colours(image, model.mean, model.faces, camera)
    shown = (seen.facing > 0.5) & model.regions["face"]
    assert shown.sum() > 0.3 * model.regions["face"].sum()
    error = np.abs(seen.colours[shown] - albedo[shown])
    assert np.median(error) < 0.004
    assert np.quantile(error, 0.98) < 0.03


def test_only_what_faces_the_camera_is_seen(model):
    camera, _, image = picture(model, 35.0)
    seen = vertex_colours(image, model.mean, model.faces, camera)
    normals = vertex_normals(model.mean, model.faces) @ camera.rotation.T
    towards = -to_camera(camera, model.mean)
    cosine = (normals * towards).sum(1) / np.linalg.norm(towards, axis=1)
    shown = seen.facing > 0
    np.testing.assert_allclose(seen.facing[shown], cosine[shown], atol=1e-5)
    assert (cosine[shown] > 0.25).all()
    # The far side of the nose hides part of the far cheek, and the head its own back.
    back = model.mean[:, 2] < np.quantile(model.mean[:, 2], 0.05)
    assert not shown[back].any()
    np.testing.assert_allclose(seen.basis, sh_basis(normals.astype(np.float32)), atol=1e-5)


def test_highlights_and_what_lies_outside_do_not_count(model):
    camera, _, image = picture(model, 0.0)
    image = image.copy()
    image[:200] = 255
    seen = vertex_colours(image, model.mean, model.faces, camera)
    whole = vertex_colours(picture(model, 0.0)[2], model.mean, model.faces, camera)
    lower = vertex_colours(image[200:], model.mean, model.faces, shifted(camera, 200))
    assert seen.facing.sum() < 0.7 * whole.facing.sum()
    assert abs(lower.facing.sum() - seen.facing.sum()) < 0.06 * whole.facing.sum()


def shifted(camera, rows):
    from dataclasses import replace

    intrinsics = camera.intrinsics.copy()
    intrinsics[1, 2] -= rows
    return replace(camera, intrinsics=intrinsics, height=camera.height - rows)


def test_rejections(model):
    camera, _, image = picture(model, 0.0)
    with pytest.raises(InputError, match="image"):
        vertex_colours(image[..., :2], model.mean, model.faces, camera)
