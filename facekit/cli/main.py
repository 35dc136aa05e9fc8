"""The root of the command line and the one place where exceptions become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

# The fits solve systems of a few hundred unknowns: a second BLAS thread makes them ten times
# slower, since it fights the networks' threads for the cores. Read when numpy is first loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer

from facekit import __version__
from facekit.cli import commands
from facekit.cli.output import install_logging, out
from facekit.errors import FacekitError

app = typer.Typer(
    name="facekit",
    help="3D face reconstruction from cameras to a real-time network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.data(f"facekit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more.")] = 0,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    install_logging(-1 if quiet else verbose)


commands.register(app)


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (see the exit codes in the docs).

    Args:
        argv: arguments without the program's name; None takes ``sys.argv``.
    """
    install_logging(0)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        result = app(args=arguments, prog_name="facekit", standalone_mode=False)
    except FacekitError as error:
        out.error(str(error))
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        out.error("interrupted")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # typer's own usage errors
            error.show()
            return int(error.exit_code)
        raise
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the ``facekit`` script."""
    try:
        code = run()
    except Exception:  # noqa: BLE001 - the last line of defence says that this is a bug
        import traceback

        traceback.print_exc()
        out.error("this is a bug in facekit; the lines above say where")
        code = 1
    sys.exit(code)
