"""How long ``track`` takes a frame, stage by stage, on a video that is made for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from facekit.errors import ItemError
from facekit.evaluate.speed import SpeedCase, Work
from facekit.io.frames import Frame
from facekit.io.video import VideoFile
from facekit.morphable.builtin import load_builtin
from facekit.simulate.clip import ClipOptions, write_clip
from facekit.threads import ahead
from facekit.track.tracker import Tracker, TrackOptions

# Frames of a call: as many as between two searches for new people, so that each call has one.
FRAMES = 30
_CLIP = ClipOptions(frames=FRAMES, width=1280, height=720)


def track_cases() -> list[SpeedCase]:
    """Return the cases of ``track`` on 720p H.264, two threads; a call is ``FRAMES`` frames."""
    kind = f"of {FRAMES} frames of 720p H.264 video with one face, a frame"
    cases = (
        ("decode", "decoding alone", _decode),
        ("network", "finding and following the face, its pose and expression", _network),
        ("dense", "the dense mesh", _dense),
        ("total", "decoding, following, filter and dense mesh together", _total),
        ("landmarks.total", "the same without a parameter network", _total_by_landmarks),
    )
    return [
        SpeedCase(
            f"track.{key}",
            f"{what}, {kind}",
            work,
            threads=2,
            per_call=FRAMES,
            warm_up=1,
            rounds=10,
        )
        for key, what, work in cases
    ]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="facekit-")


@cache
def _video() -> Path:
    path = Path(_folder().name) / "head.mp4"
    return write_clip(path, load_builtin(), _CLIP)


def _frames() -> Iterator[Frame]:
    return VideoFile(_video()).frames()


def _tracker(network: str = "auto") -> Tracker:
    options = TrackOptions(network=network, fov_deg=_CLIP.fov_deg)
    return Tracker(load_builtin(), _CLIP.width, _CLIP.height, options)


def _decode() -> Work:
    _video()

    def work() -> None:
        for _ in _frames():
            pass

    return work


def _network() -> Work:
    tracker, frames = _tracker(), list(_frames())

    def work() -> None:
        for frame in frames:
            tracker.step(frame)

    work()
    if len(tracker.people) != 1:
        raise ItemError("speed: expected one face in the rendered video")
    return work


def _dense() -> Work:
    tracker, model = _tracker(), load_builtin()
    faces = [tracker.step(frame) for frame in _frames()]

    def work() -> None:
        for face in (f for step in faces for f in step):
            model.shape(face.identity, face.expression)

    return work


def _total(network: str = "auto") -> Work:
    tracker, model = _tracker(network), load_builtin()

    def work() -> None:
        for frame in ahead(_frames()):
            for face in tracker.step(frame):
                model.shape(face.identity, face.expression)

    return work


def _total_by_landmarks() -> Work:
    return _total("none")
