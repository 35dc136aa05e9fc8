"""A line to be learned, for tests of the training loop."""

import torch

from facekit.learn.loop import LoopConfig, RunInfo


class LineTask:
    """Fit y = A x by a small network with batch norm; batches depend on the step alone."""

    def __init__(self, poison=None):
        self.poison = poison
        self.seen = []

    def batch(self, step):
        self.seen.append(step)
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(16, 4, generator=generator)
        return x, x @ torch.tensor([1.0, -2.0, 0.5, 3.0])[:, None]

    def loss(self, model, batch):
        x, y = batch
        loss = (model(x).float() - y).square().mean()
        return {"loss": loss * float("nan") if self.poison is not None else loss, "other": loss}

    def evaluate(self, model):
        x, y = self.batch(10**6)
        return {"score": float((model(x) - y).square().mean())}


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
    )


def settings(**changes):
    values = {
        "steps": 40,
        "learning_rate": 2e-2,
        "warmup_steps": 5,
        "ema_decay": 0.9,
        "precision": "fp32",
        "threads": 1,
        "report_every": 10,
        "evaluate_every": 10,
        "save_every": 10,
    }
    return LoopConfig(**{**values, **changes})


INFO = RunInfo("line", {"width": 16})


def weights(path):
    return torch.load(path, weights_only=True)
