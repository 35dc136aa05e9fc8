import numpy as np
from toy import frontal_landmarks

from facekit.detect.landmark_sets import ibug68_to_five
from facekit.fit.mirror import mirrored_face
from facekit.types import DetectedFace


def face():
    rng = np.random.default_rng(0)
    points = frontal_landmarks() * [1, -1] + [150, 120]
    points[:, 0] += 0.2 * points[:, 1]
    low, high = points.min(0), points.max(0)
    return DetectedFace(
        np.concatenate([low, high - low]),
        0.9,
        five=ibug68_to_five(points),
        ibug68=points,
        iris=np.array([[110.0, 90], [190, 95]]),
        dense478=rng.normal(100, 20, (478, 2)),
        confidence=rng.random(68),
        visible=rng.random(68) > 0.5,
        yaw_deg=12.0,
        pitch_deg=3.0,
        roll_deg=-4.0,
    )


def test_twice_is_the_face_itself():
    first = face()
    again = mirrored_face(mirrored_face(first, 321), 321)
    for name in ("box", "five", "ibug68", "iris", "dense478", "confidence"):
        np.testing.assert_allclose(getattr(again, name), getattr(first, name))
    assert (again.yaw_deg, again.pitch_deg, again.roll_deg) == (12.0, 3.0, -4.0)


def test_names_change_sides_with_the_points():
    first = face()
    other = mirrored_face(first, 321)
    # The person's right eye is still at image left, though other pixels than before.
    assert other.five[0, 0] < other.five[1, 0]
    np.testing.assert_allclose(other.ibug68[36], [320 - first.ibug68[45, 0], first.ibug68[45, 1]])
    np.testing.assert_allclose(other.five, ibug68_to_five(other.ibug68))
    low, high = other.ibug68.min(0), other.ibug68.max(0)
    np.testing.assert_allclose(other.box, np.concatenate([low, high - low]))
    assert other.yaw_deg == -12.0


def test_what_is_unknown_stays_unknown():
    plain = mirrored_face(DetectedFace(np.array([1.0, 2, 3, 4]), 0.5), 10)
    assert plain.ibug68 is None
    assert plain.box.tolist() == [5.0, 2.0, 3.0, 4.0]
