"""``facekit label``: photographs to a folder of labelled crops, in shards."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from facekit import threads
from facekit.errors import ItemError, UsageError
from facekit.export.report import write_failures
from facekit.fit.masks import MaskSource
from facekit.io.atomic import write_json
from facekit.io.discover import InputImage, find_images
from facekit.io.npz import read_npz
from facekit.learn.shards import Sample, ShardFolder, Share, token_of
from facekit.runs import RunFolder, file_sha256
from facekit.train.deep3d_files import write_deep3d, write_lists
from facekit.train.label_format import COLUMNS, dataset_document, encode_label, sample_id
from facekit.train.label_photo import LabelOptions, PhotoLabeller
from facekit.train.split import split_persons

PERSONS = ("files", "folders")
# Folders of Deep3D's layout whose pictures are no photographs.
_MASKS = ("mask", "masks")


class LabelResult(NamedTuple):
    """What a run found or made: rows of the index, faces labelled now, and failures."""

    rows: list[dict[str, Any]]
    made: int
    failures: list[dict[str, str]]


class _Item(NamedTuple):
    """A photograph to label, with what is known of it before."""

    path: Path
    key: str
    facts: dict[str, Any]


def label_photos(
    paths: Sequence[Path],
    output: Path,
    options: LabelOptions,
    *,
    jobs: int = 1,
    share: Share | None = None,
    deep3d: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LabelResult:
    """Label every face of every photograph into shards; shards that are there already are kept.

    A photograph's place among all of them says which shard it belongs to, so that parts of one job
    (``share``), at the same time or one after the other, write what one run writes.

    Args:
        paths: files and folders, Deep3D's layout among them.
        output: folder of the shards.
        options: what to do.
        jobs: processes; 0 takes every core.
        share: the part to make; None makes all.
        deep3d: folder for the same labels as Deep3D's files, or None.
        overwrite: replace an earlier run of other options.
        progress: called with photographs done and in all of this part.

    Raises:
        InputError, OutputExistsError, MissingDependencyError: nothing could be started.
    """
    if options.persons not in PERSONS:
        raise UsageError(f"persons: expected {' or '.join(PERSONS)}, got {options.persons!r}")
    items = [item for item in find_images(paths, output=output) if not _is_mask(item.path)]
    if not items:
        raise UsageError("label: expected photographs, found masks of Deep3D's layout only")
    labeller = PhotoLabeller(options)
    described = {k: v for k, v in asdict(options).items() if k != "allow_download"}
    described["deep3d"] = deep3d is not None
    run = RunFolder(
        output, command="label", options=described, assets=labeller.assets(), overwrite=overwrite
    )
    shards = ShardFolder(output, COLUMNS)
    write_json(output / "dataset.json", dataset_document(labeller.model, kind="fit"))
    splits = split_photos(items, persons=options.persons)
    part = share or Share(0, 1)
    numbers = range(-(-len(items) // options.per_shard))
    for number in shards.numbers():
        if number not in numbers and part.holds(number):
            shards.drop(number)
    tell = progress or (lambda _done, _total: None)
    wanted: dict[int, list[_Item]] = {}
    for number in filter(part.holds, numbers):
        first = number * options.per_shard
        some = range(first, min(first + options.per_shard, len(items)))
        wanted[number] = [
            _described(items[i], splits[i], labeller.masks, options.persons) for i in some
        ]
    total, done, made = sum(map(len, wanted.values())), 0, 0
    todo: dict[int, tuple[str, list[_Item]]] = {}
    for number, own in wanted.items():
        token = token_of(described, labeller.assets(), [[i.key, i.facts] for i in own])
        if not overwrite and shards.is_done(number, token):
            done += len(own)
        else:
            todo[number] = token, own
    tell(done, total)
    work = [item for _, own in todo.values() for item in own]
    results = _results(work, options, labeller, deep3d, jobs or threads.num_threads())
    try:
        for number, (token, own) in todo.items():
            notes: list[dict[str, str]] = []

            def samples(
                own: list[_Item] = own, notes: list[dict[str, str]] = notes
            ) -> Iterator[Sample]:
                nonlocal done
                for item in own:
                    found, error = next(results)
                    if error:
                        notes.append({"input": str(item.path), "error": error})
                    yield from found
                    done += 1
                    tell(done, total)

            made += shards.write(number, token, samples(), notes)
    finally:
        results.close()
        rows, failures = shards.join()
        write_failures(output / "failures.json", failures)
        if deep3d is not None:
            write_lists(deep3d)
        run.close()
    return LabelResult(rows, made, failures)


def split_photos(items: Sequence[InputImage], *, persons: str = "files") -> list[str]:
    """Return each photograph's split by ``train.split.split_persons``.

    Identity embeddings are taken from ``labels_<folder>.npz`` beside a photograph's folder
    (``files``, ``identity128``), where one lies; all that it and its neighbours name take part,
    so that a photograph's split does not depend on which others are labelled with it.

    Args:
        items: the photographs.
        persons: ``folders`` also takes the photographs of one folder for one person's.
    """
    known: dict[str, np.ndarray] = {}
    for root in {item.path.parent.parent for item in items}:
        for file in sorted(root.glob("labels_*.npz")):
            known.update(_identities(file, file.stem.removeprefix("labels_")))
    names = []
    for item in items:
        own = f"{item.path.parent.name}/{item.path.name}"
        names.append(own if own in known else item.key)
    people = [""] * len(names)
    if persons == "folders":
        people = [str(item.path.parent) for item in items]
    taken = set(names)
    others = [name for name in known if name not in taken]
    everyone = [*names, *others]
    width = len(next(iter(known.values()))) if known else 0
    unknown = np.full(width, np.nan, np.float32)
    identity = np.array([known.get(name, unknown) for name in everyone]) if known else None
    split = split_persons(everyone, identity, persons=[*people, *[""] * len(others)])
    return list(split[: len(names)])


def _identities(file: Path, folder: str) -> dict[str, np.ndarray]:
    content = read_npz(file, what="labels of portraits")
    if not {"files", "identity128"} <= set(content):
        return {}
    rows = np.asarray(content["identity128"], np.float32)
    return {f"{folder}/{n}": row for n, row in zip(content["files"], rows, strict=True)}


def _is_mask(path: Path) -> bool:
    return path.parent.name in _MASKS and (path.parent.parent / "detections").is_dir()


def _described(item: InputImage, split: str, masks: MaskSource, persons: str) -> _Item:
    facts = {"source": item.key, "source_sha256": file_sha256(item.path), "split": split}
    if persons == "folders":
        folder = Path(item.key).parent
        facts["person"] = item.path.parent.name if folder == Path() else folder.as_posix()
    mask = masks.file_sha256(item)
    return _Item(
        item.path,
        item.key,
        {**facts, "file": item.path.name, **({"mask_sha256": mask} if mask else {})},
    )


def _results(
    work: list[_Item],
    options: LabelOptions,
    labeller: PhotoLabeller,
    deep3d: Path | None,
    jobs: int,
) -> Any:
    """Yield each photograph's samples and error, in order."""
    if jobs <= 1 or len(work) < 2:
        for item in work:
            yield _attempt(labeller, item, deep3d)
        return
    context = multiprocessing.get_context("spawn")
    start = (options, deep3d)
    with ProcessPoolExecutor(min(jobs, len(work)), context, _start, start) as pool:
        try:
            yield from pool.map(_work, work)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(labeller: PhotoLabeller, item: _Item, deep3d: Path | None) -> tuple[list[Sample], str]:
    try:
        photo = InputImage(item.path, item.key)
        result = labeller.run(photo, item.facts, whole=deep3d is not None)
    except ItemError as error:
        return [], str(error)
    if deep3d is not None and result.largest is not None:
        write_deep3d(deep3d, item.key, item.path, *result.largest)
    samples = []
    for number, label in enumerate(result.labels, start=1):
        key = item.key if number == 1 else f"{item.key}.face{number}"
        samples.append(encode_label(sample_id(key), label))
    return samples, "; ".join(result.errors)


_state: tuple[PhotoLabeller, Path | None] | None = None


def _start(options: LabelOptions, deep3d: Path | None) -> None:
    global _state
    threads.set_num_threads(1)
    cv2.setNumThreads(1)
    _state = PhotoLabeller(options), deep3d


def _work(item: _Item) -> tuple[list[Sample], str]:
    if _state is None:
        raise RuntimeError("a worker was used before it was started")
    return _attempt(_state[0], item, _state[1])
