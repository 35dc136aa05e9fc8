"""Priors of the expression weights of ICT-FaceKit's and ARKit's names."""

from __future__ import annotations

# Name without its side -> (mean, deviation) of the weight in photographs of people. Rough
# anticipations: blinks, smiles and jaw movement are common, most others rare.
_PRIOR = {
    "browDown": (0.10, 0.20),
    "browInnerUp": (0.10, 0.20),
    "browOuterUp": (0.08, 0.18),
    "cheekSquint": (0.10, 0.20),
    "eyeBlink": (0.10, 0.20),
    "eyeLookDown": (0.10, 0.20),
    "eyeLookIn": (0.08, 0.18),
    "eyeLookOut": (0.08, 0.18),
    "eyeLookUp": (0.06, 0.15),
    "eyeSquint": (0.12, 0.20),
    "eyeWide": (0.05, 0.15),
    "jawForward": (0.02, 0.10),
    "jawLeft": (0.02, 0.10),
    "jawRight": (0.02, 0.10),
    "jawOpen": (0.08, 0.20),
    "mouthClose": (0.02, 0.10),
    "mouthSmile": (0.20, 0.30),
    "mouthUpperUp": (0.10, 0.20),
    "mouthLowerDown": (0.08, 0.18),
    "mouthStretch": (0.06, 0.15),
    "mouthPress": (0.08, 0.18),
}
_OTHER = (0.05, 0.15)


def expression_prior(name: str) -> tuple[float, float]:
    """Return (mean, deviation) of an expression's weight; unknown names get a common one."""
    stem = name.removesuffix("_L").removesuffix("_R")
    return _PRIOR.get(stem, _OTHER)


def mirrored_name(name: str) -> str:
    """Return the expression that is the mirror image of ``name``; itself when symmetric."""
    for left, right in (("_L", "_R"), ("Left", "Right")):
        if name.endswith(left):
            return name.removesuffix(left) + right
        if name.endswith(right):
            return name.removesuffix(right) + left
    return name
