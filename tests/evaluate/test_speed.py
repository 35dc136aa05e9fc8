import json

import cv2
import pytest

from facekit import threads
from facekit.errors import MissingDependencyError, UsageError
from facekit.evaluate.speed import SpeedCase, describe_machine, measure, select_cases


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def case(key, clock=None, durations=(0.001,), log=None, **options):
    durations = list(durations)

    def prepare():
        def work():
            if log is not None:
                log.append((key, threads.num_threads()))
            if clock is not None:
                clock.now += durations[0] if len(durations) == 1 else durations.pop(0)

        return work

    return SpeedCase(key, f"what {key} is", prepare, **options)


def test_statistics_of_known_durations():
    clock = Clock()
    durations = [0.001 * i for i in (5, 1, 2, 3, 4, 100)]
    document = measure(
        [case("a", clock, durations, warm_up=1, threads=2)],
        rounds=5,
        clock=clock,
        processor=lambda: 2 * clock.now,
    )
    result = document["metrics"]["a"]
    assert result["cpu_ms"] == pytest.approx(6)
    assert result["median_ms"] == pytest.approx(3)
    assert result["p95_ms"] == pytest.approx(4 + 0.8 * 96)
    assert result["min_ms"] == pytest.approx(1)
    assert (result["threads"], result["batch"], result["samples"]) == (2, 1, 5)
    json.dumps(document, allow_nan=False)


def test_rounds_interleave_with_their_own_threads():
    log = []
    cases = [
        case("a", log=log, warm_up=0, threads=1),
        case("b", log=log, warm_up=0, threads=3),
        case("c", log=log, warm_up=0, threads=1, rounds=1),
    ]
    before = threads.num_threads()
    document = measure(cases, rounds=3)
    assert log == [("a", 1), ("b", 3), ("c", 1), ("a", 1), ("b", 3), ("a", 1), ("b", 3)]
    assert document["metrics"]["c"]["samples"] == 1
    assert threads.num_threads() == before


def test_short_work_is_averaged_over_calls():
    clock = Clock()
    document = measure([case("a", clock, calls=10, warm_up=0)], rounds=2, clock=clock)
    assert document["metrics"]["a"]["median_ms"] == pytest.approx(1)
    assert clock.now == pytest.approx(0.02)


def test_zero_threads_takes_the_machine():
    log = []
    with threads.limit_threads(2):
        document = measure([case("a", log=log, threads=0, warm_up=0)], rounds=1)
    assert document["metrics"]["a"]["threads"] >= 1
    assert log[0][1] >= 1


def missing(key="gone"):
    def prepare():
        raise MissingDependencyError("no such model; pip install it")

    return SpeedCase(key, "", prepare)


def test_what_is_not_installed_is_listed_or_raised():
    document = measure([missing(), case("a")], rounds=1)
    assert document["unavailable"] == {"gone": "no such model; pip install it"}
    assert list(document["metrics"]) == ["a"]
    with pytest.raises(MissingDependencyError, match="pip install it"):
        measure([missing()], rounds=1, strict=True)
    assert threads._requested is None


def test_selection():
    cases = [case("fit.default"), case("fit.cold", on_request=True), case("now.scan")]
    assert [c.key for c in select_cases(cases, [])] == ["fit.default", "now.scan"]
    assert [c.key for c in select_cases(cases, ["fit"])] == ["fit.default", "fit.cold"]
    assert [c.key for c in select_cases(cases, ["now.scan", "now"])] == ["now.scan"]
    with pytest.raises(UsageError, match=r"fit\.default, fit\.cold, now\.scan, got 'fi'"):
        select_cases(cases, ["fi"])
    with pytest.raises(UsageError, match="at least 1 round"):
        measure(cases, rounds=0)


def test_a_peer_is_compared_in_the_same_run():
    clock = Clock()
    ours = case("ours", clock, [0.002])
    peer = case("peer.other", clock, [0.005], peer_of="ours")
    chosen = select_cases([ours, peer], ["peer"])
    assert [c.key for c in chosen] == ["peer.other", "ours"]
    metrics = measure(chosen, rounds=2, clock=clock)["metrics"]
    assert metrics["peer.other"]["ratio"] == pytest.approx(2.5)
    assert metrics["peer.other"]["peer_of"] == "ours"
    assert "ratio" not in metrics["ours"]
    assert measure([peer], rounds=1, clock=clock)["metrics"]["peer.other"]["ratio"] is None


def test_opencv_has_the_cases_threads_too():
    seen = []

    def prepare():
        return lambda: seen.append(cv2.getNumThreads())

    before = cv2.getNumThreads()
    measure([SpeedCase("a", "", prepare, warm_up=1)], rounds=1)
    assert seen == [1, 1]
    assert cv2.getNumThreads() == before


def test_progress_and_machine():
    seen = []
    measure([case("a")], rounds=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    machine = describe_machine()
    assert machine["processor"]
    assert machine["packages"]["numpy"]
    assert machine["usable_cores"] >= 1
