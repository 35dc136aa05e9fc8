import subprocess
import sys

import pytest

from facekit import __version__
from facekit.cli import main
from facekit.errors import ItemError, MissingDependencyError, OutputExistsError

HEAVY = ("torch", "numba", "open3d", "onnxruntime", "cv2", "scipy", "pycolmap")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom facekit.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip().endswith("HEAVY []")


def test_version(capsys):
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"facekit {__version__}\n"


@pytest.mark.parametrize("argv", [["nonsense"], ["fit", "--nonsense"], ["fit"], []])
def test_wrong_usage_is_2(argv, capsys):
    assert main.run(argv) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ItemError("no face"), 5),
        (MissingDependencyError("pip install it"), 4),
        (OutputExistsError("there"), 6),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exceptions_become_exit_codes(monkeypatch, capsys, error, code):
    from facekit import health

    def fail():
        raise error

    monkeypatch.setattr(health, "examine", fail)
    assert main.run(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    if code != 130:
        assert captured.err.strip() == f"error: {error}"


def test_a_bug_is_1_and_says_so(monkeypatch, capsys):
    from facekit import health

    def fail():
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(health, "examine", fail)
    monkeypatch.setattr(sys, "argv", ["facekit", "doctor"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 1
    assert "bug in facekit" in capsys.readouterr().err
