"""The folder that a search leaves: plan.json, problem.json, front.csv, proof.json and report.html."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from autoparallel.domain.cost import Cost
from autoparallel.domain.fleet_result import FleetResult
from autoparallel.domain.layout import ORDERS, Layout
from autoparallel.domain.plan import (
    SCHEMA,
    Interval,
    Intervals,
    Memory,
    Metrics,
    Operation,
    Plan,
    ServingMetrics,
)
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.domain.search_space import SP_KINDS
from autoparallel.errors import Fault, OutputError, ProblemError
from autoparallel.performance.expert_balance import group_of
from autoparallel.placement_file import (
    EXPERTS_FILE,
    PLACEMENTS_FILE,
    engine_text,
    placements_document,
)
from autoparallel.problem_file.resolved import read_resolved, resolved_document
from autoparallel.reading import read_text

PROOF_SCHEMA = "autoparallel.proof/1"
PLAN_FILE = "plan.json"
PROBLEM_FILE = "problem.json"
PROOF_FILE, FRONT_FILE, REPORT_PAGE = "proof.json", "front.csv", "report.html"
# A fleet may stand beside a plan: its problem is another where [fleet] is overridden.
FLEET_FILE, FLEET_PAGE, FLEET_PROBLEM_FILE = "fleet.json", "fleet.html", "fleet-problem.json"
SWEEP_FILE = "cells.csv"
# What other commands make of the plan, in the same folder.
DOCUMENT_FILE, DOCUMENT_PAGE, EXPORT_FOLDER = "deployment-plan.md", "deployment-plan.html", "export"
MADE_OF_THE_PLAN = (DOCUMENT_FILE, DOCUMENT_PAGE, EXPORT_FOLDER)
# Larger than any time, rate or size, small enough for sums and ratios.
_LARGEST = 1e30
# A file that is wrong throughout says so in so many faults.
_MOST_FAULTS = 20


def json_text(document: Any) -> str:
    """A document as JSON text that every parser takes: a number that is not finite becomes null."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def plan_document(result: SearchResult) -> dict[str, Any]:
    """What plan.json holds: the best plan and why it is that; the same for the same seed, no timings."""
    answer = result.to_dict()
    kept = ("problem", "fingerprint", "runner_up", "runner_up_reason", "binding", "limits", "warnings")
    return {
        **answer["best"],
        **{key: answer[key] for key in kept},
        "seed": result.proof.seed,
        "versions": dict(result.proof.versions),
    }


def result_files(result: SearchResult) -> dict[str, str]:
    """Name and text of every data file of a result; the report is added by who draws it."""
    proof = {
        "schema": PROOF_SCHEMA,
        "problem": result.problem.name,
        "fingerprint": result.problem.fingerprint,
    }
    simulated = {"simulated": [one.to_dict() for one in result.simulated]} if result.simulated else {}
    return {
        # The first that is in its place, so that it tells whose the others are.
        PROOF_FILE: json_text({**proof, **result.proof.to_dict(), **simulated}),
        **_placement_files(result),
        FRONT_FILE: result.to_frame().to_csv(index=False, lineterminator="\n"),
        PROBLEM_FILE: json_text(resolved_document(result.problem)),
        PLAN_FILE: json_text(plan_document(result)),
    }


def fleet_files(result: FleetResult) -> dict[str, str]:
    """Name and text of every data file of a fleet: the same for the same seed, no timings."""
    return {
        FLEET_PROBLEM_FILE: json_text(resolved_document(result.problem)),
        FLEET_FILE: json_text(result.to_dict(timings=False)),
    }


def _placement_files(result: SearchResult) -> dict[str, str]:
    """Experts on ranks, where their loads are known: every placement, and the best plan's for the engine."""
    if result.problem.workload.expert_loads is None:
        return {}
    best = group_of(result.best.layout, result.problem.hardware.gpus_per_node)
    files = {PLACEMENTS_FILE: json_text(placements_document(result.placements))}
    for placement in result.placements:
        if placement.balance.group == best:
            files[EXPERTS_FILE] = engine_text(placement, result.problem.model)
    return files


def read_plan(path: Path) -> Plan:
    """The plan of a results folder or of a plan.json: sizes are counts, numbers are numbers.

    Raises
    ------
    ProblemError
        There is no such file, it is no plan of this schema, or it holds what no search writes; every
        fault names its key.
    """
    data, file = read_plan_data(path), str(plan_path(path))
    try:
        plan = _plan(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProblemError([Fault(f"is no whole plan: {error}", file=file)]) from error
    wrong = [*size_faults(plan.layout, plan.batch, plan.microbatch, file), *_number_faults(plan, file)]
    if wrong:
        raise ProblemError(wrong[:_MOST_FAULTS])
    return plan


def size_faults(layout: Layout, batch: object, microbatch: object, file: str, key: str = "") -> list[Fault]:
    """What of a layout's degrees, batch and microbatch in a file is no count; keys begin with ``key``."""
    # Imported here: it loads pydantic.
    from autoparallel.problem_file.fields import MAX_SEQUENCES

    degrees = {f"layout.{name}": size for name, size in layout.to_dict().items()}
    kind, layers = degrees.pop("layout.sp_kind"), degrees.pop("layout.layers", ())
    order = degrees.pop("layout.order", ())
    if isinstance(layers, tuple):
        degrees |= {f"layout.layers[{stage}]": count for stage, count in enumerate(layers)}
    else:
        degrees["layout.layers"] = layers
    sizes: dict[str, object] = {**degrees, "batch": batch, "microbatch": microbatch}
    faults = [
        Fault(
            f"must be a whole number from 1 to {MAX_SEQUENCES:,}, not {_shown(size)}",
            file,
            key=f"{key}{name}",
        )
        for name, size in sizes.items()
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SEQUENCES
    ]
    if kind not in (None, *SP_KINDS):
        message = f"no kind of sequence parallelism: {_shown(kind)}; it is one of {', '.join(SP_KINDS)}"
        faults.append(Fault(message, file, key=f"{key}layout.sp_kind"))
    if not isinstance(order, tuple) or not set(order) <= set(ORDERS):
        message = f"no order on the network: {_shown(order)}; it is of {', '.join(ORDERS)}"
        faults.append(Fault(message, file, key=f"{key}layout.order"))
    return faults


def _intervals(data: dict[str, Any]) -> Intervals:
    bounds = {str(name): Interval(**bound) for name, bound in data["metrics"].items()}
    return Intervals(level=data["level"], basis=data["basis"], metrics=bounds)


def _number_faults(plan: Plan, file: str) -> Iterator[Fault]:
    """Every number of a plan that is none, and every word that is not of its kind."""
    numbers = {
        **{f"metrics.{name}": number for name, number in asdict(plan.metrics).items()},
        **{
            f"intervals.{name}.{side}": number
            for name, bound in (plan.intervals.metrics if plan.intervals else {}).items()
            for side, number in bound._asdict().items()
        },
        **{f"memory.{name}": number for name, number in asdict(plan.memory).items()},
        **{f"prefill_stage_s[{index}]": time_s for index, time_s in enumerate(plan.prefill_stage_s)},
        **{f"decode_stage_s[{index}]": time_s for index, time_s in enumerate(plan.decode_stage_s)},
    }
    for index, one in enumerate(plan.operations):
        place = f"operations[{index}]"
        numbers |= {f"{place}.{name}": getattr(one, name) for name in ("count", "time_s", "flops", "bytes")}
        for name in ("name", "kind", "bound"):
            if not isinstance(word := getattr(one, name), str):
                yield Fault(f"must be a string, not {_shown(word)}", file, key=f"{place}.{name}")
        if one.phase not in ("prefill", "decode"):
            yield Fault(f"must be prefill or decode, not {_shown(one.phase)}", file, key=f"{place}.phase")
    numbers |= _serving_numbers(plan)
    costs = asdict(plan.cost) if plan.cost else {}
    numbers |= {f"cost.{name}": number for name, number in costs.items() if number is not None}
    if plan.serving is not None and not plan.serving.stable:
        # Beyond saturation times have no end.
        numbers = {key: number for key, number in numbers.items() if number != math.inf}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= _LARGEST:
            yield Fault(f"must be a number from 0, not {_shown(number)}", file, key=key)
    for rule, met in plan.meets.items():
        if not isinstance(met, bool):
            yield Fault(f"must be true or false, not {_shown(met)}", file, key=f"meets.{rule}")


def _serving_numbers(plan: Plan) -> dict[str, Any]:
    served = {} if plan.serving is None else asdict(plan.serving)
    return {f"serving.{name}": number for name, number in served.items() if name != "engine"}


def _shown(value: object) -> str:
    """A value of a file, shortened: texts in quotes, so that "2" is not taken for 2."""
    return "null" if value is None else repr(value)[:40]


def read_plan_data(path: Path) -> dict[str, Any]:
    """What the plan.json of a results folder, or a plan.json, holds besides the plan too.

    Raises
    ------
    ProblemError
        There is no such file, or its schema is not that of a plan.
    """
    file = plan_path(path)
    if not file.exists() or file.suffix == ".toml":
        raise ProblemError([_no_result(path)])
    try:
        data = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ProblemError([_unreadable(file, error)]) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ProblemError([Fault(f"is no plan: its schema is not {SCHEMA!r}", file=str(file), key="schema")])
    return data


def read_problem(path: Path) -> Problem:
    """The problem that the plan of a results folder, or a plan.json in one, answers.

    Raises
    ------
    ProblemError
        No problem.json is there, it cannot be read, or it belongs to another plan.
    """
    file = plan_path(path).with_name(PROBLEM_FILE)
    try:
        problem = read_resolved(read_text(file), file=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError([_unreadable(file, error)]) from error
    if read_plan_data(path).get("fingerprint") != problem.fingerprint:
        message = f"is not the problem that {PLAN_FILE} answers: their fingerprints differ"
        raise ProblemError([Fault(message, file=str(file), key="fingerprint")])
    return problem


def plan_path(path: Path) -> Path:
    """The plan.json that is meant by a results folder or by the file itself."""
    path = Path(path)
    return path / PLAN_FILE if path.is_dir() else path


def held_instead(folder: Path) -> str:
    """What a folder without a plan holds that another command wrote, in words; empty where it is neither."""
    if plan_path(folder).exists():
        return ""
    if (Path(folder) / FLEET_FILE).exists():
        return "holds a fleet, not a plan (export reads it)"
    return "holds a sweep, not a plan" if (Path(folder) / SWEEP_FILE).exists() else ""


def check_folder(folder: Path, mark: str, names: Sequence[str]) -> None:
    """Refuse a folder in which a result would take the place of something else.

    Parameters
    ----------
    mark : str
        The file by which a folder of such results is known.
    names : sequence of str
        Files that a result has, and that others have as well.

    Raises
    ------
    OutputError
        One of the files is there without the mark.
    """
    for name in names:
        if (folder / name).exists() and not (folder / mark).exists():
            owner = "a sweep" if (folder / SWEEP_FILE).exists() else "something else"
            owner = "a search" if (folder / PLAN_FILE).exists() else owner
            raise OutputError(f"{folder / name} is there, of {owner}; choose another folder with --out")


def _no_result(path: Path) -> Fault:
    """Where a result should be and is not: what makes one."""
    if Path(path).suffix == ".json":
        return Fault("there is no such file", file=str(path))
    if Path(path).is_file():
        return Fault("is no result: name the folder that a search wrote, or its plan.json", file=str(path))
    if other := held_instead(path):
        return Fault(f"{other}; name a folder that search wrote", file=str(path))
    there = "" if Path(path).is_dir() else ": there is no such folder"
    return Fault(f"no result{there}; autoparallel search PROBLEM --out {path} writes one", file=str(path))


def _unreadable(file: Path, error: Exception) -> Fault:
    """Why a file of a result cannot be read."""
    if isinstance(error, OSError):
        return Fault(f"cannot read it: {error.strerror or error}", file=str(file))
    if isinstance(error, UnicodeDecodeError):
        return Fault(f"is not UTF-8 text, so it is no {file.name}", file=str(file))
    if isinstance(error, json.JSONDecodeError):
        return Fault(f"is no JSON: {error.msg}", file=str(file), line=error.lineno)
    return Fault(f"is no JSON that a result holds: {error}", file=str(file))


def _plan(data: dict[str, Any]) -> Plan:
    memory = {name.name: data["memory"][name.name] for name in fields(Memory)}
    return Plan(
        layout=Layout.from_dict(data["layout"]),
        batch=data["batch"],
        microbatch=data["microbatch"],
        metrics=Metrics(**_with_infinity(data["metrics"]) if "serving" in data else data["metrics"]),
        memory=Memory(**memory),
        meets=dict(data["meets"]),
        operations=tuple(Operation(**operation) for operation in data["operations"]),
        prefill_stage_s=tuple(data["prefill_stage_s"]),
        decode_stage_s=tuple(data["decode_stage_s"]),
        serving=_serving(data),
        intervals=_intervals(data["intervals"]) if "intervals" in data else None,
        cost=Cost(**data["cost"]) if "cost" in data else None,
    )


def _serving(data: dict[str, Any]) -> ServingMetrics | None:
    """What a plan of continuous batching holds; a time without end is written as null."""
    if "serving" not in data:
        return None
    known = (one.name for one in fields(ServingMetrics) if one.name in data["serving"])
    return ServingMetrics(**_with_infinity({name: data["serving"][name] for name in known}))


def _with_infinity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.inf if value is None else value for name, value in row.items()}
