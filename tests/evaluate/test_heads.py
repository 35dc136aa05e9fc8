import json

import numpy as np
import pytest
from toy import toy_model

from facekit.errors import InputError, ItemError
from facekit.evaluate.heads import (
    HeadSet,
    Picture,
    choose_heads,
    heads_report,
    model_prediction,
    read_heads,
    score_heads,
)
from facekit.evaluate.now import NowPrediction

COUNT = 12


def make_heads():
    """Heads that the model can nearly express, and their true coefficients."""
    model = toy_model()
    rng = np.random.default_rng(0)
    identity = rng.normal(size=(COUNT, model.num_identity))
    rough = rng.normal(scale=0.1, size=(COUNT, model.num_vertices, 3))
    neutral = np.array([model.shape(a) for a in identity]) + rough.astype(np.float32)
    marks = model.landmarks["now7"]
    front = model.faces[(model.mean[model.faces][:, :, 2] > 10).all(axis=1)]
    heads = HeadSet(neutral, front, model.faces[marks.faces], marks.barycentric.astype(float))
    return model, heads, identity


@pytest.fixture(scope="module")
def bench():
    """A renderer that paints the head's number, and methods that read it."""
    model, heads, identity = make_heads()

    def render(head, yaw):
        return Picture(np.full((2, 2, 3), head + 100 * (yaw > 0), np.uint8))

    def good(picture):
        head = int(picture.image[0, 0, 0]) % 100
        return model_prediction(model, model.shape(0.8 * identity[head]))

    def half(picture):
        if picture.image[0, 0, 0] >= 100:
            return None
        return good(picture)

    def broken(picture):
        raise ItemError("diverged")

    def bad(picture):
        return model_prediction(model, np.full_like(model.mean, np.nan))

    def foreign(picture):
        """Another topology: the shape with its faces in another order and vertices doubled."""
        shape = good(picture)
        n = len(shape.vertices)
        return NowPrediction(
            np.concatenate([shape.vertices, shape.vertices]), shape.faces + n, shape.landmarks
        )

    chosen = choose_heads(10, COUNT, seed=3)
    seen = []
    scores = score_heads(
        heads,
        model,
        render=render,
        methods={
            "fit": good,
            "half": half,
            "broken": broken,
            "nan": bad,
            "foreign": foreign,
        },
        chosen=chosen,
        yaws_deg=[0, 45],
        progress=lambda done, total: seen.append((done, total)),
    )
    return heads_report(scores, main="fit", seed=0, protocol={}), scores, seen


def test_ranking_is_mean_fit_projection(bench):
    methods = bench[0]["methods"]
    assert list(methods) == [
        "mean_face",
        "projection_all",
        "fit",
        "half",
        "broken",
        "nan",
        "foreign",
    ]
    assert (
        methods["projection_all"]["median"]
        < 0.6 * methods["fit"]["median"]
        < 0.5 * methods["mean_face"]["median"]
    )
    assert bench[0]["metrics"] == methods["fit"]
    assert methods["foreign"]["median"] == pytest.approx(methods["fit"]["median"])
    assert methods["foreign"]["corresponded_mean"] is None
    order = [methods[n]["corresponded_mean"] for n in ("projection_all", "fit", "mean_face")]
    assert order == sorted(order)


def test_comparison_is_paired_and_below_zero(bench):
    comparison = bench[0]["comparisons"]["fit"]
    assert comparison["low_mm"] < comparison["median_difference_mm"] < comparison["high_mm"] < 0
    assert (comparison["pictures"], comparison["heads"]) == (20, 10)
    assert comparison["relative_percent"] < -20
    assert comparison["better_on_percent"] == 100
    assert "mean_face" not in bench[0]["comparisons"]
    by_hand = []
    for head in {s.head for s in bench[1]}:
        fit, mean = (
            np.median(next(s.distances for s in bench[1] if (s.head, s.method) == (head, name)))
            for name in ("fit", "mean_face")
        )
        by_hand.append(fit - mean)
    assert comparison["median_difference_mm"] == pytest.approx(np.median(by_hand))


def test_missing_are_counted_by_view(bench):
    document = bench[0]
    assert document["methods"]["half"]["missing"] == 10
    assert document["views"]["45"]["half"]["missing"] == 10
    assert document["views"]["45"]["half"]["median"] is None
    assert document["views"]["0"]["half"]["missing"] == 0
    assert document["methods"]["broken"]["count"] == 0
    assert document["comparisons"]["broken"] is None
    assert document["comparisons"]["half"]["pictures"] == 10
    assert document["methods"]["nan"]["missing"] == 20
    errors = {i["error"].partition(":")[0] for i in document["items"] if i["missing"]}
    assert errors == {"no face was found", "diverged", "prediction landmarks"}
    assert bench[2][-1] == (20, 20)
    json.dumps(document, allow_nan=False)


def test_report_needs_its_main_method(bench):
    with pytest.raises(InputError, match="'other'"):
        heads_report(bench[1], main="other", seed=0, protocol={})


def test_choice_is_seeded_and_bounded():
    assert choose_heads(0, 5, 0) == [0, 1, 2, 3, 4]
    assert choose_heads(3, 100, 1) == choose_heads(3, 100, 1)
    assert choose_heads(3, 100, 1) != choose_heads(3, 100, 2)
    assert len(set(choose_heads(50, 100, 1))) == 50
    for count in (-1, 6):
        with pytest.raises(InputError, match="0 \\(all\\) to 5"):
            choose_heads(count, 5, 0)


def write(path, **changes):
    heads = make_heads()[1]
    values = {
        "neutral": np.round(heads.neutral / 0.01).astype(np.int16),
        "quantum_mm": np.float64(0.01),
        "scan_faces": heads.scan_faces,
        "landmark_vertices": heads.landmark_vertices[::-1],
        "landmark_weights": heads.landmark_weights[::-1],
        "now7_rows": np.arange(7)[::-1],
    }
    values.update(changes)
    np.savez(path, **{k: v for k, v in values.items() if v is not None})
    return heads


def test_heads_file(tmp_path):
    path = tmp_path / "heads.npz"
    heads = write(path)
    read = read_heads(path)
    assert len(read) == COUNT
    np.testing.assert_allclose(read.neutral, heads.neutral, atol=0.006)
    for a, b in zip(read.scan(3), heads.scan(3), strict=True):
        np.testing.assert_allclose(a, b, atol=0.006)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"now7_rows": None}, "now7_rows"),
        ({"now7_rows": np.arange(1, 8)}, r"\[0, 7\)"),
        ({"scan_faces": np.array([[0, 1, 10**6]])}, "vertex indices"),
        ({"scan_faces": np.zeros((0, 3), int)}, "at least one"),
        ({"neutral": np.zeros((3, 4))}, "shape"),
    ],
)
def test_unusable_heads_file(tmp_path, changes, message):
    path = tmp_path / "heads.npz"
    write(path, **changes)
    with pytest.raises(InputError, match=message):
        read_heads(path)


def test_no_heads_file(tmp_path):
    with pytest.raises(InputError, match=r"expected heads of known shape"):
        read_heads(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(InputError, match=r"expected heads of known shape"):
        read_heads(tmp_path / "text.npz")
