"""Everything about a portrait that is not the head's shape or the camera's place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.simulate.body import (
    ClothStyle,
    GlassesStyle,
    random_cloth,
    random_glasses,
)
from facekit.simulate.eyes import EyeStyle, random_eyes
from facekit.simulate.hair import HairStyle, random_hair, random_hair_colour
from facekit.simulate.light import Lighting, random_light
from facekit.simulate.occluders import OccluderStyle, random_occluder
from facekit.simulate.sensor import SensorStyle, random_sensor
from facekit.simulate.skin import SkinStyle, random_skin


@dataclass(frozen=True, eq=False)
class Look:
    """How a person and a photograph look.

    Attributes:
        seed: seed of background and noise.
        skin, eyes, hair, cloth, glasses: the person.
        light, sensor: the photograph; backdrop: (3,) factor on the drawn background.
        occluder: something in front of the face, or None.
    """

    seed: int
    skin: SkinStyle
    eyes: EyeStyle
    hair: HairStyle
    cloth: ClothStyle
    glasses: GlassesStyle
    light: Lighting
    sensor: SensorStyle
    backdrop: np.ndarray
    occluder: OccluderStyle | None


def random_look(
    rng: np.random.Generator,
    *,
    size: int,
    glasses: float = 0.15,
    occluders: float = 0.1,
    clean: float = 0.5,
) -> Look:
    """Draw a person's look and a photograph's.

    Args:
        rng: source of every draw.
        size: longer side of the picture, pixels (blur and shake grow with it).
        glasses, occluders: probabilities.
        clean: probability of a picture that is nearly free of flaws.
    """
    darkness = float(np.clip(rng.beta(1.2, 1.2), 0, 1))
    colour = random_hair_colour(rng, dark=darkness)
    skin = random_skin(rng, hair_colour=colour)
    if skin.ita_deg < 0:
        # Very dark skin with light hair is rare.
        colour = random_hair_colour(rng, dark=0.97)
        skin = SkinStyle(
            **{
                **skin.__dict__,
                "brow_colour": tuple(float(c) for c in colour * 0.7),
                "beard_colour": tuple(float(c) for c in colour * 0.7),
            }
        )
    light = random_light(rng)
    # A camera exposes for what it sees: dark faces get about half of what they lack.
    luminance = float(skin.tone @ [0.2126, 0.7152, 0.0722])
    gain = float(np.clip((0.32 / luminance) ** 0.55, 0.7, 2.2) * np.exp(rng.normal(0, 0.12)))
    sensor = random_sensor(rng, size=size, clean=clean)
    sensor = SensorStyle(**{**sensor.__dict__, "exposure": sensor.exposure * gain})
    return Look(
        seed=int(rng.integers(1 << 30)),
        skin=skin,
        eyes=random_eyes(rng, ita_deg=skin.ita_deg),
        hair=random_hair(rng, colour=colour),
        cloth=random_cloth(rng),
        glasses=random_glasses(rng, probability=glasses),
        light=light,
        sensor=sensor,
        backdrop=(light.key_colour / max(float(light.key_colour.mean()), 1e-3) / gain).astype(
            np.float32
        ),
        occluder=random_occluder(rng) if rng.random() < occluders else None,
    )
