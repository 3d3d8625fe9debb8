"""A plan for an engine: instances on nodes, and the plan's quantities in the engine's terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from autoparallel.catalog.engines import Engine
from autoparallel.domain.engine import EngineConstants
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.rank_map import RankedGpu, RankMap, rank_map
from autoparallel.performance.serving import engine_of

Order = Callable[[RankedGpu], tuple[int, ...]]
# An engine never gets the last percent of a GPU: the driver has some of it.
LARGEST_FRACTION = 0.98


@dataclass(frozen=True, kw_only=True)
class Share:
    """What an instance has of one node.

    The node's number, its place in the instance, and its GPUs in the order of the engine's ranks.
    """

    node: int
    place: int
    gpus: tuple[RankedGpu, ...]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a deployment is in a fleet: one kind of its instances; the whole of it outside a fleet.

    Attributes
    ----------
    name : str
        Of the kind of instance; empty outside a fleet.
    role : str
        ``prefill`` or ``decode`` where its instances do nothing else.
    instances : int
        How many there are of it; the plan is of one.
    notes : tuple of str
        What the files say besides what an exporter does.
    """

    name: str = ""
    role: str = ""
    instances: int = 1
    notes: tuple[str, ...] = ()


# A deployment that is no part of a fleet.
WHOLE = Standing()


@dataclass(frozen=True)
class Deployment:
    """A plan, its problem, the engine, and what it is of a fleet."""

    problem: Problem
    plan: Plan
    engine: Engine
    standing: Standing = WHOLE

    @property
    def instances(self) -> int:
        """Instances that serve side by side, those of a fleet's other copies included."""
        return self.plan.layout.replicas * self.standing.instances

    @cached_property
    def ranks(self) -> RankMap:
        """Where every GPU of the plan is."""
        model = self.problem.model
        return rank_map(
            self.plan.layout,
            gpus_per_node=self.problem.hardware.gpus_per_node,
            layers=model.num_hidden_layers,
            experts=model.routed_experts,
        )

    @property
    def model_path(self) -> str:
        """What the engine loads; a name that starts with a dash would be taken for a flag."""
        return model_path(self.problem)

    @property
    def heading(self) -> tuple[str, ...]:
        """What every file says first: the version it is for and the plan; and what is missing."""
        plan = self.plan
        made = f"Made for {self.engine}; plan: {plan.layout}, {plan.pair}."
        if self.problem.engine_options.model_path:
            return (made,)
        if _repository(self.problem):
            return made, f"{self.model_path} is the catalog's model; [engine] model_path names another."
        return made, (
            f"{self.model_path} is the problem's name for the model: [engine] model_path names what to load."
        )

    def shares(self, instance: int, order: Order | None = None) -> tuple[Share, ...]:
        """Nodes of an instance, each with its GPUs in the engine's order of ranks."""
        gpus = [gpu for gpu in self.ranks.gpus if gpu.replica == instance]
        if order is not None:
            gpus.sort(key=order)
        nodes = sorted({gpu.node for gpu in gpus})
        return tuple(
            Share(node=node, place=place, gpus=tuple(gpu for gpu in gpus if gpu.node == node))
            for place, node in enumerate(nodes)
        )

    def place_on_node(self, instance: int) -> int:
        """How many instances before this one start on the same node: they need other ports."""
        first = {gpu.replica: gpu.node for gpu in reversed(self.ranks.gpus)}
        return sum(first[other] == first[instance] for other in range(instance))

    # -- quantities in the engine's terms ----------------------------------------------------------

    @property
    def sequences_per_dp_rank(self) -> int:
        """Sequences in service at once on one data parallel rank; dp divides the batch of an instance.

        In continuous batching the plan's own bound, which the estimate counted with.
        """
        if self.plan.serving:
            return self.plan.serving.max_num_seqs
        return self.plan.batch // self.plan.layout.dp

    @property
    def prefill_tokens_per_dp_rank(self) -> int:
        """Tokens of a prefill step on one data parallel rank.

        Of a static batch a microbatch of the longest prompts; in continuous batching the plan's budget.
        """
        if self.plan.serving:
            return self.plan.serving.max_num_batched_tokens
        per_rank = self.plan.microbatch // self.plan.layout.dp
        return per_rank * self.problem.workload.prompt_tokens.max

    @property
    def prefill_step(self) -> str:
        """What a prefill step is, in words."""
        if self.plan.serving:
            return "the tokens of a step that the plan was estimated with"
        return "a microbatch of the longest prompts"

    @property
    def cuts_prompts(self) -> bool:
        """Whether a step does not take the longest prompt whole."""
        return self.prefill_tokens_per_dp_rank < self.problem.workload.prompt_tokens.max

    @property
    def longest_sequence(self) -> int:
        """Longest prompt and output together. [tokens]"""
        return self.problem.workload.longest_tokens

    @property
    def layers_of_stages(self) -> tuple[int, ...]:
        """Layers of every pipeline stage."""
        return self.plan.layout.layers_of_stages(self.problem.model.num_hidden_layers)

    @property
    def has_even_stages(self) -> bool:
        """Whether every stage has as many layers; then no engine needs to be told."""
        return len(set(self.layers_of_stages)) == 1

    def share_of_memory(self, default: float) -> float:
        """Share of the whole GPU for everything the engine holds: weights, KV cache, activations.

        What the problem asks for; else the engine's default, or more where the plan needs it.
        """
        asked = self.problem.engine_options.gpu_memory_utilization
        if asked is None and (rated := self._rated) is not None:
            return self._with_room(rated.memory_fraction, rated.runtime_gb * 1e9)
        needed = self.plan.memory.total_bytes / self._memory_bytes
        return asked or min(max(default, _up(needed)), LARGEST_FRACTION)

    def _with_room(self, share: float, others_bytes: float = 0.0) -> float:
        """A share of the whole GPU, or more where another engine's plan holds more than this one would."""
        memory = self.plan.memory
        held = memory.weights_bytes + memory.expert_weights_bytes + memory.kv_cache_bytes + others_bytes
        return max(share, min(_up(held / self._memory_bytes), LARGEST_FRACTION))

    def share_for_weights_and_kv_cache(self) -> float:
        """Share of the whole GPU for weights and KV cache: the rest is left to activations and buffers."""
        if (rated := self._rated) is not None:
            runtime = rated.runtime_gb * 1e9 / self._memory_bytes
            return max(self._with_room(_down(rated.memory_fraction - runtime)), 0.01)
        memory = self.plan.memory
        others = memory.activation_bytes + memory.buffer_bytes + memory.reserved_bytes
        asked = self.problem.engine_options.gpu_memory_utilization or 1.0
        return max(_down(min(asked - others / self._memory_bytes, LARGEST_FRACTION)), 0.01)

    def share_of_free_memory(self, default: float) -> float:
        """Share, for the KV cache, of what is free beside weights, activations, buffers and reserve."""
        memory = self.plan.memory
        free = self._memory_bytes - (memory.total_bytes - memory.kv_cache_bytes)
        asked = self.problem.engine_options.gpu_memory_utilization
        if asked is None and (rated := self._rated) is not None:
            left = free + memory.reserved_bytes - rated.runtime_gb * 1e9
            needed = memory.kv_cache_bytes / left if left > 0 else 1.0
            return max(rated.memory_fraction, min(_up(needed), LARGEST_FRACTION))
        if asked is not None:
            kept = self._memory_bytes * asked - (self._memory_bytes - free)
            return min(max(_down(kept / free), 0.01), LARGEST_FRACTION) if free > 0 else default
        needed = memory.kv_cache_bytes / free if free > 0 else default
        return min(max(default, _up(needed)), LARGEST_FRACTION)

    @property
    def _rated(self) -> EngineConstants | None:
        """How the engine takes memory in a plan of continuous batching, also one rated with another."""
        return engine_of(self.problem, self.engine.name) if self.plan.serving else None

    @property
    def _memory_bytes(self) -> float:
        return self.problem.hardware.memory_gb * 1e9


def model_path(problem: Problem) -> str:
    """What an engine loads for a problem."""
    path = problem.engine_options.model_path or _repository(problem) or problem.model.name
    return f"./{path}" if path.startswith("-") else path


def _repository(problem: Problem) -> str:
    return problem.model.checkpoint.repository if problem.model.checkpoint else ""


def _up(share: float) -> float:
    return math.ceil(share * 1000 - 1e-9) / 1000


def _down(share: float) -> float:
    return math.floor(share * 1000 + 1e-9) / 1000
