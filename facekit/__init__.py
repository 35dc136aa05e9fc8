"""facekit: 3D face reconstruction from cameras to a real-time network.

Importing the package loads nothing heavy; each subpackage loads what it needs.
"""

from importlib import metadata

try:
    __version__ = metadata.version("facekit")
except metadata.PackageNotFoundError:  # an uninstalled checkout
    __version__ = "0.0.0+uninstalled"

__all__ = ["__version__"]
