"""Write three random heads of the built-in model, one of them smiling, as OBJ files.

Run: python examples/02_random_heads.py OUTPUT_FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from facekit.io.meshes import write_mesh
from facekit.morphable import load_model


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example") / "heads"
    model = load_model("builtin")
    generator = np.random.default_rng(1)
    smile = np.zeros(model.num_expression)
    for name in ("mouthSmile_L", "mouthSmile_R"):
        smile[model.expression_names.index(name)] = 0.8
    for index, expression in enumerate((None, None, smile)):
        identity = generator.standard_normal(model.num_identity)
        print(write_mesh(folder / f"head{index}.obj", model.mesh(identity, expression)))


if __name__ == "__main__":
    main()
