"""What the documentation site shows beside the pages of this folder.

Files of the project that a page links to (``../problems/moe10b.toml``) are shipped with the site, Markdown
ones as pages, and the reference of the library lists what ``autoparallel`` offers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?P<up>(?:\.\./)+)(?P<path>[^)#]+)(?P<anchor>#[^)]*)?\)")
# Pages of the site that stand outside docs/, by the file they are.
PAGES = {"CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks.md"}
LIBRARY = "reference/library.md"
COMMANDS = "reference/cli.md"


def on_startup(**_: Any) -> None:
    """Let the reference show no default where click has none: it keeps a mark of its own for that."""
    import click

    from autoparallel.cli.application import application

    for command in (application, *application.commands.values()):
        for option in command.get_params(click.Context(command, help_option_names=["-h", "--help"])):
            option.default = option.to_info_dict()["default"]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and files from outside the folder."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, LIBRARY, content=_library()))
    shipped = {
        path for file in files if file.is_documentation_page() for path in _linked(file.content_string)
    }
    for path in sorted(shipped - set(PAGES)):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Point links that leave the folder to where the site has their files."""
    depth = page.file.src_uri.count("/")

    def inside(link: re.Match[str]) -> str:
        path = link["path"]
        if link["up"].count("../") != depth + 1:
            return link.group()
        return f"]({'../' * depth}{PAGES.get(path, f'files/{path}')}{link['anchor'] or ''})"

    return LINK.sub(inside, markdown)


def on_page_content(html: str, *, page: Any, **_: Any) -> str:
    """Let phones show the options of the command line one below the other."""
    if page.file.src_uri != COMMANDS:
        return html
    without = html.replace("<td>None</td>", "<td></td>")
    without = without.replace("<td>_required</td>", '<td class="required">required</td>')
    return f'<div class="options">{without}</div>'


def _linked(markdown: str) -> set[str]:
    """Files of the project that a page links to."""
    paths = {link["path"] for link in LINK.finditer(markdown)}
    return {path for path in paths if (ROOT / path).is_file() and not path.startswith("docs/")}


def _library() -> str:
    """The reference of everything that ``import autoparallel`` offers."""
    from autoparallel import _HOMES

    functions = sorted(name for name in _HOMES if name[0].islower())
    classes = sorted(name for name in _HOMES if not name[0].islower())
    parts = [
        "# The library",
        "",
        "All of it is in the package itself: `import autoparallel as ap`.",
        "",
    ]
    for title, names in (("Functions", functions), ("Classes", classes)):
        parts += [f"## {title}", "", *(f"::: {_HOMES[name]}.{name}\n" for name in names)]
    return "\n".join(parts)
