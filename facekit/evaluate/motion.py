"""How calm and how prompt ``track`` is, on rendered video whose truth is known.

Two kinds of clip of rendered heads, with a sensor's noise and H.264: one of a head that stands
still, whose points should not move, and one of a head that turns to both sides, whose turns
should come out whole and on time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import UsageError
from facekit.geometry.rotations import camera_rotation_to_euler_deg
from facekit.io.video import VideoFile
from facekit.morphable.model import MorphableModel
from facekit.simulate.clip import ClipOptions, write_clip
from facekit.threads import ahead
from facekit.track.tracker import Tracker, TrackOptions

# Shifts, in frames, among which that of the largest correlation is taken.
_LAGS = np.linspace(-3, 3, 121)
_EYES = (36, 45)


@dataclass(frozen=True)
class MotionOptions:
    """What is filmed and measured.

    Attributes:
        seeds: of the persons; each is filmed once still and once turning.
        seconds: of each clip.
        settle_s: seconds at a clip's beginning that do not count.
        clip: the picture, its noise, and how the head turns; ``frames`` and ``seed`` are not
            looked at.
    """

    seeds: tuple[int, ...] = (101, 102)
    seconds: float = 5.0
    settle_s: float = 1.0
    clip: ClipOptions = field(default_factory=lambda: ClipOptions(width=1280, height=720))

    def __post_init__(self) -> None:
        if not self.seeds or not 0 <= self.settle_s < self.seconds:
            raise UsageError(
                "motion: expected a seed, and more seconds than are left out at the beginning, "
                f"got {self.seeds}, {self.seconds} and {self.settle_s}"
            )


class Promptness(NamedTuple):
    """How a found curve follows the true one.

    Attributes:
        lag_frames: by how much the found one is late: where the correlation is largest.
        amplitude_percent: span of the found one over that of the true one.
        correlation: the largest.
    """

    lag_frames: float
    amplitude_percent: float
    correlation: float


def promptness(found: np.ndarray, true: np.ndarray) -> Promptness:
    """Compare two curves (T,) of one value a frame, T at least 12."""
    frames = np.arange(len(true))
    inner = frames[4:-4]
    # Late values are found at the place of earlier true ones.
    match = [
        float(np.corrcoef(np.interp(inner + lag, frames, found), true[inner])[0, 1])
        for lag in _LAGS
    ]
    best = int(np.argmax(match))
    span = 100 * float(np.ptp(found) / np.ptp(true))
    return Promptness(float(_LAGS[best]), span, match[best])


def jitter_px(points: np.ndarray) -> float:
    """Return the root mean square distance of points (T, N, 2) from their own means."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean()))


def measure_motion(
    model: MorphableModel,
    options: MotionOptions | None = None,
    track: TrackOptions | None = None,
    *,
    tracker: Callable[[int, int, TrackOptions], Tracker] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Film, follow and compare; return the JSON document.

    Each clip has ``seen_percent`` of its frames, ``error_percent``: the mean distance of the 68
    landmarks from the true ones in outer-eye distances, and either ``jitter_px`` (still) or
    ``lag_frames``, ``amplitude_percent`` and ``correlation`` of the yaw (turning); None where the
    face was not seen in every frame that counts. ``worst`` has the largest of each, and the
    smallest amplitude.

    Args:
        model: of the heads.
        options: what is filmed.
        track: how it is followed; the angle of view is the clip's own.
        tracker: makes another tracker, from width, height and options.
        progress: called with clips done and in all.
    """
    o = options or MotionOptions()
    how = replace(track or TrackOptions(), fov_deg=o.clip.fov_deg, focal_px=0.0)
    make = tracker or (lambda width, height, made: Tracker(model, width, height, made))
    clips = []
    kinds = [(kind, seed) for kind in ("still", "turning") for seed in o.seeds]
    with tempfile.TemporaryDirectory(prefix="facekit-") as folder:
        for number, (kind, seed) in enumerate(kinds):
            clip = replace(
                o.clip,
                frames=max(12, round(o.seconds * float(o.clip.rate))),
                yaw_deg=o.clip.yaw_deg if kind == "turning" else 0.0,
                seed=seed,
            )
            video, truth = Path(folder) / "clip.mp4", Path(folder) / "truth.npz"
            write_clip(video, model, clip, truth=truth)
            skip = round(o.settle_s * float(clip.rate))
            with np.load(truth) as known:
                figures = _follow(video, make(clip.width, clip.height, how), known, skip, kind)
            clips.append({"clip": kind, "seed": seed, **figures})
            if progress is not None:
                progress(number + 1, len(kinds))
    return {
        "schema": "facekit.eval/1",
        "protocol": {
            "name": "motion",
            **asdict(o),
            "clip": asdict(o.clip) | {"rate": str(o.clip.rate)},
            "track": asdict(how),
        },
        "clips": clips,
        "worst": _worst(clips),
    }


def _follow(
    video: Path, tracker: Tracker, truth: Any, skip: int, kind: str
) -> dict[str, float | int | None]:
    points, yaws, numbers = [], [], []
    for frame in ahead(VideoFile(video).frames()):
        for face in tracker.step(frame)[:1]:
            if frame.number >= skip:
                numbers.append(frame.number)
                points.append(face.points)
                yaws.append(camera_rotation_to_euler_deg(face.pose.rotation)[0])
    true, count = truth["landmarks_2d"][skip:], len(truth["times_s"]) - skip
    figures: dict[str, float | int | None] = {
        "seen_percent": 100 * len(numbers) / count,
        "people": len(tracker.people),
        "error_percent": None,
    }
    whole = len(numbers) == count
    found = np.array(points)
    if whole:
        eyes = np.linalg.norm(true[:, _EYES[0]] - true[:, _EYES[1]], axis=1).max()
        figures["error_percent"] = 100 * float(np.linalg.norm(found - true, axis=-1).mean() / eyes)
    if kind == "still":
        figures["jitter_px"] = jitter_px(found) if whole else None
    elif whole:
        figures |= promptness(np.array(yaws), truth["pose_deg"][skip:, 0])._asdict()
    else:
        figures |= dict.fromkeys(Promptness._fields)
    return figures


def _worst(clips: list[dict[str, Any]]) -> dict[str, float | None]:
    picks = {"jitter_px": max, "lag_frames": max, "amplitude_percent": min, "error_percent": max}
    worst: dict[str, float | None] = {}
    for name, pick in picks.items():
        values = [clip[name] for clip in clips if name in clip]
        worst[name] = None if None in values or not values else pick(values)
    return worst
