"""Do stated deviations hold: known errors give known shares; the bench runs on toy heads."""

from dataclasses import replace

import numpy as np
import pytest
from known_landmarks import known_landmarks
from simulated_heads import write_heads
from toy import toy_model

from facekit.errors import InputError
from facekit.evaluate import posterior as bench
from facekit.evaluate.posterior import (
    PosteriorItem,
    estimate_discrepancy,
    posterior_report,
    shares_within,
)
from facekit.evaluate.truth import TruthOptions
from facekit.fit.posterior import Discrepancy

FACE = toy_model().regions["face"]
TOP = FACE & (toy_model().mean[:, 1] > 30)
MODEL = replace(toy_model(), regions={"nose": TOP, "face": FACE})
FLAT = Discrepancy(1.0, (), np.inf)


def item(rng, head, *, unknown, spread=0.5, strangeness=1.0, count=600, yaw=0.0, method="fit"):
    """Errors that are normal with the variance that is stated."""
    rows = rng.choice(np.flatnonzero(FACE), count)
    corners = np.repeat(rows[:, None], 3, axis=1)
    deviation = np.sqrt(strangeness * (spread + unknown[rows]))
    return PosteriorItem(
        head,
        yaw,
        method,
        np.abs(deviation * rng.normal(size=count)),
        corners,
        np.full((count, 3), 1 / 3),
        np.full(count, spread),
        strangeness,
    )


def test_true_deviations_hold_and_are_found():
    rng = np.random.default_rng(0)
    true = Discrepancy(0.8, (("nose", 2.0),), np.inf, smoothing=0)
    items = [item(rng, head, unknown=true.variance(MODEL)) for head in range(20)]
    document, estimate = posterior_report(items, MODEL, shipped=true, seed=0, protocol={})
    shipped, estimated = document["rows"]
    for row, count in ((shipped, 20), (estimated, 10)):
        assert row["within_1"] == pytest.approx(68.3, abs=1.5)
        assert row["within_2"] == pytest.approx(95.4, abs=1.0)
        assert row["within_1_low"] < row["within_1"] < row["within_1_high"]
        assert row["heads"] == count
    assert shipped["error_mm"] == pytest.approx(shipped["expected_mm"], rel=0.02)
    assert estimate.general_mm == pytest.approx(0.8, abs=0.1)
    assert dict(estimate.regions_mm)["nose"] == pytest.approx(2.0, abs=0.1)
    assert document["estimated"]["regions_mm"]["nose"] == dict(estimate.regions_mm)["nose"]
    shares = shares_within(items, true, MODEL)
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.02)


def test_deviations_that_are_too_small_are_seen():
    rng = np.random.default_rng(1)
    items = [item(rng, head, unknown=FLAT.variance(MODEL)) for head in range(6)]
    small = replace(FLAT, general_mm=0.2)
    row = posterior_report(items, MODEL, shipped=small, seed=0, protocol={})[0]["rows"][0]
    assert row["within_1"] < 55
    assert row["error_mm"] > 1.3 * row["expected_mm"]


def test_heads_of_their_own_scale_are_ranked():
    rng = np.random.default_rng(2)
    strange = rng.uniform(0.2, 3, 24)
    items = [
        item(rng, head, unknown=FLAT.variance(MODEL), strangeness=value, yaw=yaw)
        for head, value in enumerate(strange)
        for yaw in (0.0, 30.0)
    ]
    found = estimate_discrepancy(items, MODEL)
    assert found.head_dof <= 1
    document, _ = posterior_report(items, MODEL, shipped=found, seed=0, protocol={})
    rows = {(r["deviations"], r["yaw_deg"]): r for r in document["rows"]}
    assert set(rows) == {(d, y) for d in ("shipped", "estimated") for y in (None, 0.0, 30.0)}
    assert rows["shipped", None]["rank"] > 0.9
    assert rows["shipped", None]["count"] == 48
    assert rows["shipped", None]["heads"] == 24
    flat = posterior_report(items, MODEL, shipped=FLAT, seed=0, protocol={})[0]["rows"][0]
    assert abs(flat["rank"] or 0.0) < 0.6


def test_too_few_heads_are_refused():
    rng = np.random.default_rng(3)
    items = [item(rng, head, unknown=FLAT.variance(MODEL)) for head in range(3)]
    with pytest.raises(InputError, match="at least 4"):
        posterior_report(items, MODEL, shipped=FLAT, seed=0, protocol={})
    with pytest.raises(InputError, match="at least one"):
        estimate_discrepancy([], MODEL)


def test_the_bench_runs_on_heads_of_a_file(tmp_path, monkeypatch):
    known_landmarks(monkeypatch, bench, MODEL)
    heads = write_heads(tmp_path / "heads.npz", count=4)
    options = TruthOptions(count=4, yaws_deg=(0.0,), size=96)
    told = []
    result = bench.evaluate_posterior(
        heads, options, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (4, 4)
    assert [i.head for i in result.items] == [0, 1, 2, 3]
    for one in result.items:
        assert len(one.distances) == len(one.spread) == len(one.corners)
        assert (one.spread > 0).all()
        assert one.strangeness > 0
    document = result.document
    assert document["schema"] == "facekit.eval/1"
    assert document["metrics"]["missing"] == 0
    assert len(document["items"]) == 4
