"""The layouts that a written plan can mean, where it contradicts itself or leaves degrees open.

Plans that people write multiply their degrees in different ways. Three readings of the words are
tried: the number of GPUs is right and degrees give way; the degrees are right, ``dp`` counting the data
parallel ranks of all instances; ``dp`` counts independent instances. For each the nearest layouts that
can be launched are found: those that change the fewest stated degrees by the smallest factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product

from autoparallel.audit.case import Reading, serving
from autoparallel.audit.written import WrittenPlan
from autoparallel.domain.layout import RING, TENSOR, ULYSSES, Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.problem_file.fields import MAX_GPUS
from autoparallel.solver.rules import Facts, violations

# Candidates of one degree, the nearest first: enough for any plan that has a meaning at all.
_NEAREST = 4
# An unstated degree that is not 1 is guessed at this share of what changing a stated one costs.
_GUESS = 0.5
_TIED = 3


def written_violations(problem: Problem, written: WrittenPlan) -> tuple[str, ...]:
    """What is wrong with the layout as it was written, in words; empty where it can be launched.

    A plan that leaves open how many data parallel ranks it has is wrong only where none would do.
    """
    if not _is_complete(written):
        nearest = readings(problem, written)
        if not nearest:
            return ("no layout near the written one can be launched",)
        return tuple(f"the nearest layout that can be launched has {it}" for it in nearest[0].changes)
    layout = _as_written(written)
    microbatch = written.microbatch or _slot(layout, written.batch)
    found = list(_broken(problem, layout, Pair(written.batch, microbatch, written.chunk)))
    claim = written.stated_gpus
    if claim and claim.stated and layout.gpus != claim.stated.low:
        cp = f" x cp {layout.cp}" if layout.cp > 1 else ""
        found.insert(
            0,
            f"GPUs: tp {layout.tp}{cp} x dp {layout.dp} x pp {layout.pp} x replicas {layout.replicas} = "
            f"{layout.gpus:,} GPUs, not the {claim.stated.low:,.0f} of claim {claim.number}",
        )
    return tuple(found)


def readings(problem: Problem, written: WrittenPlan) -> tuple[Reading, ...]:
    """The possible readings of a written plan, nearest to its words first; empty where there is none."""
    layout = _as_written(written)
    microbatch = written.microbatch or _slot(layout, written.batch)
    if _is_complete(written) and not written_violations(problem, written):
        sizes = Pair(written.batch, microbatch, written.chunk)
        return (Reading(name="as written", layout=layout, **sizes._asdict()),)
    found: dict[Layout, Reading] = {}
    for name, meaning in _meanings(written):
        for reading in _nearest(problem, written, name, meaning):
            found.setdefault(reading.layout, reading)
    # No layout has as many GPUs as are claimed: the claim is wrong of the one that is written.
    return tuple(found.values()) or tuple(_nearest(problem, written, *_FEWEST))


def _is_complete(written: WrittenPlan) -> bool:
    return not {"dp", "replicas"}.isdisjoint(written.degrees) or written.exact


def _as_written(written: WrittenPlan) -> Layout:
    """The stated degrees, with the experts sharded like attention where nothing is said of them."""
    degrees = {"etp": written.degrees.get("tp", 1), **written.degrees}
    return Layout(**degrees)


def _slot(layout: Layout, batch: int) -> int:
    """The largest microbatch that fills every pipeline stage and that dp divides, or dp."""
    sizes = [size for size in _divisors(batch) if size % layout.dp == 0 and batch // size >= layout.pp]
    return max(sizes, default=layout.dp)


def _broken(problem: Problem, layout: Layout, sizes: Pair) -> tuple[str, ...]:
    served = serving(problem, layout.replicas * sizes.batch)
    return violations(Facts(served, layout, sizes.batch, sizes.microbatch, chunk=sizes.chunk))


@dataclass(frozen=True)
class _Meaning:
    """How data parallel ranks and replicas follow from the rest, and what the stated dp counts."""

    splits: Callable[[Layout], Iterator[tuple[int, int]]]
    counted: Callable[[Layout], int]


def _meanings(written: WrittenPlan) -> Iterator[tuple[str, _Meaning]]:
    replicas = int(written.degrees.get("replicas", 1))
    # Whoever says how many instances there are has one data parallel rank in each, where no dp is said.
    dp = int(written.degrees.get("dp", "replicas" in written.degrees))
    claim = written.stated_gpus
    gpus = round(claim.stated.low) if claim and claim.stated else 0
    if 0 < gpus <= MAX_GPUS:
        yield f"{gpus:,} GPUs as stated", _Meaning(partial(_splits, gpus), lambda x: x.dp * x.replicas)
    if dp:
        ranks = partial(_ranks, dp * replicas)
        yield f"DP {dp} as data parallel ranks", _Meaning(ranks, lambda x: x.dp * x.replicas // replicas)
        instances = partial(_instances, dp * replicas)
        yield f"DP {dp} as independent instances", _Meaning(instances, lambda x: x.replicas // replicas)
    elif gpus <= 0:
        yield _FEWEST


def _ranks(ranks: int, _one: Layout) -> Iterator[tuple[int, int]]:
    """Pairs of dp and replicas that have ``ranks`` data parallel ranks in all."""
    for replicas in _near(_divisors(ranks), 1):
        yield ranks // replicas, replicas


def _instances(replicas: int, one: Layout) -> Iterator[tuple[int, int]]:
    """The smallest instances that hang together, ``replicas`` of them."""
    ranks = one.tp * one.cp
    yield math.lcm(ranks, one.ep * one.etp) // ranks, replicas


_FEWEST = ("the fewest GPUs that its degrees allow", _Meaning(partial(_instances, 1), lambda x: x.dp))


def _splits(gpus: int, one: Layout) -> Iterator[tuple[int, int]]:
    """Pairs of dp and replicas that make ``gpus``."""
    rest, left = divmod(gpus, one.gpus_per_instance)
    if not left:
        for replicas in _near(_divisors(rest), 1) + _near(_divisors(rest), rest):
            yield rest // replicas, replicas


def _nearest(problem: Problem, written: WrittenPlan, name: str, meaning: _Meaning) -> Iterator[Reading]:
    """The launchable layouts that change the stated degrees least, all of them where several tie."""
    priced = sorted(
        {
            (_cost(written, layout, meaning), layout)
            for one in _layouts(problem, written)
            for layout in _expanded(one, meaning)
        },
        key=lambda row: (row[0], row[1].sort_key),
    )
    best = math.inf
    shown = 0
    for cost, layout in priced:
        if cost > best + 1e-9 or shown == _TIED:
            return
        microbatch = _microbatch(problem, written, layout)
        if microbatch:
            best = cost
            shown += 1
            changes = tuple(_changes(written, layout, microbatch, meaning))
            yield Reading(
                name=_named(name, written, layout, changes),
                layout=layout,
                batch=written.batch,
                microbatch=microbatch,
                chunk=written.chunk,
                changes=changes,
            )


def _expanded(one: Layout, meaning: _Meaning) -> Iterator[Layout]:
    for dp, replicas in meaning.splits(one):
        yield replace(one, dp=dp, replicas=replicas)


def _layouts(problem: Problem, written: WrittenPlan) -> Iterator[Layout]:
    """Layouts near the written one, without dp and replicas."""
    model, stated = problem.model, written.degrees
    tp_stated, kind = int(stated.get("tp", 1)), stated.get("sp_kind")
    tps = _near(_divisors(model.num_attention_heads), tp_stated)
    layers = stated.get("layers")
    stages = _divisors(model.num_hidden_layers)
    pps = _near((*stages, len(layers)) if layers else stages, int(stated.get("pp", 1)))
    eps = _near(_divisors(model.routed_experts), int(stated.get("ep", 1)))
    etps = _near(_divisors(model.routed_width), int(stated.get("etp", tp_stated)))
    sp_stated = int(stated.get("sp", 1))
    for tp, pp, ep, etp in product(tps, pps, eps, etps):
        for sp, name in _sequence(sp_stated, kind, tp):
            own = layers if layers and len(layers) == pp else None
            yield Layout(tp=tp, sp=sp, sp_kind=name, pp=pp, ep=ep, etp=etp, layers=own)


def _sequence(sp: int, kind: int | str | None, tp: int) -> Iterator[tuple[int, str | None]]:
    if sp == 1:
        yield 1, None
    elif kind in (RING, ULYSSES):
        yield sp, str(kind)
        yield 1, None
    else:
        yield (tp, TENSOR) if tp > 1 else (1, None)


def _cost(written: WrittenPlan, layout: Layout, meaning: _Meaning) -> float:
    stated = written.degrees
    cost = 0.0
    for name in ("tp", "sp", "pp", "ep"):
        weight = 1.0 if name in stated else _GUESS
        cost += weight * abs(math.log2(getattr(layout, name) / int(stated.get(name, 1))))
    cost += abs(math.log2(layout.etp / int(stated.get("etp", stated.get("tp", 1)))))
    if "dp" in stated:
        cost += abs(math.log2(max(meaning.counted(layout), 1) / int(stated["dp"])))
    replicas = abs(math.log2(layout.replicas / int(stated.get("replicas", 1))))
    cost += replicas * (1.0 if "replicas" in stated else _GUESS)
    return round(cost, 9)


def _microbatch(problem: Problem, written: WrittenPlan, layout: Layout) -> int | None:
    """The microbatch nearest to the stated one with which the layout can be launched."""
    wanted = written.microbatch or _slot(layout, written.batch)
    sizes = [size for size in _divisors(written.batch) if size % layout.dp == 0]
    for size in _near(sizes, wanted)[:1]:
        if not _broken(problem, layout, Pair(written.batch, size, written.chunk)):
            return size
    return None


def _named(name: str, written: WrittenPlan, layout: Layout, changes: tuple[str, ...]) -> str:
    """The reading with what was guessed and what gave way, so that tied readings have different names."""
    guessed = [
        f"{key} {getattr(layout, key)}"
        for key in ("pp", "replicas")
        if "dp" not in written.degrees and key not in written.degrees and getattr(layout, key) > 1
    ]
    return ", ".join((name, *(["with " + " and ".join(guessed)] if guessed else []), *changes))


def _changes(written: WrittenPlan, layout: Layout, microbatch: int, meaning: _Meaning) -> Iterator[str]:
    now = {**layout.to_dict(), "dp": meaning.counted(layout)}
    for name in ("tp", "sp", "dp", "pp", "ep", "etp"):
        stated = written.degrees.get(name)
        if stated is not None and stated != now[name]:
            yield f"{name} {stated} -> {now[name]}"
    if written.microbatch not in (None, microbatch):
        yield f"microbatch {written.microbatch} -> {microbatch}"


@lru_cache(maxsize=1024)
def _divisors(number: int) -> tuple[int, ...]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return (*small, *(number // n for n in reversed(small) if n * n != number))


def _near(sizes: Iterable[int], wanted: int) -> list[int]:
    """The sizes nearest to the wanted one, by factor; the smaller of two first."""
    return sorted(sizes, key=lambda size: (abs(math.log(size / wanted)), size))[:_NEAREST]
