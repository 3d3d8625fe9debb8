"""The group of commands, and how every failure becomes a message and an exit code."""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from autoparallel.cli import NOTHING_WRITTEN, commands
from autoparallel.cli.failures import bug_text, error_document, refusal_text
from autoparallel.errors import AutoparallelError, OutputError, notes_of
from autoparallel.staging import WRITTEN
from autoparallel.tuning.urls import hidden, url_in

DEBUG, STORAGE = "AUTOPARALLEL_DEBUG", "AUTOPARALLEL_STORAGE"
# As a shell reports a program that SIGINT or SIGPIPE ended: 128 and the signal.
BUG, INTERRUPTED, PIPE_CLOSED = 70, 130, 141
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
        """Note what the answer to a failure has to be like before anything can go wrong."""
        ctx.meta["json"] = "--json" in args
        ctx.meta["urls"] = [url for word in (*args, os.environ.get(STORAGE, "")) if (url := url_in(word))]
        WRITTEN.clear()
        with _told(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever fails becomes a message and an exit code."""
        with _told(ctx):
            answer = super().invoke(ctx)
            sys.stdout.flush()
            return answer


@contextmanager
def _told(ctx: click.Context) -> Iterator[None]:
    """Turn whatever fails into a message without secrets and an exit code."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except click.ClickException as misuse:
        _answer_in_json(ctx, error_document("usage", misuse.format_message()))
        with suppress(OSError):
            _clean(ctx, misuse).show()
        raise click.exceptions.Exit(misuse.exit_code) from None
    except AutoparallelError as error:
        message = ". ".join(filter(None, (refusal_text(error), notes_of(error))))
        document = error_document(type(error).__name__, message, error)
        _answer_in_json(ctx, document)
        _leave(ctx, f"Error: {message}", error.exit_code)
    except (KeyboardInterrupt, click.Abort) as stop:
        _leave_interrupted(ctx, stop)
    except BrokenPipeError:
        _leave_quietly()
    except Exception as error:
        if INTERRUPTS:
            _leave_interrupted(ctx, error)
        if isinstance(error, OSError) and error.filename is None:
            _leave_unheard(ctx, error)
        if os.environ.get(DEBUG):
            raise
        message = ". ".join(filter(None, (bug_text(error), notes_of(error))))
        _answer_in_json(ctx, error_document("bug", message))
        _leave(ctx, f"Error: {message}", BUG)


def _without_secrets(ctx: click.Context, said: Any) -> Any:
    """A text or document in which no password is left of the URLs that were given to the program."""
    if isinstance(said, dict):
        return {key: _without_secrets(ctx, value) for key, value in said.items()}
    if isinstance(said, list):
        return [_without_secrets(ctx, value) for value in said]
    if isinstance(said, str):
        for url in ctx.meta["urls"]:
            said = hidden(said, url)
    return said


def _clean(ctx: click.Context, misuse: click.ClickException) -> click.ClickException:
    """What was wrong with the command line, without the secrets in it."""
    if isinstance(misuse, click.exceptions.NoArgsIsHelpError) or not isinstance(misuse, click.UsageError):
        return misuse
    return click.UsageError(_without_secrets(ctx, misuse.format_message()), misuse.ctx)


def _saved(error: BaseException) -> str:
    """What there is of the work that was stopped."""
    if note := notes_of(error):
        return note
    return f"already written: {', '.join(map(str, WRITTEN))}" if WRITTEN else ""


def _leave(ctx: click.Context, message: str, exit_code: int) -> NoReturn:
    with suppress(OSError):
        click.echo(_without_secrets(ctx, message), err=True)
    raise click.exceptions.Exit(exit_code) from None


def _leave_interrupted(ctx: click.Context, error: BaseException) -> NoReturn:
    saved = _saved(error)
    _leave(ctx, f"\ninterrupted; {saved}" if saved else NOTHING_WRITTEN, INTERRUPTED)


def _leave_quietly() -> NoReturn:
    """Nobody reads on: end as a program in a pipe does."""
    _silence()
    raise click.exceptions.Exit(PIPE_CLOSED) from None


def _leave_unheard(ctx: click.Context, error: OSError) -> NoReturn:
    """A stream that cannot take the answer: no file has a name in the error."""
    _silence()
    parts = (f"cannot write the answer: {error.strerror or error}", _saved(error))
    _leave(ctx, f"Error: {'. '.join(filter(None, parts))}", OutputError.exit_code)


def _silence() -> None:
    """Keep the interpreter from complaining about what it cannot flush at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer_in_json(ctx: click.Context, document: dict[str, Any]) -> None:
    if ctx.meta["json"]:
        from autoparallel.results_folder import json_text

        try:
            click.echo(json_text(_without_secrets(ctx, document)), nl=False)
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
    _open_closed_streams()
    try:
        application(prog_name="autoparallel")
    finally:
        # All is said: nothing is left that Ctrl-C could interrupt with a word.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def _open_closed_streams() -> None:
    """Let nobody hear what goes to a closed stream; else the next file that is opened would get it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, for good


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    # An extension module that is just loading turns the KeyboardInterrupt into an ImportError.
    INTERRUPTS.append(number)
    raise KeyboardInterrupt
