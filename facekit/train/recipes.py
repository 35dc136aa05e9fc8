"""The recipes of ``facekit train``: data to run folder to ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from facekit.config import load_toml, override
from facekit.errors import InputError, UsageError
from facekit.learn.checkpoint import load_checkpoint
from facekit.learn.grow import grow
from facekit.learn.loop import LoopConfig, Progress, RunInfo
from facekit.learn.recipe import run_recipe
from facekit.train.basis_training import BasisConfig
from facekit.train.deep3d import Deep3DConfig
from facekit.train.deep3d_recipes import train_basis, train_deep3d, train_imageset
from facekit.train.detector import DetectorConfig, DetectorTask, export_detector
from facekit.train.imageset import ImageSetConfig
from facekit.train.landmarks import LandmarkConfig, LandmarkTask, export_landmarks
from facekit.train.params import ParamsConfig
from facekit.train.params_recipes import train_params
from facekit.train.portraits import Portraits, join_portraits, load_portraits
from facekit.train.quantise import calibration_images, quantise_onnx

_CALIBRATION = 512


@dataclass(frozen=True)
class Recipe:
    """A preset: its configuration, what runs it, and whether its labels are of a face model."""

    config: Any
    run: Callable[..., dict[str, Any]]
    of_model: bool = False


def resolve(
    name: str, assignments: Sequence[str], *, seed: int | None = None
) -> tuple[Recipe, Any]:
    """Return a recipe and its final configuration.

    Args:
        name: a preset's name, or a ``.toml`` whose first key ``preset`` names one.
        assignments: ``NAME=VALUE`` texts that win over the file.
        seed: of weights and batches; wins over all.

    Raises:
        UsageError: no such preset or key.
        InputError: the file cannot be read.
    """
    path = Path(name)
    preset = path.stem.split(".")[0] if path.suffix == ".toml" else name
    if preset not in RECIPES:
        raise UsageError(
            f"train: expected one of {', '.join(sorted(RECIPES))}, or a .toml named after one "
            f"(landmarks.mine.toml), got {name!r}"
        )
    recipe = RECIPES[preset]
    config = recipe.config
    if path.suffix == ".toml":
        config = load_toml(config, path)
    config = override(config, assignments)
    if seed is not None:
        config = replace(config, loop=replace(config.loop, seed=seed))
    return recipe, config


def train_landmarks(
    data: Sequence[Path],
    run: Path,
    config: LandmarkConfig,
    *,
    resume: bool = False,
    init: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the landmark network and write ``RUN/landmarks.onnx`` and ``landmarks.int8.onnx``.

    Args:
        data: folders of portraits or renders; after one, optionally better labels for it.
        run: run folder.
        config: see ``LandmarkConfig``.
        resume: go on from ``RUN/last.pth``.
        init: checkpoint of another run whose averaged weights this one starts from; its
            network may be narrower (see ``learn.grow``).
        progress: called with steps done and in all.

    Returns:
        ``best`` validation figures, ``onnx`` and ``int8`` paths, and ``differences``: the
        export's largest from torch, and ``int8``'s root mean squares from the export.

    Raises:
        InputError, OutputExistsError, UsageError: nothing could be started.
    """
    portraits = load_data(data)
    task = LandmarkTask(config, portraits.subset("train"), portraits.subset("validation"))

    def export() -> dict[str, Any]:
        path = run / "landmarks.onnx"
        differences = export_landmarks(run / "best.pth", path)
        return _exported(path, task, differences, dense="hidden")

    return _run(task, run, "landmarks", export, resume=resume, init=init, progress=progress)


def train_detector(
    data: Sequence[Path],
    run: Path,
    config: DetectorConfig,
    *,
    resume: bool = False,
    init: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the face detector on collages and write ``detector.onnx`` and ``detector.int8.onnx``.

    Arguments, result and errors as ``train_landmarks``.
    """
    portraits = load_data(data)
    task = DetectorTask(config, portraits.subset("train"), portraits.subset("validation"))

    def export() -> dict[str, Any]:
        path = run / "detector.onnx"
        differences = export_detector(run / "best.pth", path, task)
        # Boxes are read off the last maps to a fraction of a pixel, and small faces off the first.
        return _exported(path, task, differences, keep=("stem", "stages.0/", "outputs"))

    return _run(task, run, "detector", export, resume=resume, init=init, progress=progress)


# Adam, 1e-4, and a fifth of it after half of 200,000 steps of 32 crops: 20 epochs of 300,000
# photographs (Deng et al., 2019, and its TensorFlow code); no warm-up, no clipping.
DEEP3D_LOOP = LoopConfig(
    steps=200_000,
    learning_rate=1e-4,
    schedule="steps",
    warmup_steps=0,
    decay_every=100_000,
    decay_factor=0.2,
    weight_decay=0.0,
    clip_norm=0.0,
    evaluate_every=2000,
    save_every=2000,
)

# The confidence network alone is small and its reader is trained: a tenth of the steps.
SET_LOOP = replace(DEEP3D_LOOP, steps=20_000, decay_every=10_000, evaluate_every=500)

RECIPES = {
    "landmarks": Recipe(
        LandmarkConfig(loop=LoopConfig(steps=30_000, learning_rate=1.6e-3)), train_landmarks
    ),
    "detector": Recipe(
        DetectorConfig(loop=LoopConfig(steps=9_000, learning_rate=3e-3)), train_detector
    ),
    "params": Recipe(
        ParamsConfig(loop=LoopConfig(steps=30_000, learning_rate=1.5e-3)),
        train_params,
        of_model=True,
    ),
    "deep3d": Recipe(Deep3DConfig(loop=DEEP3D_LOOP), train_deep3d, of_model=True),
    "basis": Recipe(BasisConfig(loop=DEEP3D_LOOP), train_basis, of_model=True),
    "imageset": Recipe(ImageSetConfig(loop=SET_LOOP), train_imageset, of_model=True),
}


def load_data(
    data: Sequence[Path], *, splits: Sequence[str] = ("train", "validation")
) -> Portraits:
    """Read every folder that holds images; a folder of labels alone serves the one before it.

    Raises:
        InputError, UsageError: a folder holds neither, or labels come first.
    """
    parts: list[tuple[Path, Path | None]] = []
    for folder in map(Path, data):
        if _has_images(folder):
            parts.append((folder, None))
        elif parts and parts[-1][1] is None:
            parts[-1] = (parts[-1][0], folder)
        else:
            raise UsageError(
                f"--data {folder}: expected labels_<set>.npz with folders of images "
                "beside them, or better labels for the --data before it"
            )
    return join_portraits(
        [load_portraits(folder, labels=labels, splits=splits) for folder, labels in parts]
    )


def _has_images(folder: Path) -> bool:
    files = sorted(folder.glob("labels_*.npz"))
    if not files:
        raise InputError(f"{folder}: expected labels_<set>.npz files, found none")
    return any((folder / file.stem.removeprefix("labels_")).is_dir() for file in files)


def _model(task: LandmarkTask | DetectorTask, init: Path | None, kind: str) -> Any:
    model = task.build_model()
    if init is not None:
        weights = load_checkpoint(init, kind=kind)["ema"]["values"]
        try:
            grow(model, weights)
        except InputError as error:
            raise InputError(
                f"{init}: its network does not fit this configuration's ({error}); give the "
                "depths and sizes it was trained with, and no smaller widths"
            ) from error
    return model


def _run(
    task: LandmarkTask | DetectorTask,
    run: Path,
    kind: str,
    export: Callable[[], dict[str, Any]],
    *,
    resume: bool,
    init: Path | None,
    progress: Progress | None,
) -> dict[str, Any]:
    return run_recipe(
        task,
        _model(task, init, kind),
        task.config,
        run,
        RunInfo(kind, asdict(task.config)),
        export=export,
        resume=resume,
        progress=progress,
    )


def _exported(
    path: Path,
    task: LandmarkTask | DetectorTask,
    differences: dict[str, float],
    *,
    keep: Sequence[str] = (),
    dense: str | None = None,
) -> dict[str, Any]:
    small = path.with_suffix(".int8.onnx")
    images = calibration_images(task, _CALIBRATION)
    return {
        "onnx": str(path),
        "differences": differences,
        "int8": str(small),
        "differences_int8": quantise_onnx(path, small, images, keep=keep, dense=dense),
    }
