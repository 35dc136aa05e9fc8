"""Folders of photographs to persons: the photographs of each folder show one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import InputError, ItemError, UsageError
from facekit.export.face import PERSON_FILES
from facekit.fit.batch import BatchResult, PhotoFitter, Texturing, summarise
from facekit.fit.image_set import ImageSetFitter, Member, SetFit
from facekit.fit.options import FitOptions
from facekit.io.atomic import atomic_folder
from facekit.io.discover import InputImage, find_images
from facekit.io.images import Photo
from facekit.runs import RunFolder, file_sha256

# Folder of what all photographs say of a person, beside those of the photographs.
PERSON = "person"


class _Look(NamedTuple):
    """A photograph that was read, and where it is in the batch."""

    item: InputImage
    photo: Photo
    member: Member


def fit_people(
    paths: Sequence[Path],
    output: Path,
    options: FitOptions,
    *,
    overwrite: bool = False,
    texturing: Texturing | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BatchResult:
    """Fit one person to the photographs of each folder.

    The tree is that of ``fit.batch.fit_photos``, of each photograph the face that was taken, with
    ``person`` beside them: the neutral head and its parameters, with the texture and camera of
    the photograph of the highest quality. A folder whose photographs are all there is skipped.

    Args:
        paths: files (together one person's) and folders, each folder in them one person.
        output: folder to write.
        options: what to do.
        overwrite: replace an earlier run of other options.
        texturing: makes the textures when ``options.texture`` is not ``fast``.
        progress: called with the number of photographs done and the total.

    Raises:
        InputError, OutputExistsError, MissingDependencyError, UsageError: nothing could be
            started.
    """
    if options.first_order or options.distance_mm:
        raise UsageError(
            "--same-person: not with a published preset, and no --distance holds for several "
            "photographs"
        )
    items = find_images(paths, output=output)
    people = _people(items)
    fitter = PhotoFitter(options, texturing)
    described = {k: v for k, v in asdict(options).items() if k != "allow_download"}
    run = RunFolder(
        output,
        command="fit",
        options={**described, "same_person": True},
        assets=fitter.assets(),
        overwrite=overwrite,
    )
    run.keep_only([*(item.key for item in items), *(_key(name, PERSON) for name in people)])
    done = made = 0
    try:
        for name, group in people.items():
            hashes = [file_sha256(item.path) + fitter.mask_sha256(item) for item in group]
            # A photograph's result depends on all of its person's.
            content = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
            keys = [item.key for item in group] + [_key(name, PERSON)]
            if not all(run.is_done(key, content) for key in keys):
                records = _fit_person(fitter, name, group, output)
                for key, record in records.items():
                    run.record(key, {"sha256": content, **record})
                    made += len(record["faces"])
            done += len(group)
            if progress is not None:
                progress(done, len(items))
    finally:
        result = summarise(run, output, made, fitter.files)
        run.close()
    return result


def _people(items: Sequence[InputImage]) -> dict[str, list[InputImage]]:
    people: dict[str, list[InputImage]] = {}
    for item in items:
        folder, _, stem = item.key.rpartition("/")
        if stem == PERSON or stem.startswith(f"{PERSON}."):
            raise InputError(
                f"{item.path}: --same-person writes its own folder {PERSON!r}; rename this file"
            )
        people.setdefault(folder, []).append(item)
    return people


def _key(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _fit_person(
    fitter: PhotoFitter,
    name: str,
    group: Sequence[InputImage],
    output: Path,
) -> dict[str, dict[str, Any]]:
    """Fit and write one person; return the records of its photographs and of the person."""
    records: dict[str, dict[str, Any]] = {
        item.key: {"input": str(item.path), "outputs": [], "faces": []} for item in group
    }
    looks: list[_Look] = []
    for item in group:
        try:
            looks.append(_look(fitter, item))
        except ItemError as error:
            records[item.key]["error"] = str(error)
    person: dict[str, Any] = {"input": str(group[0].path.parent), "outputs": [], "faces": []}
    records[_key(name, PERSON)] = person
    if not looks:
        person["error"] = "no photograph shows a face"
        return records
    try:
        found = ImageSetFitter(fitter.fitter).fit([look.member for look in looks])
    except ItemError as error:
        person["error"] = str(error)
        return records
    for look, face, number, reason in zip(
        looks, found.faces, found.chosen, found.reasons, strict=True
    ):
        record = records[look.item.key]
        if face is None:
            record["error"] = reason
            continue
        fitter.write(output / look.item.key, look.photo, face, look.item)
        record["outputs"] = [f"{look.item.key}/{file}" for file in fitter.files]
        note = "" if look.member.setting.focal_px else look.photo.focal_note
        facts = fitter.fitter.facts(face)
        record["faces"] = [
            {"folder": look.item.key, "face": number + 1, **facts, "focal_note": note}
        ]
    person["outputs"] = _write_person(fitter, looks, found, output, _key(name, PERSON))
    return records


def _look(fitter: PhotoFitter, item: InputImage) -> _Look:
    photo, faces = fitter.look(item)
    if fitter.options.largest:
        faces = faces[:1]
    mask = None
    if fitter.masks is not None:
        mask = fitter.masks.of_photo(item, photo.image, mirrored=fitter.options.mirrored)
    return _Look(item, photo, Member(photo.image, faces, fitter.setting(photo), mask))


def _write_person(
    fitter: PhotoFitter, looks: Sequence[_Look], found: SetFit, output: Path, key: str
) -> list[str]:
    """Write the neutral head of all photographs; return its files."""
    look, face = looks[found.best], found.faces[found.best]
    if face is None:
        raise RuntimeError("the best photograph has no face")
    rest = np.zeros_like(face.fit.expression)
    model = fitter.model
    neutral = face._replace(
        fit=replace(face.fit, expression=rest), vertices=model.shape(face.fit.identity)
    )
    with atomic_folder(output / key) as temporary:
        fitter.writer.write_person(
            temporary,
            image=look.photo.image,
            camera=face.camera,
            vertices=face.vertices,
            neutral=face.neutral,
            params=fitter.full_params(look.photo, neutral),
            scale_source=face.scale_source,
            facts={
                "photographs": [
                    other.item.path.name
                    for other, one in zip(looks, found.faces, strict=True)
                    if one is not None
                ],
                "texture_from": look.item.path.name,
                "mirrored": fitter.options.mirrored,
            },
        )
    return [f"{key}/{file}" for file in PERSON_FILES]
