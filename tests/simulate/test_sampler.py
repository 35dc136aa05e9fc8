from dataclasses import replace

import numpy as np
import pytest
import toy
from simulated_heads import write_heads

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.simulate.look import random_look
from facekit.simulate.sampler import PortraitOptions, PortraitSampler, random_view
from facekit.simulate.scene import build_scene
from facekit.simulate.subject import ForeignHeads, subject_from_model, with_expression

SMALL = PortraitOptions(size=64, views=3, supersample=1)


@pytest.fixture(scope="module")
def model():
    return toy.toy_model()


def test_a_portrait_depends_on_seed_and_index_alone(model):
    forwards = PortraitSampler(model, seed=4, options=SMALL)
    first = [forwards.sample(i) for i in range(4)]
    backwards = PortraitSampler(model, seed=4, options=SMALL)
    for index in (3, 0, 2):
        again = backwards.sample(index)
        np.testing.assert_array_equal(again.image, first[index].image)
        np.testing.assert_array_equal(again.landmarks_2d, first[index].landmarks_2d)
    other = PortraitSampler(model, seed=5, options=SMALL).sample(0)
    assert (other.image != first[0].image).any()


def test_views_share_the_person_and_nothing_else(model):
    sampler = PortraitSampler(model, seed=0, options=SMALL)
    one, two, next_person = (sampler.sample(i) for i in (0, 1, 3))
    np.testing.assert_array_equal(one.subject.vertices, two.subject.vertices)
    assert one.look.hair == two.look.hair
    assert one.view != two.view
    assert one.look.skin != two.look.skin
    assert (one.subject.vertices != next_person.subject.vertices).any()


def test_heads_of_a_file_come_in_turn(tmp_path):
    heads = ForeignHeads(write_heads(tmp_path / "heads.npz"))
    sampler = PortraitSampler(heads, options=PortraitOptions(size=48, supersample=1))
    names = [sampler.sample(i).subject.name for i in (0, 1, 3)]
    assert names == ["heads-000", "heads-001", "heads-000"]
    assert sampler.sample(1).visible[17:].mean() > 0.4


def test_views_keep_their_ranges(model):
    subject = subject_from_model(model)
    options = PortraitOptions(size=200, yaw_deg=40, yaw_uniform=True)
    rng = np.random.default_rng(0)
    views = [random_view(rng, subject, options) for _ in range(400)]
    yaw = np.degrees([v.yaw for v in views])
    assert 38 < yaw.max() <= 40
    assert -40 <= yaw.min() < -38
    assert abs(yaw).mean() == pytest.approx(20, abs=1.5)
    distance = np.array([v.distance_mm for v in views])
    assert distance.min() >= 350
    assert distance.max() <= 2500
    focal = np.array([v.focal_px for v in views]) * 36 / 200
    assert focal.min() >= 25 - 1e-9
    assert focal.max() <= 85 + 1e-9


def test_drawn_distances_cover_their_range_and_lenses_keep_the_face_s_size(model):
    subject = subject_from_model(model)
    options = PortraitOptions(
        size=200, face_fraction=(0.5, 0.6), focal_mm=None, distance_mm=(400, 2000)
    )
    rng = np.random.default_rng(0)
    views = [random_view(rng, subject, options) for _ in range(400)]
    logs = np.log([v.distance_mm for v in views])
    assert logs.min() == pytest.approx(np.log(400), abs=0.03)
    assert logs.max() == pytest.approx(np.log(2000), abs=0.03)
    # Uniform in the logarithm: half of them nearer than the geometric mean.
    assert logs.mean() == pytest.approx(np.log(400 * 2000) / 2, abs=0.1)
    marks = subject.neutral_landmarks
    height = np.linalg.norm(marks[17:27].mean(0) - marks[8])
    seen = np.array([v.focal_px * height / v.distance_mm / 200 for v in views])
    assert seen.min() >= 0.5 - 1e-9 and seen.max() <= 0.6 + 1e-9
    assert seen.std() > 0.02


def test_bad_options_are_rejected(model):
    for bad in (
        {"size": 8},
        {"views": 0},
        {"supersample": 0},
        {"face_fraction": (0.6, 0.3)},
        {"distance_mm": (0, 10)},
        {"focal_mm": None, "distance_mm": (900, 400)},
    ):
        with pytest.raises(InputError):
            PortraitOptions(**bad)
    with pytest.raises(InputError, match="0 or more"):
        PortraitSampler(model).sample(-1)


def test_views_may_have_expressions_of_their_own(model, tmp_path):
    options = PortraitOptions(size=64, views=6, supersample=1, expressions=True)
    sampler = PortraitSampler(model, seed=2, options=options)
    views = [sampler.sample(i) for i in range(6)]
    assert len({tuple(v.subject.expression) for v in views}) > 2
    for portrait in views:
        subject = portrait.subject
        np.testing.assert_array_equal(subject.identity, views[0].subject.identity)
        expected = model.shape(subject.identity, subject.expression)
        np.testing.assert_allclose(subject.vertices, expected, atol=1e-3)
        seen = project(portrait.camera, subject.points(subject.vertices))
        np.testing.assert_allclose(portrait.landmarks_2d, seen[:, :2], atol=1e-3)
    again = PortraitSampler(model, seed=2, options=options).sample(4)
    np.testing.assert_array_equal(again.image, views[4].image)
    heads = ForeignHeads(write_heads(tmp_path / "heads.npz"))
    with pytest.raises(InputError, match="people of a morphable model"):
        PortraitSampler(heads, options=options)


def test_a_scene_takes_another_expression_along(model):
    identity = np.random.default_rng(0).normal(0, 0.5, model.num_identity)
    calm = subject_from_model(model, identity=identity)
    full = np.zeros(model.num_expression, np.float32)
    full[0] = 1.0
    moved = with_expression(calm, model, full)
    rng = np.random.default_rng(5)
    look = random_look(rng, size=64, glasses=0.0)
    look = replace(look, hair=replace(look.hair, thickness=6.0, length=0.0))
    scene = build_scene(calm, look).with_expression(calm, moved)
    afresh = build_scene(moved, look)
    count = scene.num_head_vertices
    np.testing.assert_allclose(scene.vertices[:count], afresh.vertices[:count], atol=1e-3)
    # The cap of hair moves with the skin below it, in all but its direction of growth.
    cap = scene.follows[count:] >= 0
    assert cap.any()
    np.testing.assert_allclose(scene.vertices[count:][cap], afresh.vertices[count:][cap], atol=1.0)
    np.testing.assert_allclose(
        scene.vertices[scene.teeth], afresh.vertices[afresh.teeth], atol=1e-3
    )
