"""Rendered portraits as labels: exact, in the shards that ``facekit label`` writes too."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from facekit import threads
from facekit.errors import InputError
from facekit.geometry.crop import warp
from facekit.io.atomic import write_json
from facekit.io.params import SHAPES
from facekit.learn.shards import Sample, ShardFolder, Share, token_of
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model
from facekit.runs import RunFolder
from facekit.simulate.photos import truth_arrays
from facekit.simulate.portrait import Portrait
from facekit.simulate.sampler import ModelSubjects, PortraitOptions, PortraitSampler
from facekit.train.label_format import (
    COLUMNS,
    CROP_SIZE,
    FaceLabel,
    dataset_document,
    encode_label,
    label_crop,
    make_label,
)
from facekit.train.split import split_of_name


class ShardsMade(NamedTuple):
    """What a run found or made: samples in the folder, and those made now."""

    samples: int
    made: int


@dataclass(frozen=True)
class RenderedShards:
    """What ``write_rendered_shards`` draws.

    Attributes:
        model: ``builtin`` or a model file.
        seed: of every draw.
        variety: spread of shapes and expressions over the model's own.
        irregular_mm: how far heads depart from the model's shapes; see ``IrregularShapes``.
        options: of the pictures.
        per_shard: pictures a shard, a multiple of the views.
    """

    model: str
    seed: int
    variety: float
    irregular_mm: float
    options: PortraitOptions
    per_shard: int = 1024

    def __post_init__(self) -> None:
        if self.per_shard < 1 or self.per_shard % self.options.views:
            raise InputError(
                f"shards: expected a multiple of {self.options.views} views a shard, "
                f"got {self.per_shard}"
            )


def portrait_params(portrait: Portrait, model: MorphableModel) -> dict[str, Any]:
    """Return the keys of ``params.npz`` of a portrait of a model's person, all exact.

    Where the skin was drawn and is no model's, the albedo's coefficients are 0 and say nothing.
    """
    truth = truth_arrays(portrait)
    params = {key: truth[key] for key in SHAPES}
    drawn = portrait.subject.vertex_albedo is None
    albedo = np.zeros(model.num_albedo, np.float32) if drawn else portrait.subject.albedo
    return {**params, "albedo": albedo}


def portrait_label(
    portrait: Portrait, model: MorphableModel, *, seed: int, index: int, person: int
) -> FaceLabel:
    """Return the exact label of a portrait of one of the model's people."""
    params = portrait_params(portrait, model)
    deviations = {
        "identity": np.zeros(model.num_identity),
        "expression": np.zeros(model.num_expression),
        # Of drawn skin nothing is known but the prior.
        "albedo": np.full(model.num_albedo, float(portrait.subject.vertex_albedo is None)),
        "rotation": np.zeros(6),
        "translation": np.zeros(3),
        "light": np.zeros((9, 3)),
    }
    yaw, pitch, roll = portrait.pose_deg
    crop = label_crop(params["landmarks_2d"])
    mask = warp(portrait.face_mask.astype(np.uint8) * 255, crop, size=CROP_SIZE) >= 128
    return make_label(
        portrait.image,
        params,
        mask=mask,
        mask_in_crop=True,
        deviations=deviations,
        crop=crop,
        facts={
            "kind": "simulated",
            "source": f"seed {seed}, picture {index}",
            "source_sha256": hashlib.sha256(portrait.image.tobytes()).hexdigest(),
            "face": 1,
            "person": f"{seed}/{person}",
            "quality": 1.0,
            "weight": 1.0,
            "split": split_of_name(f"simulated/{seed}/{person}"),
            "model": model.name,
            "model_sha256": model.sha256,
            "scale_source": "stage",
            "yaw_deg": round(yaw, 2),
            "pitch_deg": round(pitch, 2),
            "roll_deg": round(roll, 2),
        },
    )


def write_rendered_shards(
    output: Path,
    request: RenderedShards,
    *,
    count: int,
    jobs: int = 1,
    share: Share | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ShardsMade:
    """Render ``count`` portraits into shards; shards that are there already are kept.

    A person has one split. Parts of one job (``share``) may run at the same time in one folder;
    together they write what one run writes.

    Args:
        output: folder.
        request: what to draw.
        count: pictures of the whole job.
        jobs: processes; 0 takes every core.
        share: the part to make; None makes all.
        overwrite: replace a folder made with other options.
        progress: called with pictures done and in all of this part.

    Raises:
        InputError: a count below 1, an unreadable model, an unwritable folder.
        OutputExistsError: the folder holds something made otherwise.
    """
    if count < 1:
        raise InputError(f"count: expected at least 1, got {count}")
    model = load_model(request.model)
    options = asdict(request)
    run = RunFolder(
        output,
        command="simulate photos --format shards",
        options=options,
        assets={request.model: model.sha256},
        overwrite=overwrite,
    )
    shards = ShardFolder(output, COLUMNS)
    write_json(output / "dataset.json", dataset_document(model, kind="simulated"))
    part = share or Share(0, 1)
    wanted = {
        number: range(number * request.per_shard, min((number + 1) * request.per_shard, count))
        for number in range(-(-count // request.per_shard))
        if part.holds(number)
    }
    total, done, made = sum(len(r) for r in wanted.values()), 0, 0
    tell = progress or (lambda _done, _total: None)
    todo: dict[int, tuple[str, range]] = {}
    for number, indices in wanted.items():
        token = token_of(options, model.sha256, indices.start, indices.stop)
        if not overwrite and shards.is_done(number, token):
            done += len(indices)
        else:
            todo[number] = token, indices
    tell(done, total)
    blocks = [b for _, indices in todo.values() for b in _blocks(indices, request.options.views)]
    samples = _drawn(request, model, blocks, jobs or threads.num_threads())
    for number, (token, indices) in todo.items():

        def taken(size: int = len(indices)) -> Iterator[Sample]:
            nonlocal done
            for _ in range(size):
                yield next(samples)
                done += 1
                tell(done, total)

        made += shards.write(number, token, taken())
    rows, _ = shards.join()
    run.close()
    return ShardsMade(len(rows), made)


def _blocks(indices: range, views: int) -> list[range]:
    """One person's pictures each; their geometry is made once."""
    return [
        range(i, min(i + views, indices.stop)) for i in range(indices.start, indices.stop, views)
    ]


class _Drawer:
    """Draws samples by number."""

    def __init__(self, request: RenderedShards, model: MorphableModel) -> None:
        self._request, self._model = request, model
        people = ModelSubjects(
            model,
            identity_strength=request.variety,
            expression_strength=request.variety,
            irregular_mm=request.irregular_mm,
        )
        self._sampler = PortraitSampler(people, seed=request.seed, options=request.options)

    def draw(self, indices: range) -> list[Sample]:
        seed, views = self._request.seed, self._request.options.views
        return [
            encode_label(
                f"{seed}-{i:08d}",
                portrait_label(
                    self._sampler.sample(i), self._model, seed=seed, index=i, person=i // views
                ),
            )
            for i in indices
        ]


def _drawn(
    request: RenderedShards, model: MorphableModel, blocks: list[range], jobs: int
) -> Iterator[Sample]:
    if jobs <= 1 or len(blocks) < 2:
        drawer = _Drawer(request, model)
        for block in blocks:
            yield from drawer.draw(block)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(blocks)), context, _start, (request,)) as pool:
        try:
            for samples in pool.map(_work, blocks):
                yield from samples
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_drawer: _Drawer | None = None


def _start(request: RenderedShards) -> None:
    global _drawer
    threads.set_num_threads(1)
    cv2.setNumThreads(1)
    _drawer = _Drawer(request, load_model(request.model))


def _work(block: range) -> list[Sample]:
    if _drawer is None:
        raise RuntimeError("a worker was used before it was started")
    return _drawer.draw(block)
