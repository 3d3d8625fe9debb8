"""Where a pipeline over two kinds of GPU is cut: what its stages hold, exactly.

A step is paced by the stage of each kind of GPU that has most layers, and the instance holds as many
sequences as the stage that holds fewest. Dynamic programming over where stages end finds, for every number of
layers that stages may have at most, the split whose fullest stage holds most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.capacity import stage_capacity
from autoparallel.performance.stages import Stage, stage_of

# Sequences: of a layout, a limit on a stage's layers, and a number of layers.
Held = npt.NDArray[np.int64]
# Room for this many times the sequences that may run: nobody is preempted, and more makes no difference.
AMPLE = 2


def stages_hold(machine: Machine, table: PlanTable, engine: EngineConstants, tokens: float) -> Held:
    """Sequences that a stage of the layers from one to another holds, (layouts, from, to).

    Parameters
    ----------
    tokens : float
        Of a sequence that is held, in the mean; a stage that has no room for the longest holds none.
    """
    model = machine.model
    count = model.num_hidden_layers
    most = AMPLE * engine.max_num_seqs * table.dp
    known: dict[Stage, Held] = {}
    found = np.zeros((len(table.tp), count + 1, count + 1), dtype=np.int64)
    for first in range(count):
        for last in range(first + 1, count + 1):
            stage = stage_of(model, first, last)
            if stage not in known:
                longest = stage_capacity(machine, table, stage, engine, machine.longest_sequence)
                fits = (longest.kv_bytes > 0.0) & (longest.sequences >= table.dp)
                mean = stage_capacity(machine, table, stage, engine, tokens).sequences
                known[stage] = np.where(fits, np.minimum(np.floor(mean), most), 0.0).astype(np.int64)
            found[:, first, last] = known[stage]
    return found


def from_first(held: Held, stages: int) -> list[Held]:
    """Sequences that the first so many stages hold, for 1 to ``stages`` of them.

    Parameters
    ----------
    held : Held
        Of a stage, (layouts, from, to).

    Returns
    -------
    list of Held
        The most that a split can hold, (layouts, most layers of a stage, layers of all of them).
    """
    layouts, size, _ = held.shape
    limits = np.arange(size)
    best = np.where(limits[:, None] >= limits, held[:, None, 0, :], 0)
    found = [best][:stages]
    for _ in range(stages - 1):
        more = np.zeros((layouts, size, size), dtype=np.int64)
        for layers in range(1, size):
            own = np.diagonal(held, layers, axis1=1, axis2=2)
            reached = np.minimum(best[:, layers:, :-layers], own[:, None, :])
            np.maximum(more[:, layers:, layers:], reached, out=more[:, layers:, layers:])
        best = more
        found.append(best)
    return found


def from_last(held: Held, stages: int) -> list[Held]:
    """The same of the last stages: by the layers that all of them have."""
    return from_first(_reversed(held), stages)


def first_layers(held: Held, tables: Sequence[Held], wanted: int, most: int, layers: int) -> tuple[int, ...]:
    """Layers of each of the first stages of one layout: as even as hold so many sequences.

    Parameters
    ----------
    held : Held
        Of one layout: (1, from, to).
    tables : sequence of Held
        As :func:`from_first` gives them for this layout; as many stages.
    wanted, most, layers : int
        Sequences, most layers of a stage, and layers of all stages.
    """
    found = []
    for stages in range(len(tables), 1, -1):
        even = round(layers / stages)
        sizes = (
            size
            for size in range(1, min(most, layers - 1) + 1)
            if min(held[0, layers - size, layers], tables[stages - 2][0, most, layers - size]) >= wanted
        )
        found.append(min(sizes, key=lambda size: (abs(size - even), size)))
        layers -= found[-1]
    return tuple(reversed([*found, layers]))


def last_layers(held: Held, tables: Sequence[Held], wanted: int, most: int, layers: int) -> tuple[int, ...]:
    """The same of the last stages, with the tables of :func:`from_last`."""
    return first_layers(_reversed(held), tables, wanted, most, layers)[::-1]


def _reversed(held: Held) -> Held:
    return np.swapaxes(held[:, ::-1, ::-1], 1, 2)
