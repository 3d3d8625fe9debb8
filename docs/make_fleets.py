"""Writes fleets.md: its template with the numbers of the bundled fleets, so that none is typed.

Run it in the project's folder after a change of the performance model: ``python docs/make_fleets.py``.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from autoparallel.fleet_planner import fleet
from autoparallel.problem_file import load_problem
from autoparallel.report.wording import number

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "fleets.md"
PROBLEMS = ("fleet-llama-70b-28xh200", "fleet-llama-70b-36xh200", "fleet-deepseek-v3-64xh200")
ACROSS = "fleet-llama-405b-8xh100-8xa100"
ANY = "search.pp=[1,2,4,8]"


def page() -> str:
    """The page, from its template."""
    rows = [_row(name, overrides) for overrides in ((), (ANY,)) for name in PROBLEMS]
    pages = Environment(loader=FileSystemLoader(DOCS), undefined=StrictUndefined, keep_trailing_newline=True)
    return pages.get_template("fleets.md.jinja").render(rows=rows, across=_across())


def _across() -> dict[str, str]:
    """The pipeline over two pools."""
    found = fleet(load_problem(DOCS.parent / "problems" / f"{ACROSS}.toml"), column=False)
    (member,) = found.members
    layers, words = list(member.kind.layout.layers or ()), []
    for share in member.kind.across:
        own = sum(layers.pop(0) for _ in range(share.stages))
        words.append(f"{own}{'' if words else ' layers'} on {share.pool}")
    return {"layers": " and ".join(words), "rate": number(found.requests_per_s)}


def _row(name: str, overrides: tuple[str, ...]) -> dict[str, str]:
    problem = load_problem(DOCS.parent / "problems" / f"{name}.toml", overrides)
    found = fleet(problem, column=False)
    units = {row.chosen_by: row for row in found.uniform}
    per_gpu, whole = units["rate_per_gpu"], units["rate"]
    more = [found.requests_per_s / unit.requests_per_s - 1 for unit in (per_gpu, whole)]
    return {
        "name": name,
        "pipelines": "up to 8 stages" if overrides else "none",
        "per_gpu": number(per_gpu.requests_per_s),
        "idle": str(per_gpu.idle_gpus),
        "whole": number(whole.requests_per_s),
        "rate": number(found.requests_per_s),
        "more": " and ".join(f"{share * 100:+.1f} %" for share in more),
    }


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
