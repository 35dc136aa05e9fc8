import numpy as np
import pytest

from facekit.detect.face_score import WEIGHTS, face_features, face_scores


def test_features_are_log_odds():
    confidence = np.full((2, 68), 0.5)
    confidence[1, :34], confidence[1, 34:] = 0.9, 0.7
    features = face_features(np.array([0.5, 0.9]), confidence)
    np.testing.assert_allclose(features[0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(features[1], [np.log(9), np.log(4), 1])


def test_a_score_is_the_logistic_of_the_weighted_features():
    features = np.array([[1.0, -0.5, 1.0]])
    z = WEIGHTS[0] - 0.5 * WEIGHTS[1] + WEIGHTS[2]
    assert face_scores(features)[0] == pytest.approx(1 / (1 + np.exp(-z)))


def test_surer_points_and_a_surer_search_make_a_face_likelier():
    sure = np.linspace(0.3, 0.99, 12)
    by_points = face_scores(face_features(np.full(12, 0.5), np.tile(sure[:, None], 68)))
    by_search = face_scores(face_features(sure, np.full((12, 68), 0.7)))
    assert (np.diff(by_points) > 0).all() and (np.diff(by_search) > 0).all()


def test_extremes_stay_probabilities():
    scores = face_scores(face_features(np.array([0.0, 1.0]), np.array([[0.0] * 68, [1.0] * 68])))
    assert np.isfinite(scores).all() and scores[0] < 0.01 < 0.99 < scores[1]
