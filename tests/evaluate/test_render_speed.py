import torch

from facekit.evaluate.render_speed import render_cases, render_step


def test_both_halves_do_the_same_work():
    ours, twin = render_step(48)(), render_step(48, plain=True)()
    for got, want in zip(ours, twin, strict=True):
        assert float(want.abs().max()) > 0
        # The twin projects in single precision, the compiled half in double.
        torch.testing.assert_close(got, want, atol=1e-4 * float(want.abs().max()), rtol=1e-3)


def test_the_cases_differ_in_nothing_but_the_kernels():
    ours, twin = render_cases()
    assert (ours.key, twin.key) == ("render.224", "render.224.torch")
    assert ours.threads == twin.threads == 0
    assert twin.what.startswith(ours.what)
