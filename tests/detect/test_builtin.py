import numpy as np
import pytest
from skimage import data

from facekit.detect import open_detector
from facekit.detect.builtin import BuiltinDetector, decode, suppress
from facekit.detect.landmark_sets import FLIP68
from facekit.detect.session import Network, open_asset, open_file
from facekit.errors import InputError, UsageError
from facekit.train.backgrounds import UNSEEN_PICTURES, load_pictures

UNSEEN = dict(zip(UNSEEN_PICTURES, load_pictures(UNSEEN_PICTURES), strict=True))


@pytest.fixture(scope="module")
def detector():
    return BuiltinDetector(threads=1)


@pytest.fixture(scope="module")
def astronaut(detector):
    faces = detector.detect(data.astronaut())
    assert len(faces) == 1
    return faces[0]


def test_the_astronaut_has_one_face_with_everything(astronaut):
    # By eye: pupils near (204, 101) and (247, 103), nose tip (225, 126).
    assert np.abs(astronaut.five[:3] - [[204, 101], [247, 103], [225, 126]]).max() < 4
    x, y, w, h = astronaut.box
    assert 165 < x < 195 and 50 < y < 85 and 75 < w < 115 and 95 < h < 140
    assert astronaut.score > 0.9
    assert astronaut.ibug68.shape == (68, 2) and astronaut.dense478.shape == (478, 2)
    assert astronaut.confidence.min() >= 0 and astronaut.confidence.mean() > 0.5
    assert astronaut.visible.dtype == bool and astronaut.visible.sum() > 60
    assert abs(astronaut.yaw_deg) < 20 and abs(astronaut.roll_deg) < 15
    assert astronaut.iris[0, 0] < astronaut.iris[1, 0]


def test_a_mirrored_photo_gives_mirrored_points(detector, astronaut):
    image = np.ascontiguousarray(data.astronaut()[:, ::-1])
    (face,) = detector.detect(image)
    back = face.ibug68[FLIP68]
    back[:, 0] = image.shape[1] - 1 - back[:, 0]
    eyes = np.linalg.norm(astronaut.ibug68[36] - astronaut.ibug68[45])
    assert np.linalg.norm(back - astronaut.ibug68, axis=1).mean() < 0.06 * eyes
    assert abs(face.yaw_deg + astronaut.yaw_deg) < 8


@pytest.mark.parametrize("angle", [-40, 40])
def test_a_rolled_photo_gives_rolled_points(detector, astronaut, angle):
    import cv2

    image = data.astronaut()
    matrix = cv2.getRotationMatrix2D((228.0, 130.0), -angle, 1.0)  # clockwise in the image
    (face, *_) = detector.detect(cv2.warpAffine(image, matrix, (512, 512)))
    wanted = astronaut.ibug68 @ matrix[:, :2].T + matrix[:, 2]
    eyes = np.linalg.norm(astronaut.ibug68[36] - astronaut.ibug68[45])
    assert np.linalg.norm(face.ibug68 - wanted, axis=1).mean() < 0.06 * eyes
    assert abs(face.roll_deg - astronaut.roll_deg - angle) < 6


@pytest.mark.parametrize("scale", [0.35, 3.0])
def test_sizes(detector, astronaut, scale):
    import cv2

    size = (round(512 * scale),) * 2
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    (face,) = detector.detect(cv2.resize(data.astronaut(), size, interpolation=kind))
    wanted = scale * (astronaut.ibug68 + 0.5) - 0.5
    eyes = scale * np.linalg.norm(astronaut.ibug68[36] - astronaut.ibug68[45])
    assert np.linalg.norm(face.ibug68 - wanted, axis=1).mean() < 0.07 * eyes


@pytest.mark.parametrize("name", UNSEEN_PICTURES)
def test_pictures_without_a_face(detector, name):
    assert detector.detect(UNSEEN[name]) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (31, 33), (900, 20)])
def test_odd_sizes_are_searched(detector, shape):
    image = np.full((*shape, 3), 120, np.uint8)
    assert detector.detect(image) == []


def test_two_faces_come_largest_first(detector):
    import cv2

    image = np.full((512, 900, 3), 128, np.uint8)
    image[:, :512] = data.astronaut()
    small = cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    image[100:356, 600:856] = small
    faces = detector.detect(image)
    assert len(faces) == 2
    assert faces[0].box[2] > 1.5 * faces[1].box[2]
    assert faces[0].box[0] < 512 < faces[1].box[0]


def test_results_do_not_depend_on_threads(astronaut):
    (face,) = BuiltinDetector(threads=2).detect(data.astronaut())
    assert np.allclose(face.ibug68, astronaut.ibug68, atol=1e-2)


def test_wrong_images_are_refused(detector):
    for image in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 4), np.uint8)):
        with pytest.raises(InputError, match="image"):
            detector.detect(image)


def test_networks_are_opened_once_per_thread_count():
    assert open_asset("landmarks", threads=1) is open_asset("landmarks", threads=1)
    assert open_asset("landmarks", threads=1) is not open_asset("landmarks", threads=2)


def test_damaged_networks_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot load"):
        Network(b"no network", name="a.onnx", threads=1)
    with pytest.raises(InputError, match="expected an ONNX file"):
        open_file(tmp_path / "none.onnx")


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="expected one of auto"):
        open_detector("best")


def test_fingerprint_names_both_networks(detector):
    assert open_detector("builtin").fingerprint == detector.fingerprint
    assert detector.fingerprint.startswith("builtin:") and "+" in detector.fingerprint


def test_decode_by_hand():
    maps = [np.full((15, 8 // k, 8 // k), -9.0, np.float32) for k in (1, 2, 4)]
    maps[1][:, 1, 2] = [2.0, 0.25, -0.5, 0.0, np.log(2), *np.tile([0.1, 0.2], 5)]
    boxes, scores, five = decode(maps, threshold=0.5)
    # Stride 16: the cell looks from (2 * 16 + 7.5, 16 + 7.5) in units of 64 pixels.
    centre = np.array([39.5 + 16, 23.5 - 32])
    assert np.allclose(boxes, [[*(centre - [32, 64]), 64, 128]])
    assert np.allclose(scores, 1 / (1 + np.exp(-2)))
    assert np.allclose(five[0], [39.5 + 6.4, 23.5 + 12.8])
    assert len(decode(maps, threshold=0.95)[0]) == 0


def test_suppression_by_hand():
    boxes = np.array(
        [
            [0, 0, 10, 10],
            [1, 0, 10, 10],  # on the first
            [20, 0, 10, 10],
            [22, 2, 7, 7],  # inside the third
            [9, 0, 10, 10],  # overlaps the first two a little
            [2, 2, 6, 6],  # inside the first, but far smaller: another face before it
        ],
        float,
    )
    scores = np.array([0.8, 0.9, 0.7, 0.6, 0.5, 0.95])
    assert suppress(boxes, scores) == [5, 1, 2, 4]
    assert suppress(np.zeros((0, 4)), np.zeros(0)) == []
