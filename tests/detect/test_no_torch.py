import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
from facekit.detect import open_detector
open_detector("auto").detect(np.zeros((64, 64, 3), np.uint8))
print([name for name in ("torch", "open3d", "typer", "rich") if name in sys.modules])
"""


def test_detection_loads_no_training_library():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
