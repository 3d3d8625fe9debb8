"""A plan becomes the files that launch it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.errors import AutoparallelError
from autoparallel.exporters.base import Exporter
from autoparallel.exporters.command import Command, script
from autoparallel.exporters.deployment import WHOLE, Deployment, Standing
from autoparallel.exporters.kubernetes import manifest
from autoparallel.exporters.nearest import changes, nearest_plan
from autoparallel.exporters.weights import Loading
from autoparallel.performance.notes import calibration_notes
from autoparallel.solver.rules.engine import EngineFault, engine_faults


@dataclass(frozen=True, kw_only=True)
class Export:
    """The files of one engine, and the commands that are in them."""

    engine: str
    version: str
    files: dict[str, str]
    commands: tuple[Command, ...]
    benchmark: Command
    notes: tuple[str, ...]


class InexpressibleError(AutoparallelError):
    """A plan that an engine cannot launch; ``nearest`` is one that it can, ``None`` where there is none.

    ``what`` says what to do about it, where that is not to take the nearest plan.
    """

    exit_code = 1

    def __init__(
        self, engine: str, plan: Plan, faults: tuple[EngineFault, ...], nearest: Plan | None, what: str = ""
    ) -> None:
        self.engine, self.faults, self.nearest = engine, faults, nearest
        self.changed = changes(plan, nearest) if nearest else ()
        entry = load_engine(engine)
        why = "; ".join(fault.message for fault in faults)
        rules = (
            f"Rule: {entry.rules[fault.rule].sentence}." for fault in faults if fault.rule in entry.rules
        )
        if nearest is not None:
            what = f"Nearest plan that it can: {nearest.layout}, {nearest.pair} ({', '.join(self.changed)})."
        what = what or "No plan of this problem that meets its requirements can be launched by it."
        sentences = (f"{entry} cannot launch {plan.layout}: {why}.", *rules, what)
        super().__init__(" ".join(sentences))


def export(problem: Problem, plan: Plan, exporter: Exporter, standing: Standing = WHOLE) -> Export:
    """Write a plan as the files of one engine.

    Parameters
    ----------
    standing : Standing, optional
        What the plan is of a fleet.

    Raises
    ------
    InexpressibleError
        The engine has no flags for the layout; the error has the nearest plan for which it has. Or it
        cannot make the plan's weights of the checkpoint's.
    """
    engine = load_engine(exporter.name)
    if faults := engine_faults(engine, problem, plan.layout):
        raise InexpressibleError(engine.name, plan, faults, nearest_plan(problem, plan, engine.name))
    deployment, role = Deployment(replace(problem, engine=engine.name), plan, engine, standing), standing.role
    loading = Loading(deployment.problem, engine)
    if fault := loading.fault(plan):
        raise InexpressibleError(engine.name, plan, (fault,), None, loading.remedy)
    commands, benchmark = exporter.commands(deployment), exporter.benchmark(deployment)
    needs = (*standing.notes, *(exporter.role_notes(role) if role else ()))
    words = exporter.role_words(role) if role else ()
    commands = tuple(replace(one, words=(*one.words, *words), notes=(*one.notes, *needs)) for one in commands)
    configs = exporter.config_files(deployment)
    files = {f"instance-{c.instance}.node-{c.node}.sh": script(c) for c in commands}
    files |= {"benchmark.sh": script(benchmark), **configs}
    files["rank_map.csv"] = _rank_map(deployment, exporter)
    files["kubernetes.yaml"] = manifest(deployment, commands, configs)
    return Export(
        engine=engine.name,
        version=engine.version,
        files=files,
        commands=commands,
        benchmark=benchmark,
        notes=(*exporter.notes(deployment), *needs, *calibration_notes(problem)),
    )


def _rank_map(deployment: Deployment, exporter: Exporter) -> str:
    """Every GPU: where it is, its rank in the engine's numbering, its coordinates, what it holds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("instance", "node", "gpu", "engine_rank", "pp", "dp", "cp", "tp", "ep", "etp", "layers", "experts")
    )
    for instance in range(deployment.plan.layout.replicas):
        gpus = [gpu for share in deployment.shares(instance, exporter.rank_order) for gpu in share.gpus]
        for rank, gpu in enumerate(gpus):
            held = (_span(gpu.layers), _span(gpu.experts))
            writer.writerow(
                (instance, gpu.node, gpu.slot, rank, gpu.pp, gpu.dp, gpu.cp, gpu.tp, gpu.ep, gpu.etp, *held)
            )
    return text.getvalue()


def _span(numbers: range) -> str:
    return f"{numbers.start}-{numbers.stop - 1}"
