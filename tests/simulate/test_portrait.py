from dataclasses import replace

import cv2
import numpy as np
import pytest
from simulated_heads import mesh_subject, toy_subject

from facekit import threads
from facekit.geometry.cameras import project
from facekit.render.rasterise import rasterise
from facekit.simulate.look import random_look
from facekit.simulate.portrait import (
    View,
    face_centre,
    landmark_visibility,
    render_portrait,
    view_camera,
)
from facekit.simulate.scene import build_scene
from facekit.simulate.subject import FRAME, HAIR

SIZE = 96


def plain_look(seed=0, **changes):
    """A look of a bald person without glasses, through a perfect camera."""
    look = random_look(np.random.default_rng(seed), size=SIZE, glasses=0, occluders=0, clean=1)
    look = replace(look, hair=replace(look.hair, thickness=0.0, length=0.0))
    return replace(look, **changes)


def view(yaw=0.0, pitch=0.0, roll=0.0, **changes):
    settings = {"distance_mm": 800.0, "focal_px": 3.0 * SIZE, "width": SIZE, "height": SIZE}
    settings.update(changes)
    return View(np.radians(yaw), np.radians(pitch), np.radians(roll), **settings)


def test_the_same_arguments_give_the_same_picture_on_any_number_of_threads():
    subject, look = toy_subject(), plain_look(3)
    threads.set_num_threads(1)
    try:
        one = render_portrait(subject, look, view(20))
        threads.set_num_threads(2)
        two = render_portrait(subject, look, view(20))
    finally:
        threads.set_num_threads(None)
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.depth_mm, two.depth_mm)
    assert one.image.shape == (SIZE, SIZE, 3)
    assert one.image.dtype == np.uint8


def test_landmarks_are_where_opencv_projects_them():
    portrait = render_portrait(toy_subject(), plain_look(), view(25, 8, -10))
    camera, subject = portrait.camera, portrait.subject
    expected, _ = cv2.projectPoints(
        subject.points(subject.vertices).astype(np.float64),
        cv2.Rodrigues(camera.rotation)[0],
        camera.translation,
        camera.intrinsics,
        None,
    )
    np.testing.assert_allclose(portrait.landmarks_2d, expected[:, 0], atol=2e-3)
    found, seen = portrait.points(subject.landmarks)
    np.testing.assert_allclose(found, portrait.landmarks_2d, atol=1e-3)
    np.testing.assert_array_equal(seen, portrait.visible)


def test_the_head_looks_at_the_camera_as_the_angles_say():
    centre = face_centre(toy_subject())
    for yaw, pitch, sign_x, sign_y in (
        (30, 0, 1, 0),
        (-30, 0, -1, 0),
        (0, 20, 0, -1),
        (0, -20, 0, 1),
    ):
        camera = view_camera(view(yaw, pitch), centre)
        nose = project(camera, centre + [0, 0, 80]) - project(camera, centre)
        assert np.sign(np.rint(nose[0])) == sign_x
        assert np.sign(np.rint(nose[1])) == sign_y
    middle = project(view_camera(view(shift_px=(5, -3)), centre), centre)
    np.testing.assert_allclose(middle, [(SIZE - 1) / 2 + 5, (SIZE - 1) / 2 - 3, 800], atol=1e-6)


def test_depth_is_the_heads_own_where_nothing_hides_it():
    portrait = render_portrait(toy_subject(), plain_look(), view(15))
    subject = portrait.subject
    points = project(portrait.camera, subject.vertices.astype(np.float64))
    head = rasterise(points, subject.faces, SIZE, SIZE)
    depth = head.depth(points, subject.faces)
    face = portrait.face_mask
    assert face.sum() > 400
    np.testing.assert_allclose(portrait.depth_mm[face], depth[face], atol=0.01)
    assert not face[~head.covered].any()


def test_what_is_painted_lies_where_the_truth_says():
    # Red lips on pale skin: their centre of redness is the mouth's centre.
    look = plain_look(5)
    skin = replace(
        look.skin, ita_deg=55.0, lip_tint=(1.0, 0.1, 0.1), redness=0, mottle=0, freckles=0, beard=0
    )
    flat = replace(look.sensor, exposure=1.0, balance=(1, 1, 1), noise=0, jpeg=0, blur_px=0)
    look = replace(look, skin=skin, sensor=replace(flat, saturation=1.0, contrast=1.0))
    for samples in (1, 2, 3):
        portrait = render_portrait(mesh_subject(), look, view(roll=12), supersample=samples)
        red = portrait.image[..., 0].astype(float) - portrait.image[..., 1]
        red[~portrait.face_mask] = 0
        red = np.maximum(red - 60, 0)
        y, x = np.mgrid[:SIZE, :SIZE]
        centre = np.array([(red * x).sum(), (red * y).sum()]) / red.sum()
        mouth = cv2.moments(portrait.landmarks_2d[48:60].reshape(-1, 1, 2))
        expected = np.array([mouth["m10"], mouth["m01"]]) / mouth["m00"]
        np.testing.assert_allclose(centre, expected, atol=0.5)


def test_hidden_landmarks_are_told_from_seen_ones():
    front = render_portrait(toy_subject(), plain_look(), view(0))
    assert front.visible.all()
    turned = render_portrait(toy_subject(), plain_look(), view(60))
    # The nose turns to image right, so the person's left (image right) is hidden.
    assert turned.visible[36:42].all()
    assert not turned.visible[[44, 45, 46]].any()
    away = render_portrait(toy_subject(), plain_look(), view(0, shift_px=(70, 0)))
    outside = away.landmarks_2d[:, 0] > SIZE - 0.5
    assert outside.any()
    assert not away.visible[outside].any()


def test_visibility_by_the_depth_map():
    depth = np.zeros((5, 5), np.float32)
    depth[2, 2] = 100
    points = np.array([[2, 2, 100], [2, 2, 105], [2, 2, 110], [3, 2, 100], [0, 4, 100], [-3, 0, 9]])
    seen = landmark_visibility(points.astype(float), depth, None)
    np.testing.assert_array_equal(seen, [True, True, False, True, False, False])
    covered = np.zeros((5, 5), bool)
    covered[2, 2] = True
    assert not landmark_visibility(points.astype(float), depth, covered)[0]


def test_hair_and_glasses_hide_the_face_they_cover():
    subject = toy_subject()
    look = plain_look(1)
    worn = replace(
        look,
        hair=replace(look.hair, thickness=10.0, hairline=-25.0, cover=1.0),
        glasses=replace(look.glasses, radius=2.0, half_width=24, half_height=18, roundness=2.5),
    )
    scene = build_scene(subject, worn)
    assert (scene.material == HAIR).any()
    assert (scene.material == FRAME).any()
    bare = render_portrait(subject, look, view(0))
    covered = render_portrait(subject, worn, view(0), scene=scene)
    assert covered.face_mask.sum() < bare.face_mask.sum() - 50
    np.testing.assert_array_equal(covered.landmarks_2d, bare.landmarks_2d)


def test_an_occluder_hides_landmarks_and_face():
    look = random_look(np.random.default_rng(0), size=SIZE, occluders=1.0, glasses=0, clean=1)
    assert look.occluder is not None
    sheet = replace(look.occluder, kind="sheet", centre=(0.0, 0.1), size=0.25)
    with_it = render_portrait(toy_subject(), plain_look(occluder=sheet), view(0))
    without = render_portrait(toy_subject(), plain_look(), view(0))
    assert without.visible.all()
    assert not with_it.visible[30]
    assert with_it.occluded.any()
    assert not (with_it.face_mask & with_it.occluded).any()


def test_a_dark_person_is_darker_than_a_light_one():
    light, dark = (
        render_portrait(
            toy_subject(),
            plain_look(2, skin=replace(plain_look(2).skin, ita_deg=ita, beard=0.0)),
            view(0),
        )
        for ita in (60.0, -60.0)
    )
    face = light.face_mask
    assert light.image[face].mean() > 1.5 * dark.image[face].mean()


def test_the_key_light_casts_a_shadow():
    # Light from the side: with the shadow map the far side of the nose's ridge is darker.
    from facekit.simulate.light import ShadowMap

    subject = toy_subject()
    vertices = subject.vertices.astype(np.float64)
    wall = np.array([[100, -200, 0], [100, 200, 0], [100, 0, 300.0]])
    faces = np.concatenate([subject.faces, [[len(vertices), len(vertices) + 1, len(vertices) + 2]]])
    both = np.concatenate([vertices, wall])
    spots = np.array([[40.0, 0, 95], [-40.0, 0, 95]])
    normals = np.tile([0, 0, 1.0], (2, 1))
    toward = np.array([0.9, 0, np.sqrt(1 - 0.81)])
    free = ShadowMap(vertices, subject.faces, toward).lit(spots, normals, softness_mm=0.5)
    blocked = ShadowMap(both, faces, toward).lit(spots, normals, softness_mm=0.5)
    np.testing.assert_array_equal(free, 1)
    np.testing.assert_array_equal(blocked, 0)


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_the_supersampled_camera_agrees_with_the_plain_one(samples):
    from facekit.simulate.portrait import _enlarged

    camera = view_camera(view(10, 5, 3), face_centre(toy_subject()))
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    fine = project(_enlarged(camera, samples), points)
    np.testing.assert_allclose(
        (fine[:, :2] + 0.5) / samples - 0.5, project(camera, points)[:, :2], atol=1e-9
    )
