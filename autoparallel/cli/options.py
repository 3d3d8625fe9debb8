"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class OutputPath(click.Path):
    """Where a command writes: a path, and not the URL of a storage."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a URL, of which a path would make folders."""
        if "://" in str(value):
            self.fail("is a URL; name a path here, and a storage with --storage", param, ctx)
        return super().convert(value, param, ctx)


OUTPUT = OutputPath()
force_option = click.option("--force", is_flag=True, help="Overwrite the file where it exists.")
problem_argument = click.argument("problem_path", metavar="PROBLEM", type=click.Path(path_type=Path))
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document to stdout and nothing else there."
)
set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a value of the problem file, such as search.tp=8; repeatable.",
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
storage_option = click.option(
    "--storage",
    metavar="URL",
    envvar="AUTOPARALLEL_STORAGE",
    help="Keep the search where it can be resumed and shared: a journal file's path, sqlite:///FILE, "
    "postgresql://USER@HOST/DATABASE or grpc://HOST:PORT; also read from AUTOPARALLEL_STORAGE.",
)
study_option = click.option("--study", metavar="NAME", help="Name of the study in the storage.")
confidence_option = click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.99),
    help="Keep plans that meet times and throughput with this probability, by what predictions were off by.",
)
