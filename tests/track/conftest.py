"""Fixtures of the tracking tests."""

import pytest
from moving_people import TURN, CutOut

from facekit.morphable import load_model
from facekit.simulate.clip import render_clip


@pytest.fixture(scope="session")
def model():
    return load_model("builtin")


@pytest.fixture(scope="session")
def turning(model):
    """Portraits of a head whose yaw is a known sine, as ``TURN`` says."""
    return [frame.portrait for frame in render_clip(model, TURN)]


@pytest.fixture(scope="session")
def cut_outs(model):
    return CutOut(model, 1), CutOut(model, 4)
