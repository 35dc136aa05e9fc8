import numpy as np
import pytest
from skimage.color import lab2rgb

from facekit.detect.landmark_sets import FLIP68
from facekit.detect.pose import MEAN68
from facekit.errors import InputError
from facekit.evaluate.skin_tone import NEEDED, skin_tone, tone_class, typology_angle
from facekit.geometry.rotations import HEAD_TO_CAMERA, euler_to_matrix


def rgb_of(lightness, yellow, red=8.0):
    lab = np.array([[[lightness, red, yellow]]], float)
    return np.round(255 * lab2rgb(lab)[0, 0]).astype(np.uint8)


def head(yaw=0.0, side=200):
    """The six points as a turned mean head shows them in the middle of a square picture."""
    rotation = HEAD_TO_CAMERA @ euler_to_matrix(*np.radians([yaw, 0, 0]))
    flat = (MEAN68 @ rotation.T)[:, :2]
    flat = flat - flat[[36, 45, 48, 54]].mean(0) + side / 2
    return {i: flat[i] for i in NEEDED}


@pytest.mark.parametrize(
    ("lightness", "yellow", "name"),
    [
        (75, 14, "very light"),
        (66, 15, "light"),
        (60, 15, "intermediate"),
        (56, 18, "tan"),
        (48, 18, "brown"),
        (32, 14, "dark"),
    ],
)
def test_the_angle_of_a_known_colour(lightness, yellow, name):
    pixels = np.tile(rgb_of(lightness, yellow), (9, 1))
    expected = np.degrees(np.arctan((lightness - 50) / yellow))
    assert typology_angle(pixels) == pytest.approx(expected, abs=1.5)
    assert tone_class(typology_angle(pixels)) == name


def test_the_median_ignores_spots():
    pixels = np.tile(rgb_of(60, 15), (50, 1))
    clean = typology_angle(pixels)
    pixels[:20] = [255, 255, 255]
    assert typology_angle(pixels) == pytest.approx(clean)


def test_nothing_is_said_of_grey_pictures_or_no_pixels():
    assert np.isnan(typology_angle(np.full((9, 3), 120, np.uint8)))
    assert np.isnan(typology_angle(np.zeros((0, 3), np.uint8)))
    assert tone_class(float("nan")) is None
    with pytest.raises(InputError, match="uint8"):
        typology_angle(np.zeros((4, 3)))


def test_classes_at_their_limits():
    assert [tone_class(a) for a in (55.1, 55, 41, 28, 10, -30, -89)] == [
        "very light",
        "light",
        "intermediate",
        "tan",
        "brown",
        "dark",
        "dark",
    ]


def test_only_the_cheeks_count():
    points = head()
    image = np.zeros((200, 200, 3), np.uint8)
    image[:] = rgb_of(80, 10)
    for eye, corner in (((36, 39), 48), ((42, 45), 54)):
        x, y = ((points[eye[0]] + points[eye[1]]) / 2 + points[corner]) / 2
        image[int(y) - 13 : int(y) + 14, int(x) - 13 : int(x) + 14] = rgb_of(45, 20)
    expected = np.degrees(np.arctan(-5 / 20))
    assert skin_tone(image, points) == pytest.approx(expected, abs=1.5)


def test_a_cheek_that_is_turned_away_does_not_count():
    points = head(yaw=50)  # the nose points to image right: the person's right cheek is seen
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :] = rgb_of(30, 15)
    x, y = ((points[36] + points[39]) / 2 + points[48]) / 2
    image[int(y) - 14 : int(y) + 15, int(x) - 14 : int(x) + 15] = rgb_of(70, 15)
    expected = np.degrees(np.arctan(20 / 15))
    assert skin_tone(image, points) == pytest.approx(expected, abs=1.5)
    mirrored = {i: points[int(FLIP68[i])] * [-1, 1] + [199, 0] for i in NEEDED}
    assert skin_tone(np.ascontiguousarray(image[:, ::-1]), mirrored) == pytest.approx(
        skin_tone(image, points)
    )


def test_cheeks_outside_the_picture():
    points = {i: p + 500 for i, p in head().items()}
    assert np.isnan(skin_tone(np.full((50, 50, 3), 99, np.uint8), points))
