r"""A step of an engine that runs ``n`` sequences, and what the prompt of one request adds to it.

With :math:`n` running sequences, of :math:`O` output tokens each, :math:`n / (O - 1)` requests end in a
step and as many prompts take their place: a step computes the tokens of that many, at least those of
one prompt's piece, at most ``max_num_batched_tokens``. What its prompts add, by prompt, is
:math:`\delta`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.step import StepTimes


class Lengths(NamedTuple):
    """Mean lengths of a request, and tokens of one step. [tokens]

    ``cached_share`` of a prompt is found in the prefix cache: it is context, and not computed. [1]
    """

    isl: Quantity
    osl: Quantity
    step_tokens: Quantity
    cached_share: Quantity = 0.0

    @property
    def computed(self) -> Quantity:
        """Tokens of a prompt that are computed; the last one always is. [tokens]"""
        return np.maximum(self.isl * (1.0 - self.cached_share), 1.0)

    @property
    def context(self) -> Quantity:
        """Mean context of a decoding sequence. [tokens]"""
        return self.isl + self.osl / 2.0

    @property
    def piece(self) -> Quantity:
        """Tokens of a prompt in one step. [tokens]"""
        return np.minimum(self.computed, self.step_tokens)

    @property
    def pieces(self) -> Quantity:
        """Steps that a prompt takes, in full ones. [1]"""
        return self.computed / self.piece

    @property
    def decodes(self) -> Quantity:
        """Output tokens after the first. [tokens]"""
        return np.maximum(self.osl - 1.0, 1.0)


class StepCosts(NamedTuple):
    """Of plans, by the sequences that they run.

    Attributes
    ----------
    decode_s : array_like
        Time of a token in steps without prompts: of a step, but for speculative decoding. [s]
    prompt_s : array_like
        What one request's prompt adds to the steps that compute it. [s]
    own_s : array_like
        From the start of a prompt's first step to the end of its last. [s]
    """

    decode_s: Quantity
    prompt_s: Quantity
    own_s: Quantity


class Steps(NamedTuple):
    """Steps of plans that run so many sequences.

    Attributes
    ----------
    step_s, mixed_s, eager_s : array_like
        Without prompts; with those of ``prompts``; and what a step with prompts takes at least. [s]
    prompts : array_like
        Prompts of a step that has some. [1]
    """

    step_s: Quantity
    mixed_s: Quantity
    eager_s: Quantity
    prompts: Quantity


class StepCosting(Protocol):
    """What the steady state asks of plans of as many stages each."""

    @property
    def engine(self) -> EngineConstants:
        """What the engine adds."""

    @property
    def lengths(self) -> Lengths:
        """Mean lengths by plan."""

    @property
    def pp(self) -> int:
        """Stages."""

    @property
    def dp(self) -> Quantity:
        """Data parallel ranks. [1]"""

    @property
    def prompt_attention_s(self) -> Quantity:
        """Attention of a whole prompt, of its steps' time. [s]"""

    def at(self, running: Quantity) -> StepCosts:
        """Step costs with ``running`` sequences in an instance."""

    def together_s(self, prompts: Quantity) -> Quantity:
        """Time per prompt where nothing decodes and ``prompts`` share a step. [s]"""


class StepModel:
    """Step costs of plans of one engine.

    Parameters
    ----------
    times : StepTimes
        Kernels and collectives.
    engine : EngineConstants
        What the engine adds.
    table : PlanTable
        Layouts by column.
    lengths : Lengths
        Mean lengths by plan.
    """

    def __init__(self, times: StepTimes, engine: EngineConstants, table: PlanTable, lengths: Lengths) -> None:
        self.times, self.engine, self.lengths, self.pp = times, engine, lengths, times.pp
        model = times.machine.model
        self.layers = model.num_hidden_layers
        factor = engine.eager_expert_factor if model.is_moe else 1.0
        self.eager_s = engine.eager_layer_s * factor * self.layers
        hidden = engine.expert_launch_hidden * times.machine.expert_constants.t0_s if model.is_moe else 0.0
        self._hidden_s = hidden * model.mlp_layer_types.count("sparse")
        self.extra_share = engine.expert_prefill_factor - 1.0 if model.is_moe else 0.0
        speculation = times.machine.workload.speculation
        # Tokens of a sequence that a step checks and yields, and passes of the model that its draft takes.
        self._checked = speculation.verified if speculation else 1.0
        self._yielded = speculation.tokens_per_step if speculation else 1.0
        self._drafted = speculation.draft_tokens * speculation.draft_share if speculation else 0.0
        # Prompts pass through the draft once.
        self._prompt_passes = 1.0 + (speculation.draft_share if speculation else 0.0)
        self.dp = np.asarray(table.dp, dtype=np.float64)
        attention_s = times.prompt_attention(1.0, lengths.isl)
        if np.any(lengths.cached_share):
            attention_s = attention_s - times.prompt_attention(1.0, lengths.isl - lengths.computed)
        self.prompt_attention_s = attention_s * times.pace / self.dp * self._prompt_passes

    def overhead_s(self, sequences: Quantity) -> Quantity:
        """What the engine adds to a step of ``sequences``, in one pipeline slot. [s]"""
        by_sequence = self.engine.sequence_s * sequences / self.dp
        fixed = self.engine.step_s + self.engine.layer_s * self.layers
        return fixed + by_sequence - self._hidden_s

    def decode_s(self, running: Quantity) -> Quantity:
        """Time of a token of ``running`` sequences in an instance, without prompts. [s]"""
        sequences = running / self.times.pp
        return self._step_s(sequences, self._checked_s(sequences)) / self._yielded

    def _checked_s(self, sequences: Quantity) -> Quantity:
        """Products, experts, norms and collectives of the tokens that a step checks. [s]"""
        tokens = sequences * self._checked
        return self.times.linear(tokens, tokens, prompts=False)

    def _step_s(self, sequences: Quantity, plain: Quantity) -> Quantity:
        """A step without prompts, its draft included. [s]"""
        times, context = self.times, self.lengths.context
        kernels_s = plain + times.decode_attention(sequences, context, self._checked)
        if self._drafted:
            once = times.linear(sequences, sequences, prompts=False)
            once = once + times.decode_attention(sequences, context)
            kernels_s = kernels_s + self._drafted * once
        return np.maximum(kernels_s * times.pace + self.overhead_s(sequences), 1e-6)

    def launched_s(self, tokens: Quantity) -> Quantity:
        """Shortest time of a step with prompts, of ``tokens`` of an instance in all. [s]"""
        return np.where(tokens > self.engine.captured_tokens * self.dp, self.eager_s, 0.0)

    def at(self, running: Quantity) -> StepCosts:
        """Step costs with ``running`` sequences in an instance."""
        return self.costs(self.steps(running))

    def steps(self, running: Quantity) -> Steps:
        """Steps with ``running`` sequences in an instance."""
        times, lengths = self.times, self.lengths
        sequences = running / times.pp
        plain = self._checked_s(sequences)
        step_s = self._step_s(sequences, plain)
        most = np.maximum(lengths.step_tokens * self.dp, lengths.piece)
        ending = sequences * self._yielded / lengths.decodes
        tokens = np.clip(ending * lengths.computed, lengths.piece, most)
        prompts = tokens / lengths.computed
        checked = sequences * self._checked
        mixed = times.linear(checked + tokens, checked + prompts, prompts=True)
        added_s = (mixed - plain) * times.pace * self._prompt_passes + prompts * self.prompt_attention_s
        if self.extra_share:
            added_s = added_s + self.extra_share * times.experts_s(tokens) * times.pace
        eager_s = self.launched_s(checked + tokens)
        mixed_s = np.maximum(step_s + self.engine.prompt_factor * added_s, eager_s)
        return Steps(step_s, mixed_s, eager_s, prompts)

    def costs(self, steps: Steps) -> StepCosts:
        """What steps that last so long cost a token and a prompt."""
        prompt_s = np.maximum(steps.mixed_s - steps.step_s, 0.0) / steps.prompts
        own_s = np.maximum(steps.step_s * self.lengths.pieces + prompt_s, steps.eager_s)
        decode_s = steps.step_s / self._yielded
        # Those who wait half a step for its end count half of a token's time: the rest of it is here.
        return StepCosts(decode_s, prompt_s, own_s + 0.5 * (steps.step_s - decode_s))

    def prompts_alone_s(self, prompts: Quantity) -> Quantity:
        """Steps of ``prompts`` of an instance that decodes nothing, until all are done. [s]"""
        times, lengths = self.times, self.lengths
        tokens = prompts * lengths.piece
        step_s = times.linear(tokens, prompts, prompts=True) * times.pace * self._prompt_passes
        if self.extra_share:
            step_s = step_s + self.extra_share * times.experts_s(tokens) * times.pace
        factor = self.engine.prompt_factor
        step_s = np.maximum(factor * step_s + self.overhead_s(prompts), self.launched_s(tokens))
        return step_s * lengths.pieces + factor * self.prompt_attention_s * prompts

    def together_s(self, prompts: Quantity) -> Quantity:
        """Time per prompt where nothing decodes and ``prompts`` share a step. [s]"""
        times, lengths = self.times, self.lengths
        tokens = prompts * lengths.piece
        step_s = times.linear(tokens, prompts, prompts=True)
        if self.extra_share:
            step_s = step_s + self.extra_share * times.experts_s(tokens)
        work = times.pace * self._prompt_passes * self.engine.prompt_factor
        step_s = np.maximum(step_s * work, self.launched_s(tokens))
        return step_s * lengths.pieces / prompts + self.prompt_attention_s * self.engine.prompt_factor
