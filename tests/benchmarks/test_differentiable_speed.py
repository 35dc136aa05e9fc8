"""Forward and backward passes of the compiled renderer and its plain twin; run with nox -s bench.

Both halves of a pair are timed in one run; the ratio is printed with the group.
"""

import sys

import pytest
import torch

from facekit import threads
from facekit.evaluate.render_speed import render_step


@pytest.fixture(autouse=True)
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "torch"])
@pytest.mark.parametrize(("size", "batch"), [(224, 1), (224, 8), (512, 1)])
@pytest.mark.parametrize("count", [1, 2])
def test_forward_and_backward(benchmark, size, batch, count, plain):
    benchmark.group = f"render {size} px, batch {batch}, {count} threads: forward and backward"
    with threads.limit_threads(count):
        work = render_step(size, plain=plain, batch=batch)
        gradients = benchmark(work)
    for gradient in gradients:
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_the_ratio(capsys):
    """Interleaved, so that a slow minute falls on both alike."""
    from facekit.evaluate.render_speed import render_cases
    from facekit.evaluate.speed import measure

    before = torch.get_num_threads()
    metrics = measure(render_cases(), rounds=15)["metrics"]
    torch.set_num_threads(before)
    ours, twin = metrics["render.224"], metrics["render.224.torch"]
    with capsys.disabled():
        ratio = twin["median_ms"] / ours["median_ms"]
        sys.stdout.write(
            f"\nrender.224: {ours['median_ms']:.2f} ms (least {ours['min_ms']:.2f}); plain torch "
            f"{twin['median_ms']:.2f} ms; {ratio:.1f} times as fast, {ours['threads']} threads\n"
        )
    assert ours["threads"] == twin["threads"]
