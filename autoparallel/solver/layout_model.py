"""The constraint model of the layouts for one batch and microbatch.

One Boolean per candidate of each part, exactly one of each part; costs are linear in them, taken from
the performance core's tables and rounded down to integer ticks, here and nowhere else. What multiplies
(pipeline slots, GPUs) is enforced per number of stages. The model holds no physics.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

from autoparallel.domain.problem import Problem
from autoparallel.performance.stages import Stage
from autoparallel.solver.bounds import Bounds
from autoparallel.solver.candidates import AttentionCandidates, Candidates, ExpertCandidates
from autoparallel.solver.cuts import Cut
from autoparallel.solver.linear import total, weighted
from autoparallel.solver.phase_model import PhaseModel
from autoparallel.solver.tables import PhaseTable, Tables

# Integer range of times: large enough that rounding is harmless, and no larger than sums of 60 bits allow.
LONGEST_HORIZON, LARGEST_SUM = 1 << 48, 1 << 60
# Steps of a run are a fraction with at most this denominator; exact for halves, which uniform lengths have.
FINEST_STEP = 1000
# Integer unit of memory. [bytes]
MEMORY_UNIT = 1024.0
# Limits are raised by more than the order of floating-point sums makes of a plan that meets them exactly.
ROOM = 1.0 + 1e-12
# Bounds are lowered by more than all rounding, so that they stay below every rounded time.
BOUND_MARGIN = 1.0 - 1e-6

Variables = list[cp_model.IntVar]


class LayoutModel:
    """Variables of one batch and microbatch, named so that rules read as sentences.

    Attributes
    ----------
    attention, experts, pp : list of IntVar
        One Boolean per candidate.
    dispatched : IntVar
        Whether tokens are sent to their experts.
    gpus, ttft, prefill, step, run, gpu_time : IntVar
        GPUs of the deployment; times in ticks of ``tick_s``; ``gpu_time`` is GPUs times run.
    """

    def __init__(self, problem: Problem, tables: Tables, batch: int, microbatch: int) -> None:
        self.problem, self.tables = problem, tables
        self.batch, self.microbatch = batch, microbatch
        self.candidates: Candidates = tables.candidates
        self.cp = cp_model.CpModel()
        self._conjunctions: dict[tuple[int, ...], cp_model.IntVar] = {}
        self.attention = self._choice("attention", len(self.candidates.attention.tp))
        self.experts = self._choice("experts", len(self.candidates.experts.ep))
        self.pp = self._choice("pp", len(self.candidates.pp))
        self.dispatched = self.cp.new_bool_var("dispatched")
        self.steps = Fraction(max(problem.workload.output_tokens.mean - 1, 0)).limit_denominator(FINEST_STEP)
        self.largest = self._largest_deployment()
        self.horizon = self._horizon_ticks()
        self.tick_s = self._horizon_s() / self.horizon
        self.gpus = self.cp.new_int_var(1, self.largest, "gpus")
        self._same_stage_size()
        self._flow_of_tokens()
        self._count_gpus()
        longest, prefill, decode = self.phases = (
            PhaseModel(self, "ttft", tables.longest),
            PhaseModel(self, "prefill", tables.prefill),
            PhaseModel(self, "decode", tables.decode),
        )
        self.ttft, self.prefill = self._prefill(longest), self._prefill(prefill)
        self.step = self._decode_step(decode)
        self.run = self._run_time()
        self.gpu_time = self._gpu_time()
        self._cuts: list[tuple[int, Cut, Variables]] = []
        self._memory: tuple[float, cp_model.IntVar, cp_model.IntVar] | None = None
        for row, stages in enumerate(self.candidates.pp):
            for cut in tables.cuts(int(stages)):
                self.add_cut(row, cut)

    # -- what rules say ---------------------------------------------------------------------------

    def add(self, expression: cp_model.BoundedLinearExpression | bool) -> cp_model.Constraint:
        """Add a linear constraint."""
        return self.cp.add(expression)

    def all_of(self, *literals: cp_model.IntVar) -> cp_model.IntVar:
        """A literal that is true where all of ``literals`` are, one and the same for the same literals."""
        if len(literals) == 1:
            return literals[0]
        key = tuple(literal.index for literal in literals)
        if key not in self._conjunctions:
            conjunction = self.cp.new_bool_var(" and ".join(literal.name for literal in literals))
            self.cp.add_bool_or(conjunction, *(literal.negated() for literal in literals))
            self._conjunctions[key] = conjunction
        return self._conjunctions[key]

    def never(self, enforced: cp_model.IntVar) -> None:
        """The rule cannot be kept: it must not be enforced."""
        self.cp.add(enforced == 0)

    def forbid(self, choice: Variables, refused: npt.NDArray[np.bool_], enforced: cp_model.IntVar) -> None:
        """None of the refused candidates is chosen while the rule is enforced."""
        variables = [choice[index] for index in np.flatnonzero(refused)]
        if variables:
            self.cp.add(total(variables) == 0).only_enforce_if(enforced)

    def forbid_together(
        self,
        first: Variables,
        members: npt.NDArray[np.int64],
        second: Variables,
        refused: npt.NDArray[np.bool_],
        enforced: cp_model.IntVar,
    ) -> None:
        """None of ``members`` of one choice with a refused candidate of another, while it is enforced."""
        ones, others = [first[i] for i in members], [second[i] for i in np.flatnonzero(refused)]
        self.cp.add(total(ones) + total(others) <= 1).only_enforce_if(enforced)

    def never_together(self, stages: int, choice: Variables, refused: npt.NDArray[np.bool_]) -> None:
        """No refused candidate with the number of stages at this index."""
        literals = [choice[index].negated() for index in np.flatnonzero(refused)]
        self.cp.add_bool_and(literals).only_enforce_if(self.pp[stages])

    def at_least(self, choice: Variables, bounds: Bounds) -> None:
        """Times by candidate; the tables imply them, and they spare the search the proof."""
        for time, seconds in ((self.ttft, bounds.ttft_s), (self.run, bounds.run_s)):
            least = np.minimum(seconds * (BOUND_MARGIN / self.tick_s), float(self.horizon))
            for chosen, ticks in zip(self.pp, least, strict=True):
                self.cp.add(time >= weighted(choice, ticks)).only_enforce_if(chosen)

    def groups(
        self, choice: Variables, candidates: AttentionCandidates | ExpertCandidates
    ) -> dict[tuple[int, int], Variables]:
        """Candidates by the GPUs of their stage and the ranks that one copy takes."""
        result: dict[tuple[int, int], Variables] = {}
        for variable, size, reach in zip(choice, candidates.gpus_per_stage, candidates.reach, strict=True):
            result.setdefault((int(size), int(reach)), []).append(variable)
        return result

    def ticks(self, seconds: float) -> int:
        """A limit in ticks, rounded up: a time that was rounded down is never refused wrongly."""
        return min(math.ceil(min(seconds / self.tick_s * ROOM, self.horizon)), self.horizon)

    def limit_per_gpus(self, time: cp_model.IntVar, gpu_seconds: float, enforced: cp_model.IntVar) -> None:
        """``time * gpus <= gpu_seconds``: a bound on the time for every number of GPUs."""
        sizes = self.candidates.attention.gpus_per_stage
        for stages, chosen in zip(self.candidates.pp, self.pp, strict=True):
            bounds = [
                self.ticks(gpu_seconds / int(stages * self.candidates.replicas * size)) for size in sizes
            ]
            self.cp.add(time <= weighted(self.attention, bounds)).only_enforce_if(
                self.all_of(enforced, chosen)
            )

    def limit_memory(self, limit_bytes: float, enforced: cp_model.IntVar) -> None:
        """Every GPU of every stage holds at most ``limit_bytes``."""
        buffers = np.floor(self.tables.dispatch_buffers() / MEMORY_UNIT)
        sent = self.cp.new_int_var(0, int(buffers.max(initial=0.0)), "dispatch buffers")
        self.cp.add(sent >= weighted(self.experts, buffers)).only_enforce_if(self.dispatched)
        self._memory = (limit_bytes * ROOM - self.problem.hardware.reserved_gb * 1e9, sent, enforced)
        for row, cut, holds in self._cuts:
            for (stage, _), literal in zip(cut, holds, strict=True):
                self._fits(stage, int(self.candidates.pp[row]), literal)

    def add_cut(self, row: int, cut: Cut) -> None:
        """With the number of stages at this index, one of them holds all of one of these."""
        chosen, holds = self.pp[row], [self.pp[row]]
        if len(cut) > 1:
            holds = [self.cp.new_bool_var("cut") for _ in cut]
            self.cp.add_bool_or(*holds, chosen.negated())
        self._cuts.append((row, cut, holds))
        stages = int(self.candidates.pp[row])
        for member, literal in zip(cut, holds, strict=True):
            for phase in self.phases:
                phase.not_faster_than(member, stages, literal)
            self._fits(member.stage, stages, literal)

    def _fits(self, stage: Stage, stages: int, literal: cp_model.IntVar) -> None:
        """A GPU of such a stage has room for everything, once a limit says how much that is."""
        if self._memory is None:
            return
        room, sent, enforced = self._memory
        memory = self.tables.memory(stage, stages)
        most_sent = float(self.tables.dispatch_buffers().max(initial=0.0))
        for attention, experts in (
            (memory.attention_with_block, memory.experts),
            (memory.attention, memory.experts_with_block),
        ):
            if attention.max() + experts.max() + most_sent <= room:
                continue
            held = weighted(self.attention, np.floor(attention / MEMORY_UNIT))
            held += weighted(self.experts, np.floor(experts / MEMORY_UNIT)) + sent
            self.cp.add(held <= int(room / MEMORY_UNIT)).only_enforce_if(self.all_of(enforced, literal))

    @property
    def sequences(self) -> int:
        """Sequences that the deployment serves at once."""
        return self.problem.sequences_of(self.batch)

    def rounding_s(self) -> float:
        """By how much a time in ticks may stay below the true one: a tick for every rounded part. [s]"""
        model, osl = self.tables.whole_model, self.problem.workload.output_tokens.mean
        # A layer's attention is one part; a routed FFN two, attention's and the experts'; a dense one one.
        parts = 3 * model.routed + 2 * model.dense + 4
        return parts * self.tables.slots * (osl + 1) * self.tick_s

    # -- variables --------------------------------------------------------------------------------

    def _choice(self, name: str, size: int) -> Variables:
        variables = [self.cp.new_bool_var(f"{name} {index}") for index in range(size)]
        self.cp.add_exactly_one(variables)
        return variables

    def _same_stage_size(self) -> None:
        """Attention and experts take the same GPUs."""
        attention, experts = self.candidates.attention.gpus_per_stage, self.candidates.experts.gpus_per_stage
        for size in np.union1d(attention, experts):
            of_attention = [self.attention[i] for i in np.flatnonzero(attention == size)]
            of_experts = [self.experts[i] for i in np.flatnonzero(experts == size)]
            self.cp.add(total(of_attention) == total(of_experts))

    def _flow_of_tokens(self) -> None:
        """Tokens are at their experts already exactly where ``etp * ep`` divides ``tp``."""
        tp, reach = self.candidates.attention.tp, self.candidates.experts.reach
        for degree in np.unique(tp):
            attention = [self.attention[i] for i in np.flatnonzero(tp == degree)]
            inside = [self.experts[i] for i in np.flatnonzero(degree % reach == 0)]
            outside = [self.experts[i] for i in np.flatnonzero(degree % reach != 0)]
            self.cp.add(total(attention) + total(inside) - 1 <= self.dispatched.negated())
            self.cp.add(total(attention) + total(outside) - 1 <= self.dispatched)

    def _count_gpus(self) -> None:
        sizes = self.candidates.attention.gpus_per_stage
        for stages, chosen in zip(self.candidates.pp, self.pp, strict=True):
            weights = sizes * int(stages * self.candidates.replicas)
            self.cp.add(self.gpus == weighted(self.attention, weights)).only_enforce_if(chosen)

    # -- times ------------------------------------------------------------------------------------

    def _largest_deployment(self) -> int:
        """GPUs that no layout of the candidates exceeds."""
        sizes, pp = self.candidates.attention.gpus_per_stage, self.candidates.pp
        most = int(sizes.max(initial=1)) * int(pp.max(initial=1)) * self.candidates.replicas
        return max(min(self.problem.search.max_gpus, most), 1)

    def _horizon_ticks(self) -> int:
        """Range of times: every sum of the model, whatever it multiplies times with, stays in 64 bits."""
        model = self.tables.whole_model
        factors = (
            2 * self.tables.slots,
            2 * self.steps.denominator + self.steps.numerator,
            3 * self.largest,
            4 * (model.dense + model.routed + 2),
            2 * int(self.candidates.pp.max(initial=1)),
        )
        return min(LONGEST_HORIZON, LARGEST_SUM // max(factors))

    def _horizon_s(self) -> float:
        """A time that no plan of the candidates passes."""
        slots, osl = self.tables.slots, self.problem.workload.output_tokens.mean
        longest, prefill, decode = (
            self._worst(phase) for phase in (self.tables.longest, self.tables.prefill, self.tables.decode)
        )
        return max(slots * longest, slots * prefill + osl * slots * decode) + 1e-9

    def _worst(self, phase: PhaseTable) -> float:
        layers, model = phase.layers, self.tables.whole_model
        flow = phase.all_reduce.max() + phase.gather.max() + phase.dispatch.max() + phase.experts.max()
        total = sum(count * np.max(layers.attention[kind]) for kind, count in model.attention)
        total += model.dense * np.max(layers.dense) + model.routed * (np.max(layers.routed) + flow)
        hops = int(self.candidates.pp.max()) * max(phase.hop_inside.max(), phase.hop_across.max())
        return float(total + np.max(layers.embedding) + np.max(layers.head) + hops)

    def time(self, name: str) -> cp_model.IntVar:
        """A variable in ticks."""
        return self.cp.new_int_var(0, self.horizon, name)

    def ticks_by(self, choice: Variables, seconds: npt.NDArray[np.float64]) -> cp_model.LinearExpr:
        """Times by candidate in ticks, rounded down."""
        return weighted(choice, np.floor(seconds / self.tick_s))

    def _prefill(self, phase: PhaseModel) -> cp_model.IntVar:
        """All slots follow each other through the pipeline."""
        time = self.time(phase.name)
        self.cp.add(time == phase.total + (self.tables.slots - 1) * phase.slowest)
        return time

    def _decode_step(self, phase: PhaseModel) -> cp_model.IntVar:
        """A step ends when every slot has passed the slowest stage, or one slot all stages."""
        step = self.time("step")
        self.cp.add(step >= phase.total)
        self.cp.add(step >= self.tables.slots * phase.slowest)
        return step

    def _run_time(self) -> cp_model.IntVar:
        """Prefill and OSL - 1 steps; a mean OSL may be a fraction."""
        run, one, many = self.time("run"), self.steps.denominator, self.steps.numerator
        self.cp.add(one * run >= one * self.prefill + many * self.step)
        return run

    def _gpu_time(self) -> cp_model.IntVar:
        """GPUs times run time, whose inverse is the throughput per GPU."""
        replicas, largest = self.candidates.replicas, self.largest
        gpu_time = self.cp.new_int_var(0, self.horizon * largest, "gpu time")
        attention = self.candidates.attention.gpus_per_stage
        for size in np.unique(attention):
            members = [self.attention[i] for i in np.flatnonzero(attention == size)]
            is_size = self.cp.new_bool_var(f"{size} gpus a stage")
            self.cp.add(total(members) == is_size)
            for stages, chosen in zip(self.candidates.pp, self.pp, strict=True):
                gpus = int(size * stages) * replicas
                if gpus > largest:
                    self.cp.add_bool_or(is_size.negated(), chosen.negated())
                else:
                    both = self.all_of(is_size, chosen)
                    self.cp.add(gpu_time >= gpus * self.run).only_enforce_if(both)
        return gpu_time
