"""Hard pictures: what is true of them stays true; a quality that knows them is found good."""

import numpy as np
import pytest
from known_landmarks import known_landmarks
from simulated_heads import write_heads
from toy import frontal_landmarks, toy_model

from facekit.errors import InputError, UsageError
from facekit.evaluate import condition_bench as bench
from facekit.evaluate.condition_bench import ConditionItem, condition_report
from facekit.evaluate.conditions import (
    CONDITIONS,
    SMALL_PX,
    covering,
    filtered,
    reduced,
    take_shot,
)
from facekit.evaluate.truth import TruthOptions, head_portraits
from facekit.fit.quality import WEIGHTS
from facekit.geometry.cameras import project
from facekit.simulate.light import random_light
from facekit.simulate.occluders import draw_occluder


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads") / "heads.npz", count=2)


@pytest.fixture(scope="module")
def portraits(heads):
    return head_portraits(heads, TruthOptions(size=128))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_shots_know_their_truth(portraits, condition):
    shot = take_shot(portraits, 1, condition, seed=2)
    again = take_shot(portraits, 1, condition, seed=2)
    np.testing.assert_array_equal(shot.image, again.image)
    height, width = shot.image.shape[:2]
    assert (shot.camera.width, shot.camera.height) == (width, height)
    # The landmarks lie where the camera sees the head.
    spots = project(shot.camera, shot.vertices)[:, :2]
    low, high = spots.min(0) - 1, spots.max(0) + 1
    assert ((shot.ibug68 > low) & (shot.ibug68 < high)).all()
    if condition == "profile":
        assert shot.yaw_deg == 75
    if condition == "small":
        assert np.ptp(shot.ibug68, axis=0).max() == pytest.approx(SMALL_PX, rel=0.03)


def test_a_reduced_shot_is_the_same_picture(portraits):
    shot = take_shot(portraits, 0, "plain", seed=0, yaw_deg=0.0)
    small = reduced(shot, np.ptp(shot.ibug68, axis=0).max() / 2)
    seen = project(small.camera, shot.vertices)[:, :2]
    expected = (project(shot.camera, shot.vertices)[:, :2] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(seen, expected, atol=0.02 * 64)
    assert small.image.shape[0] == pytest.approx(64, abs=1)


def test_wrong_crops_come_in_three_kinds(portraits):
    kinds = {}
    for seed in range(24):
        shot = take_shot(portraits, 0, "cropped", seed=seed)
        kinds[shot.kind] = shot
    assert set(kinds) == {"cut", "shifted", "elsewhere"}
    cut = kinds["cut"]
    outside = (cut.ibug68 < -0.5) | (cut.ibug68 > np.array(cut.image.shape[1::-1]) - 0.5)
    assert outside.any()
    assert cut.started is None
    for kind in ("shifted", "elsewhere"):
        true = kinds[kind].ibug68[[36, 45]].mean(0)
        told = kinds[kind].started.five[:2].mean(0)
        assert np.linalg.norm(true - told) > 0.05 * 128
    seen = []

    class Completes:
        def complete(self, image, face):
            seen.append(face)
            return face

    assert kinds["shifted"].faces(Completes()) == seen == [kinds["shifted"].started]


def test_a_third_of_the_face_is_covered():
    points = 128 + frontal_landmarks() * [1, -1]
    y, x = np.mgrid[:256, :256]
    face = ((x - 128) / 68) ** 2 + ((y - 120) / 95) ** 2 < 1
    for seed in range(5):
        style = covering(face, points, np.random.default_rng(seed))
        _, hidden = draw_occluder(np.zeros((256, 256, 3), np.float32), points, style)
        assert (hidden & face).sum() / face.sum() == pytest.approx(1 / 3, abs=0.02)


def test_coloured_lamps_have_colours():
    plain = random_light(np.random.default_rng(0))
    lamp = filtered(plain, np.random.default_rng(1))
    assert np.ptp(lamp.key_colour / plain.key_colour) > 0.5
    assert np.ptp(lamp.ambient[0] / plain.ambient[0]) > 0.5


def test_unknown_conditions_are_refused(portraits):
    with pytest.raises(UsageError, match="plain, profile"):
        take_shot(portraits, 0, "foggy", seed=0)


def made(rng, count=60):
    """Fits whose badness the features tell, with some that were refused."""
    items = []
    for number in range(count):
        condition = ("plain", "small", "cropped")[number % 3]
        doubt = rng.normal(-2 + 3 * (condition == "cropped"), 1.0)
        place = 3.0 + 10 * (rng.random() < 1 / (1 + np.exp(-3 * (doubt + 0.5))))
        items.append(
            ConditionItem(
                number // 3,
                condition,
                "",
                0.0,
                "fit",
                1.0,
                now_mm=0.9,
                place_mm=place,
                quality=float(1 / (1 + np.exp(2 * (doubt + 0.5)))),
                features=(doubt, -3.0, -2.0),
                score=1.0,
            )
        )
    return [*items, ConditionItem(0, "cropped", "cut", 0.0, "fit", 1.0, reason="no face")]


def test_the_report_judges_the_quality():
    items = made(np.random.default_rng(4))
    document = condition_report(items, seed=0, protocol={})
    rows = {row["condition"]: row for row in document["rows"]}
    assert rows["cropped"]["missing"] == 1
    assert rows["cropped"]["count"] == 20
    assert rows["plain"]["ratio_percent"] == pytest.approx(90)
    assert rows["cropped"]["flagged_percent"] > rows["plain"]["flagged_percent"]
    area = document["quality"][0]
    assert area["judged"] > 0.85
    assert document["halves"][0]["judged"] > 0.85
    assert area["bad_by_shape"] == 0
    assert document["learned"]["doubt"] > 0.5
    assert sum(i["bad"] for i in document["items"]) > 5


def test_nothing_to_learn_from_is_said():
    items = [i for i in made(np.random.default_rng(5)) if i.place_mm < 4]
    assert condition_report(items, seed=0, protocol={})["learned"] is None
    with pytest.raises(InputError, match="plain"):
        condition_report([i for i in items if i.condition != "plain"], seed=0, protocol={})
    with pytest.raises(InputError, match="at least one"):
        condition_report([], seed=0, protocol={})
    assert min(WEIGHTS[:3]) >= 0


def test_the_bench_runs_on_heads_of_a_file(heads, monkeypatch):
    known_landmarks(monkeypatch, bench, toy_model())
    options = TruthOptions(count=2, size=192)
    items, document = bench.evaluate_conditions(heads, options, conditions=["small", "coloured"])
    assert [i.condition for i in items[:3]] == ["plain", "small", "coloured"]
    # The detector that knows only whole pictures finds nobody in the reduced one.
    assert all(bool(i.reason) == (i.condition == "small") for i in items)
    # True landmarks put the face in its place.
    assert all(i.place_mm < 8 for i in items if not i.reason)
    assert document["metrics"]["missing"] == 2
