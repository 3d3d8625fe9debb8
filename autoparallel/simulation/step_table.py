"""Step times of one plan, tabulated once, so that a step costs a look-up."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import StepModel

Array = npt.NDArray[np.float64]

# Points of the tables, evenly spaced in their logarithm.
_TOKEN_POINTS, _PROMPT_POINTS = 160, 160


class MixedStep(NamedTuple):
    """A step with prompts: until those that end in it give their first token, and until the next step. [s]

    A prompt passes through all stages of a pipeline, and holds up the other slots by one of them.
    """

    first_s: float
    next_s: float


class StepTable:
    """Times of the steps of one instance.

    Parameters
    ----------
    times : StepTimes
        Kernels and collectives of one plan.
    model : StepModel
        What the engine adds.
    most_sequences, most_tokens : int
        Sequences in service at most, and tokens of a step.
    longest : int
        Longest sequence. [tokens]
    """

    def __init__(
        self, times: StepTimes, model: StepModel, *, most_sequences: int, most_tokens: int, longest: int
    ) -> None:
        counts = np.arange(1, most_sequences + 1, dtype=np.float64)
        slots = counts / times.pp
        pace = times.pace
        linear = np.asarray(times.linear(slots, slots, prompts=False)) * pace
        short, long = 256.0, float(max(longest, 512))
        at_short = np.asarray(times.decode_attention(slots, short)) * pace
        at_long = np.asarray(times.decode_attention(slots, long)) * pace
        slope = (at_long - at_short) / (long - short)
        overhead = np.asarray(model.overhead_s(slots)) + np.zeros(most_sequences)
        # Index 0: no sequence decodes.
        self._fixed: list[float] = [0.0, *(linear + at_short - slope * short + overhead).tolist()]
        self._slope: list[float] = [0.0, *slope.tolist()]
        self._linear: list[float] = [0.0, *linear.tolist()]
        self._idle_s = float(np.asarray(model.overhead_s(0.0)).max())
        tokens = np.unique(np.geomspace(1, most_tokens + most_sequences, _TOKEN_POINTS).round())
        self._mixed = _Table(tokens, np.asarray(times.linear(tokens, 1.0, prompts=True)) * pace)
        heads = np.asarray(times.linear(1.0, tokens, prompts=True) - times.linear(1.0, 1.0, prompts=True))
        self._head = _Table(tokens, heads * pace)
        experts = np.asarray(times.experts_s(tokens)) * (pace * model.extra_share)
        self._extra = _Table(tokens, experts)
        self._slots = times.pp
        prompts = np.unique(np.geomspace(1, longest + 1, _PROMPT_POINTS).round())
        dp = float(np.max(model.dp))
        self._attention = _Table(prompts, np.asarray(times.prompt_attention(1.0, prompts)) * pace / dp)
        self._prompt_factor = model.engine.prompt_factor
        self._interference = model.engine.interference
        self._eager_s: float = model.eager_s
        self._captured = model.engine.captured_tokens * dp

    def decode_run_s(self, sequences: int, context: float, steps: int) -> float:
        """Time of ``steps`` steps of ``sequences``, whose contexts add up to ``context`` at first. [s]"""
        if not sequences:
            return 0.0
        grown = context / sequences + 0.5 * (steps - 1)
        return steps * (self._fixed[sequences] + self._slope[sequences] * grown)

    def mixed(self, sequences: int, context: float, pieces: list[tuple[int, int]]) -> MixedStep:
        """A step with pieces of prompts, each ``(tokens before, tokens)``, spread over the slots."""
        used = min(len(pieces), self._slots)
        tokens = sum(piece for _, piece in pieces) / used
        plain = self.decode_run_s(sequences, context, 1) if sequences else self._idle_s
        decoding, own = sequences / self._slots, len(pieces) / used
        added = self._mixed.at(decoding + tokens) + self._head.at(decoding + own) - self._linear[sequences]
        added += self._extra.at(tokens)
        for before, piece in pieces:
            ahead_s = self._attention.at(before) if before else 0.0
            added += (self._attention.at(before + piece) - ahead_s) / used
        launched_s = self._eager_s if sequences / self._slots + tokens > self._captured else 0.0
        added = max(self._prompt_factor * added, launched_s - plain, 0.0)
        return MixedStep(plain + added, plain + self._interference * added * used / self._slots)


class _Table:
    """A function of one number, tabulated, straight between points and beyond them."""

    def __init__(self, points: Array, values: Array) -> None:
        self._points: list[float] = points.tolist()
        self._values: list[float] = np.broadcast_to(values, points.shape).tolist()

    def at(self, point: float) -> float:
        """The value at a point."""
        points, values = self._points, self._values
        upper = min(max(bisect_right(points, point), 1), len(points) - 1)
        low, high = points[upper - 1], points[upper]
        return values[upper - 1] + (values[upper] - values[upper - 1]) * (point - low) / (high - low)
