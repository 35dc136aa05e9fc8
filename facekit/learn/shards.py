"""Samples in tar files (WebDataset's layout) with an index, read by offset.

A folder holds ``shard-00000.tar``, ... and ``index.csv`` with one row a sample: ``id``, ``shard``,
``offset`` and ``size`` of all its members together (headers too), their ``crc32``, and the
collection's own columns. A sample's members follow each other and are named ``<id>.<suffix>``.

What goes into a shard depends on its number alone, so that runs that share out the shards make
what one run makes, byte for byte. A shard is whole or absent, and a finished one is not made again
while its token (a hash of what it is made of) stays the same.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from facekit.errors import InputError, UsageError
from facekit.io.atomic import atomic_path, make_folder, read_json, write_json, write_text

INDEX = "index.csv"
COLUMNS = ("id", "shard", "offset", "size", "crc32")
_BLOCK = tarfile.BLOCKSIZE
_PARTS = ".parts"


class Sample(NamedTuple):
    """One sample: its id (letters, digits, ``-`` and ``_``), members by suffix, and columns."""

    id: str
    files: Mapping[str, bytes]
    columns: Mapping[str, Any]


class Share(NamedTuple):
    """Part ``number`` of ``parts`` of a job that several runs share, from 0."""

    number: int
    parts: int

    def holds(self, shard: int) -> bool:
        """Say whether a shard belongs to this part."""
        return shard % self.parts == self.number


def parse_share(text: str) -> Share:
    """Return the part that ``i/n`` names, i from 0 to n - 1; empty text is the whole.

    Raises:
        UsageError: anything else.
    """
    if not text:
        return Share(0, 1)
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise UsageError(f"--shard: expected i/n with i from 0 to n - 1, got {text!r}")
    return Share(int(number), int(count))


def shard_name(number: int) -> str:
    """Return a shard's file name."""
    return f"shard-{number:05d}.tar"


class ShardFolder:
    """A folder of shards that is being written.

    Args:
        folder: made when absent.
        columns: names of the collection's own columns of ``index.csv``.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.folder = make_folder(folder)
        self.columns = tuple(columns)

    def is_done(self, number: int, token: str) -> bool:
        """Say whether a shard was finished from what ``token`` stands for."""
        part = self._part(number)
        if not part.is_file() or not (self.folder / shard_name(number)).is_file():
            return False
        return bool(read_json(part).get("token") == token)

    def write(
        self, number: int, token: str, samples: Iterable[Sample], notes: Sequence[Any] = ()
    ) -> int:
        """Write one shard whole and return its number of samples.

        Args:
            number: of the shard.
            token: what ``is_done`` will be asked for.
            samples: in the order in which they are stored.
            notes: JSON values to keep with it; read when the samples are through.

        Raises:
            InputError: a sample repeats, has no members or a name that tar readers would split.
        """
        path = self.folder / shard_name(number)
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            for sample in samples:
                if sample.id in seen:
                    raise InputError(f"{path.name}: the sample {sample.id!r} comes twice")
                seen.add(sample.id)
                block = _members(sample, path.name)
                place = file.tell()
                file.write(block)
                facts = {name: sample.columns[name] for name in self.columns}
                values = (sample.id, path.name, place, len(block), zlib.crc32(block))
                rows.append({**dict(zip(COLUMNS, values, strict=True)), **facts})
            # Two empty blocks end an archive.
            file.write(bytes(2 * _BLOCK))
        write_json(self._part(number), {"token": token, "rows": rows, "notes": list(notes)})
        return len(rows)

    def drop(self, number: int) -> None:
        """Remove a shard that is no longer wanted, if it is there."""
        self._part(number).unlink(missing_ok=True)
        (self.folder / shard_name(number)).unlink(missing_ok=True)

    def numbers(self) -> list[int]:
        """Return the numbers of the finished shards."""
        found = (self.folder / _PARTS).glob("shard-*.json")
        return sorted(int(path.stem.removeprefix("shard-")) for path in found)

    def join(self) -> tuple[list[dict[str, Any]], list[Any]]:
        """Write ``index.csv`` of all finished shards, and return its rows and all notes.

        Raises:
            InputError: two shards hold a sample of the same id.
        """
        rows: list[dict[str, Any]] = []
        notes: list[Any] = []
        for number in self.numbers():
            part = read_json(self._part(number))
            rows += part["rows"]
            notes += part["notes"]
        owners: dict[str, str] = {}
        for row in rows:
            other = owners.setdefault(row["id"], row["shard"])
            if other != row["shard"]:
                raise InputError(f"{row['shard']}: the sample {row['id']!r} is in {other} too")
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*COLUMNS, *self.columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / INDEX, text.getvalue())
        return rows, notes

    def _part(self, number: int) -> Path:
        return self.folder / _PARTS / f"shard-{number:05d}.json"


class ShardReader:
    """The samples of a folder by number, in the order of its index; a map-style data set.

    Args:
        folder: holds ``index.csv`` and the shards.

    Attributes:
        rows: one a sample: the index's columns as text, ``offset``, ``size`` and ``crc32`` as
            numbers.

    Raises:
        InputError: no readable index, or a shard is missing or shorter than the index says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.rows = _read_index(self.folder / INDEX)
        ends: dict[str, int] = {}
        for row in self.rows:
            ends[row["shard"]] = max(ends.get(row["shard"], 0), row["offset"] + row["size"])
        for name, end in ends.items():
            path = self.folder / name
            if not path.is_file():
                raise InputError(f"{path}: the shard is missing; make it again")
            if path.stat().st_size < end:
                raise InputError(
                    f"{path}: the shard is cut short ({path.stat().st_size} bytes, expected at "
                    f"least {end}); make it again"
                )

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> dict[str, bytes]:
        """Return a sample's members by suffix.

        Raises:
            InputError: the shard is damaged there.
        """
        row = self.rows[index]
        path = self.folder / row["shard"]
        # Opened each time: it takes microseconds, and no process shares another's place.
        with path.open("rb") as file:
            file.seek(row["offset"])
            block = file.read(row["size"])
        if zlib.crc32(block) != row["crc32"]:
            raise InputError(
                f"{path}: the sample {row['id']!r} is damaged (its checksum differs); make the "
                "shard again"
            )
        prefix = f"{row['id']}."
        return {
            name.removeprefix(prefix): content
            for name, content in _split(block, path)
            if name.startswith(prefix)
        }


def _members(sample: Sample, where: str) -> bytes:
    """Return a sample's members as a piece of an archive, the same bytes for the same content."""
    if not sample.files:
        raise InputError(f"{where}: the sample {sample.id!r} has no members")
    if not sample.id or not sample.id.replace("-", "").replace("_", "").isalnum():
        raise InputError(
            f"{where}: expected a sample id of letters, digits, '-' and '_', got {sample.id!r}"
        )
    pieces: list[bytes] = []
    for suffix, content in sample.files.items():
        info = tarfile.TarInfo(f"{sample.id}.{suffix}")
        info.size = len(content)
        pieces += [info.tobuf(tarfile.PAX_FORMAT), content, bytes(-len(content) % _BLOCK)]
    return b"".join(pieces)


def _read_index(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: expected the columns {', '.join(COLUMNS)}")
            rows: list[dict[str, Any]] = list(reader)
        for row in rows:
            row.update({name: int(row[name]) for name in ("offset", "size", "crc32")})
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: expected the index of a folder of shards ({error})") from error
    return rows


def _split(block: bytes, path: Path) -> list[tuple[str, bytes]]:
    """Return the names and contents of a piece of an archive.

    Plain members, which is all that ``_members`` writes but for very long names, are cut out by
    their headers' name and size: ten times as quick as reading the archive, for each sample again.
    """
    found, at = [], 0
    while at < len(block):
        header = block[at : at + _BLOCK]
        if header[156:157] != tarfile.REGTYPE or header[345:346] != b"\0":
            return _read_archive(block, path)
        size, at = int(header[124:135], 8), at + _BLOCK
        name = header[:100].partition(b"\0")[0].decode()
        found.append((name, block[at : at + size]))
        at += -(-size // _BLOCK) * _BLOCK
    return found


def _read_archive(block: bytes, path: Path) -> list[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(block + bytes(2 * _BLOCK)), mode="r:") as archive:
            return [
                (member.name, archive.extractfile(member).read())  # type: ignore[union-attr]
                for member in archive.getmembers()
                if member.isfile()
            ]
    except tarfile.TarError as error:
        raise InputError(f"{path}: the shard is damaged ({error}); make it again") from error


def token_of(*values: Any) -> str:
    """Return a short token of JSON values: the same values, the same token."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return f"{zlib.crc32(text.encode()):08x}{zlib.adler32(text.encode()):08x}"
