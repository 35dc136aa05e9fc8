"""People to follow: a rendered head that turns, and cut-outs that move over a background."""

from fractions import Fraction

import numpy as np

from facekit.io.frames import ImageFrame
from facekit.simulate.clip import ClipOptions, clip_person
from facekit.simulate.portrait import View, render_portrait

TURN = ClipOptions(frames=36, width=360, height=300, yaw_deg=22.0, speed_deg=60.0, fov_deg=40.0)
RATE = Fraction(30)
SIZE = (640, 360)


class CutOut:
    """A rendered person without background, to be put anywhere."""

    def __init__(self, model, seed):
        subject, look = clip_person(model, seed)
        view = View(0.05, 0.0, 0.0, 900.0, 420.0, 220, 260)
        portrait = render_portrait(subject, look, view, supersample=1)
        self.image, self.mask = portrait.image, portrait.depth_mm > 0
        self.five = portrait.landmarks_2d

    def put(self, canvas, x, y=90):
        """Paste with the left edge at column ``x``; what lies outside is cut off."""
        height, width = self.mask.shape
        x = round(x)
        left, right = max(x, 0), min(x + width, canvas.shape[1])
        bottom = min(y + height, canvas.shape[0])
        if right <= left:
            return
        part = canvas[y:bottom, left:right]
        mask = self.mask[: bottom - y, left - x : right - x]
        part[mask] = self.image[: bottom - y, left - x : right - x][mask]


def canvas(seed=0):
    rng = np.random.default_rng(seed)
    rows = np.linspace(70, 130, SIZE[1])[:, None, None] + np.array([0.0, 10.0, 25.0])
    noise = rng.normal(0, 2, (SIZE[1], SIZE[0], 3))
    return np.clip(rows + noise, 0, 255).astype(np.uint8)


def frame_of(number, image, rate=RATE):
    return ImageFrame(number, number / rate, image)
