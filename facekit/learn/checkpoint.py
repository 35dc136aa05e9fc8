"""Checkpoints: one documented dictionary, loadable without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from facekit.errors import InputError
from facekit.io.atomic import atomic_path

FORMAT = "facekit.checkpoint"
VERSION = 1
KEYS = (
    "kind",
    "config",
    "layout",
    "crop",
    "model_sha256",
    "state_dict",
    "ema",
    "optimizer",
    "scheduler",
    "sampler",
    "rng",
    "step",
    "metrics",
)


def save_checkpoint(path: Path, contents: dict[str, Any]) -> Path:
    """Write a checkpoint atomically.

    Args:
        path: the ``.pth``.
        contents: every key of ``KEYS``: ``kind`` names what is trained; ``config`` is plain
            values; ``layout``, ``crop`` and ``model_sha256`` say what the outputs mean (None
            where they do not apply); ``state_dict`` and ``ema`` are the weights and their
            moving average; the rest is what an exact resume needs.

    Raises:
        InputError: a key is missing or unknown.
    """
    if set(contents) != set(KEYS):
        differing = ", ".join(sorted(set(contents) ^ set(KEYS)))
        raise InputError(
            f"checkpoint: expected exactly the documented keys; differing: {differing}"
        )
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "version": VERSION, **contents}, temporary)
    return path


def load_checkpoint(path: Path, *, kind: str | None = None) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``: a file cannot run code.

    Raises:
        InputError: no such file, not a facekit checkpoint, a newer version, or another kind.
    """
    contents = load_safely(path, "a facekit checkpoint")
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise InputError(f"{path}: expected a facekit checkpoint, got something else")
    if contents["version"] > VERSION:
        raise InputError(
            f"{path}: checkpoint version {contents['version']}, this facekit reads up to "
            f"{VERSION}; update facekit"
        )
    if kind is not None and contents["kind"] != kind:
        raise InputError(f"{path}: expected a checkpoint of {kind}, got one of {contents['kind']}")
    return contents


def load_safely(path: Path, expected: str) -> Any:
    """Read a file of ``torch.save`` onto the CPU, tensors and plain values alone.

    Args:
        path: the file.
        expected: what the messages say it should be.

    Raises:
        InputError: no such file, or nothing that can be read without running code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected {expected}, found no file") from error
    except Exception as error:
        raise InputError(f"{path}: expected {expected} ({error})") from error
