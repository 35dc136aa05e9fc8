"""A parameter network's reading: which looks count for what."""

import json

import numpy as np
import pytest

from facekit.detect.parameters import (
    SCHEMA,
    VIEWS,
    ParameterReader,
    encode_matrix,
    mirrors,
)
from facekit.geometry.crop import CROP_ID, five_crop
from facekit.morphable import load_model
from facekit.morphable.layout import basis_sha256, model_layout

SIZE = 64


class Brightness:
    """A network that says of every coefficient how bright the middle of the crop is."""

    sha256 = "brightness"

    def __init__(self, model):
        self.layout = model_layout(model)
        self.looks = 0
        self.metadata = {
            "facekit.schema": SCHEMA,
            "facekit.crop": CROP_ID,
            "facekit.basis_sha256": basis_sha256(model),
            "facekit.layout": json.dumps(self.layout.document()),
            "facekit.size": str(SIZE),
            "facekit.correlation": encode_matrix(np.eye(self.layout.length)),
        }

    def __call__(self, *, image):
        self.looks += len(image)
        half = SIZE // 2
        middle = image[:, half - 1 : half + 1, half - 1 : half + 1].mean((1, 2, 3))
        values = np.repeat(middle[:, None], self.layout.length, 1)
        presence = 1 / (1 + np.arange(len(image)))[:, None]
        return {"coefficients": values, "log_sigma": np.zeros_like(values), "presence": presence}


@pytest.fixture
def model():
    return load_model("builtin")


def test_the_person_is_the_mean_of_all_looks(model):
    network = Brightness(model)
    reader = ParameterReader(network, model, where="here")
    five = np.array([[90.0, 80], [120, 84], [104, 100], [92, 116], [118, 118]])
    # Brightness is a parabola about the crop's middle, so that aside of it there is more.
    crop = five_crop(five, size=SIZE)
    u, v = crop.inverse().apply(np.full(2, (SIZE - 1) / 2))
    rows, columns = np.mgrid[:200, :200]
    image = np.clip(60 + 4 * ((columns - u) ** 2 + (rows - v) ** 2), 0, 255)
    reading = reader.read(np.repeat(image[..., None], 3, 2).astype(np.uint8), five)
    aside = [SIZE / crop.scale * np.hypot(x, y) / scale for scale, _, x, y in VIEWS]
    assert network.looks == 2 * len(VIEWS)
    brighter = 4 * np.mean(np.square(aside))
    assert brighter > 20
    # Of what a mirror changes, the mean with the mirror image is something else.
    turn = mirrors(model)["identity"]
    even = np.flatnonzero(np.isclose(turn.sum(1), 1, atol=1e-6))
    assert len(even)
    gained = reading.identity[even] - reading.parts["identity"][even]
    np.testing.assert_allclose(gained, brighter, rtol=0.1)
    assert reading.presence == 1.0


def test_one_look_is_one_look(model):
    network = Brightness(model)
    reader = ParameterReader(network, model, where="here")
    crop = five_crop(np.array([[20.0, 20], [44, 20], [32, 34], [22, 44], [42, 44]]), size=SIZE)
    reading = reader.look(np.full((SIZE, SIZE, 3), 77, np.uint8), crop)
    assert network.looks == 1
    assert (reading.parts["identity"] == 77).all()
    np.testing.assert_array_equal(reading.covariance, np.eye(reader.layout.length))
