import json

import numpy as np
import pytest

from facekit.cli.main import run
from facekit.errors import UsageError
from facekit.evaluate.motion import MotionOptions, jitter_px, measure_motion, promptness
from facekit.morphable import load_model
from facekit.simulate.clip import ClipOptions
from facekit.track.tracker import TrackOptions

SMALL = ClipOptions(width=360, height=300, fov_deg=40.0, yaw_deg=15.0)


def sine(frames, late=0.0, factor=1.0):
    return factor * 25 * np.sin(2.4 * (np.arange(frames) - late) / 30)


@pytest.mark.parametrize("late", [-0.4, 0.0, 0.75, 2.0])
def test_a_late_curve_is_found_late(late):
    found = promptness(sine(120, late, 0.93), sine(120))
    assert found.lag_frames == pytest.approx(late, abs=0.05)
    assert found.amplitude_percent == pytest.approx(93, abs=0.5)
    assert found.correlation > 0.9999


def test_jitter_is_the_noises_deviation():
    rng = np.random.default_rng(0)
    still = rng.uniform(0, 500, (68, 2))
    points = still + rng.normal(0, 0.3, (400, 68, 2))
    assert jitter_px(points) == pytest.approx(0.3 * np.sqrt(2), rel=0.02)
    assert jitter_px(np.repeat(still[None], 5, 0)) < 1e-9


def test_clips_are_filmed_and_followed():
    calls = []
    document = measure_motion(
        load_model("builtin"),
        MotionOptions(seeds=(0,), seconds=1.3, settle_s=0.5, clip=SMALL),
        TrackOptions(network="none"),
        progress=lambda done, count: calls.append((done, count)),
    )
    assert calls == [(1, 2), (2, 2)]
    still, turning = document["clips"]
    assert (still["clip"], turning["clip"]) == ("still", "turning")
    for clip in (still, turning):
        assert clip["seen_percent"] == 100
        assert clip["people"] == 1
        assert clip["error_percent"] < 4
    assert still["jitter_px"] < 0.2
    assert turning["lag_frames"] <= 1.5
    assert turning["amplitude_percent"] > 80
    assert document["worst"]["jitter_px"] == still["jitter_px"]
    json.dumps(document)


def test_a_face_that_is_not_seen_has_no_figures():
    nobody = type("Nobody", (), {"people": (), "step": lambda self, frame: []})
    document = measure_motion(
        load_model("builtin"),
        MotionOptions(seeds=(0,), seconds=0.4, settle_s=0.0, clip=SMALL),
        tracker=lambda width, height, options: nobody(),
    )
    for clip in document["clips"]:
        assert clip["seen_percent"] == 0
        assert clip["error_percent"] is None
    assert document["clips"][1]["lag_frames"] is None
    assert set(document["worst"].values()) == {None}


def test_the_command_refuses_what_cannot_be(capsys):
    assert run(["eval", "motion", "--seconds", "1"]) == 2
    with pytest.raises(UsageError, match="motion"):
        MotionOptions(seconds=1.0, settle_s=1.0)
