"""From the formats of a checkpoint to those of the plan: what the engine has to be told, or cannot do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from autoparallel import planner
from autoparallel.catalog.engines import Engine
from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.model import Checkpoint, Model
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.exporters.deployment import model_path
from autoparallel.solver.rules.engine import EngineFault

RULE = "weights"
FLAG = "--quantization"
_FORMATS = ("weights_dtype", "attention_weights_dtype", "expert_weights_dtype")


@dataclass(frozen=True)
class Loading:
    """The weights that an engine loads: as they are stored, and as the problem has them."""

    problem: Problem
    engine: Engine

    @property
    def flag(self) -> tuple[str, ...]:
        """What the engine is told besides where the weights are: nothing where it takes them as stored."""
        return () if self.made_by is None or self.is_as_stored else (FLAG, self.made_by)

    def fault(self, plan: Plan) -> EngineFault | None:
        """Why the engine cannot load the plan's weights from the checkpoint."""
        if self.stored is None or self.is_as_stored:
            return None
        have, need = _words(self.stored), _words(self.wanted)
        if self.made_by is None:
            found = f"{model_path(self.problem)} has {have} weights, and the plan {need} ones"
            # A path that the user gave may well hold other formats than the model's own: a note says so.
            return EngineFault(RULE, found) if self.is_known else None
        memory_gb = self.problem.hardware.memory_gb
        loaded_gb = self._loaded_gb(plan) if self.engine.online_weights.loads_whole else 0.0
        if loaded_gb <= memory_gb:
            return None
        found = f"{loaded_gb:.0f} GB of {have} weights on a GPU of {memory_gb:g} GB"
        return EngineFault(RULE, f"it makes {need} weights only when all are loaded as they are: {found}")

    @property
    def remedy(self) -> str:
        """What to do about a fault."""
        return (
            f"Name a checkpoint with {_words(self.wanted)} weights in the problem: [engine] model_path = "
            f'"...", checkpoint_dtype = "{self.problem.model.weights_dtype}".'
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know of the weights that are loaded."""
        need, path = _words(self.wanted), model_path(self.problem)
        if self.is_as_stored:
            return ()
        if self.stored is None:
            quantised = any(_is_quantised(dtype) for dtype in self.wanted)
            return (f"{path} has to be a checkpoint with {need} weights.",) if quantised else ()
        have, engine = _words(self.stored), self.engine
        if self.made_by is None:
            return (
                f"{path} has to be a checkpoint with {need} weights: {engine} makes none while it loads "
                f"{have} ones.",
            )
        whole = ", once all are loaded as they are" if engine.online_weights.loads_whole else ""
        dtype = self.problem.model.weights_dtype
        taken = "" if self.is_known else " that it is taken to have, as the model's own checkpoint"
        return (
            f"{FLAG} {self.made_by} makes {need} weights of the {have} ones of {path}{taken}{whole}; it is "
            f'left out where [engine] checkpoint_dtype = "{dtype}" says that the checkpoint has them.',
        )

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Formats of the plan's weights."""
        return _formats(self.problem.model)

    @cached_property
    def stored(self) -> tuple[str, ...] | None:
        """Formats of the checkpoint that is loaded; ``None`` where nothing says them."""
        model, stated = self.problem.model, self.problem.engine_options.checkpoint_dtype
        if stated is not None:
            # Formats of single modules are the problem's, where the checkpoint is in its format.
            return self.wanted if stated == model.weights_dtype else (stated,) * len(self.wanted)
        return None if model.checkpoint is None else _formats(model, model.checkpoint)

    @property
    def is_known(self) -> bool:
        """Whether the checkpoint that is loaded is the one whose formats are known."""
        options, own = self.problem.engine_options, self.problem.model.checkpoint
        loads_own = own is not None and options.model_path in (None, own.repository)
        return options.checkpoint_dtype is not None or loads_own

    @property
    def is_as_stored(self) -> bool:
        """Whether weights are used as they are stored; those of 16 and 32 bits are cast."""
        return self.stored is not None and all(
            one == other or not (_is_quantised(one) or _is_quantised(other))
            for one, other in zip(self.stored, self.wanted, strict=True)
        )

    @property
    def made_by(self) -> str | None:
        """What the engine calls making the plan's one format of weights that are not quantised."""
        if self.stored is None or len(set(self.wanted)) > 1 or any(map(_is_quantised, self.stored)):
            return None
        return self.engine.online_weights.formats.get(self.wanted[0])

    def _loaded_gb(self, plan: Plan) -> float:
        """Weights of the fullest GPU as they are stored. [1e9 bytes]"""
        problem = self.problem
        first, *_ = stored = self.stored or self.wanted
        formats = dict(zip(_FORMATS, (*stored, first), strict=False))
        model = replace(problem.model, **formats)  # type: ignore[arg-type]
        free = replace(problem, model=model, engine=None)
        memory = planner.evaluate(free, plan.layout, **plan.pair._asdict()).memory
        return (memory.weights_bytes + memory.expert_weights_bytes) / 1e9


def _formats(model: Model, of: Model | Checkpoint | None = None) -> tuple[str, ...]:
    """Formats of linear layers, and of the experts of a model that has some."""
    one = of or model
    experts = (one.expert_weights_dtype,) if model.is_moe else ()
    return (one.weights_dtype, one.attention_weights_dtype, *experts)


def _is_quantised(dtype: str) -> bool:
    return DTYPES[dtype].bytes < 2


def _words(formats: tuple[str, ...]) -> str:
    return " and ".join(dict.fromkeys(formats))
