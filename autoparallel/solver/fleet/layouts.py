"""Every layout of one instance that can be launched, and the GPUs that it keeps from others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import OPEN
from autoparallel.performance.degrees import PlanTable
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.landscape import launchable
from autoparallel.solver.rules.engine import RULE

# Data parallel degrees are divisors of this times a power of two: all up to 10, and what nodes are made of.
COMMON = 5040
# What this rule says of rows, and not of candidates, is about nodes.
PLACEMENT = RULE.name


def instance_layouts(problem: Problem, largest: int, *, on_nodes: bool = True) -> PlanTable:
    """Layouts of an instance of at most ``largest`` GPUs that no rule refuses.

    Without ``on_nodes`` an engine's rule of what lies on which nodes is left to the caller.

    An engine that batches continuously has no batch: any number that every data parallel degree divides
    stands for it.
    """
    power = 1 << max(largest - 1, 0).bit_length()
    sequences = math.lcm(COMMON, power, *(problem.search.dp or ()))
    alone = replace(
        problem,
        workload=replace(problem.workload, mode=OPEN, concurrency=None),
        search=replace(problem.search, replicas=1, max_gpus=largest, batch=None, microbatch=None),
        requirements=replace(problem.requirements, max_gpus=None),
    )
    candidates = candidates_for(alone, sequences, sequences, max_gpus=largest)
    pair = Pair(sequences, sequences)
    return launchable(alone, candidates, pair, largest, without=None if on_nodes else PLACEMENT)


def gpus_taken(table: PlanTable, gpus_per_node: int) -> npt.NDArray[np.int64]:
    """GPUs of each instance that no other can have: of more than one node, whole nodes.

    As :func:`~autoparallel.domain.rank_map.rank_map` places them: stages are not spread over more nodes
    than they need.
    """
    attention, _ = table.split()
    stage, node = np.asarray(attention.gpus_per_stage), float(gpus_per_node)
    gpus = stage * table.pp
    in_a_node = np.maximum(np.floor(node / stage), 1.0)
    nodes = np.ceil(table.pp / in_a_node) * np.ceil(stage / node)
    return np.asarray(np.where(gpus <= node, gpus, nodes * node), dtype=np.int64)
