"""Settings of the published first-order fits; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass

# The renderers a first-order fit runs through, by the name that ``--renderer`` takes.
RENDERERS = {
    "builtin": "numba",
    "plain": "torch",
    "triton": "triton",
    "pytorch3d": "pytorch3d",
    "nvdiffrast": "nvdiffrast",
}


@dataclass(frozen=True)
class FirstOrderConfig:
    """A published schedule: what is minimised, in which stages, by how many steps.

    Stage 1 moves rotation and translation by the landmarks alone; stage 2 moves everything by
    all terms. Both are Adam with one learning rate. Rotations are Euler angles in radians,
    translations tenths of the distance at the start (the published start is 10 units away).

    Attributes:
        size: side of the square crop, pixels.
        margin: side of the crop over the longer side of the face's box.
        rigid_steps, steps: of the stages.
        learning_rate: of both.
        landmark: weight of the landmark term.
        landmark_weights: ``adam`` or ``deep3d``; see ``fit.terms.points``. With ``adam``
            distances are shares of the crop's side, with ``deep3d`` pixels of it.
        photometric: weight of the colour term.
        identity, expression, albedo: weights of the squared coefficients.
        constancy: weight of the skin albedo's spread.
        whiteness: weight of the light's colour.
        feature: weight of the recognition features; needs an embedding network.
        skin_mask: weigh pixels by the probability of skin by their colour.
    """

    size: int = 256
    margin: float = 1.3
    rigid_steps: int = 1000
    steps: int = 500
    learning_rate: float = 1e-2
    landmark: float = 100.0
    landmark_weights: str = "adam"
    photometric: float = 1.6
    identity: float = 1e-3
    expression: float = 0.8e-3
    albedo: float = 1.7e-6
    constancy: float = 1.0
    whiteness: float = 0.0
    feature: float = 0.0
    skin_mask: bool = False


# The public Adam fitter after Deng et al. (ascust/3DMM-Fitting-Pytorch, 2020): its schedule and
# its weights.
ADAM_3DMM = FirstOrderConfig()

# The same schedule with the losses that Deng et al. (2019) train their network with: weights,
# units, skin mask and crop size of its PyTorch code. The feature term counts when an embedding
# network is given.
ADAM_DEEP3D = FirstOrderConfig(
    size=224,
    landmark=1.6e-3,
    landmark_weights="deep3d",
    photometric=1.92,
    identity=3e-4,
    expression=3e-4 * 0.8,
    albedo=3e-4 * 1.7e-2,
    constancy=5.0,
    whiteness=10.0,
    feature=0.2,
    skin_mask=True,
)

SCHEDULES = {"adam-3dmm": ADAM_3DMM, "adam-deep3d": ADAM_DEEP3D}
