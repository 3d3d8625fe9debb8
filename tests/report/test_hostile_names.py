"""Names that are attacks, from the problem file to every page: in Chromium none of them does anything."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from playwright.sync_api import Browser

from autoparallel.cli.application import application
from tests.report.visit import needs_chromium

# The first three break out of a text, an attribute, a script; the others out of Markdown.
ATTACKS = (
    "<script>window.hacked=1</script>",
    "\"><img src=x onerror='window.hacked=1'>",
    "</script><img src=x onerror=window.hacked=1><!--",
    "](javascript:window.hacked=1) [x](javascript:window.hacked=1) <javascript:window.hacked=1>",
)
NAME = " ".join(ATTACKS)[:200]
# What a file name can hold of it.
FILE = NAME.replace("/", "")[:100]
PROBLEM = """
[model]
name = {name}
num_hidden_layers = 4
hidden_size = 256
num_attention_heads = 8
num_experts = 4
num_experts_per_tok = 2
moe_intermediate_size = 256
vocab_size = 1000
weights_dtype = "float16"

[hardware]
name = {name}
memory_gb = 64
memory_bandwidth_gb_per_s = 1800
memory_efficiency = 0.8
peak_tflops = {{ float16 = 400 }}
compute_efficiency = 0.6
gpus_per_node = 8
scale_up = {{ bandwidth_gb_per_s = 450, latency_us = 5, efficiency = 0.7 }}
scale_out = {{ bandwidth_gb_per_s = 50, latency_us = 10, efficiency = 0.7 }}
usd_per_gpu_hour = 1

[hardware.sources]
memory_gb = {name}

[workload]
concurrency = 8
prompt_tokens = 128
output_tokens = 16

[requirements]
ttft_s = 10.0

[search]
max_gpus = 4
batch = [8]
"""
PLAN = """
title = {name}
model = {name}
batch = 8

[layout]
tp = 2

[[claim]]
quantity = "tp"
value = 3
unit = "ranks"
says = {name}
section = {name}

[[claim]]
quantity = "throughput_per_gpu"
says = {name}
"""
MEASURED = Path(__file__).resolve().parents[1] / "calibration" / "data" / "static.csv"
PAGES = (
    "result/report.html", "result/deployment-plan.html", "result/deployment-plan.md", "audit.html",
    "audit.md", "compared.html", "fleet/fleet.html", "tornado.html", "measured.html", "sweep/report.html",
)  # fmt: skip
needs_pages = pytest.mark.parametrize("page", PAGES)


def commands(problem: str, measured: str) -> Iterator[tuple[list[str], int]]:
    """Every command that writes a page, with how it has to end."""
    yield ["search", problem, "--out", "result", "-q"], 0
    yield ["document", "result", "--baseline", "plan.toml", "-q"], 0
    for form in ("html", "md"):
        yield ["check", problem, "plan.toml", "--out", f"audit.{form}", "-q"], 1
    shutil.copytree("result", FILE)
    yield ["report", "result", f"./{FILE}", "--out", "compared.html"], 0
    yield (
        [
            "fleet",
            problem,
            "--set",
            "fleet.gpus=2",
            "--set",
            "workload.mode=saturated",
            "--set",
            "requirements.tpot_s=1",
            "--out",
            "fleet",
            "-q",
        ],
        0,
    )
    yield ["explain", problem, "--plot", "tornado.html", "-q"], 0
    yield ["validate", measured, "--plot", "measured.html"], 0
    # Quotation marks and brackets would begin a value with commas.
    over = f"model.name={ATTACKS[0]},{ATTACKS[2]}"
    yield ["sweep", problem, "--over", over, "--workers", "1", "--out", "sweep", "-q"], 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All pages of one hostile problem."""
    folder, before = tmp_path_factory.mktemp("hostile"), Path.cwd()
    os.chdir(folder)
    try:
        quoted = json.dumps(NAME)
        Path(f"{FILE}.toml").write_text(PROBLEM.format(name=quoted), encoding="utf-8")
        Path("plan.toml").write_text(PLAN.format(name=quoted), encoding="utf-8")
        shutil.copy(MEASURED, f"{FILE}.csv")
        for argv, code in commands(f"./{FILE}.toml", f"./{FILE}.csv"):
            done = CliRunner().invoke(application, argv, prog_name="autoparallel")
            assert done.exit_code == code, (argv, done.output)
        yield folder
    finally:
        os.chdir(before)


def as_html(file: Path) -> Path:
    """A page as a browser gets it: Markdown through a parser that lets HTML pass."""
    if file.suffix == ".html":
        return file
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    body = parser.render(file.read_text(encoding="utf-8"))
    shown = file.with_suffix(".md.html")
    shown.write_text(f"<!doctype html><meta charset=utf-8><body>{body}", encoding="utf-8")
    return shown


@needs_chromium
@needs_pages
def test_nothing_of_a_name_runs_or_loads(browser: Browser, folder: Path, page: str) -> None:
    context = browser.new_context(offline=True)
    tab = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(as_html(folder / page).as_uri())
    tab.wait_for_timeout(500)
    # Whatever reacts to a pointer or a key shows its names once more.
    shown = tab.locator("button:visible, tr[data-card]:visible, summary:visible").element_handles()[:20]
    for element in shown:
        # One may close what another is in.
        if element.is_visible():
            element.click(timeout=10_000, force=True)
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img[src=x], [onerror], a[href^='javascript']").count() == 0
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    # The name is there, as text.
    assert "window.hacked=1" in tab.locator("body").inner_text() + tab.title()
    context.close()


@needs_chromium
def test_the_attacks_work_where_nothing_is_escaped(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "open.html"
    file.write_text(f"<!doctype html><body>{NAME}", encoding="utf-8")
    tab = browser.new_page()
    tab.goto(file.as_uri())
    tab.wait_for_timeout(300)
    assert tab.evaluate("window.hacked") == 1
    tab.close()
