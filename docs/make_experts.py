"""Writes docs/experts.md: placements against the greedy way of engines, by exponent, ranks and copies.

python docs/make_experts.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import StrictUndefined, Template

from autoparallel.domain import Layout
from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.expert_copies import rank_loads
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Machine
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.expert_loads_section import zipf_shares
from autoparallel.problem_file.schema import ExpertLoadsSection
from autoparallel.solver.placement.model import place_experts, with_balance

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
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


def reads() -> Iterator[str]:
    """Steps of one layer on 16 ranks: what the rank that reads most reads, and how long the experts take."""
    problem = load_problem(PROBLEM)
    model, topk = problem.model, problem.model.num_experts_per_tok
    shares = zipf_shares(
        replace(model, mlp_layer_types=("sparse",)), ExpertLoadsSection(kind="zipf", exponent=1.0, seed=0)
    )
    loads = ExpertLoads(source="zipf", layers=(0,), shares=shares)
    for copies in (0, 32):
        group = ExpertGroup(16, GPUS_PER_NODE, copies)
        placement = place_experts(loads, topk, group)
        known = replace(problem, workload=replace(problem.workload, expert_loads=loads))
        layout = Layout(dp=16, ep=16, redundant_experts=copies)
        table = PlanTable.of([layout], [16], [16])
        part = ExpertPart(Machine(with_balance(known, placement.balance)), table.split()[1])
        for tokens in (4, 16, 64, 256, 1024, 4096):
            yield _read_row(part, np.array(shares[0]), np.array(placement.layers[0].slots), tokens)


def _read_row(part: ExpertPart, shares: Array, slots: Ints, tokens: int) -> str:
    if part.balance is None:
        raise ValueError("the loads of experts are not known")
    topk, spread = part.machine.model.num_experts_per_tok, part.balance.spread
    pairs, read = _drawn(topk * shares, slots, tokens)

    def time_s(load: Array, touched: Array) -> Array:
        over = load * len(slots) / (tokens * topk)
        return np.asarray(part.of_rank(tokens, over, touched, spread).time_s)

    modelled = np.squeeze(part.slowest(tokens, spread).time_s)
    by_mean = time_s(pairs.mean(axis=0).max(), read.mean()).max() / modelled
    slowest = time_s(pairs.mean(axis=0), read.mean(axis=0)).max() / modelled
    by_step = time_s(pairs, read).max(axis=1).mean() / modelled
    cells = (
        slots.size - len(shares), tokens, f"{read.mean():.2f}", f"{read.mean(axis=0).max():.2f}",
        f"{np.squeeze(part.balance.reads.of_most(tokens)):.2f}", f"{modelled * 1e6:.0f}",
        f"{by_mean:.3f}", f"{slowest:.3f}", f"{by_step:.3f}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _drawn(used: Array, slots: Ints, tokens: int) -> tuple[Array, Array]:
    """Pairs and different slots of every rank in drawn steps: steps by ranks."""
    dice = np.random.default_rng(0)
    rank = np.repeat(np.arange(len(slots)), slots.shape[1])
    copies = [np.flatnonzero(slots.ravel() == expert) for expert in range(len(used))]
    where = np.array([np.resize(each, max(map(len, copies))) for each in copies])
    many = np.array([len(each) for each in copies])
    pairs, read = [], []
    for _ in range(max(20_000 // tokens, 20)):
        # Systematic sampling: different experts for a token, each with its own probability.
        order = dice.permuted(np.tile(np.arange(len(used)), (tokens, 1)), axis=1)
        ends = np.cumsum(used[order], axis=1) + dice.uniform(size=(tokens, 1))
        chosen = order[np.diff(np.floor(ends), axis=1, prepend=0.0) > 0]
        slot = where[chosen, dice.integers(many[chosen])]
        pairs.append(np.bincount(rank[slot], minlength=len(slots)))
        read.append(np.bincount(rank[np.unique(slot)], minlength=len(slots)))
    return np.array(pairs, dtype=float), np.array(read, dtype=float)


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
    text = template.render(rows=list(rows()), times=list(times()), reads=list(reads()), plans=list(plans()))
    (DOCS / "experts.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
