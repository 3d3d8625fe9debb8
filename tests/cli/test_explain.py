"""``autoparallel explain``: what it prints and returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

MOE10B = str(Path(__file__).parent.parent.parent / "problems" / "moe10b.toml")
SMALL = (
    "--set",
    "search.max_gpus=16",
    "--set",
    "search.batch=[64, 128]",
    "--set",
    "search.microbatch=[64, 128]",
)
Run = Callable[..., Result]


def test_the_infeasible_is_one_json_document_and_exit_code_3(run: Run) -> None:
    done = run("explain", MOE10B, *SMALL, "--json", "--set", "requirements.max_gpus=1")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert document["schema"] == "autoparallel.explain/1"
    assert document["feasible"] is False
    assert [one["changes"][0]["rule"] for one in document["relaxations"]] == ["concurrency", "max_gpus"]


def test_the_infeasible_in_words_names_the_change(run: Run) -> None:
    done = run("explain", MOE10B, *SMALL, "--set", "requirements.max_gpus=1")
    assert done.exit_code == 3
    assert "1 GPUs" in done.stdout
    assert "2 GPUs" in done.stdout
    assert "Nothing fits moe10b" in done.stderr


def test_physics_comes_first(run: Run) -> None:
    done = run("explain", MOE10B, *SMALL, "--set", "requirements.throughput_phase='decode'")
    assert done.exit_code == 3
    assert done.stdout.startswith("Physics forbids it: decode reads 172 MB of KV cache a token")


def test_the_feasible_shows_what_a_step_would_buy(run: Run) -> None:
    done = run("explain", MOE10B, *SMALL, "--plot", "tornado.html")
    assert done.exit_code == 0
    assert "What one step would buy" in done.stdout
    assert Path("tornado.html").is_file()


def test_of_a_fleet_it_explains_the_fleet(run: Run) -> None:
    fleet = MOE10B.replace("moe10b", "fleet-llama-70b-28xh200")
    small = (
        "--set",
        "fleet.gpus=2",
        "--set",
        'fleet.roles=["aggregated"]',
        "--set",
        "search.tp=1",
        "--quiet",
    )
    done = run("explain", fleet, *small, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["schema"] == "autoparallel.explain-fleet/1"
    assert {"fleet.gpus", "requirements.tpot_s"} <= {gain["lever"] for gain in document["gains"]}
    none = run("explain", fleet, *small, "--set", "requirements.tpot_s=0.001", "--time-limit", "0.01")
    assert none.exit_code == 3
    assert "No fleet for fleet-llama-70b-28xh200: no instance keeps" in none.stderr
    assert run("explain", fleet, *small, "--plot", "plot.html").exit_code == 2


def test_a_missing_problem_is_exit_code_2(run: Run) -> None:
    assert run("explain", "nowhere.toml").exit_code == 2
