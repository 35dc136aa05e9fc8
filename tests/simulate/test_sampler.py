import numpy as np
import pytest
import toy
from simulated_heads import write_heads

from facekit.errors import InputError
from facekit.simulate.sampler import PortraitOptions, PortraitSampler, random_view
from facekit.simulate.subject import ForeignHeads, subject_from_model

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


def test_bad_options_are_rejected(model):
    for bad in (
        {"size": 8},
        {"views": 0},
        {"supersample": 0},
        {"face_fraction": (0.6, 0.3)},
        {"distance_mm": (0, 10)},
    ):
        with pytest.raises(InputError):
            PortraitOptions(**bad)
    with pytest.raises(InputError, match="0 or more"):
        PortraitSampler(model).sample(-1)
