"""``simulate stage``: captures of heads and boards by many cameras, with exact truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import local
from typing import Any, NamedTuple, TypeVar

import numpy as np

from facekit.errors import InputError
from facekit.geometry.cameras import project
from facekit.geometry.rotations import euler_to_matrix
from facekit.io.atomic import atomic_path, make_folder, write_json
from facekit.io.images import write_image
from facekit.io.ply import write_ply
from facekit.io.rig import write_rig
from facekit.render.rasterise import Workspace
from facekit.runs import RunFolder
from facekit.simulate.stage_boards import BoardOptions, BoardRenderer, draw_poses, sees_board
from facekit.simulate.stage_hair import hanging_strands
from facekit.simulate.stage_heads import NEUTRAL, StageHead, open_heads
from facekit.simulate.stage_paint import paint_head
from facekit.simulate.stage_render import SkinOptions, StageSensor, draw_sensor, render_view
from facekit.simulate.stage_rig import RigOptions, stage_rig
from facekit.threads import num_threads
from facekit.types import Mesh, Rig

_LOCAL = local()
_DEPTH_STEPS = 256
T = TypeVar("T")


@dataclass(frozen=True)
class StageOptions:
    """What a stage captures and how.

    Attributes:
        model, heads, mesh: whom; see ``open_heads``.
        seed: of every draw.
        rig: the cameras.
        boards: the calibration board and its poses.
        skin: how much texture and highlight a surface has.
        subjects: how many heads; first: the number of the first one.
        expressions: each head is captured with these, ``neutral`` among them or not.
        exposure_spread: deviation of the cameras' log exposure.
        blur_px, noise: lens blur at 1024 pixels, and noise in 8-bit steps.
        occluders: strands of hair before the face.
        supersample: samples per pixel and side.
        depth: also write depth maps.
    """

    model: str = "builtin"
    heads: Path | None = None
    mesh: Path | None = None
    seed: int = 0
    rig: RigOptions = field(default_factory=RigOptions)
    boards: BoardOptions = field(default_factory=BoardOptions)
    skin: SkinOptions = field(default_factory=SkinOptions)
    subjects: int = 1
    first: int = 0
    expressions: tuple[str, ...] = (NEUTRAL,)
    exposure_spread: float = 0.06
    blur_px: float = 0.5
    noise: float = 1.5
    occluders: int = 0
    supersample: int = 2
    depth: bool = True

    def __post_init__(self) -> None:
        if min(self.subjects, self.first, self.boards.frames, self.occluders) < 0:
            raise InputError("stage: expected counts of at least 0")
        if not self.expressions:
            raise InputError("stage: expected at least one expression, e.g. neutral")
        if not 1 <= self.supersample <= 8:
            raise InputError(f"supersample: expected 1 to 8, got {self.supersample}")
        if min(self.blur_px, self.noise, self.exposure_spread) < 0:
            raise InputError("stage: blur, noise and exposure spread are at least 0")


class StageResult(NamedTuple):
    """What was made: the rig, the subjects' folders, and how many board pictures there are."""

    rig: Rig
    subjects: list[Path]
    board_images: int


def write_stage(
    output: Path,
    options: StageOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Write a stage's pictures and truth; what is already there is kept.

    Makes ``boards/board.json`` and ``boards/<camera>/<frame>.png`` (grey; only where the camera
    sees the board's front), ``subjects/<subject>/<camera>.png``, and beside them
    ``truth/cameras.json``, ``truth/boards.json`` and for each subject ``mesh.ply``, ``truth.npz``,
    ``landmarks.json``, ``masks/<camera>.png`` and ``depth/<camera>.npz``. A subject is ``s000``,
    ..., or ``s000.<expression>``; it depends on the seed, its number and the options alone.

    Args:
        output: folder.
        options: what to capture.
        overwrite: replace a folder made with other options.
        progress: called with pictures written and their number.

    Raises:
        InputError: bad options, an unreadable model or heads file, an unwritable folder.
        OutputExistsError: the folder holds something made otherwise.
    """
    rig = stage_rig(options.rig, options.seed)
    source = None
    if options.subjects:
        source = open_heads(model=options.model, heads=options.heads, mesh=options.mesh)
        for expression in options.expressions:
            if expression not in source.expressions:
                known = ", ".join(source.expressions)
                raise InputError(f"expression: expected one of {known}, got {expression!r}")
    asset = ("", "") if source is None else source.asset
    run = RunFolder(
        output,
        command="simulate stage",
        options=_plain(options),
        assets={asset[0]: asset[1]} if source else {},
        overwrite=overwrite,
    )
    write_rig(output / "truth" / "cameras.json", rig)
    sensors = _sensors(rig, options)
    poses = draw_poses(options.boards, options.seed)
    seen = {
        name: [f for f, p in poses.items() if sees_board(camera, options.boards.board, p)]
        for name, camera in rig.cameras.items()
    }
    captures = _captures(options)
    total = sum(map(len, seen.values())) + len(captures) * len(rig.cameras)
    counter = _Counter(progress, total)
    if poses:
        write_json(output / "boards" / "board.json", options.boards.board.document())
        _write_poses(output / "truth" / "boards.json", poses)
        for name, frames in seen.items():
            key, outputs = f"boards/{name}", [f"boards/{name}/{f}.png" for f in frames]
            if not run.is_done(key, "board"):
                _write_boards(output, name, frames, options, rig, sensors, poses, counter)
                run.record(key, {"sha256": "board", "outputs": outputs})
            else:
                counter.add(len(frames))
    folders = []
    for name, number, expression in captures:
        folders.append(output / "subjects" / name)
        if run.is_done(f"subjects/{name}", asset[1]) or source is None:
            counter.add(len(rig.cameras))
            continue
        head = source.head(number, options.seed, expression)
        outputs = _write_subject(output, name, number, head, options, rig, sensors, counter)
        run.record(f"subjects/{name}", {"sha256": asset[1], "outputs": outputs})
    run.close()
    return StageResult(rig, folders, sum(map(len, seen.values())))


def head_to_stage(head: StageHead, seed: int, number: int) -> np.ndarray:
    """Return the rigid (4, 4) that seats a head on the stage: a few millimetres and degrees off."""
    rng = np.random.default_rng([seed, 41, number])
    pose = np.eye(4)
    pose[:3, :3] = euler_to_matrix(*np.radians(rng.normal(0, [4.0, 3.0, 2.0])))
    pose[:3, 3] = rng.normal(0, 5, 3) - pose[:3, :3] @ head.centre
    return pose


class _Counter:
    def __init__(self, tell: Callable[[int, int], None] | None, total: int) -> None:
        self._tell = tell or (lambda _done, _total: None)
        self._total, self._done = total, 0
        self._tell(0, total)

    def add(self, count: int = 1) -> None:
        self._done += count
        self._tell(self._done, self._total)


def _captures(options: StageOptions) -> list[tuple[str, int, str]]:
    """Return (name, number, expression) of every capture."""
    captures = []
    for number in range(options.first, options.first + options.subjects):
        for expression in options.expressions:
            suffix = "" if expression == NEUTRAL else f".{expression}"
            captures.append((f"s{number:03d}{suffix}", number, expression))
    return captures


def _sensors(rig: Rig, options: StageOptions) -> dict[str, StageSensor]:
    rng = np.random.default_rng([options.seed, 12])
    blur = options.blur_px * options.rig.size / 1024
    return {
        name: draw_sensor(rng, spread=options.exposure_spread, blur_px=blur, noise=options.noise)
        for name in rig.cameras
    }


def _write_boards(
    output: Path,
    name: str,
    frames: Sequence[str],
    options: StageOptions,
    rig: Rig,
    sensors: dict[str, StageSensor],
    poses: dict[str, Any],
    counter: _Counter,
) -> None:
    renderer = BoardRenderer(rig.cameras[name], options.boards.board)
    row = list(rig.cameras).index(name)
    make_folder(output / "boards" / name)

    def one(frame: str) -> None:
        noise = (options.seed, 51, row, int(frame))
        image = renderer.render(poses[frame], sensors[name], noise)
        write_image(output / "boards" / name / f"{frame}.png", image, compress_level=1)

    for _ in _in_threads(one, frames):
        counter.add()


def _write_subject(
    output: Path,
    name: str,
    number: int,
    head: StageHead,
    options: StageOptions,
    rig: Rig,
    sensors: dict[str, StageSensor],
    counter: _Counter,
) -> list[str]:
    pose = head_to_stage(head, options.seed, number)
    rotation, translation = pose[:3, :3], pose[:3, 3]
    placed = head.vertices.astype(np.float64) @ rotation.T + translation
    hair = None
    if options.occluders:
        rng = np.random.default_rng([options.seed, 43, number])
        hair = hanging_strands(head, placed, rng, count=options.occluders)
    painted = paint_head(head, placed, np.random.default_rng([options.seed, 42, number]), hair=hair)
    truth = output / "truth" / name
    for folder in (output / "subjects" / name, truth / "masks", truth / "depth"):
        make_folder(folder)
    rows = {camera: row for row, camera in enumerate(rig.cameras)}

    def one(camera: str) -> None:
        if not hasattr(_LOCAL, "workspace"):
            _LOCAL.workspace = Workspace()
        view = render_view(
            painted,
            rig.cameras[camera],
            options.skin,
            sensors[camera],
            seed=options.seed * 1009 + number,
            noise_seed=(options.seed, 52, number, rows[camera]),
            supersample=options.supersample,
            workspace=_LOCAL.workspace,
        )
        image = output / "subjects" / name / f"{camera}.png"
        write_image(image, view.image, compress_level=1)
        mask = view.mask.astype(np.uint8) * 255
        write_image(truth / "masks" / f"{camera}.png", mask, compress_level=1)
        if options.depth:
            depth = np.round(view.depth_mm * _DEPTH_STEPS) / np.float32(_DEPTH_STEPS)
            with atomic_path(truth / "depth" / f"{camera}.npz") as path, path.open("wb") as file:
                np.savez_compressed(file, depth_mm=depth)

    for _ in _in_threads(one, list(rig.cameras)):
        counter.add()
    _write_truth(truth, head, placed, pose, rig)
    outputs = [f"subjects/{name}/{camera}.png" for camera in rig.cameras]
    return [*outputs, f"truth/{name}/mesh.ply", f"truth/{name}/truth.npz"]


def _write_truth(
    folder: Path, head: StageHead, placed: np.ndarray, pose: np.ndarray, rig: Rig
) -> None:
    write_ply(folder / "mesh.ply", Mesh(placed, head.faces))
    arrays: dict[str, np.ndarray] = {
        "vertices": placed.astype(np.float32),
        "faces": head.faces,
        "material": head.material,
        "base_faces": head.base_faces,
        "base_count": np.array(int(head.base_faces.max()) + 1),
        "head_to_stage": pose,
        "identity": head.identity,
    }
    if head.base_rows is not None:
        arrays["base_rows"] = head.base_rows
    points = {}
    marks = head.landmarks(placed)
    if marks is not None:
        arrays["landmarks_3d_mm"] = marks
        seen = [project(camera, marks)[:, :2] for camera in rig.cameras.values()]
        arrays["landmarks_2d"] = np.stack(seen).astype(np.float32)
        points["ibug68"] = np.round(marks, 4).tolist()
    with atomic_path(folder / "truth.npz") as path, path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    write_json(folder / "landmarks.json", {"frame": "stage", "unit": "mm", "points": points})


def _write_poses(path: Path, poses: dict[str, Any]) -> None:
    frames = {
        name: {"R": pose.rotation.tolist(), "t": pose.translation.tolist()}
        for name, pose in poses.items()
    }
    write_json(path, {"frame": "stage", "unit": "mm", "board_to_stage": frames})


def _in_threads(work: Callable[[str], T], items: Sequence[str]) -> Iterator[T]:
    """Work on items with as many threads as kernels may use; yield results in order."""
    with ThreadPoolExecutor(num_threads()) as pool:
        futures: list[Future[T]] = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _plain(options: StageOptions) -> dict[str, Any]:
    """Return what an existing picture depends on: counts may grow, so they are left out."""
    values = asdict(options)
    for key in ("heads", "mesh"):
        values[key] = None if values[key] is None else Path(values[key]).name
    for key in ("subjects", "first", "expressions"):
        del values[key]
    return values
