"""The bench of both solvers: what it computes, on one small picture and on made-up pairs."""

from dataclasses import replace

import numpy as np
import pytest

from facekit.detect import open_detector
from facekit.errors import UsageError
from facekit.evaluate.gates import gate_pictures
from facekit.evaluate.solvers import (
    ADAM_FIT,
    PHOTOMETRIC_FIT,
    Pair,
    SolverBench,
    evaluate_solvers,
    posterior_energies,
    published_energies,
    summarise_pairs,
)
from facekit.evaluate.truth import LANDMARK_FIT, TruthOptions
from facekit.fit.first_order.config import ADAM_3DMM
from facekit.fit.first_order.fitter import FirstOrderFitter
from facekit.fit.landmark import LandmarkFitConfig
from facekit.fit.photo import FaceFitter
from facekit.morphable.builtin import load_builtin

OPTIONS = TruthOptions(
    count=1,
    yaws_deg=(0.0,),
    seed=0,
    model="builtin",
    landmarks="builtin",
    allow_download=False,
    size=320,
)


def pair(ours, theirs, posterior, published):
    return Pair(
        {LANDMARK_FIT: 0.1, PHOTOMETRIC_FIT: ours, ADAM_FIT: theirs},
        {LANDMARK_FIT: 0.1, PHOTOMETRIC_FIT: ours / 2, ADAM_FIT: theirs},
        {"at_ours": posterior, "at_theirs": posterior},
        published,
    )


def test_pairs_are_summarised_picture_by_picture():
    pairs = [
        pair(0.1, 3.0, {"ours": 5.0, "theirs": 6.0}, {"ours": 2.0, "theirs": 1.0}),
        pair(0.2, 4.0, {"ours": 7.0, "theirs": 7.0}, {"ours": 2.0, "theirs": 3.0}),
        pair(0.3, 3.0, {"ours": 9.0, "theirs": 8.0}, {"ours": 2.0, "theirs": 1.0}),
    ]
    found = summarise_pairs(pairs)
    assert found["pictures"] == 3
    assert found["seconds"] == {LANDMARK_FIT: 0.1, PHOTOMETRIC_FIT: 0.2, ADAM_FIT: 3.0}
    assert found["ratio"] == pytest.approx(20)
    assert found["cpu_ratio"] == pytest.approx(40)
    for view in ("at_ours", "at_theirs"):
        energy = found["posterior_energy"][view]
        assert (energy["ours"], energy["adam"]) == (7.0, 7.0)
        assert energy["ours_lower_percent"] == pytest.approx(200 / 3)
    assert found["published_energy"]["ours_lower_percent"] == pytest.approx(100 / 3)


def test_each_energy_is_taken_at_both_results():
    model = load_builtin()
    heads, chosen, render = gate_pictures("a", model, OPTIONS, None)
    fitter = FaceFitter(model, LandmarkFitConfig(), photometric=True)
    quick = replace(ADAM_3DMM, size=96, rigid_steps=150, steps=40)
    adam = FirstOrderFitter(model, fitter.basis, quick)
    ticks = iter(np.arange(0, 100, 0.5))
    bench = SolverBench(
        fitter.pixels, adam, open_detector("builtin"),
        clock=lambda: float(next(ticks)), cpu_clock=lambda: 0.0,
    )  # fmt: skip
    bench.cpu_clock = iter([0.0, 1.0, 0.0, 2.0, 0.0, 60.0]).__next__
    picture = render(chosen[0], 0.0)
    shapes = [predict(picture).vertices for predict in bench.methods().values()]
    # The picture is fitted once, by each.
    (found,) = bench.pairs
    assert found.seconds == {LANDMARK_FIT: 0.5, PHOTOMETRIC_FIT: 0.5, ADAM_FIT: 0.5}
    assert found.cpu_seconds == {LANDMARK_FIT: 1.0, PHOTOMETRIC_FIT: 2.0, ADAM_FIT: 60.0}
    assert len({shape.tobytes() for shape in shapes}) == 3
    # Each solver's own result is lower in what it minimises.
    for view in found.posterior.values():
        assert view["ours"] < view["theirs"]
    assert heads.neutral.shape[0] == 1


def test_a_result_does_not_pay_for_a_light_it_was_never_asked_for():
    model = load_builtin()
    _, chosen, render = gate_pictures("a", model, OPTIONS, None)
    picture = render(chosen[0], 0.0)
    fitter = FaceFitter(model, LandmarkFitConfig())
    quick = replace(ADAM_3DMM, size=96, rigid_steps=100, steps=20)
    adam = FirstOrderFitter(model, fitter.basis, quick)
    face = open_detector("builtin").detect(picture.image)[0]
    setting = fitter.fit(picture.image, face)
    camera = setting.camera.intrinsics
    result = adam.fit(picture.image, face, camera)
    found = published_energies(adam, picture.image, face, camera, setting.fit, result.fit)
    # Light alone was fitted further, so that Adam's own end is not lower.
    assert found["theirs"] <= sum(result.terms.values()) + 1e-4
    same = posterior_energies(
        fitter.pixels, picture.image, face, setting.fit, camera, result.fit, result.fit
    )
    for view in same.values():
        assert view["ours"] == pytest.approx(view["theirs"], rel=1e-3)


def test_unknown_names_are_usage_errors():
    with pytest.raises(UsageError, match="schedule"):
        evaluate_solvers("a", OPTIONS, schedule="sgd")
    with pytest.raises(UsageError, match="renderer"):
        evaluate_solvers("a", OPTIONS, renderer="painter")
