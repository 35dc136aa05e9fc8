"""The exceptions facekit raises on purpose; each class owns the exit code of the command line.

A message says what was expected, what was given, where, and what to do next. An exception that
is not a ``FacekitError`` is a bug and ends a command with exit code 1.
"""

from __future__ import annotations


class FacekitError(Exception):
    """Base of every expected failure."""

    exit_code = 1


class UsageError(FacekitError):
    """Options or configuration keys that do not exist or exclude each other."""

    exit_code = 2


class InputError(FacekitError, ValueError):
    """Nothing could be started: a missing path, no supported file, a bad config or asset."""

    exit_code = 3


class MissingDependencyError(FacekitError):
    """A model, weights or an optional package is missing; the message has the command to get it."""

    exit_code = 4


class ItemError(FacekitError):
    """Work started, but this item has no valid result (corrupt file, no face, diverged)."""

    exit_code = 5


class OutputExistsError(FacekitError):
    """The output exists and was made from something else."""

    exit_code = 6
