"""The command line: a command reads, calls one use case, writes, and returns an exit code."""

from __future__ import annotations

import sys

NOTHING_WRITTEN = "\ninterrupted; nothing was written"


def main() -> None:
    """Run the ``autoparallel`` program; also Ctrl-C while it is still loading ends in a line."""
    try:
        from autoparallel.cli.application import run
    except KeyboardInterrupt:
        sys.stderr.write(f"{NOTHING_WRITTEN}\n")
        sys.exit(130)
    run()
