"""``facekit train deep3d``, ``imageset`` and ``basis``: faces to run folder to ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facekit.errors import InputError, UsageError
from facekit.fit.terms.identity import Embedding
from facekit.fit.terms.onnx_network import load_onnx
from facekit.geometry.deep3d_crop import CROP_ID, DISTANCE, deep3d_intrinsics
from facekit.learn.checkpoint import FORMAT, load_checkpoint, load_safely
from facekit.learn.grow import grow
from facekit.learn.loop import Progress, RunInfo
from facekit.learn.recipe import run_recipe
from facekit.morphable import load_model
from facekit.morphable.model import MorphableModel
from facekit.morphable.native import write_native
from facekit.networks.deep3d import Deep3DNetwork
from facekit.runs import file_sha256
from facekit.train.basis_training import BasisConfig, BasisTask
from facekit.train.deep3d import Deep3DConfig, Deep3DTask
from facekit.train.deep3d_data import JoinedWeakFaces, load_weak
from facekit.train.deep3d_face import read_layout
from facekit.train.imageset import ImageSetConfig, ImageSetTask
from facekit.train.onnx import export_crop_network

SCHEMA = "facekit.deep3d-network/1"


def train_deep3d(
    data: Sequence[Path],
    run: Path,
    config: Deep3DConfig,
    *,
    model: str = "builtin",
    resume: bool = False,
    init: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train Deep3D's network from photographs with landmarks; write ``RUN/deep3d.onnx``.

    Args:
        data: labels folders, or folders in Deep3D's layout.
        run: run folder.
        config: see ``Deep3DConfig``.
        model: the morphable model: ``builtin`` or a file.
        resume: go on from ``RUN/last.pth``.
        init: weights to start from: a checkpoint of this kind, or a file of an ImageNet
            classifier's weights with torchvision's layer names.
        progress: called with steps done and in all.

    Returns:
        ``best`` validation figures, the ``onnx`` path and its ``differences`` from torch.

    Raises:
        InputError, OutputExistsError, UsageError: nothing could be started.
    """
    morphable = load_model(model)
    task = Deep3DTask(
        config, morphable, *weak_splits(data, morphable), embedding=open_embedding(config.embedding)
    )
    network = task.build_model()
    if init is not None:
        start_from(network, init)

    def export() -> dict[str, Any]:
        path = run / "deep3d.onnx"
        return {
            "onnx": str(path),
            "differences": export_deep3d(run / "best.pth", path, morphable),
        }

    return run_task(task, network, run, "deep3d", export, resume=resume, progress=progress)


def train_imageset(
    data: Sequence[Path],
    run: Path,
    config: ImageSetConfig,
    *,
    model: str = "builtin",
    resume: bool = False,
    init: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the confidence network on sets of one person; write ``RUN/imageset.onnx``.

    Args:
        data: labels folders that say who is who.
        run, config, model, resume, progress: as ``train_deep3d``.
        init: checkpoint of ``train deep3d``: the network that reads the coefficients; it is not
            changed. Needed but for resuming.

    Returns:
        As ``train_deep3d``.

    Raises:
        UsageError: no ``init``.
        InputError, OutputExistsError: nothing could be started.
    """
    morphable = load_model(model)
    if resume:
        known = load_checkpoint(run / "last.pth", kind="imageset")
    elif init is None:
        raise UsageError("imageset: expected --init with a checkpoint of facekit train deep3d")
    else:
        known = load_checkpoint(init, kind="deep3d")
        if known["model_sha256"] != morphable.sha256:
            raise InputError(f"{init}: was trained for another model than {morphable.name}")
    shape = {name: known["config"][name] for name in ("size", "backbone")}
    task = ImageSetTask(
        replace(config, **shape),
        morphable,
        *weak_splits(data, morphable),
        embedding=open_embedding(config.embedding),
    )
    network = task.build_model()
    if not resume:
        network.reader.load_state_dict(known["ema"]["values"])

    def export() -> dict[str, Any]:
        path = run / "imageset.onnx"
        contents = _load_best(network, run, "imageset")
        outputs = ("coefficients", "confidence")
        return {
            "onnx": str(path),
            "differences": export_network(network, path, contents, morphable, outputs),
        }

    return run_task(task, network, run, "imageset", export, resume=resume, progress=progress)


def train_basis(
    data: Sequence[Path],
    run: Path,
    config: BasisConfig,
    *,
    model: str = "builtin",
    resume: bool = False,
    init: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train network and model together; write ``RUN/model.npz`` and ``RUN/deep3d.onnx`` for it.

    Args:
        data, run, config, model, resume, progress: as ``train_deep3d``; ``model`` is what the
            modes start from.
        init: checkpoint of ``train deep3d`` of that model for the network to start from.

    Returns:
        As ``train_deep3d``, and the ``model``'s path.

    Raises:
        InputError, OutputExistsError, UsageError: nothing could be started.
    """
    morphable = load_model(model)
    task = BasisTask(
        config, morphable, *weak_splits(data, morphable), embedding=open_embedding(config.embedding)
    )
    network = task.build_model()
    if init is not None:
        start_from(network.reader, init)

    def export() -> dict[str, Any]:
        contents = _load_best(network, run, "basis")
        said = f"{task.model.provenance}; modes trained by facekit train basis".lstrip("; ")
        learned = replace(network.modes.model(task.model), name=run.name, provenance=said)
        write_native(learned, run / "model.npz")
        # What was written is what others read: its numbers are rounded.
        written = load_model(run / "model.npz")
        path = run / "deep3d.onnx"
        differences = export_network(network.reader, path, contents, written, ("coefficients",))
        return {"onnx": str(path), "model": str(run / "model.npz"), "differences": differences}

    return run_task(task, network, run, "basis", export, resume=resume, progress=progress)


def _load_best(network: nn.Module, run: Path, kind: str) -> dict[str, Any]:
    """Give a network a trained run's best averaged weights; return the checkpoint."""
    contents = load_checkpoint(run / "best.pth", kind=kind)
    network.load_state_dict(contents["ema"]["values"])
    return contents


def weak_splits(
    data: Sequence[Path], model: MorphableModel
) -> tuple[JoinedWeakFaces, JoinedWeakFaces]:
    """Return the faces to train on and those to validate on."""
    return (
        load_weak(data, split="train", model_sha256=model.sha256),
        load_weak(data, split="validation", model_sha256=model.sha256),
    )


def run_task(
    task: Deep3DTask,
    network: nn.Module,
    run: Path,
    kind: str,
    export: Callable[[], dict[str, Any]],
    *,
    resume: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Train a task of Deep3D's; arguments and result as ``learn.recipe.run_recipe``.

    Args:
        task, network, run, export, resume, progress: see there.
        kind: of the checkpoint.
    """
    config = task.config
    described = asdict(config)
    if config.embedding:
        described["embedding_sha256"] = file_sha256(Path(config.embedding))
    info = RunInfo(
        kind,
        described,
        layout=task.face().layout.document(),
        crop=CROP_ID,
        model_sha256=task.model.sha256,
    )
    return run_recipe(
        task, network, config, run, info, export=export, resume=resume, progress=progress
    )


def open_embedding(name: str) -> Embedding | None:
    """Return the recognition network of a file, or None for an empty name.

    Args:
        name: ``.onnx``, or a TorchScript file of your own (it can run code).

    Raises:
        InputError: it cannot be read.
        MissingDependencyError: an ONNX file, and the onnx package is missing.
    """
    if not name:
        return None
    path = Path(name)
    if path.suffix.lower() == ".onnx":
        return load_onnx(path)
    try:
        network = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path}: expected an .onnx or a TorchScript file ({error})") from error
    return network.eval().requires_grad_(False)


def start_from(network: nn.Module, init: Path) -> None:
    """Give a network the averaged weights of a checkpoint, or a classifier's features.

    Raises:
        InputError: neither, or the layers do not fit.
    """
    contents = load_safely(init, "weights that hold no code")
    try:
        if isinstance(contents, dict) and contents.get("format") == FORMAT:
            weights = load_checkpoint(init)["ema"]["values"]
            grow(network, weights)
        else:
            network.get_submodule("backbone").load_classifier(contents)  # type: ignore[operator]
    except (RuntimeError, AttributeError, InputError) as error:
        raise InputError(
            f"{init}: its network does not fit this configuration's ({error})"
        ) from error


def load_deep3d(checkpoint: Path) -> tuple[Deep3DNetwork, dict[str, Any]]:
    """Return a checkpoint's network with the averaged weights, and the checkpoint.

    Raises:
        InputError: no checkpoint of this kind.
    """
    contents = load_checkpoint(checkpoint, kind="deep3d")
    layout = read_layout(contents["layout"], str(checkpoint))
    network = Deep3DNetwork(layout.heads, backbone=contents["config"]["backbone"])
    network.load_state_dict(contents["ema"]["values"])
    return network.eval(), contents


class _Export(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.network(image.permute(0, 3, 1, 2).float() / 255)
        return found if isinstance(found, tuple) else (found,)


def export_deep3d(checkpoint: Path, path: Path, model: MorphableModel) -> dict[str, float]:
    """Write a checkpoint's averaged weights as ONNX; see ``export_crop_network``.

    Input ``image`` uint8 (N, S, S, 3) RGB, a ``deep3d-v1`` crop; output ``coefficients`` (N, C) in
    Deep3D's order, which the metadata's ``facekit.layout`` states.

    Raises:
        InputError: the checkpoint is of another model.
    """
    network, contents = load_deep3d(checkpoint)
    if contents["model_sha256"] != model.sha256:
        raise InputError(f"{checkpoint}: was trained for another model than {model.name}")
    return export_network(network, path, contents, model, ("coefficients",))


def export_network(
    network: nn.Module,
    path: Path,
    contents: dict[str, Any],
    model: MorphableModel,
    outputs: Sequence[str],
) -> dict[str, float]:
    """Write a network of crops (N, 3, S, S) in [0, 1] as ONNX that takes uint8 (N, S, S, 3).

    Args:
        network: gives one tensor for each of ``outputs``.
        path: the ``.onnx``.
        contents: the checkpoint it comes from.
        model: of its coefficients.
        outputs: names.
    """
    size = int(contents["config"]["size"])
    return export_crop_network(
        _Export(network),
        size,
        path,
        outputs=outputs,
        metadata={
            "facekit.schema": SCHEMA,
            "facekit.layout": contents["layout"],
            "facekit.crop": CROP_ID,
            "facekit.model": model.name,
            "facekit.model_sha256": model.sha256,
            "facekit.focal": str(float(deep3d_intrinsics(size)[0, 0])),
            "facekit.distance_dm": str(DISTANCE),
        },
        tolerance=5e-3,
    )
