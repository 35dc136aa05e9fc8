"""``simulate photos``: a folder of portraits with exact truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.io.atomic import make_folder
from facekit.io.images import write_image
from facekit.io.obj import write_obj
from facekit.io.params import write_params
from facekit.morphable.registry import load_model
from facekit.runs import RunFolder, file_sha256
from facekit.simulate.portrait import Portrait
from facekit.simulate.sampler import PortraitOptions, PortraitSampler
from facekit.simulate.subject import open_foreign_heads
from facekit.threads import set_num_threads
from facekit.types import Mesh


@dataclass(frozen=True)
class PhotosRequest:
    """What ``write_photos`` makes.

    Attributes:
        model: morphable model of the people, when ``heads`` is None.
        heads: a file of heads instead; see ``ForeignHeads``.
        seed: of every draw.
        options: size, poses, lenses.
    """

    model: str = "builtin"
    heads: Path | None = None
    seed: int = 0
    options: PortraitOptions = field(default_factory=PortraitOptions)


def open_sampler(request: PhotosRequest) -> PortraitSampler:
    """Return the sampler of a request."""
    source = (
        load_model(request.model) if request.heads is None else open_foreign_heads(request.heads)
    )
    return PortraitSampler(source, seed=request.seed, options=request.options)


def write_photos(
    output: Path,
    request: PhotosRequest,
    *,
    count: int,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write portraits and their truth; photographs that are already there are kept.

    Makes ``images/<stem>.png``, ``truth/<stem>.npz`` (see ``truth_arrays``) and
    ``truth/<stem>.obj`` (the expressed head in the head frame, mm), with stems ``00000``, ....
    Photograph number i depends on the seed, the options and i alone.

    Args:
        output: folder.
        request: what to draw.
        count: how many.
        jobs: processes.
        overwrite: replace a folder made with other options.
        progress: called with (done, count).

    Returns:
        The images' paths.

    Raises:
        InputError: count below 1, an unreadable model or heads file, an unwritable folder.
        OutputExistsError: the folder holds something made otherwise.
    """
    if count < 1:
        raise InputError(f"count: expected at least 1, got {count}")
    sampler = open_sampler(request)
    assets = _assets(request)
    run = RunFolder(
        output,
        command="simulate photos",
        options=_plain(request),
        assets=assets,
        overwrite=overwrite,
    )
    for name in ("images", "truth"):
        make_folder(output / name)
    stems = [f"{index:05d}" for index in range(count)]
    token = next(iter(assets.values()))
    missing = [i for i, stem in enumerate(stems) if not run.is_done(stem, token)]
    done = count - len(missing)
    tell = progress or (lambda _done, _total: None)
    tell(done, count)
    for index in _made(output, request, sampler, missing, jobs):
        stem = stems[index]
        outputs = [f"images/{stem}.png", f"truth/{stem}.npz", f"truth/{stem}.obj"]
        run.record(stem, {"sha256": token, "outputs": outputs})
        done += 1
        tell(done, count)
    run.close()
    return [output / "images" / f"{stem}.png" for stem in stems]


def write_truth(folder: Path, stem: str, portrait: Portrait, *, seed: int, index: int) -> None:
    """Write one portrait's truth file and mesh into ``folder``."""
    subject = portrait.subject
    yaw, pitch, roll = portrait.pose_deg
    write_params(
        folder / f"{stem}.npz",
        truth_arrays(portrait),
        model_name=subject.model_name or subject.name,
        model_sha256=subject.model_sha256,
        scale_source="stage",
        extra_meta={
            "kind": "truth",
            "subject": subject.name,
            "seed": seed,
            "index": index,
            "yaw_deg": yaw,
            "pitch_deg": pitch,
            "roll_deg": roll,
        },
    )
    write_obj(
        folder / f"{stem}.obj",
        Mesh(subject.truth_vertices.astype(np.float64), subject.truth_faces),
    )


def truth_arrays(portrait: Portrait) -> dict[str, Any]:
    """Return the arrays of a truth file: every key of ``params.npz``, and the mesh.

    ``vertices`` (V, 3) and ``neutral`` (V, 3) are in the head frame, mm; ``depth_mm`` (H, W) is
    the depth of whatever is seen (0 behind it all); ``face_mask`` (H, W) is where the face itself
    is seen; ``visible`` (68,) says which landmarks are. ``light`` is the whole light's projection
    onto nine harmonics, without shadows and highlights. ``albedo`` is empty where the skin was
    drawn and is no model's.
    """
    subject = portrait.subject
    view = portrait.view
    return {
        "identity": subject.identity,
        "expression": subject.expression,
        "albedo": subject.albedo,
        "rotation": portrait.camera.rotation,
        "translation_mm": portrait.camera.translation,
        "intrinsics": portrait.camera.intrinsics,
        "distortion": portrait.camera.distortion,
        "light": portrait.look.light.harmonics,
        "image_size": np.array([view.width, view.height], np.int32),
        "landmarks_2d": portrait.landmarks_2d,
        "landmarks_3d_mm": subject.points(subject.vertices),
        "now7": portrait.neutral_now7,
        "scale_std": np.float32(0),
        "quality": np.float32(1),
        "vertex_std_mm": np.zeros(len(subject.truth_vertices), np.float32),
        "covariance_factor": np.zeros((len(subject.identity), 0), np.float32),
        "vertices": subject.truth_vertices,
        "neutral": subject.truth_neutral,
        "faces": subject.truth_faces,
        "depth_mm": portrait.depth_mm,
        "face_mask": portrait.face_mask,
        "visible": portrait.visible,
    }


def _made(
    output: Path, request: PhotosRequest, sampler: PortraitSampler, indices: list[int], jobs: int
) -> Iterator[int]:
    """Yield each index once its files are written."""
    if jobs <= 1 or len(indices) < 2:
        for index in indices:
            _write(output, sampler, request.seed, index)
            yield index
        return
    # One person's views stay together, so that their geometry is made once.
    views = request.options.views
    blocks: dict[int, list[int]] = {}
    for index in indices:
        blocks.setdefault(index // views, []).append(index)
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start, initargs=(output, request)
    ) as pool:
        for block in pool.map(_work, blocks.values()):
            yield from block


_state: dict[str, Any] = {}


def _start(output: Path, request: PhotosRequest) -> None:
    set_num_threads(1)
    _state.update(output=output, request=request, sampler=open_sampler(request))


def _work(indices: list[int]) -> list[int]:
    for index in indices:
        _write(_state["output"], _state["sampler"], _state["request"].seed, index)
    return indices


def _write(output: Path, sampler: PortraitSampler, seed: int, index: int) -> None:
    stem = f"{index:05d}"
    portrait = sampler.sample(index)
    write_truth(output / "truth", stem, portrait, seed=seed, index=index)
    write_image(output / "images" / f"{stem}.png", portrait.image)


def _assets(request: PhotosRequest) -> dict[str, str]:
    if request.heads is not None:
        return {request.heads.name: file_sha256(request.heads)}
    return {request.model: load_model(request.model).sha256}


def _plain(request: PhotosRequest) -> dict[str, Any]:
    values = asdict(request)
    values["heads"] = None if request.heads is None else request.heads.name
    return values
