"""Board pictures of many cameras: which there are, what each shows, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import NamedTuple

import cv2

from facekit.capture.boards import BoardFinder, Sighting
from facekit.errors import InputError, ItemError
from facekit.geometry.board import Board
from facekit.io.images import SUFFIXES, read_image
from facekit.runs import file_sha256
from facekit.threads import num_threads


class Picture(NamedTuple):
    """One file of a capture: its camera and frame are its folder's and its own name."""

    camera: str
    frame: str
    path: Path

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.camera}/{self.path.name}"


class Looked(NamedTuple):
    """What was found.

    Attributes:
        sightings: by (camera, frame), those with a board.
        failures: ``{"input", "error"}`` of pictures and cameras that are set aside.
        counts: pictures looked at, by camera.
        sizes: width and height by camera.
    """

    sightings: dict[tuple[str, str], Sighting]
    failures: list[dict[str, str]]
    counts: dict[str, int]
    sizes: dict[str, tuple[int, int]]


def list_pictures(folder: Path) -> tuple[list[Picture], list[str]]:
    """List ``FOLDER/<camera>/<frame>.<suffix>``; also return the camera folders without pictures.

    Raises:
        InputError: no such folder, or no pictures in folders of cameras.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    pictures: list[Picture] = []
    empty = []
    for camera in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
        files = sorted(
            p for p in camera.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "."
        )
        if not files:
            empty.append(camera.name)
        pictures += [Picture(camera.name, path.stem, path) for path in files]
    if not pictures:
        raise InputError(
            f"{folder}: expected board pictures as CAMERA/FRAME.png in it, one folder for each "
            "camera, files of one moment named alike"
        )
    return pictures, empty


def look(
    board: Board,
    pictures: Sequence[Picture],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Looked:
    """Find the board in every picture, on as many threads as kernels may use.

    Set aside are: files that cannot be read, a file that is a copy of another, pictures of
    another size than most of their camera's, and mirrored ones.
    """
    failures: list[dict[str, str]] = []
    pictures = _without_copies(pictures, failures)
    finders = local()

    def one(picture: Picture) -> Sighting | str:
        if not hasattr(finders, "finder"):
            finders.finder = BoardFinder(board)
        try:
            image = read_image(picture.path)
        except ItemError as error:
            return str(error)
        return finders.finder.find(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))

    found: dict[Picture, Sighting] = {}
    with ThreadPoolExecutor(num_threads()) as pool:
        for number, (picture, sighting) in enumerate(
            zip(pictures, pool.map(one, pictures), strict=True)
        ):
            if isinstance(sighting, str):
                failures.append({"input": picture.name, "error": sighting})
            else:
                found[picture] = sighting
            if progress is not None:
                progress(number + 1, len(pictures))
    sizes = _sizes(found, failures)
    _name_mirrored(found, failures)
    sightings = {(p.camera, p.frame): s for p, s in found.items() if s.found}
    return Looked(sightings, failures, dict(Counter(p.camera for p in found)), sizes)


def _without_copies(pictures: Sequence[Picture], failures: list[dict[str, str]]) -> list[Picture]:
    first: dict[str, Picture] = {}
    kept = []
    for picture in pictures:
        token = file_sha256(picture.path)
        if token in first:
            message = f"is a copy of {first[token].name}; each picture is one camera's at one time"
            failures.append({"input": picture.name, "error": message})
            continue
        first[token] = picture
        kept.append(picture)
    return kept


def _sizes(
    found: dict[Picture, Sighting], failures: list[dict[str, str]]
) -> dict[str, tuple[int, int]]:
    sizes = {}
    for camera in dict.fromkeys(p.camera for p in found):
        mine = {p: s.size for p, s in found.items() if p.camera == camera}
        usual = Counter(mine.values()).most_common(1)[0][0]
        sizes[camera] = usual
        for picture, size in mine.items():
            if size != usual:
                message = (
                    f"is {size[0]}x{size[1]} pixels, the camera's others are {usual[0]}x{usual[1]}"
                )
                failures.append({"input": picture.name, "error": message})
                del found[picture]
    return sizes


def _name_mirrored(found: dict[Picture, Sighting], failures: list[dict[str, str]]) -> None:
    message = (
        "the board is seen as in a mirror: the pictures are flipped, or the board is printed "
        "mirrored; flip them or print it anew"
    )
    for camera in dict.fromkeys(p.camera for p in found):
        mine = [p for p in found if p.camera == camera]
        mirrored = [p for p in mine if found[p].mirrored]
        if len(mirrored) > 1 and not any(found[p].found for p in mine):
            failures.append({"input": camera, "error": message})
            continue
        failures += [{"input": p.name, "error": message} for p in mirrored]
