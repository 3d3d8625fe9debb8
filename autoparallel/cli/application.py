"""The group of commands, and how every failure becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
import pkgutil
import sys
from importlib import import_module
from typing import Any

import click

from autoparallel.cli import commands
from autoparallel.cli.failures import Bug, Interrupted, Refusal, error_document
from autoparallel.errors import AutoparallelError

DEBUG = "AUTOPARALLEL_DEBUG"

EPILOG = """\b
Example:
  autoparallel init problem.toml && autoparallel search problem.toml

\b
Exit codes: 0 done, 1 the answer is no, 2 bad input, 3 nothing feasible,
130 interrupted. AUTOPARALLEL_DEBUG=1 shows the traceback of a bug.

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
        """Run a command; a failure leaves as a click exception with its exit code."""
        try:
            return super().invoke(ctx)
        except click.ClickException as misuse:
            _answer_in_json(ctx, "usage", misuse.format_message())
            raise
        except AutoparallelError as error:
            refusal = Refusal(error)
            _answer_in_json(ctx, type(error).__name__, refusal.message, error)
            raise refusal from None
        except (KeyboardInterrupt, click.Abort):
            raise Interrupted from None
        except click.exceptions.Exit:
            raise
        except BrokenPipeError:
            _leave_quietly()
        except Exception as error:
            if os.environ.get(DEBUG):
                raise
            bug = Bug(error)
            _answer_in_json(ctx, "bug", bug.message)
            raise bug from None


def _answer_in_json(
    ctx: click.Context, kind: str, message: str, error: AutoparallelError | None = None
) -> None:
    if ctx.meta["json"]:
        from autoparallel.results_folder import json_text

        click.echo(json_text(error_document(kind, message, error)), nl=False)


def _leave_quietly() -> None:
    """Nobody reads on: end without the interpreter complaining about what it cannot flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(errno.EPIPE)


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


def main() -> None:
    """Entry point of the ``autoparallel`` program."""
    application(prog_name="autoparallel")
