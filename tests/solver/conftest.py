"""Brute force over every layout, and problems small enough for it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from autoparallel.domain import (
    Hardware,
    Layout,
    Lengths,
    Link,
    Model,
    Problem,
    Requirements,
    SearchSpace,
    Workload,
)
from autoparallel.pareto import Objectives
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, estimate
from autoparallel.performance.machine import Machine
from autoparallel.solver import starts
from autoparallel.solver.rules import LIMITS, STRUCTURE, Facts, violations

# Rules that a degree has to keep whatever the other degrees are.
ALONE = {
    "tp": ("heads", "ffn_width"),
    "dp": ("microbatch",),
    "pp": ("layers",),
    "ep": ("experts",),
    "etp": ("ffn_width",),
}
RULES = {rule.name: rule for rule in STRUCTURE}


class Plans(NamedTuple):
    """Every layout of a batch and microbatch that can be launched, and which keep all limits."""

    layouts: tuple[Layout, ...]
    table: PlanTable
    values: Estimates
    feasible: npt.NDArray[np.bool_]

    @property
    def objectives(self) -> npt.NDArray[np.float64]:
        """GPUs, throughput and TTFT of the plans that keep all limits."""
        values = self.values
        columns = (values.gpus, values.total_tokens_per_ms_per_gpu, values.ttft_s)
        return np.stack([column[self.feasible] for column in columns], axis=1)


class BruteForce:
    """Looks at every combination of degrees; of the solver's code it uses the plain rules alone."""

    def plans(self, problem: Problem, batch: int, microbatch: int) -> Plans:
        layouts = tuple(self.layouts(problem, batch, microbatch))
        if problem.search.optimal_stages:
            layers = problem.model.num_hidden_layers
            layouts = tuple(
                replace(layout, layers=split)
                for layout in layouts
                for split in self.splits(layers, layout.pp)
            )
        return self.rated(problem, layouts, batch, microbatch)

    @staticmethod
    def rated(problem: Problem, layouts: Sequence[Layout], batch: int, microbatch: int) -> Plans:
        """Given layouts, rated by the performance core."""
        table = PlanTable.of(layouts, [batch] * len(layouts), [microbatch] * len(layouts))
        values = estimate(Machine(problem), table)
        feasible = np.ones(len(layouts), dtype=bool)
        for rule in LIMITS:
            feasible &= rule.kept(problem, table, values)
        return Plans(tuple(layouts), table, values, feasible)

    def layouts(self, problem: Problem, batch: int, microbatch: int) -> Iterator[Layout]:
        replicas = problem.replicas_for(batch)
        largest = problem.max_gpus // replicas
        degrees = {name: list(self._alone(problem, name, largest, batch, microbatch)) for name in ALONE}
        for tp, (kind, sp), dp in product(degrees["tp"], self._sequence_parallel(problem), degrees["dp"]):
            size = Layout(tp=tp, sp=sp, sp_kind=kind, dp=dp).gpus_per_stage
            for ep, etp in product(degrees["ep"], degrees["etp"]):
                if size > largest or size % (ep * etp):
                    continue
                for pp in degrees["pp"]:
                    layout = Layout(
                        tp=tp, sp=sp, sp_kind=kind, dp=dp, pp=pp, ep=ep, etp=etp, replicas=replicas
                    )
                    facts = Facts(problem, layout, batch, microbatch)
                    if layout.gpus <= problem.max_gpus and not violations(facts):
                        yield layout

    @staticmethod
    def splits(layers: int, stages: int) -> list[tuple[int, ...]]:
        """Every way to cut layers into so many stages that follow each other."""
        cuts = combinations(range(1, layers), stages - 1)
        return [tuple(b - a for a, b in pairwise((0, *inner, layers))) for inner in cuts]

    @staticmethod
    def _alone(problem: Problem, name: str, largest: int, batch: int, microbatch: int) -> Iterator[int]:
        layers = problem.model.num_hidden_layers
        for degree in getattr(problem.search, name) or range(1, largest + 1):
            alone: dict[str, Any] = {name: degree}
            facts = Facts(problem, replace(Layout(), **alone), batch, microbatch)
            # By default the numbers of stages are the divisors of the layers, and powers of two.
            usual = name != "pp" or problem.search.pp or layers % degree == 0 or degree.bit_count() == 1
            if usual and all(RULES[rule].holds(facts) for rule in ALONE[name]):
                yield degree

    @staticmethod
    def _sequence_parallel(problem: Problem) -> list[tuple[str | None, int]]:
        heads, search = problem.model.num_attention_heads, problem.search
        degrees = search.sp or [degree for degree in range(1, heads + 1) if heads % degree == 0]
        kinds = [(kind, degree) for kind in search.sp_kind for degree in degrees if degree > 1]
        return [(None, 1), *kinds] if 1 in degrees else list(kinds)

    @staticmethod
    def front(objectives: npt.NDArray[np.float64], resolution: float = 1e-9) -> npt.NDArray[np.float64]:
        """The non-dominated rows of (GPUs, throughput, TTFT), each once, sorted."""
        costs = objectives * np.array([1.0, -1.0, 1.0])
        rest = costs[np.lexsort(costs.T[::-1])]
        kept = []
        # The first in the order of all costs is beaten by none; what it beats or equals goes.
        while len(rest):
            first = rest[0]
            kept.append(first * np.array([1.0, -1.0, 1.0]))
            rest = rest[~(first <= rest + resolution * np.abs(rest)).all(axis=1)]
        return np.array(sorted(map(tuple, kept))).reshape(-1, 3)


@pytest.fixture(scope="session")
def brute_force() -> BruteForce:
    """The optimum and the front by looking at every layout."""
    return BruteForce()


@pytest.fixture(scope="session")
def as_rows() -> Callable[[list[Objectives]], npt.NDArray[np.float64]]:
    """Objectives as sorted rows, to compare fronts with."""

    def rows(objectives: list[Objectives]) -> npt.NDArray[np.float64]:
        return np.array(sorted(tuple(row) for row in objectives)).reshape(-1, 3)

    return rows


def moe10b_problem() -> Problem:
    """The MoE-10B problem, as problems/moe10b.toml has it."""
    model = _model(layers=16, heads=16, kv_heads=16, experts=16, vocabulary=32000)
    model = replace(model, declared_parameters=10e9, parameter_basis="declared")
    return Problem(
        name="moe10b",
        model=model,
        hardware=_card(memory_gb=64, gpus_per_node=8),
        workload=Workload(
            concurrency=128,
            prompt_tokens=Lengths(kind="uniform", min=128, max=10240),
            output_tokens=Lengths.fixed(128),
        ),
        requirements=Requirements(ttft_s=10.0, throughput_tokens_per_ms_per_gpu=15.0),
        search=SearchSpace(even_stages=True, prefer=("gpus", "throughput", "ttft_s")),
    )


@pytest.fixture(scope="session")
def moe10b() -> Problem:
    """The MoE-10B problem."""
    return moe10b_problem()


def _card(*, memory_gb: float, gpus_per_node: int) -> Hardware:
    return Hardware(
        name="card",
        memory_gb=memory_gb,
        memory_bandwidth_gb_per_s=1800,
        peak_tflops={"float16": 400},
        gpus_per_node=gpus_per_node,
        scale_up=Link(bandwidth_gb_per_s=450, latency_us=5, efficiency=0.7),
        scale_out=Link(bandwidth_gb_per_s=50, latency_us=10, efficiency=0.7),
    )


def _model(*, layers: int, heads: int, kv_heads: int, experts: int, vocabulary: int = 0) -> Model:
    kinds = ("weights", "expert_weights", "attention_weights", "kv_cache", "activation")
    dtypes: dict[str, Any] = {f"{kind}_dtype": "float16" for kind in kinds}
    return Model(
        name="model",
        num_hidden_layers=layers,
        hidden_size=512,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=32,
        layer_types=("full_attention",) * layers,
        mlp_layer_types=("sparse" if experts else "dense",) * layers,
        intermediate_size=0 if experts else 2048,
        vocab_size=vocabulary,
        num_experts=experts,
        num_experts_per_tok=min(2, experts),
        moe_intermediate_size=1024 if experts else 0,
        embedding_dtype="float16",
        **dtypes,
    )


def _random_model(dice: random.Random) -> Model:
    """Dense or with experts, grouped or latent attention, mixed layers, windows."""
    heads = dice.choice([4, 6, 8, 12, 16, 20])
    kv_heads = dice.choice([n for n in range(1, heads + 1) if heads % n == 0])
    layers = dice.choice([1, 2, 3, 5, 6, 8, 12, 13])
    experts = dice.choice([0, 0, 4, 6, 8, 15, 16])
    model = _model(
        layers=layers, heads=heads, kv_heads=kv_heads, experts=experts, vocabulary=dice.choice([0, 1000])
    )
    model = replace(model, hidden_size=dice.choice([256, 512, 1024]), tie_word_embeddings=dice.random() < 0.3)
    if experts:
        per_token = dice.choice([1, 2, min(4, experts)])
        model = replace(
            model, num_experts_per_tok=per_token, moe_intermediate_size=dice.choice([256, 384, 1024])
        )
        if layers > 2 and dice.random() < 0.5:
            dense = dice.randrange(1, layers)
            kinds = ("dense",) * dense + ("sparse",) * (layers - dense)
            model = replace(model, mlp_layer_types=kinds, intermediate_size=1536)
        if dice.random() < 0.3:
            model = replace(model, shared_expert_intermediate_size=256)
    if dice.random() < 0.3:
        window = ("full_attention", "sliding_attention") * layers
        model = replace(model, layer_types=window[:layers], sliding_window=dice.choice([64, 256]))
    elif dice.random() < 0.2:
        latent: dict[str, Any] = {
            "kv_lora_rank": 64,
            "qk_nope_head_dim": 32,
            "qk_rope_head_dim": 16,
            "v_head_dim": 32,
        }
        model = replace(model, **latent, q_lora_rank=dice.choice([0, 96]))
    return model


def random_problem(seed: int) -> Problem:
    """A small problem without requirements."""
    dice = random.Random(seed)
    card = _card(memory_gb=dice.choice([1.0, 4.0, 64.0]), gpus_per_node=dice.choice([2, 4, 8]))
    low = dice.choice([1, 16, 128])
    concurrency = dice.choice([1, 4, 6, 7, 12, 16, 24, None])
    return Problem(
        name=f"random {seed}",
        model=_random_model(dice),
        hardware=replace(card, reserved_gb=dice.choice([0.0, 0.2])),
        workload=Workload(
            concurrency=concurrency,
            prompt_tokens=Lengths(kind="uniform", min=low, max=dice.choice([128, 700, 2048])),
            output_tokens=dice.choice(
                [Lengths.fixed(1), Lengths.fixed(64), Lengths(kind="uniform", min=1, max=100)]
            ),
            expert_imbalance=dice.choice([1.0, 1.3]),
        ),
        search=SearchSpace(
            even_stages=dice.random() < 0.4,
            max_gpus=dice.choice([8, 24, 32, 64]),
            replicas=dice.choice([None, None, None, 2]),
            batch=(2, 4, 6) if concurrency is None else None,
        ),
    )


def bind(problem: Problem, plans: Plans, dice: random.Random) -> Problem:
    """Set requirements equal to what some of the problem's plans reach, where rounding is at its worst."""
    if not len(plans.layouts):
        return problem

    def some(column: npt.NDArray[np.float64]) -> float:
        return float(np.quantile(column, dice.choice([0.3, 0.6, 0.9]), method="nearest"))

    phase = dice.choice(["prefill", "decode", "total"])
    column: npt.NDArray[np.float64] = getattr(plans.values, f"{phase}_tokens_per_ms_per_gpu")
    limits: dict[str, Any] = {
        "ttft_s": some(plans.values.ttft_s),
        "tpot_s": some(plans.values.tpot_s),
        "throughput_tokens_per_ms_per_gpu": float(np.quantile(column, 0.3, method="nearest")),
        "max_gpus": math.ceil(some(plans.values.gpus)),
    }
    chosen = {name: value for name, value in limits.items() if dice.random() < 0.5}
    memory_gb = some(plans.values.memory_bytes) / 1e9
    hardware = replace(problem.hardware, memory_gb=memory_gb) if dice.random() < 0.5 else problem.hardware
    requirements = Requirements(throughput_phase=phase, **chosen)
    return replace(problem, hardware=hardware, requirements=requirements)


@pytest.fixture(scope="session")
def bound_problem(brute_force: BruteForce) -> Callable[[int, tuple[int, int]], Problem]:
    """A random problem whose requirements bind for a batch and microbatch."""

    def make(seed: int, pair: tuple[int, int]) -> Problem:
        problem = random_problem(seed)
        return bind(problem, brute_force.plans(problem, *pair[:2]), random.Random(seed))

    return make


@pytest.fixture(scope="session", name="random_problem")
def random_problem_fixture() -> Callable[[int], Problem]:
    """A small problem from a seed."""
    return random_problem


@pytest.fixture(scope="session")
def bind_problem(brute_force: BruteForce) -> Callable[[Problem, tuple[int, int], int], Problem]:
    """A problem with requirements that bind for a batch and microbatch."""

    def make(problem: Problem, pair: tuple[int, int], seed: int) -> Problem:
        return bind(problem, brute_force.plans(problem, *pair), random.Random(seed))

    return make


@pytest.fixture
def solves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan is known before the solves: the solver has to find every one."""
    monkeypatch.setattr(starts, "MOST_RATED", 0)
