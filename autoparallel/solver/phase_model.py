"""One phase in the constraint model: a microbatch through all stages, and in the slowest one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ortools.sat.python import cp_model

from autoparallel.performance.stages import Stage, StageAt
from autoparallel.solver.linear import weighted
from autoparallel.solver.tables import PhaseTable

if TYPE_CHECKING:
    from autoparallel.solver.layout_model import LayoutModel


class PhaseModel:
    """One variable for every kind of layer and each end of the model; stages are sums of them.

    Attributes
    ----------
    total, slowest : IntVar
        Of a microbatch, in ticks.
    """

    def __init__(self, model: LayoutModel, name: str, phase: PhaseTable) -> None:
        self.model, self.name, self.phase = model, name, phase
        self.parts = self._layers()
        self.total, self.slowest = model.time(f"{name} total"), model.time(f"{name} slowest")
        whole = self.of(model.tables.whole_model)
        for stages, chosen in zip(model.candidates.pp, model.pp, strict=True):
            hops = model.tables.hops(phase, int(stages))
            through = whole + model.ticks_by(model.attention, hops)
            model.add(self.total >= through).only_enforce_if(chosen)
            if model.tables.free(int(stages)):
                # No split is better than one whose stages are all as slow.
                model.add(int(stages) * self.slowest >= through).only_enforce_if(chosen)

    def not_faster_than(self, member: StageAt, stages: int, enforced: cp_model.IntVar) -> None:
        """The slowest of ``stages`` stages holds at least this one, and sends as it does."""
        time = self.of(member.stage)
        if not member.stage.is_last:
            hop = self.model.tables.hop(self.phase, stages, member.numbers)
            time = time + self.model.ticks_by(self.model.attention, hop)
        self.model.add(self.slowest >= time).only_enforce_if(enforced)

    def of(self, stage: Stage) -> cp_model.LinearExpr:
        """Time of a stage, its hop to the next one left out."""
        counts = {f"attention {kind}": count for kind, count in stage.attention}
        counts |= {"dense": stage.dense, "routed": stage.routed}
        counts |= {"embedding": int(stage.is_first), "head": int(stage.is_last)}
        present = [name for name, count in counts.items() if count]
        return weighted([self.parts[name] for name in present], [counts[name] for name in present])

    def _layers(self) -> dict[str, cp_model.LinearExpr]:
        model, layers, experts = self.model, self.phase.layers, self.phase.experts
        by_attention = {f"attention {kind}": seconds for kind, seconds in layers.attention.items()}
        by_attention |= {"dense": layers.dense, "embedding": layers.embedding, "head": layers.head}
        parts: dict[str, cp_model.LinearExpr] = {}
        for part, seconds in by_attention.items():
            parts[part] = model.time(f"{self.name} {part}")
            model.add(parts[part] == model.ticks_by(model.attention, np.asarray(seconds)))
        routed = model.time(f"{self.name} routed")
        replicated = model.ticks_by(model.attention, layers.routed + self.phase.all_reduce)
        sent = model.ticks_by(model.attention, layers.routed + self.phase.gather)
        stay = model.add(routed >= replicated + model.ticks_by(model.experts, experts))
        stay.only_enforce_if(model.dispatched.negated())
        leave = model.add(routed >= sent + model.ticks_by(model.experts, experts + self.phase.dispatch))
        leave.only_enforce_if(model.dispatched)
        return {**parts, "routed": routed}
