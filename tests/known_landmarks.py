"""A detector that knows the true landmarks, for the tests of benches."""

import numpy as np

from facekit.evaluate.truth import head_portraits
from facekit.types import DetectedFace


def known_landmarks(monkeypatch, module, model):
    """Let a bench of rendered heads use a model, and a detector that knows the true landmarks."""
    last = []

    def portraits(heads_file, options, original=head_portraits):
        draw = original(heads_file, options)

        def portrait(*arguments):
            last[:] = [draw(*arguments)]
            return last[0]

        return portrait

    class Known:
        name, fingerprint = "known", "known"

        def detect(self, image, *, path=None):
            del path
            points = last[0].landmarks_2d.astype(float)
            if image.shape[0] != last[0].image.shape[0]:
                return []
            low, high = points.min(0), points.max(0)
            sure = np.full(68, 0.9)
            return [DetectedFace(np.r_[low, high - low], 1.0, ibug68=points, confidence=sure)]

    monkeypatch.setattr(module, "head_portraits", portraits)
    monkeypatch.setattr(module, "load_model", lambda name: model)
    monkeypatch.setattr(module, "open_detector", lambda *a, **k: Known())
