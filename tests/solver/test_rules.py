"""The contract of every rule: its CP-SAT form and its plain form agree, and both outcomes occur."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from ortools.sat.python import cp_model

from autoparallel.domain import Lengths, Problem, Requirements, SearchSpace
from autoparallel.domain.engine import ENGINES, EngineOptions
from autoparallel.domain.layout import TENSOR
from autoparallel.performance.degrees import SP_KIND_NAMES, PlanTable
from autoparallel.performance.estimate import COLUMNS
from autoparallel.performance.machine import Machine
from autoparallel.solver.candidates import AttentionCandidates, Candidates, candidates_for
from autoparallel.solver.cp_sat import new_solver
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.layout_model import LayoutModel
from autoparallel.solver.rules import (
    LIMITS,
    STRUCTURE,
    Facts,
    LimitRule,
    ServedRule,
    ServedStructureRule,
    StructureRule,
)
from autoparallel.solver.tables import Tables

# Those of continuous batching alone have no CP-SAT form; tests/solver/test_sweep.py is about them.
STATIC_LIMITS = tuple(rule for rule in LIMITS if not isinstance(rule, ServedRule))
STATIC_STRUCTURE = tuple(rule for rule in STRUCTURE if not isinstance(rule, ServedStructureRule))
ALL: tuple[StructureRule | LimitRule, ...] = (*STATIC_STRUCTURE, *STATIC_LIMITS)
RULES = {rule.name: rule for rule in ALL}
TRIED = {
    "tp": (1, 2, 3),
    "sp": (1, 2),
    "dp": (1, 2, 3),
    "pp": (1, 4, 7),
    "ep": (1, 2, 3),
    "etp": (1, 2, 3),
}


class Verdict(NamedTuple):
    """What both forms of every rule say of one layout."""

    facts: Facts
    enforceable: dict[str, bool]

    @property
    def can_be_launched(self) -> bool:
        return all(rule.holds(self.facts) for rule in STRUCTURE)


def small(problem: Problem, **model: Any) -> Problem:
    """Six layers; degrees that rules refuse are among the candidates."""
    workload = replace(
        problem.workload, concurrency=8, prompt_tokens=Lengths.fixed(500), output_tokens=Lengths.fixed(20)
    )
    size = {
        "num_hidden_layers": 6,
        "layer_types": ("full_attention",) * 6,
        "mlp_layer_types": ("sparse",) * 6,
    }
    candidates: dict[str, Any] = TRIED
    return replace(
        problem,
        model=replace(problem.model, **{**size, "parameter_basis": "derived", **model}),
        workload=workload,
        requirements=Requirements(),
        search=SearchSpace(even_stages=True, max_gpus=64, replicas=1, **candidates),
    )


def cases(problem: Problem) -> Iterator[tuple[Problem, int, int]]:
    """Small problems with a batch and microbatch each."""
    sparse = small(problem, num_attention_heads=12, num_key_value_heads=4)
    yield sparse, 8, 4
    yield replace(sparse, search=SearchSpace(max_gpus=8, replicas=1)), 4, 4  # less than the concurrency
    yield sparse, 4, 3  # does not divide
    yield sparse, 16, 2  # more than the concurrency
    without_experts = {"mlp_layer_types": ("dense",) * 6, "num_experts": 0, "num_experts_per_tok": 0}
    dense = small(problem, **without_experts, intermediate_size=1000)
    yield dense, 8, 2
    latent = {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
    for engine in ENGINES:
        yield for_engine(dense, engine), 4, 2
        yield for_engine(small(problem, **latent), engine), 4, 2
    for order in (("cp",), ("ep",), ("cp", "ep"), ("pp",)):
        yield in_order(sparse, order), 4, 2
    yield in_order(for_engine(dense, "vllm"), ("pp",)), 4, 2
    for shared in (small(problem, num_attention_heads=8, num_key_value_heads=2), small(problem, **latent)):
        yield replace(shared, engine_options=EngineOptions(decode_context_parallel=2)), 4, 2
    mixed = ("dense", "dense", *("sparse",) * 4)
    yield small(problem, mlp_layer_types=mixed, intermediate_size=64, num_key_value_heads=2), 8, 8


def for_engine(problem: Problem, engine: str) -> Problem:
    """On nodes of two GPUs, so that instances reach over several."""
    degrees: dict[str, Any] = {
        "tp": (1, 2),
        "sp": (1, 2),
        "dp": (1, 2),
        "pp": (1, 3),
        "ep": (1, 2),
        "etp": (1, 2),
    }
    hardware = replace(problem.hardware, gpus_per_node=2)
    search = SearchSpace(max_gpus=16, replicas=1, **degrees)
    return replace(problem, engine=engine, hardware=hardware, search=search)


def in_order(problem: Problem, order: tuple[str, ...]) -> Problem:
    """On nodes of four GPUs, two stages where these lie inside of nodes."""
    hardware = replace(problem.hardware, gpus_per_node=4)
    degrees: dict[str, Any] = {
        "tp": (1, 2, 4),
        "sp": (1, 2),
        "dp": (1, 2, 4),
        "pp": (2,) if "pp" in order else (1, 3),
        "ep": (1, 2),
        "etp": (1, 2),
    }
    search = SearchSpace(max_gpus=32, replicas=1, order=order, **degrees)
    return replace(problem, hardware=hardware, search=search)


def with_nonsense(candidates: Candidates) -> Candidates:
    """Sequence parallelism without a kind, and of the tensor kind beside the tp group, come on top."""
    tensor = SP_KIND_NAMES.index(TENSOR)
    rows = np.array([(2, 2, 0, 1), (2, 4, tensor, 1), (4, 2, tensor, 2), (1, 2, tensor, 2)]).T
    attention = zip(candidates.attention, rows, strict=True)
    extended = AttentionCandidates(*(np.concatenate(columns) for columns in attention))
    return candidates._replace(attention=extended)


def between(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """A limit that some of the values keep, in the widest gap around their middle."""
    distinct = np.unique(values)
    middle = distinct[len(distinct) // 4 : -(len(distinct) // 4) or None]
    gap = int(np.argmax(np.diff(middle)))
    return float(middle[gap : gap + 2].mean())


def limited(problem: Problem, batch: int, microbatch: int, candidates: Candidates) -> Problem:
    """The problem with every limit set so that it divides the layouts."""
    facts = [
        row
        for row in facts_of(problem, batch, microbatch, candidates)
        if all(r.holds(row) for r in STRUCTURE)
    ]
    if not facts:
        return problem
    solver = FrontSolver(Machine(problem))
    values = [solver.facts(row.layout, batch, microbatch).values for row in facts]
    assert all(value is not None for value in values)
    column = {name: np.array([getattr(value, name)[0] for value in values]) for name in COLUMNS}
    memory = np.array([value.memory_bytes[0] for value in values if value is not None]) / 1e9
    requirements = Requirements(
        ttft_s=between(column["ttft_s"]),
        tpot_s=between(column["tpot_s"]),
        throughput_tokens_per_ms_per_gpu=between(column["prefill_tokens_per_ms_per_gpu"]),
        throughput_phase="prefill",
        max_gpus=int(between(column["gpus"])),
    )
    hardware = replace(problem.hardware, memory_gb=between(memory))
    return replace(problem, requirements=requirements, hardware=hardware)


def facts_of(problem: Problem, batch: int, microbatch: int, candidates: Candidates) -> Iterator[Facts]:
    for a, e, p in chosen(problem, candidates):
        yield Facts(problem, candidates.layout(a, e, p), batch, microbatch)


def chosen(problem: Problem, candidates: Candidates) -> Iterator[tuple[int, int, int]]:
    """Every combination whose attention and experts take the same GPUs."""
    sizes = candidates.attention.gpus_per_stage
    for a in range(len(sizes)):
        for e in np.flatnonzero(candidates.experts.gpus_per_stage == sizes[a]):
            for p in range(len(candidates.pp)):
                if candidates.layout(a, int(e), p).gpus <= problem.search.max_gpus:
                    yield a, int(e), p


def verdicts(problem: Problem, batch: int, microbatch: int) -> Iterator[Verdict]:
    """Both forms of every rule on every layout."""
    largest = problem.search.max_gpus
    candidates = candidates_for(problem, batch, microbatch, keep_refused=True, max_gpus=largest)
    candidates = with_nonsense(candidates)
    problem = limited(problem, batch, microbatch, candidates)
    machine = Machine(problem)
    model = LayoutModel(problem, Tables(machine, candidates, batch, microbatch), batch, microbatch)
    enforced = {name: model.cp.new_bool_var(name) for name in RULES}
    for name, rule in RULES.items():
        rule.constrain(model, enforced[name])
    model.cp.maximize(sum(enforced.values()))
    solver = FrontSolver(machine)
    for a, e, p in chosen(problem, candidates):
        choice = (model.attention[a], model.experts[e], model.pp[p])
        facts = solver.facts(candidates.layout(a, e, p), batch, microbatch)
        yield Verdict(facts, enforceable(model, choice, enforced))


def enforceable(
    model: LayoutModel, choice: tuple[cp_model.IntVar, ...], enforced: dict[str, cp_model.IntVar]
) -> dict[str, bool]:
    """Which rules can be enforced while these candidates are chosen; limits do not depend on each other."""
    fixed = model.cp.clone()
    for variable in choice:
        fixed.add(fixed.get_bool_var_from_proto_index(variable.index) == 1)
    solver = new_solver(0)
    assert solver.solve(fixed) == cp_model.OPTIMAL
    return {name: solver.boolean_value(literal) for name, literal in enforced.items()}


@pytest.fixture(scope="module")
def all_verdicts(moe10b: Problem) -> list[Verdict]:
    return [verdict for case in cases(moe10b) for verdict in verdicts(*case)]


@pytest.mark.parametrize("name", RULES)
def test_both_forms_agree_and_both_outcomes_occur(all_verdicts: list[Verdict], name: str) -> None:
    rule = RULES[name]
    outcomes = set()
    for verdict in all_verdicts:
        # What cannot be launched has no times or bytes of meaning.
        if isinstance(rule, StructureRule) or verdict.can_be_launched:
            holds = rule.holds(verdict.facts)
            outcomes.add(holds)
            assert verdict.enforceable[name] == holds, (name, verdict.facts)
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", [rule.name for rule in STATIC_LIMITS])
def test_one_plan_and_a_table_of_plans_get_the_same_verdict(all_verdicts: list[Verdict], name: str) -> None:
    rule = RULES[name]
    assert isinstance(rule, LimitRule)
    for verdict in all_verdicts[::7]:
        facts = verdict.facts
        assert facts.values is not None
        table = PlanTable.of([facts.layout], [facts.batch], [facts.microbatch])
        assert rule.kept(facts.problem, table, facts.values)[0] == rule.holds(facts)


@pytest.mark.parametrize("name", [rule.name for rule in STATIC_STRUCTURE])
def test_a_violation_names_the_rule_and_the_numbers(all_verdicts: list[Verdict], name: str) -> None:
    rule = RULES[name]
    assert isinstance(rule, StructureRule)
    broken = next(verdict.facts for verdict in all_verdicts if not rule.holds(verdict.facts))
    message = rule.violation(broken)
    assert message.startswith(f"{name}: ")
    assert any(character.isdigit() for character in message)


def test_every_rule_has_a_sentence_for_people() -> None:
    every: tuple[StructureRule | LimitRule, ...] = (*STRUCTURE, *LIMITS)
    assert len({rule.name for rule in every}) == len(every)
    for rule in every:
        assert len(rule.sentence.split()) > 4


def test_a_rule_that_is_not_enforced_refuses_nothing(moe10b: Problem) -> None:
    problem = replace(small(moe10b), requirements=Requirements(ttft_s=1e-9, tpot_s=1e-9))
    candidates = candidates_for(problem, 8, 4, keep_refused=True)
    model = LayoutModel(problem, Tables(Machine(problem), candidates, 8, 4), 8, 4)
    literals = [model.cp.new_bool_var(name) for name in RULES]
    for rule, literal in zip(RULES.values(), literals, strict=True):
        rule.constrain(model, literal)
    solver = new_solver(0)
    model.cp.add_bool_and(literal.negated() for literal in literals)
    assert solver.solve(model.cp) == cp_model.OPTIMAL
