"""What ``fit.batch`` needs to make whole textures; importing it loads nothing heavy."""

from __future__ import annotations

from facekit.export.face import Texturer
from facekit.fit.batch import Texturing
from facekit.morphable.model import MorphableModel

NAMES = ("texture.png", "albedo.png")


def full_texturing() -> Texturing:
    """Return the texturing of ``FitOptions(texture="full")``."""
    return Texturing(open_texturer, NAMES)


def open_texturer(model: MorphableModel, size: int) -> Texturer:
    """Return a process's texturer; see ``texture.maker.TextureMaker``."""
    # Imported here: its kernels would lengthen every start.
    from facekit.texture.maker import TextureMaker

    return TextureMaker(model, size).files
