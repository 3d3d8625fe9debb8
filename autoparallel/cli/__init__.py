"""The command line: a command reads, calls one use case, writes, and returns an exit code."""

from autoparallel.cli.application import main

__all__ = ["main"]
