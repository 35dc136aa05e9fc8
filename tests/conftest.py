import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def data_folder():
    """The development data, or a skip that says how to have it."""
    folder = os.environ.get("FACEKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("development data: set FACEKIT_TEST_DATA to its folder")
    return Path(folder)
