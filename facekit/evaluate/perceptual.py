"""LPIPS and FID through torchmetrics, on machines that have it, torchvision and the weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import ItemError, MissingDependencyError

# What each needs, and the file that torch's hub keeps its weights in.
_NEEDS = {
    "lpips": (("torch", "torchmetrics", "torchvision"), "alexnet-owt-7be5be79.pth"),
    "fid": (
        ("torch", "torchmetrics", "torchvision", "torch_fidelity"),
        "weights-inception-2015-12-05-6726825d.pth",
    ),
}
_PACKAGES = {"torch_fidelity": "torch-fidelity"}
# A torchvision that was built for another torch fails in ways of its own.
_NOT_IMPORTED = (ImportError, AttributeError, OSError, RuntimeError, TypeError, ValueError)
Pair = tuple[np.ndarray, np.ndarray]


def require(metric: str, *, allow_download: bool) -> None:
    """Check that a metric can be computed here.

    Raises:
        MissingDependencyError: a package cannot be imported, or the network's weights are not
            there and may not be downloaded; the message names everything that is missing.
    """
    packages, weights = _NEEDS[metric]
    failed: dict[str, str] = {}
    for name in packages:
        try:
            importlib.import_module(name)
        except _NOT_IMPORTED as error:
            failed[_PACKAGES.get(name, name)] = str(error)
    missing = []
    if failed:
        said = ", ".join(f"{name} ({reason})" for name, reason in failed.items())
        command = f"pip install {' '.join(failed)}"
        if "torchvision" in failed:
            command += " (torchvision must belong to the installed torch)"
        missing.append(f"what cannot be imported here: {said}; install it: {command}")
    if "torch" not in failed and not allow_download:
        hub = importlib.import_module("torch").hub
        file = Path(hub.get_dir()) / "checkpoints" / weights
        if not file.is_file():
            missing.append(
                f"the weights {file}, which are not there: put the file there, or pass "
                "--allow-download to let torch fetch it"
            )
    if missing:
        raise MissingDependencyError(f"--metric {metric} needs {'. It needs '.join(missing)}")


def lpips_metric() -> Callable[[np.ndarray, np.ndarray], float]:
    """Return LPIPS (AlexNet; R. Zhang et al., CVPR 2018) of two (H, W, 3) uint8 pictures.

    The function returned raises ItemError for pictures that the network cannot take (AlexNet
    needs some 35 pixels each way).
    """
    torch: Any = importlib.import_module("torch")
    module = importlib.import_module("torchmetrics.image.lpip")
    network = module.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()

    def measure(picture: np.ndarray, reference: np.ndarray) -> float:
        try:
            with torch.inference_mode():
                return float(network(*(_tensor(torch, p) / 255 for p in (picture, reference))))
        except (RuntimeError, ValueError) as error:
            height, width = picture.shape[:2]
            raise ItemError(f"LPIPS failed on {width} x {height} pixels ({error})") from error

    return measure


def fid(pairs: Sequence[Pair]) -> float:
    """Return the Frechet inception distance (M. Heusel et al., NIPS 2017) of pairs of pictures.

    The first of each pair is made, the second real; (H, W, 3) uint8 each. Small sets bias it
    upwards: figures of sets of different size do not compare.
    """
    torch: Any = importlib.import_module("torch")
    module = importlib.import_module("torchmetrics.image.fid")
    metric = module.FrechetInceptionDistance(feature=2048)
    with torch.inference_mode():
        for made, real in pairs:
            metric.update(_tensor(torch, real), real=True)
            metric.update(_tensor(torch, made), real=False)
        return float(metric.compute())


def _tensor(torch: Any, picture: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
