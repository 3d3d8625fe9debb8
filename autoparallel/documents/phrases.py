"""Turns of phrase that several sections share."""

from __future__ import annotations

from collections.abc import Sequence

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.rank_map import RankMap
from autoparallel.report.requirement_rows import requirement_rows
from autoparallel.report.wording import (
    NONE,
    brief,
    count,
    gigabytes,
    given,
    number,
    percent,
    rule_label,
    seconds,
)

DIMENSIONS = {
    "tp": "tensor parallel",
    "sp": "sequence parallel",
    "ep": "expert parallel",
    "pp": "pipeline",
    "dp": "data parallel",
}
SAME = 0.0005


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words as a sentence has them.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def change(now: float, then: float) -> str:
    """How much larger or smaller ``then`` is than ``now``.

    Examples
    --------
    >>> change(10, 11), change(10, 8), change(10, 10.001), change(10, 45)
    ('+10 %', '−20 %', 'the same', '4.5 times')
    """
    if not now:
        return "the same" if not then else "new"
    ratio = then / now
    if abs(ratio - 1) < SAME:
        return "the same"
    if ratio >= 2:
        return f"{number(ratio, 2)} times"
    # Shares of a percent are written with a digit after the point.
    sign = "+" if ratio > 1 else "−"
    return f"{sign}{percent(abs(ratio - 1))}"


def with_change(text: str, now: float, then: float) -> str:
    """A value and its change in parentheses; the value alone where nothing changes."""
    changed = change(now, then)
    return text if changed == "the same" else f"{text} ({changed})"


def ranks(numbers: Sequence[int], most: int = 16) -> str:
    """Ranks as people write them: a run as its ends, others one by one.

    Examples
    --------
    >>> ranks([3]), ranks([0, 1, 2, 3]), ranks([0, 2, 4]), ranks(range(0, 40, 2), most=4)
    ('3', '0–3', '0 2 4', '0 2 4 … 38')
    """
    if len(numbers) == 1:
        return str(numbers[0])
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2:
        return f"{numbers[0]}–{numbers[-1]}"
    shown = [str(rank) for rank in numbers]
    if len(shown) > most:
        shown = [*shown[: most - 1], "…", shown[-1]]
    return " ".join(shown)


def span(held: range) -> str:
    """Layers or experts as people write them.

    Examples
    --------
    >>> span(range(4)), span(range(7, 8)), span(range(2, 4))
    ('0–3', '7', '2 3')
    """
    return ranks(list(held))


def missed_labels(plan: Plan) -> tuple[str, ...]:
    """Requirements and capacities that a plan misses, in words that stand inside a sentence."""
    return tuple(short_label(name) for name, met in plan.meets.items() if not met)


def short_label(rule: str) -> str:
    """A rule in words that stand inside a sentence, without its unit.

    Examples
    --------
    >>> short_label("throughput_tokens_per_ms_per_gpu"), short_label("max_gpus")
    ('throughput', 'GPUs of the deployment')
    """
    return in_sentence(rule_label(rule).split(",")[0])


def in_sentence(label: str) -> str:
    """A label with a small first letter, abbreviations left alone.

    Examples
    --------
    >>> in_sentence("Time to first token"), in_sentence("GPUs of the deployment")
    ('time to first token', 'GPUs of the deployment')
    """
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def verdict(plan: Plan) -> str:
    """Whether a plan keeps every limit, in a cell."""
    missed = missed_labels(plan)
    return f"misses {listed(missed)}" if missed else "keeps all"


def misses(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What a plan misses, each with what it reaches and what was asked."""
    return tuple(
        f"{short_label(row.name)} ({row.shown}, "
        f"{'at most' if row.at_most else 'at least'} {given(row.limit, row.unit)} asked)"
        for row in requirement_rows(problem, plan)
        if not row.met
    )


def throughput_of(problem: Problem, plan: Plan) -> float:
    """Throughput of the phase that the requirements name. [tokens/ms/GPU]"""
    value: float = getattr(plan.metrics, f"{problem.requirements.throughput_phase}_tokens_per_ms_per_gpu")
    return value


def cells(now: Plan, plan: Plan, problem: Problem) -> tuple[str, ...]:
    """GPUs, TTFT, TPOT, throughput and memory of a plan, each with its change from another."""
    then, before = plan.metrics, now.metrics
    throughput = throughput_of(problem, plan)
    return (
        f"{plan.gpus:,}",
        with_change(seconds(then.ttft_s), before.ttft_s, then.ttft_s),
        with_change(seconds(then.tpot_s), before.tpot_s, then.tpot_s),
        with_change(number(throughput), throughput_of(problem, now), throughput),
        with_change(gigabytes(plan.memory.total_bytes), now.memory.total_bytes, plan.memory.total_bytes),
    )


def columns(problem: Problem) -> tuple[str, ...]:
    """What :func:`cells` fills."""
    phase = problem.requirements.throughput_phase
    return ("GPUs", "TTFT", "TPOT", f"Tokens/ms/GPU, {phase}", "Memory")


def laid_out(plan: Plan) -> str:
    """A layout and its GPUs."""
    return "a single GPU" if plan.gpus == 1 else f"{brief(plan.layout)} on {count(plan.gpus, 'GPU')}"


def microbatches(amount: int) -> str:
    """How many microbatches."""
    return "1 microbatch" if amount == 1 else f"{amount:,} microbatches"


def flops(value: float) -> str:
    """Arithmetic with the unit that suits it.

    Examples
    --------
    >>> flops(8.25e14), flops(1.68e7), flops(0.0)
    ('825 TFLOP', '16.8 MFLOP', '–')
    """
    for scale, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1.0, "FLOP")):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return NONE


def link_of(placed: RankMap, groups: Sequence[Sequence[int]]) -> str:
    """Which link groups of ranks use: inside a node, or between nodes."""
    nodes = {gpu.rank: gpu.node for gpu in placed.gpus}
    crossing = any(len({nodes[rank] for rank in group}) > 1 for group in groups)
    return "between nodes" if crossing else "inside a node"


def data(value: float) -> str:
    """Bytes with the unit that suits them.

    Examples
    --------
    >>> data(335544320.0), data(1.5e9), data(2048.0), data(12.0)
    ('336 MB', '1.50 GB', '2.05 kB', '12 B')
    """
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{value:.0f} B"


def slot_name(plan: Plan) -> str:
    """What an instance works on at once, besides a batch: continuous batching knows no microbatch."""
    return "microbatch" if plan.serving is None else "chunk"


def slot_size(plan: Plan) -> int:
    """Sequences of a microbatch, or tokens of a step of a data parallel rank."""
    return plan.microbatch if plan.pair.chunk is None else plan.pair.chunk


def share_of_rank(plan: Plan) -> str:
    """What a data parallel rank has of the sequences."""
    share = count(plan.microbatch // plan.layout.dp, "sequence")
    return f"{share} of a microbatch" if plan.serving is None else f"at most {share} in service"
