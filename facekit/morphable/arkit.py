"""ARKit's 52 blendshape names from a model's own, for curves and glb morph targets."""

from __future__ import annotations

import numpy as np

from facekit.checks import check_array
from facekit.morphable.model import MorphableModel

_PAIRED = (
    *("browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn"),
    *("eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown"),
    *("mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer"),
)
_SINGLE = (
    *("browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"),
    *("mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "tongueOut"),
)

ARKIT_NAMES: tuple[str, ...] = tuple(
    sorted([*(f"{name}{side}" for name in _PAIRED for side in ("Left", "Right")), *_SINGLE])
)


def arkit_sources(model: MorphableModel) -> dict[str, list[int]]:
    """Return, for each of the 52 names, the model's expression modes that make it up.

    ``name_L`` and ``name_R`` become ``nameLeft`` and ``nameRight``; where ARKit has one shape for
    both sides (browInnerUp, cheekPuff) both modes belong to it. A name without a mode (always
    tongueOut) has an empty list.
    """
    index = {name: i for i, name in enumerate(model.expression_names)}
    sources = {}
    for name in ARKIT_NAMES:
        if name in index:
            sources[name] = [index[name]]
            continue
        own = name
        for side in ("Left", "Right"):
            if name.endswith(side) and name not in _SINGLE:
                own = f"{name.removesuffix(side)}_{side[0]}"
        candidates = [own] if own != name else [f"{name}_L", f"{name}_R"]
        sources[name] = [index[c] for c in candidates if c in index]
    return sources


def arkit_modes(model: MorphableModel) -> list[tuple[str, np.ndarray]]:
    """Return 52 pairs of name and (V, 3) float32 offsets in mm at weight 1; absent ones are 0.

    A shape of both sides moves both: its offsets are the sum of the two modes.
    """
    zero = np.zeros_like(model.mean, np.float32)
    return [
        (name, model.expression_modes[rows].sum(axis=0, dtype=np.float32) if rows else zero)
        for name, rows in arkit_sources(model).items()
    ]


def arkit_weights(model: MorphableModel, expression: np.ndarray) -> dict[str, float]:
    """Return the 52 weights of expression coefficients (E,).

    The weight of a shape of both sides is the mean of the two, so that a smile that is stronger
    on one side is not lost but shared. An absent one is 0.
    """
    weights = check_array(expression, "expression", shape=(model.num_expression,))
    return {
        name: float(np.mean(weights[rows])) if rows else 0.0
        for name, rows in arkit_sources(model).items()
    }
