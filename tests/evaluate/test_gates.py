import numpy as np
import pytest
from simulated_heads import write_heads
from toy import toy_model

from facekit.errors import UsageError
from facekit.evaluate.gate_bench import paired_difference
from facekit.evaluate.gates import development_heads, gate_pictures, model_heads
from facekit.evaluate.heads import HeadScore, choose_heads
from facekit.evaluate.truth import TruthOptions

MODEL = toy_model()
OPTIONS = TruthOptions(count=2, seed=3, size=96)


def test_development_heads_are_none_of_the_benchs():
    heads = development_heads(200, 60)
    assert len(set(heads)) == 60
    assert not set(heads) & set(choose_heads(50, 200, 0))
    with pytest.raises(UsageError, match="1 to 150"):
        development_heads(200, 151)


def test_model_heads_know_their_neutral_shape():
    heads, subjects = model_heads(MODEL, 3, 1)
    for head, subject in enumerate(subjects):
        scan, marks = heads.scan(head)
        np.testing.assert_allclose(marks, MODEL.landmark_points("now7", subject.neutral), atol=1e-4)
        truth = MODEL.shape(subject.identity)
        assert np.isin(scan[:, 0], truth[:, 0]).all()


@pytest.mark.parametrize("gate", ["a", "b"])
def test_pictures_depend_on_seed_and_view_alone(gate):
    _, chosen, render = gate_pictures(gate, MODEL, OPTIONS, None)
    first = render(chosen[1], 0.0).image
    render(chosen[0], 30.0)
    np.testing.assert_array_equal(render(chosen[1], 0.0).image, first)
    assert (render(chosen[1], 30.0).image != first).any()
    other = gate_pictures(gate, MODEL, TruthOptions(count=2, seed=4, size=96), None)[2]
    assert (other(1, 0.0).image != first).any()


def test_the_light_of_gate_a_is_harmonics_times_albedo():
    _, chosen, render = gate_pictures("a", MODEL, OPTIONS, None)
    picture = render(chosen[0], 0.0)
    assert picture.image.shape == (96, 96, 3)
    x, y = np.rint(picture.ibug68[30]).astype(int)
    assert picture.image[y, x].max() > 10


def test_other_heads_need_a_file_and_a_known_gate():
    with pytest.raises(UsageError, match="--heads"):
        gate_pictures("c", MODEL, OPTIONS, None)
    with pytest.raises(UsageError, match="a, b, c, d"):
        gate_pictures("e", MODEL, OPTIONS, None)


def test_methods_are_compared_on_pictures_that_both_have():
    def score(head, yaw, name, median):
        distances = None if median is None else np.array([median])
        return HeadScore(head, yaw, name, distances, {"median": median})

    scores = [score(h, 0.0, "land", 1.0) for h in range(5)]
    scores += [score(h, 0.0, "pixels", 0.8) for h in range(4)]
    scores += [score(4, 0.0, "pixels", None)]
    pair = paired_difference(scores, "pixels", "land", seed=0)
    assert pair["pictures"] == 4
    assert pair["better_on_percent"] == 100
    assert pair["mean_difference_mm"] == pytest.approx(-0.2)
    assert pair["low_mm"] <= pair["mean_difference_mm"] <= pair["high_mm"]
    assert pair["relative_percent"] == pytest.approx(-20)
    assert paired_difference(scores, "pixels", "none", seed=0) is None


def test_heads_of_a_file_have_their_truth_and_no_shine(tmp_path):
    path = write_heads(tmp_path / "heads.npz")
    heads, chosen, render = gate_pictures("c", MODEL, OPTIONS, path)
    assert len(heads) == 3
    assert len(chosen) == 2
    picture = render(chosen[0], 0.0)
    np.testing.assert_array_equal(render(chosen[0], 0.0).image, picture.image)
    assert picture.ibug68.shape == (68, 2)
