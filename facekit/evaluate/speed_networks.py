"""A user's own parameter networks (student, teacher) to be timed: files of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from facekit.detect.session import open_file
from facekit.errors import InputError, UsageError
from facekit.evaluate.photographs import photograph
from facekit.evaluate.speed import SpeedCase, Work
from facekit.io.images import resize

# What a training run's folder has its network as, the one that is shipped first.
RUN_FILES = ("params.int8.onnx", "params.onnx")
BATCH = 8


def network_file(path: Path) -> Path:
    """Return the ONNX file of a path: the file itself, or that of a training run's folder.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return path
    found = next((path / name for name in RUN_FILES if (path / name).is_file()), None)
    if found is None:
        raise InputError(
            f"{path}: expected an ONNX file of facekit train params or distill, or the folder of "
            f"such a run ({', '.join(RUN_FILES)}), found none"
        )
    return found


def network_cases(networks: Sequence[str]) -> list[SpeedCase]:
    """Return the cases of networks: one crop and a batch of crops each, on one thread.

    Args:
        networks: ``FILE`` or ``NAME=FILE`` each; the others' ratio is to the first one's time.

    Raises:
        InputError: no such file.
        UsageError: one name twice.
    """
    files: dict[str, Path] = {}
    for text in networks:
        name, equals, rest = text.partition("=")
        named = bool(equals) and not Path(text).exists()
        path = network_file(Path(rest if named else text))
        name = name if named else path.parent.name if path.name in RUN_FILES else path.stem
        if name in files or not name:
            raise UsageError(f"--network: expected different names, got {name!r} twice")
        files[name] = path
    first = next(iter(files), "")
    cases = []
    for name, path in files.items():
        for batch, key in ((1, "1t"), (BATCH, f"batch{BATCH}.1t")):
            cases.append(
                SpeedCase(
                    f"network.{name}.{key}",
                    f"the parameter network {path.name} alone, crops in a call: {batch}",
                    partial(_pass, path, batch),
                    batch=batch,
                    calls=20 if batch == 1 else 5,
                    peer_of="" if name == first else f"network.{first}.{key}",
                )
            )
    return cases


def _pass(path: Path, batch: int) -> Work:
    network = open_file(path, threads=1)
    if "facekit.size" not in network.metadata:
        raise InputError(f"{path}: expected a network of facekit train params or distill")
    side = int(network.metadata["facekit.size"])
    crops = np.repeat(resize(photograph(), side / 512)[None], batch, axis=0)
    return lambda: network(image=crops)
