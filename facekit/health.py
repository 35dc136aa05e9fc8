"""What ``facekit doctor`` looks at: packages, optional extras, assets, threads, devices."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib import metadata, util
from typing import NamedTuple


class Check(NamedTuple):
    """One line of the examination."""

    name: str
    ok: bool
    required: bool
    found: str
    fix: str


_REQUIRED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "numba": "numba",
    "onnxruntime": "onnxruntime",
    "imageio": "imageio",
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "av": "av",
}
# torch is only looked up: importing it takes a second and the default path does without it.
_EXTRAS = {
    "pycolmap": ("pycolmap", "scan", "facekit sfm"),
    "open3d": ("open3d-cpu", "scan", "facekit sfm, surface reconstruction"),
    "face_alignment": ("face-alignment", "fan", "--landmarks fan"),
    "ai_edge_litert": ("ai-edge-litert", "mediapipe", "--landmarks mediapipe"),
    "onnx": ("onnx", "onnx", "facekit train (ONNX export)"),
    "h5py": ("h5py", "formats", "BFM 2017/2019 files"),
}


def examine() -> list[Check]:
    """Examine the installation; nothing is downloaded and no network is used."""
    checks = [
        Check("python", sys.version_info >= (3, 11), True, platform.python_version(), "Python 3.11")
    ]
    checks += [_import_check(module, package) for module, package in _REQUIRED.items()]
    checks.append(_torch_check())
    checks += [_asset_check()]
    for module, (package, extra, purpose) in _EXTRAS.items():
        present = util.find_spec(module) is not None
        found = _version(package) if present else f"not installed ({purpose})"
        checks.append(Check(module, present, False, found, f"pip install 'facekit[{extra}]'"))
    return checks


def _import_check(module: str, package: str) -> Check:
    fix = f"pip install {package}"
    try:
        importlib.import_module(module)
    except ImportError as error:
        return Check(package, False, True, f"does not import: {error}", fix)
    return Check(package, True, True, _version(package), fix)


def _torch_check() -> Check:
    present = util.find_spec("torch") is not None
    found = _version("torch") if present else "not installed (training)"
    return Check("torch", present, False, found, "pip install 'torch>=2.5,<2.14'")


def _asset_check() -> Check:
    from facekit.errors import FacekitError
    from facekit.morphable import builtin

    fix = "pip install --force-reinstall facekit"
    try:
        shipped = [builtin.asset(entry.name) for entry in builtin.list_assets()]
    except FacekitError as error:
        return Check("assets", False, True, str(error), fix)
    found = ", ".join(f"{entry.name} {entry.version}" for entry in shipped)
    return Check("assets", True, True, found, fix)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "installed"
