r"""Instances whose pipeline starts on one kind of GPU and goes on with another.

Every stage is laid out alike, each kind of GPU runs its stages as :mod:`step` has it, and a step waits for
the slower kind: with step times :math:`d_1, d_2` that a pipeline would have if all of its stages were paced
by the fullest stage of one kind, :math:`d = \max(d_1, d_2)`, with prompts and without. What a stage holds
decides where its GPU's memory ends; the fewest sequences of any stage are the instance's.

Between the two kinds a hop goes over the links between nodes, at the pace of the slower side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.hops import Hops
from autoparallel.performance.machine import Machine
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.highest import Rows
from autoparallel.performance.serving.instances import Instances
from autoparallel.performance.serving.load import Load, ServingEstimates
from autoparallel.performance.serving.steady import (
    CHUNK,
    SteadyState,
    lengths_of,
    rows_of,
)
from autoparallel.performance.serving.step import Leg, Span, StepTimes
from autoparallel.performance.serving.step_costs import StepCosts, StepModel, Steps

Array = npt.NDArray[np.float64]


class JointSteps:
    """Step costs of pipelines over several kinds of GPU: the slowest sets the pace of every step."""

    def __init__(self, parts: Sequence[StepModel]) -> None:
        self.parts, first = parts, parts[0]
        self.engine, self.lengths, self.pp, self.dp = first.engine, first.lengths, first.pp, first.dp
        self.prompt_attention_s = _most([part.prompt_attention_s for part in parts])
        self.most_decoding, self.prompt_scv = first.most_decoding, first.prompt_scv
        self.room, self.yielded = first.room, first.yielded

    def at(self, running: Quantity, again: Quantity = 0.0) -> StepCosts:
        """Step costs with ``running`` sequences in an instance, ``again`` tokens a request computed twice."""
        every = [part.steps(running, again) for part in self.parts]
        return self.parts[0].costs(Steps(*(_most(times) for times in zip(*every, strict=True))))

    def together_s(self, prompts: Quantity) -> Quantity:
        """Time per prompt where nothing decodes and ``prompts`` share a step. [s]"""
        return _most([part.together_s(prompts) for part in self.parts])


def _most(values: Sequence[Quantity]) -> Quantity:
    return reduce(np.maximum, values)


class Cuts(NamedTuple):
    """Of each pipeline, what its layers over the stages come to; the first kind of GPU, then the second.

    Attributes
    ----------
    stages : tuple of Array
        Stages on each. [1]
    most_layers : tuple of Array
        Layers of the stage on each that has most. [1]
    sequences : Array
        That every stage holds, in the mean; 0 where one does not hold the longest. [1]
    """

    stages: tuple[Array, Array]
    most_layers: tuple[Array, Array]
    sequences: Array


class UnlikeStages(Instances):
    """Pipelines over two kinds of GPU, each driven by its share of an open load.

    Parameters
    ----------
    machines : tuple of Machine
        Of the first stages and of the last.
    engine : EngineConstants
        The engine's own constants.
    table : PlanTable
        Layouts; ``pp`` counts the stages on both.
    cuts : Cuts
        How each is cut.
    """

    def __init__(
        self, machines: tuple[Machine, Machine], engine: EngineConstants, table: PlanTable, cuts: Cuts
    ) -> None:
        super().__init__(machines[0], engine, table)
        self.machines, self.cuts = machines, cuts

    def holds(self, tokens: float) -> npt.NDArray[np.bool_]:
        """Whether a pipeline holds its longest sequence."""
        return self.cuts.sequences > 0.0

    def rank_tokens(self) -> Array:
        """Room of a data parallel rank's KV cache, by the stage that holds least. [tokens]"""
        held = np.asarray(self.lengths.held(self.engine))
        return np.asarray(self.cuts.sequences * held / self.table.dp)

    def serve(self, rows: Rows, load: Load) -> ServingEstimates:
        """The steady state of some pipelines."""
        columns = np.full((len(ServingEstimates._fields), len(rows)), np.nan)
        stages = np.stack(self.cuts.stages)[:, rows]
        for pair in np.unique(stages, axis=1).T:
            alike = np.flatnonzero((stages == pair[:, None]).all(axis=0))
            for start in range(0, len(alike), CHUNK):
                chunk = alike[start : start + CHUNK]
                own = rows_of(load, chunk, len(rows))
                state = self._state(rows[chunk], (int(pair[0]), int(pair[1])), own)
                for column, values in zip(columns, state.estimates(), strict=True):
                    column[chunk] = values
        return ServingEstimates(*columns)

    def _state(self, rows: Rows, stages: tuple[int, int], load: Load) -> SteadyState:
        table, lengths, route = (
            self.table.rows(rows),
            lengths_of(load, self.engine),
            self._route(rows, stages),
        )
        parts = []
        for machine, most in zip(self.machines, self.cuts.most_layers, strict=True):
            times = StepTimes(machine, table, Span(sum(stages), most[rows], route), self.engine)
            parts.append(StepModel(times, self.engine, table, lengths))
        return SteadyState(JointSteps(parts), self.cuts.sequences[rows], table, load)

    def _route(self, rows: Rows, stages: tuple[int, int]) -> tuple[Leg, ...]:
        attention, _ = self.table.rows(rows).split()
        own = [
            Leg((machine.fabric,), machine.placement.hops(some, attention.gpus_per_stage))
            for machine, some in zip(self.machines, stages, strict=True)
        ]
        return (*own, Leg(tuple(machine.fabric for machine in self.machines), Hops(2, together=1)))
