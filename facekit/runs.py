"""Output folders: a manifest of what was made from what, so that running again adds the rest.

``manifest.json`` holds the command, its options, the versions, the hashes of assets, and one
record per finished item. While a batch runs, finished items are appended to a journal beside it;
an interrupted run loses nothing that was finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facekit import __version__
from facekit.errors import InputError, OutputExistsError
from facekit.io.atomic import make_folder, read_json, write_json

logger = logging.getLogger("facekit.runs")

SCHEMA = "facekit.manifest/1"


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class RunFolder:
    """An output folder under a manifest.

    Use: open it, skip items for which ``is_done`` holds, ``record`` each finished one, and
    ``close`` at the end.

    Args:
        folder: output folder; made when absent.
        command: the command's name, e.g. ``fit``.
        options: everything that changes what an item's result is (JSON values).
        assets: name to sha256 of the model and network files that were used.
        overwrite: forget an earlier run, so that every item is done again.

    Raises:
        OutputExistsError: the folder holds a run of another command, options or assets.
        InputError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: str,
        options: Mapping[str, Any],
        assets: Mapping[str, str],
        overwrite: bool = False,
    ) -> None:
        self.folder = make_folder(folder)
        self._header = {
            "schema": SCHEMA,
            "command": command,
            "facekit_version": __version__,
            "options": dict(options),
            "assets": dict(assets),
        }
        self._manifest = folder / "manifest.json"
        self._journal = folder / ".journal.jsonl"
        self.records: dict[str, dict[str, Any]] = {}
        if self._manifest.exists():
            self._adopt(read_json(self._manifest), overwrite)
        elif not overwrite and any(folder.iterdir()):
            # Without a manifest nothing says what the files are, and they are not ours to replace.
            raise OutputExistsError(
                f"{folder}: exists and holds no facekit manifest; choose an empty folder, "
                "or pass --overwrite to write into it"
            )
        self._write_manifest()

    def _adopt(self, old: dict[str, Any], overwrite: bool) -> None:
        if not isinstance(old, dict) or old.get("schema") != SCHEMA:
            raise InputError(f"{self._manifest}: expected schema {SCHEMA}; choose another folder")
        differing = [
            key
            for key in ("command", "options", "assets")
            if old.get(key) != json.loads(json.dumps(self._header[key]))
        ]
        if differing and not overwrite:
            details = "; ".join(_difference(key, old.get(key), self._header) for key in differing)
            raise OutputExistsError(
                f"{self.folder}: holds results made otherwise ({details}); "
                "choose another folder with -o, or pass --overwrite"
            )
        if old.get("facekit_version") != __version__:
            logger.warning(
                "%s was begun by facekit %s; this is %s",
                self.folder,
                old.get("facekit_version"),
                __version__,
            )
        if overwrite:
            self._journal.unlink(missing_ok=True)
            return
        self.records = dict(old.get("items", {}))
        if self._journal.exists():
            for line in self._journal.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # the line that an interruption cut short
                self.records[entry["key"]] = entry["record"]

    def is_done(self, key: str, sha256: str) -> bool:
        """Say whether an item was finished from a file of the same content, its outputs there."""
        record = self.records.get(key)
        if record is None or record.get("sha256") != sha256 or record.get("error"):
            return False
        return all((self.folder / name).exists() for name in record.get("outputs", []))

    def record(self, key: str, record: dict[str, Any]) -> None:
        """Note a finished item: at least ``sha256`` and ``outputs`` (or ``error``)."""
        self.records[key] = record
        line = json.dumps({"key": key, "record": record}, ensure_ascii=False)
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def keep_only(self, keys: Iterable[str]) -> None:
        """Forget records of items that are no longer asked for only if their outputs are gone."""
        wanted = set(keys)
        for key in [k for k in self.records if k not in wanted]:
            outputs = self.records[key].get("outputs", [])
            if not outputs or not all((self.folder / name).exists() for name in outputs):
                del self.records[key]

    def close(self) -> None:
        """Write the manifest with every record and drop the journal."""
        self._write_manifest()
        self._journal.unlink(missing_ok=True)

    def _write_manifest(self) -> None:
        write_json(self._manifest, {**self._header, "items": self.records})


def _difference(key: str, old: Any, header: dict[str, Any]) -> str:
    new = header[key]
    if isinstance(old, dict) and isinstance(new, dict):
        names = [n for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
        return ", ".join(f"{n}: {old.get(n)} there, {new.get(n)} now" for n in names)
    return f"{key}: {old} there, {new} now"
