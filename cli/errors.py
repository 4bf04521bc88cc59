"""From an exception to three short lines on stderr and an exit code."""

import sys
import traceback

from genoconv.errors import GenoconvError

UNEXPECTED = 1
"""Exit code of a fault of the program itself."""


def report(error: BaseException, *, debug: bool) -> int:
    """Tell a person what went wrong, on stderr.

    Args:
        error: What ended the run.
        debug: Also print the traceback.

    Returns:
        The exit code that the error means.
    """
    if debug:
        traceback.print_exception(error)
    if isinstance(error, GenoconvError):
        _write(error.what, error.where, error.fix)
        return error.exit_code
    if isinstance(error, MemoryError):
        _write("the machine ran out of memory", "", "try a smaller --batch-bases, or a machine with more memory")
        return 4
    hint = "" if debug else "run the same command with --debug for the traceback, and please report it"
    _write(f"unexpected {type(error).__name__}: {error}", "", hint)
    return UNEXPECTED


def _write(what: str, where: str, fix: str) -> None:
    """Print the three parts, each on a line of its own."""
    print(f"genoconv: error: {what}", file=sys.stderr)
    if where:
        print(f"  where: {where}", file=sys.stderr)
    if fix:
        print(f"  to do: {fix}", file=sys.stderr)
