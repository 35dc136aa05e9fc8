"""What ``facekit fit --preset`` stands for, in terms of the fit's own settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from facekit.errors import UsageError
from facekit.fit.first_order.config import RENDERERS, SCHEDULES


@dataclass(frozen=True)
class Preset:
    """Settings that a name stands for.

    Attributes:
        photometric: fit the pixels after the landmarks; see ``FitOptions.photometric``.
        first_order: a published Adam schedule instead of facekit's own solver, or empty.
        network: start from what a parameter network sees; see ``FitOptions.network``.
    """

    photometric: bool = False
    first_order: str = ""
    network: bool = True


PRESETS = {
    "fast": Preset(network=False),
    "default": Preset(),
    "best": Preset(photometric=True),
    **{name: Preset(first_order=name) for name in SCHEDULES},
}


def choose_preset(name: str, *, photometric: bool = False, renderer: str = "builtin") -> Preset:
    """Return the settings of a preset with what was asked for besides.

    Args:
        name: one of ``PRESETS``.
        photometric: also fit the pixels.
        renderer: of a first-order schedule, one of ``first_order.config.RENDERERS``.

    Raises:
        UsageError: an unknown preset or renderer, or one that the preset has no use for.
    """
    if name not in PRESETS:
        raise UsageError(f"--preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    if renderer not in RENDERERS:
        raise UsageError(f"--renderer: expected one of {', '.join(RENDERERS)}, got {renderer!r}")
    chosen = PRESETS[name]
    if chosen.first_order:
        if photometric:
            raise UsageError(
                f"--photometric: {name} fits the pixels itself; leave out one of the two"
            )
        return chosen
    if renderer != "builtin":
        names = " or ".join(SCHEDULES)
        raise UsageError(
            f"--renderer {renderer}: only --preset {names} draws through it; the other presets' "
            "solver needs no renderer"
        )
    return replace(chosen, photometric=photometric or chosen.photometric)
