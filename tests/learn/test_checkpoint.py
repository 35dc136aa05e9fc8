import pickle

import pytest
import torch

from facekit.errors import InputError
from facekit.learn.checkpoint import KEYS, load_checkpoint, save_checkpoint
from facekit.learn.ema import MovingAverage


def contents(**changes):
    return {**dict.fromkeys(KEYS), "kind": "toy", "step": 3, **changes}


def test_round_trip(tmp_path):
    path = save_checkpoint(tmp_path / "a.pth", contents(state_dict={"w": torch.ones(2)}))
    loaded = load_checkpoint(path, kind="toy")
    assert torch.equal(loaded["state_dict"]["w"], torch.ones(2)) and loaded["step"] == 3


def test_missing_keys_are_refused(tmp_path):
    with pytest.raises(InputError, match="layout"):
        save_checkpoint(tmp_path / "a.pth", {k: None for k in KEYS if k != "layout"})


def test_wrong_files(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        load_checkpoint(tmp_path / "none.pth")
    torch.save({"w": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="something else"):
        load_checkpoint(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="facekit checkpoint"):
        load_checkpoint(tmp_path / "text.pth")
    save_checkpoint(tmp_path / "a.pth", contents())
    with pytest.raises(InputError, match="checkpoint of face"):
        load_checkpoint(tmp_path / "a.pth", kind="face")
    torch.save({"format": "facekit.checkpoint", "version": 99}, tmp_path / "new.pth")
    with pytest.raises(InputError, match="update facekit"):
        load_checkpoint(tmp_path / "new.pth")


class Bomb:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_file_cannot_run_code(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Bomb()))
    torch.save({"format": Bomb()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(InputError):
            load_checkpoint(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


def test_moving_average_follows_its_formula():
    model = torch.nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, 0.5)
    value = float(model.weight.detach())
    for n in range(1, 30):
        with torch.no_grad():
            model.weight.fill_(n)
        average.update(model)
        decay = min(0.5, (1 + n) / (10 + n))
        value = decay * value + (1 - decay) * n
    with average.applied(model):
        assert float(model.weight.detach()) == pytest.approx(value, rel=1e-5)
    assert float(model.weight.detach()) == 29
