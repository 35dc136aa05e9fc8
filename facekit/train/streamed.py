"""Faces streamed from the renderer, with exact labels: nothing is written.

A picture is a function of the seed, the options and its number alone. Successive numbers show one
person (``PortraitOptions.views``), whose geometry is made once; a stream therefore draws them in
order, several people at a time in processes of their own, and shuffles what it has drawn in
windows, always in the same way.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

from facekit import threads
from facekit.errors import InputError
from facekit.geometry.alignment import SimilarityTransform
from facekit.morphable.layout import CoefficientLayout, model_layout
from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model
from facekit.simulate.sampler import ModelSubjects, PortraitOptions, PortraitSampler
from facekit.train.label_format import CROP_SIZE
from facekit.train.labels import face_tensors
from facekit.train.params import LabelledFace
from facekit.train.render_labels import portrait_params

# Large faces of one person in many expressions, poses and lights, as crops show them.
STREAM = PortraitOptions(
    size=128,
    face_fraction=(0.5, 0.68),
    yaw_deg=75.0,
    pitch_deg=30.0,
    # Crops are upright: more would show the picture's corners and no more of the face.
    roll_deg=8.0,
    views=16,
    expressions=True,
    albedo=0.5,
    supersample=1,
    occlusion_directions=8,
    occluders=0.15,
    glasses=0.2,
)
_WHOLE = SimilarityTransform(1.0, np.eye(2), np.zeros(2))


@dataclass(frozen=True)
class StreamConfig:
    """What is streamed.

    Attributes:
        model: ``builtin`` or a model file.
        seed: of every draw; another split takes another seed.
        count: how many pictures there are, a multiple of the views.
        variety: spread of shapes and expressions over the model's own.
        irregular_mm: how far heads depart from the model's shapes; see ``IrregularShapes``.
        options: of the pictures.
    """

    model: str = "builtin"
    seed: int = 0
    count: int = 1 << 20
    variety: float = 1.0
    irregular_mm: float = 0.0
    options: PortraitOptions = STREAM

    def __post_init__(self) -> None:
        if self.count < 1 or self.count % self.options.views:
            raise InputError(
                f"stream: expected a positive multiple of {self.options.views} views, "
                f"got {self.count}"
            )


class StreamedFaces:
    """Rendered faces by number, drawn when asked for; a map-style data set.

    Quick where successive numbers are asked for one after the other; see ``FaceStream``.
    """

    def __init__(self, config: StreamConfig) -> None:
        self.config = config
        self.model: MorphableModel = load_model(config.model)
        people = ModelSubjects(
            self.model,
            identity_strength=config.variety,
            expression_strength=config.variety,
            irregular_mm=config.irregular_mm,
        )
        self._sampler = PortraitSampler(people, seed=config.seed, options=config.options)

    @property
    def layout(self) -> CoefficientLayout:
        """Of the coefficient vector."""
        return model_layout(self.model)

    def __len__(self) -> int:
        return self.config.count

    def face(self, index: int) -> LabelledFace:
        """Return picture ``index``, whole, with its exact label."""
        if not 0 <= index < len(self):
            raise IndexError(f"stream: expected a picture from 0 to {len(self) - 1}, got {index}")
        portrait = self._sampler.sample(index)
        return LabelledFace(portrait.image, _WHOLE, portrait_params(portrait, self.model))


class FaceStream(IterableDataset[dict[str, Any]]):
    """An iterable torch data set over a stream, drawn ahead in processes.

    Items are those of ``labels.FaceTensors``. The order is the same whatever the number of
    processes: windows of people, shuffled. Iterate it in the main process (``num_workers=0`` of a
    ``DataLoader``): it has processes of its own.

    Args:
        config: what is drawn.
        size: side of the ``five-v1`` crops.
        jobs: processes; 0 takes every core, 1 draws in this one.
        window: people among whose pictures is shuffled.
        start: number of pictures to leave out, for resuming: the rest comes as it would have.

    Attributes:
        drawn: pictures given out by the last iteration; seconds: how long it waited for them.
    """

    def __init__(
        self,
        config: StreamConfig,
        *,
        size: int = CROP_SIZE,
        jobs: int = 1,
        window: int = 32,
        start: int = 0,
    ) -> None:
        if window < 1 or start < 0:
            raise InputError("stream: expected a window of at least 1 and a start of at least 0")
        self.config, self.size, self.window, self.start = config, size, window, start
        self.jobs = jobs or threads.num_threads()
        self.drawn, self.seconds = 0, 0.0

    @property
    def rate(self) -> float:
        """Pictures a second of the last iteration, by the time spent waiting for them."""
        return self.drawn / self.seconds if self.seconds > 0 else 0.0

    def share(self, network_rate: float) -> float:
        """Return how much of a network's own rate (pictures a second) this stream can feed."""
        return min(1.0, self.rate / network_rate) if network_rate > 0 else 1.0

    def order(self) -> Iterator[int]:
        """Yield the numbers of the pictures in the order in which they come."""
        views = self.config.options.views
        block = self.window * views
        for first in range(self.start // block * block, self.config.count, block):
            count = min(block, self.config.count - first)
            rng = np.random.default_rng([self.config.seed, 5, first // block])
            places = first + rng.permutation(count)
            yield from places[max(0, self.start - first) :].tolist()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.drawn, self.seconds = 0, 0.0
        layout = model_layout(load_model(self.config.model))
        people = self._people()
        ready: dict[int, LabelledFace] = {}
        try:
            for index in self.order():
                began = time.monotonic()
                while index not in ready:
                    ready.update(next(people))
                item = face_tensors(ready.pop(index), layout, size=self.size)
                self.drawn += 1
                self.seconds += time.monotonic() - began
                yield item
        finally:
            people.close()

    def _people(self) -> Generator[list[tuple[int, LabelledFace]], None, None]:
        """Yield each person's pictures, drawn ahead, in order."""
        views = self.config.options.views
        block = self.window * views
        first = self.start // block * self.window
        people = range(first, self.config.count // views)
        if self.jobs <= 1:
            faces = StreamedFaces(self.config)
            for person in people:
                yield [(i, faces.face(i)) for i in range(person * views, (person + 1) * views)]
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.jobs, context, _start, (self.config,))
        try:
            waiting: deque[Future[list[tuple[int, LabelledFace]]]] = deque()
            for person in people:
                waiting.append(pool.submit(_draw, person))
                if len(waiting) > 4 * self.jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Stack items into a batch."""
    return {
        key: torch.stack([item[key] for item in items])
        if torch.is_tensor(items[0][key])
        else torch.tensor([item[key] for item in items], dtype=torch.float32)
        for key in items[0]
    }


_faces: StreamedFaces | None = None


def _start(config: StreamConfig) -> None:
    global _faces
    threads.set_num_threads(1)
    cv2.setNumThreads(1)
    _faces = StreamedFaces(config)


def _draw(person: int) -> list[tuple[int, LabelledFace]]:
    if _faces is None:
        raise RuntimeError("a worker was used before it was started")
    views = _faces.config.options.views
    return [(i, _faces.face(i)) for i in range(person * views, (person + 1) * views)]
