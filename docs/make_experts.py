"""Writes docs/experts.md: placements against the greedy way of engines, by exponent, ranks and copies.

python docs/make_experts.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jinja2 import StrictUndefined, Template

from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads
from autoparallel.performance.expert_copies import rank_loads
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.expert_loads_section import zipf_shares
from autoparallel.problem_file.schema import ExpertLoadsSection
from autoparallel.solver.placement.model import place_experts

DOCS = Path(__file__).resolve().parent
PROBLEM = DOCS.parent / "problems" / "deepseek-v3-zipf-64xh200.toml"
EXPONENTS, RANKS, COPIES = (0.6, 1.0, 1.4), (8, 16, 32, 64), (0, 32, 64)
GPUS_PER_NODE = 8


def rows() -> Iterator[str]:
    """One line a case: one layer of DeepSeek-V3's 256 experts, 8 a token, by Zipf's law."""
    model = replace(load_problem(PROBLEM).model, mlp_layer_types=("sparse",))
    for exponent in EXPONENTS:
        law = ExpertLoadsSection(kind="zipf", exponent=exponent, seed=0)
        loads = ExpertLoads(source="zipf", layers=(0,), shares=zipf_shares(model, law))
        for ep in RANKS:
            for copies in COPIES:
                if (model.num_experts + copies) % ep == 0:
                    yield _row(exponent, loads, ExpertGroup(ep, min(ep, GPUS_PER_NODE), copies))


def _row(exponent: float, loads: ExpertLoads, group: ExpertGroup) -> str:
    layer = place_experts(loads, 8, group).layers[0]
    shares = np.array(loads.shares[0])
    in_turn = (np.arange(len(shares) + group.redundant) % len(shares)).reshape(group.ep, -1)
    own_order = rank_loads(shares, in_turn).max() * group.ep
    cells = (
        f"{exponent:g}", group.ep, group.redundant, f"{own_order:.2f}", f"{layer.greedy_imbalance:.4f}",
        f"{layer.imbalance:.4f}", f"{layer.bound:.4f}", f"{layer.gap:.2%}",
        f"{layer.greedy_nodes_per_token:.3f}", f"{layer.nodes_per_token:.3f}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def times() -> Iterator[str]:
    """58 layers whose exponents differ and whose loads were counted over two million choices."""
    dice = np.random.default_rng(1)
    model = replace(load_problem(PROBLEM).model, mlp_layer_types=("sparse",))
    shares = []
    for layer in range(58):
        law = ExpertLoadsSection(kind="zipf", exponent=float(dice.uniform(0.5, 1.3)), seed=layer)
        counted = dice.multinomial(2_000_000, zipf_shares(model, law)[0]) / 2_000_000
        counted = np.minimum(counted, 1 / 8)
        shares.append(tuple((counted / counted.sum()).tolist()))
    loads = ExpertLoads(source="counted", layers=tuple(range(58)), shares=tuple(shares))
    for ep, copies in ((8, 0), (16, 32), (32, 32), (64, 64), (64, 0)):
        started = time.process_time()
        found = place_experts(loads, 8, ExpertGroup(ep, GPUS_PER_NODE, copies))
        took_s = time.process_time() - started
        greedy = np.mean([layer.greedy_imbalance for layer in found.layers])
        yield (
            f"| {ep} | {copies} | {greedy:.4f} | {found.balance.imbalance:.4f} | "
            f"{found.proven} | {max(layer.gap for layer in found.layers):.2%} | {took_s:.0f} |"
        )


def plans() -> Iterator[str]:
    """The bundled problem as it is, without copies, and with loads taken as even."""
    problem = load_problem(PROBLEM)
    alone = replace(problem, search=replace(problem.search, redundant_experts=(0,)))
    even = replace(alone, workload=replace(problem.workload, expert_loads=None))
    named = (("taken as even", even), ("Zipf, no copies", alone), ("Zipf, copies allowed", problem))
    for name, each in named:
        result = search(each)
        best, copies = result.best, result.best.layout.redundant_experts
        loads = result.problem.workload.expert_loads
        known = next((b.imbalance for b in loads.balances if b.ep == best.layout.ep), 1.0) if loads else 1.0
        cells = (
            name, best.layout.ep, best.layout.pp, best.layout.replicas, copies, f"{known:.3f}",
            f"{best.metrics.total_tokens_per_ms_per_gpu:.3f}",
        )  # fmt: skip
        yield "| " + " | ".join(map(str, cells)) + " |"
        if result.balanced_choice is not None and copies:
            other = result.balanced_choice
            missed = ", ".join(name for name, kept in other.meets.items() if not kept)
            reached = f"{other.metrics.total_tokens_per_ms_per_gpu:.3f}"
            cells = (
                "Zipf, the plan for even loads", other.layout.ep, other.layout.pp, other.layout.replicas,
                0, "", f"{reached}, misses {missed}" if missed else reached,
            )  # fmt: skip
            yield "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Fill the template."""
    template = Template(
        (DOCS / "experts.md.jinja").read_text(encoding="utf-8"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    text = template.render(rows=list(rows()), times=list(times()), plans=list(plans()))
    (DOCS / "experts.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
