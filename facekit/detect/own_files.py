"""Network files that the user has, named by environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from facekit.errors import MissingDependencyError


def file_of_variable(variable: str, *, source: str, what: str, where: str, name: str) -> Path:
    """Return the file that an environment variable names.

    Args:
        variable: the environment variable.
        source: value of ``--landmarks`` that needs the file.
        what: how the message calls the file.
        where: where it can be had.
        name: its usual file name.

    Raises:
        MissingDependencyError: the variable is unset or names no file.
    """
    value = os.environ.get(variable, "")
    if not value or not Path(value).is_file():
        found = f"names no file: {value}" if value else "is not set"
        raise MissingDependencyError(
            f"--landmarks {source} needs {what}; {variable} {found}. Get {name} from {where}, "
            f"then: export {variable}=/path/to/{name}"
        )
    return Path(value)
