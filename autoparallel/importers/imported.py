"""What an import gives: a layout with batch and microbatch, and what could not be carried over."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.layout import Layout, even_layers, spelled
from autoparallel.domain.problem import Problem
from autoparallel.errors import LayoutError
from autoparallel.importers.flags import Values
from autoparallel.performance.serving import engine_of
from autoparallel.solver.candidates import divisors
from autoparallel.solver.rules import Facts, violations

_COUNT = re.compile(r"\s*[0-9]{1,9}\s*")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an engine's words say, before the problem fills in what they leave open.

    Attributes
    ----------
    layout : Layout
        Of one instance; ``replicas`` above 1 where the command starts several.
    sequences : int or None
        Sequences in service in one instance.
    prefill_sequences : int or None
        Sequences of the longest prompts that one step of prefill takes, over all dp ranks.
    chunk : int or None
        Tokens of a step of a data parallel rank.
    """

    layout: Layout
    sequences: int | None = None
    prefill_sequences: int | None = None
    chunk: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A plan that a command stands for; ``continuous`` for a workload that has a chunk, not a microbatch."""

    engine: str
    model: str
    layout: Layout
    batch: int
    microbatch: int
    chunk: int | None
    continuous: bool
    notes: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """What the workload takes of the sizes besides the batch, by name."""
        if not self.continuous:
            return {"microbatch": self.microbatch}
        return {} if self.chunk is None else {"chunk": self.chunk}

    def to_toml(self) -> str:
        """The plan as a plan file for ``autoparallel check``."""
        from autoparallel.exporters.command import comment

        head = [comment(f"Read from a command of {load_engine(self.engine)}."), *map(comment, self.notes)]
        degrees = [
            f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
            for name, value in self.layout.to_dict().items()
            if value is not None and name != "layers"
        ]
        if self.layout.layers:
            degrees.append(f"layers = {list(self.layout.layers)}")
        lines = [
            *head,
            f"model = {_toml_string(self.model)}",
            f"batch = {self.batch}",
            *(f"{name} = {size}" for name, size in self.sizes.items()),
            "",
            "[layout]",
            *degrees,
        ]
        return "\n".join(lines) + "\n"

    def evaluate_option(self) -> str:
        """The degrees as ``autoparallel evaluate --layout`` takes them."""
        degrees = {name: value for name, value in self.layout.to_dict().items() if value not in (None, 1)}
        if self.layout.layers:
            degrees["layers"] = spelled(self.layout.layers)
        return ",".join(f"{name}={value}" for name, value in degrees.items())


def completed(
    engine: str,
    reading: Reading,
    problem: Problem,
    *,
    batch: int | None = None,
    microbatch: int | None = None,
) -> Imported:
    """Fill in what the command leaves open, and check the plan against the model.

    Raises
    ------
    LayoutError
        The model cannot have this layout; every rule that it breaks is named.
    """
    layout, notes = reading.layout, list(reading.notes)
    if batch is None:
        batch, note = _batch(engine, reading, problem)
        notes += note
    replicas = layout.replicas if layout.replicas > 1 else problem.replicas_for(batch)
    continuous = problem.workload.mode != "static"
    if continuous and replicas > layout.replicas:
        notes.append(
            f"The command starts one instance; {problem.workload.concurrency:,} sequences take {replicas}."
        )
    layout = replace(layout, replicas=replicas)
    if continuous:
        # The engine fills pipeline slots by itself.
        microbatch = batch
    elif microbatch is None:
        limit = reading.prefill_sequences
        if limit is None:
            limit = max(batch // layout.pp, 1)
            notes.append(
                f"The command bounds no prefill step: a microbatch is taken as batch / pp = {limit}."
            )
        microbatch = _microbatch(batch, layout.dp, limit)
    facts = Facts(replace(problem, engine=None), layout, batch, microbatch)
    if broken := violations(facts):
        raise LayoutError(broken)
    return Imported(
        engine=engine,
        model=problem.model.name,
        layout=layout,
        batch=batch,
        microbatch=microbatch,
        chunk=reading.chunk if continuous else None,
        continuous=continuous,
        notes=tuple(notes),
    )


def stated_layers(layers: tuple[int, ...], num_hidden_layers: int) -> tuple[int, ...] | None:
    """Layers of stages as a layout has them: ``None`` where they are as even as can be.

    Examples
    --------
    >>> stated_layers((2, 2, 1), 5), stated_layers((2, 1, 2), 5)
    (None, (2, 1, 2))
    """
    return None if layers == even_layers(num_hidden_layers, len(layers)) else layers


def partition_of(
    values: Values, name: str, pp: int, num_hidden_layers: int, default: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Layers of the stages from an environment variable, or as the engine splits them by itself."""
    text = values.environment.get(name)
    if text is None:
        return stated_layers(default, num_hidden_layers)
    counts = [int(count) if _COUNT.fullmatch(count) else 0 for count in text.split(",")]
    if len(counts) != pp or sum(counts) != num_hidden_layers or min(counts) < 1:
        values.fault(f"{name}={text} is no split of {num_hidden_layers} layers into {pp} stages")
        return None
    return stated_layers(tuple(counts), num_hidden_layers)


def _toml_string(text: str) -> str:
    r"""A text in quotation marks as TOML reads it: JSON's escapes, and that of the delete character.

    Examples
    --------
    >>> print(_toml_string('a "b" c'))
    "a \"b\" c"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _batch(engine: str, reading: Reading, problem: Problem) -> tuple[int, Sequence[str]]:
    dp, most = reading.layout.dp, problem.workload.concurrency
    if reading.sequences is not None and most is not None and reading.sequences > most:
        wanted = most
        notes = [f"The command has room for {reading.sequences} sequences; the workload's {most} are taken."]
    elif reading.sequences is not None:
        wanted, notes = reading.sequences, []
    elif problem.workload.mode != "static":
        # Every data parallel rank takes as many as the engine does by default.
        own = engine_of(problem, engine).max_num_seqs * dp
        wanted = own if most is None else min(own, -(-most // reading.layout.replicas))
        taken = f"the workload's {wanted:,}" if wanted < own else f"the engine's own {own:,}"
        notes = [f"The command bounds no sequences in service: {taken} are taken."]
    else:
        wanted = -(-(problem.workload.concurrency or dp) // reading.layout.replicas)
        notes = [f"The command bounds no sequences in service: the workload's {wanted} are taken."]
    batch = max(wanted // dp, 1) * dp
    if batch != wanted:
        notes.append(f"{wanted} sequences do not split over dp={dp}: {batch} are taken.")
    return batch, notes


def _microbatch(batch: int, dp: int, limit: int) -> int:
    """The largest part of the batch within a limit that dp divides, or the smallest that dp divides."""
    parts = [part for part in divisors(batch) if part % dp == 0]
    return max((part for part in parts if part <= limit), default=min(parts, default=batch))
