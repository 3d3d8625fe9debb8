"""The group of commands, and how every failure becomes a message and an exit code."""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from autoparallel.cli import commands
from autoparallel.cli.failures import bug_text, error_document, refusal_text
from autoparallel.errors import AutoparallelError, OutputError

DEBUG = "AUTOPARALLEL_DEBUG"
# As a shell reports a program that SIGINT or SIGPIPE ended: 128 and the signal.
BUG, INTERRUPTED, PIPE_CLOSED = 70, 130, 141
WAS_INTERRUPTED = "\ninterrupted; nothing was written"
INTERRUPTS: list[int] = []

EPILOG = """\b
Example:
  autoparallel init problem.toml && autoparallel search problem.toml

\b
Exit codes: 0 done, 1 the answer is no, 2 bad input, 3 nothing feasible,
70 a bug in autoparallel, 130 interrupted, 141 nobody read the answer to its end.
AUTOPARALLEL_DEBUG=1 shows the traceback of a bug.

\b
Completion, bash: eval "$(_AUTOPARALLEL_COMPLETE=bash_source autoparallel)"
zsh and fish: the same with zsh_source, fish_source.
"""


class Application(click.Group):
    """All commands; no traceback leaves it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether the answer is wanted as JSON before anything can go wrong."""
        ctx.meta["json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever fails becomes a message and an exit code."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
            return answer
        except click.ClickException as misuse:
            _answer_in_json(ctx, error_document("usage", misuse.format_message()))
            raise
        except AutoparallelError as error:
            message = refusal_text(error)
            _answer_in_json(ctx, error_document(type(error).__name__, message, error))
            _leave(f"Error: {message}", error.exit_code)
        except (KeyboardInterrupt, click.Abort) as stop:
            _leave(str(stop) or WAS_INTERRUPTED, INTERRUPTED)
        except BrokenPipeError:
            _leave_quietly()
        except click.exceptions.Exit:
            raise
        except Exception as error:
            if INTERRUPTS:
                _leave(WAS_INTERRUPTED, INTERRUPTED)
            if isinstance(error, OSError) and error.filename is None:
                _leave_unheard(error)
            if os.environ.get(DEBUG):
                raise
            message = bug_text(error)
            _answer_in_json(ctx, error_document("bug", message))
            _leave(f"Error: {message}", BUG)


def _leave(message: str, exit_code: int) -> NoReturn:
    click.echo(message, err=True)
    raise click.exceptions.Exit(exit_code) from None


def _leave_quietly() -> NoReturn:
    """Nobody reads on: end as a program in a pipe does."""
    _silence()
    raise click.exceptions.Exit(PIPE_CLOSED) from None


def _leave_unheard(error: OSError) -> NoReturn:
    """A stream that cannot take the answer: no file has a name in the error."""
    _silence()
    _leave(f"Error: cannot write the answer: {error.strerror or error}", OutputError.exit_code)


def _silence() -> None:
    """Keep the interpreter from complaining about what it cannot flush at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer_in_json(ctx: click.Context, document: dict[str, Any]) -> None:
    if ctx.meta["json"]:
        from autoparallel.results_folder import json_text

        try:
            click.echo(json_text(document), nl=False)
        except OSError:
            _silence()


@click.group(
    cls=Application,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="autoparallel", prog_name="autoparallel")
def application() -> None:
    """Find the parallel deployment of a language model on GPUs, prove it and explain it."""


for _module in pkgutil.iter_modules(commands.__path__):
    application.add_command(import_module(f"{commands.__name__}.{_module.name}").command)


def run() -> None:
    """Run the program, ended by Ctrl-C or by ``kill`` as by each other."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    application(prog_name="autoparallel")


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    # An extension module that is just loading turns the KeyboardInterrupt into an ImportError.
    INTERRUPTS.append(number)
    raise KeyboardInterrupt
