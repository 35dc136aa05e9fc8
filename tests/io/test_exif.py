"""EXIF's focal length: what its fields give, and when they are not believed."""

import numpy as np
import pytest
from PIL import Image

from facekit.io.exif import exif_focal
from facekit.io.images import read_photo

BLOCK = 0x8769


def exif(**fields):
    codes = {
        "film": 0xA405,
        "focal": 0x920A,
        "zoom": 0xA404,
        "x": 0xA002,
        "y": 0xA003,
        "density": 0xA20E,
        "unit": 0xA210,
    }
    block = Image.Exif()
    for name, value in fields.items():
        block.get_ifd(BLOCK)[codes[name]] = value
    return block


def test_the_film_equivalent_counts_over_the_diagonal():
    assert exif_focal(exif(film=50), 3600, 2400) == (pytest.approx(5000), "")
    assert exif_focal(exif(film=50), 2400, 3600).focal_px == pytest.approx(5000)


def test_a_reduced_image_keeps_its_lens():
    found = exif_focal(exif(film=26, x=4032, y=3024), 1008, 756)
    assert found.focal_px == pytest.approx(26 / np.hypot(36, 24) * np.hypot(1008, 756))
    assert found.note == ""
    # Turned pixels with the camera's own sizes are no crop.
    assert exif_focal(exif(film=26, x=4032, y=3024), 756, 1008).focal_px is not None


def test_a_crop_is_not_believed_and_says_so():
    found = exif_focal(exif(film=26, x=4032, y=3024), 800, 800)
    assert found.focal_px is None
    assert "cropped" in found.note
    assert "4032 x 3024" in found.note


def test_pixel_density_with_the_focal_length():
    # 6 mm lens, 500 pixels a millimetre (5000 a centimetre).
    found = exif_focal(exif(focal=6.0, density=5000.0, unit=3, x=4000, y=3000), 4000, 3000)
    assert found.focal_px == pytest.approx(3000)
    half = exif_focal(exif(focal=6.0, density=5000.0, unit=3, x=4000, y=3000), 2000, 1500)
    assert half.focal_px == pytest.approx(1500)
    inch = exif_focal(exif(focal=6.0, density=12700.0), 4000, 3000)
    assert inch.focal_px == pytest.approx(3000)


def test_digital_zoom_is_a_crop():
    found = exif_focal(exif(focal=6.0, density=5000.0, unit=3, zoom=2.0), 4000, 3000)
    assert found.focal_px is None
    assert "zoom" in found.note


def test_impossible_lenses_are_not_believed():
    found = exif_focal(exif(focal=6.0, density=5.0, unit=3), 4000, 3000)
    assert found.focal_px is None
    assert "angle of view" in found.note


@pytest.mark.parametrize(
    "fields",
    [{}, {"film": 0}, {"film": 65535}, {"focal": 6.0}, {"density": 10.0}, {"x": 10, "y": 10}],
)
def test_nothing_said_is_nothing_known(fields):
    assert exif_focal(exif(**fields), 400, 300) == (None, "")


def test_a_photograph_carries_both(tmp_path):
    path = tmp_path / "crop.jpg"
    image = Image.fromarray(np.zeros((80, 80, 3), np.uint8))
    image.save(path, exif=exif(film=26, x=4032, y=3024))
    photo = read_photo(path)
    assert photo.focal_px is None
    assert "cropped" in photo.focal_note
