import importlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

PACKAGE = Path(__file__).parents[1] / "facekit"


def pytest_configure(config):
    # Kernels have explicit signatures, so importing their modules compiles them into the cache;
    # parallel workers that start afterwards load them instead of compiling side by side.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    for path in sorted(PACKAGE.rglob("*.py")):
        if "import numba" in path.read_text(encoding="utf-8"):
            name = ".".join(("facekit", *path.relative_to(PACKAGE).with_suffix("").parts))
            importlib.import_module(name)


@pytest.fixture(scope="session")
def data_folder():
    """The development data, or a skip that says how to have it."""
    folder = os.environ.get("FACEKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("development data: set FACEKIT_TEST_DATA to its folder")
    return Path(folder)
