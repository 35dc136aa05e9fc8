"""A video to a track: frames in, files out, in memory that does not grow with the length."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from facekit.errors import ItemError, UsageError
from facekit.io.atomic import atomic_path, read_json, write_json
from facekit.io.frames import Frame
from facekit.io.video import Camera, FrameSource, VideoInfo, VideoWriter, open_source
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model
from facekit.runs import RunFolder, file_sha256
from facekit.threads import ahead
from facekit.track.overlay import OverlayPainter
from facekit.track.record import Absence, TrackRecord
from facekit.track.tracker import Tracker, TrackOptions

FILES = ("track.npz", "curves.csv", "track.glb")
OVERLAY = "overlay.mp4"
# Frames that are decoded before they are asked for.
_AHEAD = 4
# Gaps shorter than this many seconds are not worth a message.
_SHORT_GAP = 0.25


@dataclass(frozen=True)
class RunOptions:
    """What is made of a video.

    Attributes:
        model: name or file of the morphable model.
        track: how faces are followed.
        overlay: also write ``overlay.mp4``.
        rate: frames a second of an image folder or camera, e.g. ``30000/1001``; empty for 30, or
            the camera's own.
        limit: stop after so many frames; 0 reads all.
    """

    model: str = "builtin"
    track: TrackOptions = field(default_factory=TrackOptions)
    overlay: bool = True
    rate: str = ""
    limit: int = 0


class TrackResult(NamedTuple):
    """What a run has made.

    Attributes:
        facts: frames, people, rate, milliseconds a frame by stage, absences.
        failures: input and error of what could not be read or holds no face.
        made: False where an earlier run's results were kept.
    """

    facts: dict[str, Any]
    failures: list[dict[str, str]]
    made: bool


def track_video(
    source: str,
    output: Path,
    options: RunOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TrackResult:
    """Follow every face of a video and write ``track.npz``, ``curves.csv``, ``track.glb``.

    A camera is read until it ends, ``limit`` frames, or an interruption, which is how one stops
    it: everything up to then is written.

    Args:
        source: a video file, a folder of images, or a camera's number.
        output: folder to write.
        options: what is made.
        overwrite: replace an earlier run of other options.
        progress: called with frames done and in all (0 while unknown).

    Raises:
        InputError, OutputExistsError, MissingDependencyError: nothing could be started.
    """
    o = options or RunOptions()
    video = open_source(source, rate=_rate(o.rate))
    model = load_model(o.model)
    first, frames = _first(video, source)
    failures: list[dict[str, str]] = []
    facts: dict[str, Any] = {}
    made = True
    tracker = None if first is None else Tracker(model, first.width, first.height, o.track)
    run = RunFolder(
        output,
        command="track",
        options={**asdict(o), "source": source},
        assets={"model": model.sha256, **({} if tracker is None else tracker.assets)},
        overwrite=overwrite,
    )
    key = Path(source).name or source
    sha256 = _fingerprint(source)
    try:
        if first is None or tracker is None:
            run.record(key, {"input": source, "sha256": sha256, "error": video.problems[-1]})
        elif run.is_done(key, sha256):
            facts, made = dict(run.records[key]["facts"]), False
        else:
            facts = _track(frames, video, tracker, model, output, o, progress)
            outputs = [*FILES, *([OVERLAY] if o.overlay else [])]
            run.record(key, {"input": source, "sha256": sha256, "outputs": outputs, "facts": facts})
        failures = [{"input": source, "error": error} for error in video.problems]
        if made and facts and not facts["people"]:
            failures.append({"input": source, "error": f"no face in {facts['frames']} frames"})
        if made:
            write_json(output / "failures.json", failures)
        else:
            failures = read_json(output / "failures.json")
    finally:
        frames.close()
        run.close()
    return TrackResult(facts, failures, made)


def _track(
    frames: Iterator[Frame],
    video: FrameSource,
    tracker: Tracker,
    model: MorphableModel,
    output: Path,
    o: RunOptions,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    painter = OverlayPainter(model, tracker.intrinsics)
    drawing = 0.0
    start = time.perf_counter()
    size = (0, 0)
    stopped = (KeyboardInterrupt,) if isinstance(video, Camera) else ()
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(TrackRecord(output, model))
        writer: VideoWriter | None = None
        with contextlib.suppress(*stopped):
            for frame in frames:
                if o.limit and len(record.times) >= o.limit:
                    break
                faces = tracker.step(frame)
                record.add(frame.time, faces)
                size = frame.width, frame.height
                begun = time.perf_counter()
                if o.overlay:
                    if writer is None:
                        writer = stack.enter_context(_overlay_file(output, size, video.info))
                    picture = frame.image()
                    painter.draw(picture, faces, seconds=float(frame.time))
                    writer.write(picture, frame.time)
                drawing += time.perf_counter() - begun
                if progress is not None:
                    progress(len(record.times), video.info.frames or 0)
        reading = time.perf_counter() - start - drawing - sum(tracker.seconds.values())
        absences = record.absences()
        facts = _facts(record, tracker, video.info, absences)
        people = tracker.people
        record.write_npz(
            output / FILES[0],
            people,
            intrinsics=tracker.intrinsics,
            size=size,
            rate=video.info.rate,
            facts={"even": video.info.even, "absences": facts["absences"]},
        )
        record.write_curves(output / FILES[1])
        record.write_glb(output / FILES[2], people)
    count = max(len(record.times), 1)
    stages = {"decode": reading, **tracker.seconds, "overlay": drawing}
    facts["ms_per_frame"] = {name: round(1000 * s / count, 2) for name, s in stages.items()}
    return facts


@contextlib.contextmanager
def _overlay_file(output: Path, size: tuple[int, int], info: VideoInfo) -> Iterator[VideoWriter]:
    with (
        atomic_path(output / OVERLAY) as temporary,
        VideoWriter(temporary, *size, info.rate, even=info.even) as writer,
    ):
        yield writer


def _facts(
    record: TrackRecord, tracker: Tracker, info: VideoInfo, absences: list[Absence]
) -> dict[str, Any]:
    long = [a for a in absences if a.end_s - a.start_s >= _SHORT_GAP]
    return {
        "frames": len(record.times),
        "seconds": round(float(record.times[-1]) if record.times else 0.0, 6),
        "rate": str(info.rate),
        "even": info.even,
        "people": [person.number for person in tracker.people],
        "faces": record.rows,
        "absences": [
            {**a._asdict(), "start_s": round(a.start_s, 6), "end_s": round(a.end_s, 6)}
            for a in long
        ],
    }


def _first(video: FrameSource, source: str) -> tuple[Frame | None, Any]:
    """The first frame, and all frames with it again; None where not one can be read.

    Files are decoded ahead, beside what is done with their frames.
    """
    frames = video.frames()
    if not isinstance(video, Camera):
        frames = ahead(frames, depth=_AHEAD)
    try:
        first = next(frames, None)
    except ItemError as error:
        video.problems.append(str(error))
        return None, frames
    if first is None:
        video.problems.append(f"{source}: gives no frame")
        return None, frames

    def all_frames() -> Iterator[Frame]:
        try:
            yield first
            yield from frames
        finally:
            frames.close()  # type: ignore[attr-defined]

    return first, all_frames()


def _fingerprint(source: str) -> str:
    path = Path(source)
    if path.is_file():
        return file_sha256(path)
    # A camera never shows the same again; a folder's images are told by names, sizes and dates.
    if not path.is_dir():
        return f"camera:{time.time_ns()}"

    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _rate(text: str) -> Fraction | None:
    if not text:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"--rate: expected frames a second, as 25 or 30000/1001, got {text!r}")
    return rate
