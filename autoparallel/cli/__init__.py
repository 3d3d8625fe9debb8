"""The command line: a command reads, calls one use case, writes, and returns an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the ``autoparallel`` program; also Ctrl-C while it is still loading ends without a traceback."""
    try:
        from autoparallel.cli.application import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
