import pytest

from facekit.evaluate.speed import measure
from facekit.evaluate.train_speed import train_cases
from facekit.train import deep3d


@pytest.mark.slow
def test_steps_from_shards_are_compared_with_steps_on_one_batch(monkeypatch):
    from facekit.evaluate import train_speed

    monkeypatch.setattr(train_speed, "STEPS", 2)
    plain = deep3d.Deep3DConfig

    def small(**changes):
        return plain(**{**changes, "size": 64, "backbone": "resnet18"})

    monkeypatch.setattr(deep3d, "Deep3DConfig", small)
    cases = [case for case in train_cases() if case.key.startswith("train.deep3d")]
    metrics = measure(cases, rounds=1, strict=True)["metrics"]
    shards = metrics["train.deep3d.shards"]
    assert shards["peer_of"] == "train.deep3d.batch" and shards["ratio"] > 0.3
    assert shards["median_ms"] > 0


def test_keys_are_pairs():
    cases = {case.key: case for case in train_cases()}
    assert set(cases) == {
        f"train.{name}.{key}" for name in ("params", "deep3d") for key in ("batch", "shards")
    }
    assert all(case.on_request and case.threads == 1 for case in cases.values())
