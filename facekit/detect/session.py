"""The shipped networks: verified, opened once, with threads on purpose."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from facekit.errors import InputError
from facekit.morphable.builtin import asset
from facekit.threads import num_threads

_lock = threading.Lock()
_sessions: dict[tuple[str, int], Network] = {}


class Network:
    """An ONNX network and what its metadata says.

    Attributes:
        session: onnxruntime's session.
        sha256: of the file.
        metadata: the file's string properties.
    """

    def __init__(self, content: bytes, *, name: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning workers would take the cores that the fit's own threads need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InputError(f"{name}: onnxruntime cannot load it ({error})") from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Run the network on named inputs and return named outputs."""
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))


def open_asset(name: str, *, threads: int | None = None) -> Network:
    """Open a network of facekit's own by its name in the assets' manifest.

    It is verified and opened once per process and thread count.

    Raises:
        InputError: the file is missing or its content differs from the manifest's hash.
    """
    count = num_threads() if threads is None else threads
    with _lock:
        if (name, count) not in _sessions:
            content = asset(name).path.read_bytes()
            _sessions[name, count] = Network(content, name=name, threads=count)
        return _sessions[name, count]


def open_file(path: Path, *, threads: int | None = None) -> Network:
    """Open a network file, e.g. one that was just trained.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected an ONNX file ({error})") from error
    return Network(content, name=str(path), threads=num_threads() if threads is None else threads)
