"""GPUs that a fleet is built from: what each costs, and how many are enough where there is no end of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from autoparallel.domain.fleet import (
    AGGREGATED,
    DECODE,
    JOULES_PER_REQUEST,
    PREFILL,
    USD_PER_HOUR,
    USD_PER_MILLION_TOKENS,
    WATTS,
    Pool,
)
from autoparallel.solver.fleet.kinds import Kind, PoolSize


def cost_of(pool: Pool, objective: str) -> float:
    """What a GPU of a pool counts in an objective: its price, its rated power, or one."""
    hardware = pool.hardware
    if objective in (USD_PER_HOUR, USD_PER_MILLION_TOKENS):
        return hardware.usd_per_gpu_hour or 0.0
    return (hardware.power_w or 0.0) if objective in (WATTS, JOULES_PER_REQUEST) else 1.0


def sizes_of(pools: Sequence[Pool], otherwise: int) -> tuple[PoolSize, ...]:
    """Pools as the model sees them, of ``otherwise`` GPUs where there is no end of them."""
    return tuple(PoolSize(pool.count or otherwise, pool.hardware.gpus_per_node) for pool in pools)


def enough(
    pools: Sequence[Pool],
    sizes: Sequence[PoolSize],
    kinds: Sequence[Kind],
    *,
    demand: float,
    objective: str,
    spare: int,
) -> tuple[PoolSize, ...]:
    """Pools without an end, cut to what the cheapest fleet can take of them.

    No fleet that is cheapest costs more than one of a single recipe. Of its nodes, all but one are more
    than half full: two others could be one.

    Parameters
    ----------
    spare : int
        Instances of a kind that a recipe has beyond the demand, to bear losses.
    """
    endless = [pool.count is None for pool in pools]
    costs = [cost_of(pool, objective) for pool in pools]
    dearest = min(_recipes(kinds, costs, endless, demand, spare), default=math.inf)
    if not math.isfinite(dearest):
        return tuple(sizes)
    found = []
    for size, cost, without_end in zip(sizes, costs, endless, strict=True):
        nodes = 2 * math.ceil(math.floor(dearest / cost + 1e-6) / size.node) + 1
        found.append(size._replace(gpus=nodes * size.node) if without_end else size)
    return tuple(found)


def _recipes(
    kinds: Sequence[Kind], costs: Sequence[float], endless: Sequence[bool], demand: float, spare: int
) -> Iterator[float]:
    """Costs of fleets of one aggregated kind, or of one pair, from pools without an end."""

    def cost(kind: Kind, rate: float) -> float:
        each = sum(part.gpus * costs[part.pool] for part in kind.parts)
        return (math.ceil(demand / rate) + spare) * each

    own = [kind for kind in kinds if all(endless[part.pool] for part in kind.parts)]
    yield from (cost(kind, kind.rates[0]) for kind in own if kind.role == AGGREGATED)
    for prefill in own:
        for decode in own:
            if (prefill.role, decode.role) == (PREFILL, DECODE) and prefill.rates[decode.receives] > 0.0:
                yield cost(prefill, prefill.rates[decode.receives]) + cost(decode, decode.rates[0])
