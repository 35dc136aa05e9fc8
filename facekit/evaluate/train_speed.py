"""How long a training step takes from shards, and on one batch that is there already.

The second is what the network alone can do; the ratio says how much of that the data keep up with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from facekit.evaluate.speed import SpeedCase, Work

# Steps of a call: the first batch, for which nothing can be done ahead, is one of them.
STEPS = 12
_PICTURES = 40


def train_cases() -> list[SpeedCase]:
    """Return the cases: ``.shards`` makes its batches from a labels folder, ``.batch`` has one."""
    kinds = (
        (
            "params",
            "train params, its own batch of 64 crops of 160 px, torch on one thread",
            _params,
        ),
        ("deep3d", "train deep3d, ResNet-50, 4 crops of 224 px, torch on one thread", _deep3d),
    )
    cases = []
    for name, what, task in kinds:
        for key, data, own in (
            ("batch", "one batch again and again", ""),
            ("shards", "shards", "batch"),
        ):
            cases.append(
                SpeedCase(
                    f"train.{name}.{key}",
                    f"a step of {what}: {data}",
                    _work(task, repeated=not own),
                    threads=1,
                    per_call=STEPS,
                    rounds=5,
                    warm_up=1,
                    on_request=True,
                    peer_of=f"train.{name}.batch" if own else "",
                )
            )
    return cases


def _work(make: Callable[[Path], Any], *, repeated: bool) -> Callable[[], Work]:
    def prepare() -> Work:
        import torch

        from facekit.learn.loop import LoopConfig
        from facekit.learn.prefetch import prefetch

        torch.set_num_threads(1)
        task = make(_labels())
        model = task.build_model()
        model.train().to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        first = task.batch(0)

        def again() -> Generator[Any]:
            for _ in range(STEPS):
                yield first

        def work() -> None:
            torch.set_num_threads(1)
            made = prefetch(task.batch, 0, STEPS, threads=LoopConfig().data_threads)
            with closing(again() if repeated else made) as batches:
                for batch in batches:
                    with torch.autocast("cpu", torch.bfloat16):
                        loss = task.loss(model, batch)["loss"]
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()

        return work

    return prepare


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="facekit-")


@cache
def _labels() -> Path:
    """A small labels folder of rendered faces."""
    from dataclasses import replace

    from facekit.train.render_labels import RenderedShards, write_rendered_shards
    from facekit.train.streamed import STREAM

    folder = Path(_folder().name) / "labels"
    request = RenderedShards("builtin", 0, 1.0, 0.0, replace(STREAM, views=4), per_shard=_PICTURES)
    write_rendered_shards(folder, request, count=_PICTURES)
    return folder


def _params(folder: Path) -> Any:
    from facekit.morphable.builtin import load_builtin
    from facekit.train.labels import LabelledShards
    from facekit.train.params import ParamsConfig, ParamsTask

    faces = LabelledShards(folder)
    return ParamsTask(ParamsConfig(), load_builtin(), faces, faces)


def _deep3d(folder: Path) -> Any:
    from facekit.morphable.builtin import load_builtin
    from facekit.train.deep3d import Deep3DConfig, Deep3DTask
    from facekit.train.deep3d_data import load_weak

    model = load_builtin()
    faces = load_weak([folder], split="train", model_sha256=model.sha256)
    return Deep3DTask(Deep3DConfig(batch_size=4), model, faces, faces)
