from dataclasses import replace

import numpy as np
import pytest
from simulated_heads import toy_subject

from facekit.geometry.mesh import face_normals, mesh_edges
from facekit.render.shade import srgb_to_linear
from facekit.simulate.background import random_background
from facekit.simulate.body import find_neck, glasses, random_cloth, random_glasses, torso
from facekit.simulate.eyes import paint_eyeballs, random_eyes
from facekit.simulate.hair import hair_mask, long_hair, random_hair, random_hair_colour
from facekit.simulate.light import ambient_occlusion, direction, random_light
from facekit.simulate.pieces import grid_faces, merge, tube
from facekit.simulate.sensor import SensorStyle, expose, random_sensor
from facekit.simulate.skin import lab_to_linear, paint_skin, random_skin, tone_of_ita
from facekit.simulate.teeth import teeth

PERFECT = SensorStyle(1.0, (1.0, 1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0)


def standard():
    """Places and landmarks of a head in standard millimetres."""
    subject = toy_subject()
    scale, origin = subject.standard
    return (subject.neutral - origin) * scale, (subject.neutral_landmarks - origin) * scale


def test_grids_and_tubes_face_outwards():
    faces = grid_faces(3, 4)
    y, x = np.mgrid[:3, :4]
    flat = np.stack([x.ravel(), -y.ravel(), 0 * x.ravel()], 1).astype(float)
    np.testing.assert_allclose(face_normals(flat, faces), np.tile([0, 0, 1], (12, 1)))
    ring = np.arange(20) * 2 * np.pi / 20
    path = np.stack([10 * np.cos(ring), 10 * np.sin(ring), 0 * ring], 1)
    vertices, closed = tube(path, 2.0, closed=True)
    assert (mesh_edges(closed).num_faces == 2).all()
    distance = np.hypot(np.hypot(vertices[:, 0], vertices[:, 1]) - 10, vertices[:, 2])
    np.testing.assert_allclose(distance, 2, atol=0.05)
    both, joined = merge([(vertices, closed), (vertices, closed)])
    assert joined.max() == len(both) - 1


def test_skin_tones_have_their_angle():
    for ita in (-60.0, -20.0, 20.0, 60.0):
        tone = tone_of_ita(ita)
        # Back to CIELAB with the textbook matrix.
        matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        xyz = np.array(matrix) @ tone / [0.95047, 1, 1.08883]
        f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
        lightness, b = 116 * f[1] - 16, 200 * (f[1] - f[2])
        assert np.degrees(np.arctan2(lightness - 50, b)) == pytest.approx(ita, abs=6)
        assert tone[0] > tone[1] > tone[2]
    np.testing.assert_allclose(lab_to_linear(np.array([100.0, 0, 0])), 1, atol=2e-3)


def test_brows_are_dark_and_lips_are_red():
    _, marks = standard()
    style = replace(
        random_skin(np.random.default_rng(3), hair_colour=np.full(3, 0.01)),
        ita_deg=50.0,
        brow_density=1.2,
        beard=0.0,
        freckles=0.0,
        lip_tint=(1.0, 0.4, 0.4),
    )
    cheek = np.array([[30, -35, marks[36, 2]]])
    brow = marks[[19, 24]] - [0, 1.6, 0]
    lip = (marks[[50, 57]] + marks[[61, 66]]) / 2
    skin, hair, lips = (paint_skin(p, marks, style) for p in (cheek, brow, lip))
    assert hair.mean() < 0.5 * skin.mean()
    assert (lips[:, 1] / lips[:, 0] < 0.8 * skin[:, 1] / skin[:, 0]).all()


def test_eyes_have_a_dark_pupil_in_a_white():
    _, marks = standard()
    style = replace(random_eyes(np.random.default_rng(0), ita_deg=40), gaze=(0.0, 0.0))
    centre = marks[36:42].mean(0)
    places = np.array([centre, centre + [4, 0, 0], centre + [9, 0, 0]])
    albedo, iris = paint_eyeballs(places, marks, style)
    assert albedo[0].max() < 0.02
    assert albedo[2].min() > 0.15
    np.testing.assert_allclose(iris, [1, 1, 0], atol=1e-3)


def test_hair_grows_on_the_scalp_and_not_on_the_face():
    rng = np.random.default_rng(0)
    style = replace(
        random_hair(rng, colour=random_hair_colour(rng, dark=0.5)),
        thickness=8.0,
        hairline=0.0,
        cover=1.0,
        length=120.0,
    )
    scalp = np.array([[0, 105, -60], [30, 85, -120], [0, 10, -175.0]])
    face = np.array([[0, 30, 10], [60, -20, -40], [0, -90, 10], [0, -130, -50.0]])
    assert hair_mask(scalp, style).min() > 0.9
    assert hair_mask(face, style).max() < 0.1
    assert hair_mask(scalp, replace(style, thickness=0.0)).max() == 0
    places, _ = standard()
    falling = long_hair(places, style)
    assert falling.vertices[:, 1].min() == pytest.approx(-120, abs=1)
    # Its opening leaves the face free.
    front = falling.vertices[falling.vertices[:, 2] > -30]
    assert (np.abs(front[:, 0]) > 25).all()
    assert long_hair(places, replace(style, length=0.0)) is None


def test_clothes_begin_below_the_chin_and_teeth_lie_behind_the_lips():
    places, marks = standard()
    chin = float(marks[8, 1])
    neck = find_neck(places, chin)
    assert neck.height < chin
    body = torso(neck, random_cloth(np.random.default_rng(0)))
    assert body.vertices[:, 1].max() < chin + 45
    rows = teeth(marks, marks)
    assert rows.vertices[:, 2].max() < marks[60:68, 2].max()
    opened = marks.copy()
    opened[65:68, 1] -= 20
    drop = rows.vertices[:, 1].min() - teeth(marks, opened).vertices[:, 1].min()
    assert drop == pytest.approx(17)


def test_glasses_are_in_front_of_the_eyes_or_not_there():
    _, marks = standard()
    style = random_glasses(np.random.default_rng(0), probability=1.0)
    worn = glasses(marks, style)
    near_eye = np.abs(worn.vertices[:, 1] - marks[36:48, 1].mean()) < 25
    assert worn.vertices[near_eye, 2].max() > marks[36:48, 2].max()
    assert glasses(marks, random_glasses(np.random.default_rng(0), probability=0.0)) is None


def test_occlusion_is_none_on_a_ball_and_strong_in_a_corner():
    subject = toy_subject()
    normal = subject.vertices / np.array([75.0, 110, 90]) ** 2
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    free = ambient_occlusion(subject.vertices, subject.faces, normal.astype(np.float32))
    assert np.median(free) > 0.97
    # Two walls that meet hide half of each other's surroundings.
    grid = np.linspace(0, 100, 11)
    a, b = (v.ravel() for v in np.meshgrid(grid, grid, indexing="ij"))
    floor, wall = np.stack([a, 0 * a, b], 1), np.stack([0 * a, a, b], 1)
    faces = grid_faces(11, 11)
    both, joined = merge([(floor, faces), (wall, faces)])
    normals = np.repeat(np.array([[0, 1.0, 0], [1, 0, 0]], np.float32), len(floor), axis=0)
    seen = ambient_occlusion(both, joined, normals, directions=64)
    corner = (a == 10) & (b == 50)
    open_end = (a == 100) & (b == 50)
    assert seen[: len(floor)][corner] < 0.75
    assert seen[: len(floor)][open_end] > seen[: len(floor)][corner] + 0.15


def test_lights_are_seeded_and_come_mostly_from_above():
    np.testing.assert_allclose(direction(0, 0), [0, 0, -1], atol=1e-12)
    assert direction(0.5, 0)[0] > 0
    assert direction(0, 0.5)[1] < 0
    lights = [random_light(np.random.default_rng(s)) for s in range(60)]
    assert np.mean([light.key[1] < 0 for light in lights]) > 0.8
    np.testing.assert_array_equal(
        lights[3].harmonics, random_light(np.random.default_rng(3)).harmonics
    )


def test_backgrounds_fill_the_picture():
    for seed in range(12):
        picture = random_background(np.random.default_rng(seed), 50, 34)
        assert picture.shape == (34, 50, 3)
        assert picture.min() >= 0
        assert picture.max() <= 1
        again = random_background(np.random.default_rng(seed), 50, 34)
        np.testing.assert_array_equal(picture, again)


def test_a_perfect_camera_only_encodes():
    linear = np.random.default_rng(0).uniform(0, 0.65, (20, 30, 3)).astype(np.float32)
    photograph = expose(linear, PERFECT, np.random.default_rng(0))
    np.testing.assert_allclose(srgb_to_linear(photograph / 255), linear, atol=0.004)


def test_each_flaw_does_what_it_says():
    rng = np.random.default_rng
    grey = np.full((64, 64, 3), 0.18, np.float32)
    edge = grey.copy()
    edge[:, 32:] = 0.5

    def shot(picture, **changes):
        return expose(picture, replace(PERFECT, **changes), rng(0)).astype(float)

    assert shot(grey, exposure=2.0).mean() > shot(grey).mean() + 30
    assert shot(grey, balance=(1.3, 1.0, 0.7))[..., 0].mean() > shot(grey)[..., 0].mean()
    assert shot(grey, noise=4.0).std() > 2 * shot(grey, noise=1.0).std() > 0
    assert np.abs(np.diff(shot(edge, blur_px=3.0)[32, :, 0])).max() < 20
    assert np.abs(np.diff(shot(edge, motion_px=9.0, motion_deg=0.0)[32, :, 0])).max() < 40
    assert np.abs(np.diff(shot(edge, motion_px=9.0, motion_deg=90.0)[32, :, 0])).max() > 60
    tinted = grey * np.array([1.5, 1, 0.5], np.float32)
    assert np.ptp(shot(tinted, saturation=0.0)[0, 0]) <= 1
    assert shot(edge, jpeg=30).std() > 0
    assert random_sensor(rng(0), size=256).jpeg >= 0
