"""``facekit train params`` and ``facekit distill``: labels to run folder to ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facekit.errors import InputError
from facekit.geometry.crop import CROP_ID
from facekit.io.atomic import write_json
from facekit.learn import launch
from facekit.learn.checkpoint import load_checkpoint
from facekit.learn.grow import grow
from facekit.learn.loop import Progress, RunInfo
from facekit.learn.recipe import run_recipe
from facekit.morphable import load_model
from facekit.morphable.layout import model_layout
from facekit.morphable.model import MorphableModel
from facekit.networks.params import ParameterNetwork
from facekit.networks.slim import slim
from facekit.train.distil import DistilConfig, DistilTask
from facekit.train.joined import Joined
from facekit.train.labels import LabelledShards
from facekit.train.params import LabelledFace, LabelledFaces, ParamsConfig, ParamsTask
from facekit.train.params_export import export_params, load_network
from facekit.train.qat import train_quantised
from facekit.train.quantise import REACH, calibration_images, quantise_onnx

_CALIBRATION = 512
# Rate of training in 8 bits, as a share of the peak before.
_INT8_RATE = 0.05


class JoinedFaces(Joined[LabelledFaces]):
    """Several label folders as one, by number."""

    def face(self, index: int) -> LabelledFace:
        """Return face ``index`` of all."""
        part, place = self.place(index)
        return part.face(place)


def load_labels(data: Sequence[Path], model: MorphableModel, split: str) -> JoinedFaces:
    """Return the faces of a split of label folders.

    Raises:
        InputError: no labels folder, or one of another model.
    """
    parts = [LabelledShards(folder, split=split) for folder in data]
    for part in parts:
        if part.layout != model_layout(model) or part.model_sha256 != model.sha256:
            raise InputError(
                f"{part.folder}: its labels belong to another model than {model.name}; label the "
                "photographs with this one"
            )
    return JoinedFaces(parts)


def train_params(
    data: Sequence[Path],
    run: Path,
    config: ParamsConfig,
    *,
    model: str = "builtin",
    resume: bool = False,
    init: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a parameter network on labels; write ``RUN/params.onnx`` and ``params.int8.onnx``.

    Args:
        data: folders of ``facekit label`` or ``facekit simulate photos --format shards``.
        run: run folder.
        config: see ``ParamsConfig``.
        model: what the labels' coefficients belong to: ``builtin`` or a file.
        resume: go on from ``RUN/last.pth``.
        init: checkpoint whose averaged weights this run starts from: of a parameter network, or
            of a landmark network with the same layers (its features).
        progress: called with steps done and in all.

    Returns:
        ``best`` validation figures, ``onnx`` and ``int8`` paths, and ``differences``.

    Raises:
        InputError, OutputExistsError, UsageError: nothing could be started.
    """
    morphable = load_model(model)
    task = ParamsTask(
        config,
        morphable,
        load_labels(data, morphable, "train"),
        load_labels(data, morphable, "validation"),
    )
    return _run(task, morphable, run, resume=resume, init=init, progress=progress)


def distil(
    data: Sequence[Path],
    run: Path,
    config: DistilConfig,
    teacher: Path,
    *,
    model: str = "builtin",
    resume: bool = False,
    init: Path | None = None,
    int8_steps: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a small network on labels and a large one's answers; files as ``train_params``.

    Args:
        data, run, config, model, resume, init, progress: as ``train_params``.
        teacher: checkpoint of a parameter network of this model.
        int8_steps: steps that the 8-bit network is trained for as it runs, after the others.

    Returns:
        As ``train_params``, and the ``teacher``'s figures on the same validation faces.

    Raises:
        InputError: the teacher belongs to another model.
    """
    if int8_steps and config.mobilenet:
        raise InputError("--int8-steps: expected a student of patches, got a MobileNet")
    morphable = load_model(model)
    network, contents = load_network(teacher)
    if contents["model_sha256"] != morphable.sha256:
        raise InputError(f"{teacher}: was trained for another model than {morphable.name}")
    train_faces = load_labels(data, morphable, "train")
    validation = load_labels(data, morphable, "validation")
    task = DistilTask(config, morphable, train_faces, validation, network)
    result = _run(
        task,
        morphable,
        run,
        resume=resume,
        init=init,
        int8_steps=int8_steps,
        progress=progress,
    )
    large = ParamsConfig(
        **{k: v for k, v in contents["config"].items() if k != "loop"}, loop=config.loop
    )
    if not launch.is_first():
        return result
    figures = ParamsTask(large, morphable, train_faces, validation).evaluate(network)
    result["teacher"] = figures
    write_json(run / "result.json", result)
    return result


def _run(
    task: ParamsTask,
    model: MorphableModel,
    run: Path,
    *,
    resume: bool,
    init: Path | None,
    int8_steps: int = 0,
    progress: Progress | None,
) -> dict[str, Any]:
    network = task.build_model()
    if init is not None:
        start_from(network, init)
    info = RunInfo(
        "params",
        asdict(task.config),
        layout=task.layout.document(),
        crop=CROP_ID,
        model_sha256=model.sha256,
    )

    def export() -> dict[str, Any]:
        path = run / "params.onnx"
        differences = export_params(run / "best.pth", path, task, model)
        small = _export_int8(task, model, run, path, int8_steps)
        return {"onnx": str(path), "differences": differences, **small}

    return run_recipe(
        task,
        network,
        task.config,
        run,
        info,
        export=export,
        resume=resume,
        progress=progress,
    )


def _export_int8(
    task: ParamsTask, model: MorphableModel, run: Path, exact: Path, steps: int
) -> dict[str, Any]:
    """Write ``RUN/params.int8.onnx``, trained in 8 bits for some steps; return its figures."""
    path, config = exact.with_suffix(".int8.onnx"), task.config
    trained = None
    if steps:
        network, _ = load_network(run / "best.pth")
        trained = train_quantised(
            task,
            network,
            steps=steps,
            first=config.loop.steps * config.loop.accumulate,
            learning_rate=_INT8_RATE * config.loop.learning_rate,
        )
    task.crop_size = config.size
    images = calibration_images(task, _CALIBRATION)
    if trained is None:
        return {
            "int8": str(path),
            "differences_int8": quantise_onnx(exact, path, images, dense="hidden", reach=REACH),
        }
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder) / exact.name
        export_params(run / "best.pth", rounded, task, model, network=trained.network)
        differences = quantise_onnx(rounded, path, images, dense="hidden", ranges=trained.ranges)
    return {
        "int8": str(path),
        "differences_int8": differences,
        "int8_before": trained.before,
        "int8_after": trained.after,
    }


def start_from(network: ParameterNetwork, init: Path) -> None:
    """Give a network another run's averaged weights.

    A landmark network gives its features: they know faces already. A wider parameter network gives
    its strongest channels (``networks.slim``).

    Raises:
        InputError: the layers do not fit.
    """
    contents = load_checkpoint(init)
    try:
        if contents["kind"] == "landmarks":
            weights = contents["ema"]["values"]
            features = {k: v for k, v in weights.items() if k.startswith("features.")}
            grow(network, {**network.state_dict(), **features})
            return
        other, _ = load_network(init)
        centre, scale = network.centre.clone(), network.scale.clone()
        if _wider(other, network):
            slim(network, other)
        else:
            grow(network, other.state_dict())
        # What the other run's data varied by is not what these do.
        network.rescaled(centre, scale)
    except InputError as error:
        raise InputError(
            f"{init}: its network does not fit this configuration's ({error})"
        ) from error


def _wider(first: ParameterNetwork, second: ParameterNetwork) -> bool:
    ours = second.state_dict()
    return any(
        a > b
        for name, value in first.state_dict().items()
        if name in ours
        for a, b in zip(value.shape, ours[name].shape, strict=False)
    )
