"""The morphable model, its file, the readers of foreign formats and the built-in one."""

from facekit.morphable.model import MorphableModel
from facekit.morphable.registry import load_model

__all__ = ["MorphableModel", "load_model"]
