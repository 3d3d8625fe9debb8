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
from autoparallel.performance.serving.length_mix import LengthMix
from autoparallel.performance.serving.step import StepTimes


class Lengths(NamedTuple):
    """Mean lengths of a request, and tokens of one step of a data parallel rank. [tokens]

    ``cached_share`` of a prompt is found in the prefix cache: it is context, and not computed. [1]
    ``mix`` says how requests differ.
    """

    isl: Quantity
    osl: Quantity
    step_tokens: Quantity
    cached_share: Quantity = 0.0
    mix: LengthMix = LengthMix()

    @property
    def computed(self) -> Quantity:
        """Tokens of a prompt that are computed; the last one always is. [tokens]"""
        return np.maximum(self.isl * (1.0 - self.cached_share), 1.0)

    @property
    def context(self) -> Quantity:
        """Mean context of a decoding sequence. [tokens]"""
        return self.isl * self.mix.prompt_in_service + self.osl / 2.0 * self.mix.output_in_service

    @property
    def context_scv(self) -> Quantity:
        """Squared coefficient of variation of that context. [1]"""
        prompts, products, outputs = self.mix.squares
        square = self.isl**2 * prompts + self.isl * self.osl * products + self.osl**2 * outputs / 3.0
        return np.maximum(square / self.context**2 - 1.0, 0.0)

    def held(self, engine: EngineConstants) -> Quantity:
        """Tokens of a sequence in service that the engine keeps room for in the mean. [tokens]"""
        if not engine.reserves_longest:
            return self.context
        return self.isl * self.mix.prompt_in_service + self.osl * self.mix.output_in_service

    def without_preemption(self, space: Quantity, engine: EngineConstants) -> Quantity:
        """Of the sequences that the KV space holds in the mean, those that it holds nearly always. [1]

        Contexts of many sequences add up to a normal variable; it is beyond the space 1 time in 40.
        """
        if engine.reserves_longest:
            return space
        return np.maximum(space - 2.0 * np.sqrt(space * self.context_scv), np.minimum(space, 1.0))

    @property
    def pieces(self) -> Quantity:
        """Steps that a prompt takes where it has all of their tokens. [1]"""
        return self.pieces_of(self.step_tokens)

    @property
    def piece(self) -> Quantity:
        """Tokens of a prompt in each of these. [tokens]"""
        return self.computed / self.pieces

    def pieces_of(self, room: Quantity) -> Quantity:
        """Steps with ``room`` tokens for prompts that one takes in the mean. [1]"""
        return self.mix.mean(lambda longer: np.maximum(longer * self.computed / room, 1.0))

    @property
    def decodes(self) -> Quantity:
        """Output tokens after the first. [tokens]"""
        return np.maximum(self.osl - 1.0, 1.0)


class StepCosts(NamedTuple):
    """Of plans, by the sequences that they run.

    Attributes
    ----------
    step_s, decode_s : array_like
        Time of a step without prompts, and of a token: the same but for speculative decoding. [s]
    prompt_s : array_like
        What one request's prompt adds to the steps that compute it. [s]
    own_s : array_like
        From the start of a prompt's first step to the end of its last. [s]
    pieces : array_like
        Steps that a prompt takes. [1]
    """

    step_s: Quantity
    decode_s: Quantity
    prompt_s: Quantity
    own_s: Quantity
    pieces: Quantity


class Steps(NamedTuple):
    """Steps of plans that run so many sequences.

    Attributes
    ----------
    step_s, mixed_s, eager_s : array_like
        Without prompts; with those of ``prompts``; and what a step with prompts takes at least. [s]
    prompts, pieces, passes : array_like
        Prompts of a step that has some, steps that each of them takes, and how often it is computed in the
        mean. [1]
    """

    step_s: Quantity
    mixed_s: Quantity
    eager_s: Quantity
    prompts: Quantity
    pieces: Quantity
    passes: Quantity


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
    def yielded(self) -> float:
        """Tokens that a step yields of each sequence. [1]"""

    @property
    def prompt_attention_s(self) -> Quantity:
        """Attention of a whole prompt, of its steps' time, in the mean over all lengths. [s]"""

    def prompt_scv(self, prompt_s: Quantity) -> Quantity:
        """Squared coefficient of variation of what prompts take, ``prompt_s`` in the mean. [1]"""

    def most_decoding(self, again: Quantity = 0.0) -> Quantity:
        """Sequences that decode at most while prompts that follow them have room in the same steps. [1]"""

    def room(self, running: Quantity) -> Quantity:
        """Prompts that a step of all pipeline slots has room for beside ``running`` sequences. [1]"""

    def at(self, running: Quantity, again: Quantity = 0.0) -> StepCosts:
        """Step costs with ``running`` sequences in an instance, ``again`` tokens a request computed twice."""

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
        self.yielded = speculation.tokens_per_step if speculation else 1.0
        self._drafted = speculation.draft_tokens * speculation.draft_share if speculation else 0.0
        # Prompts pass through the draft once.
        self._prompt_passes = 1.0 + (speculation.draft_share if speculation else 0.0)
        self.dp = np.asarray(table.dp, dtype=np.float64)
        attentions_s = [self._attention_s(longer) for longer in lengths.mix.prompts]
        self.prompt_attention_s = lengths.mix.mean_of(attentions_s)
        self._attentions_s = attentions_s

    def _attention_s(self, longer: float) -> Quantity:
        """Attention of a prompt so many times as long as the mean one, without what is cached. [s]"""
        times, lengths = self.times, self.lengths
        attention_s = times.prompt_attention(1.0, lengths.isl * longer)
        if np.any(lengths.cached_share):
            cached = lengths.isl * longer - np.maximum(lengths.computed * longer, 1.0)
            attention_s = attention_s - times.prompt_attention(1.0, cached)
        return attention_s * times.pace / self.dp * self._prompt_passes

    def prompt_scv(self, prompt_s: Quantity) -> Quantity:
        """Squared coefficient of variation of what prompts take, ``prompt_s`` in the mean. [1]

        Attention grows as the lengths of the mix have it, the rest with the length.
        """
        factor, mix = self.engine.prompt_factor, self.lengths.mix
        linear_s = np.maximum(prompt_s - factor * self.prompt_attention_s, 0.0)
        each = [
            linear_s * longer + factor * own_s
            for longer, own_s in zip(mix.prompts, self._attentions_s, strict=True)
        ]
        mean, square = mix.mean_of(each), mix.mean_of([own_s * own_s for own_s in each])
        return np.maximum(square / np.maximum(mean * mean, 1e-30) - 1.0, 0.0)

    def most_decoding(self, again: Quantity = 0.0) -> Quantity:
        """Sequences that decode at most while prompts that follow them have room in the same steps. [1]"""
        if self.engine.prompts_first:
            return np.inf
        lengths = self.lengths
        each = self._checked + self.yielded / lengths.decodes * (lengths.computed + again)
        return np.maximum(lengths.step_tokens * self.dp * self.pp / each, 1.0)

    def room(self, running: Quantity) -> Quantity:
        """Prompts that a step of all pipeline slots has room for beside ``running`` sequences. [1]"""
        beside = 0.0 if self.engine.prompts_first else running * self._checked
        tokens = self.lengths.step_tokens * self.dp * self.pp - beside
        return np.maximum(tokens, 1.0) / self.lengths.computed

    def overhead_s(self, sequences: Quantity) -> Quantity:
        """What the engine adds to a step of ``sequences``, in one pipeline slot. [s]"""
        by_sequence = self.engine.sequence_s * sequences / self.dp
        fixed = self.engine.step_s + self.engine.layer_s * self.layers
        return fixed + by_sequence - self._hidden_s

    def decode_s(self, running: Quantity) -> Quantity:
        """Time of a token of ``running`` sequences in an instance, without prompts. [s]"""
        sequences = running / self.times.pp
        return self._step_s(sequences, self._checked_s(sequences)) / self.yielded

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

    def at(self, running: Quantity, again: Quantity = 0.0) -> StepCosts:
        """Step costs with ``running`` sequences in an instance, ``again`` tokens a request computed twice."""
        return self.costs(self.steps(running, again))

    def steps(self, running: Quantity, again: Quantity = 0.0) -> Steps:
        """Steps with ``running`` sequences in an instance, ``again`` tokens a request computed twice."""
        times, lengths = self.times, self.lengths
        sequences = running / times.pp
        plain = self._checked_s(sequences)
        step_s = self._step_s(sequences, plain)
        checked = sequences * self._checked
        # A step's tokens are the decoding sequences' first, unless prompts go alone.
        beside = 0.0 if self.engine.prompts_first else checked
        room = np.maximum(lengths.step_tokens - beside / self.dp, 1.0)
        pieces = lengths.pieces_of(room)
        piece = lengths.computed / pieces
        passes = 1.0 + again / lengths.computed
        # Pieces that come in a step, by chance: a step that has some has so many.
        coming = sequences * self.yielded / lengths.decodes * pieces * passes
        tokens = coming / -np.expm1(-coming) * piece
        tokens = np.minimum(tokens, np.maximum(room * self.dp, piece))
        prompts = tokens / lengths.computed
        # A step of prompts alone begins with nothing: it loads all weights for them.
        found_s, linear_s = (self.overhead_s(0.0), 0.0) if self.engine.prompts_first else (step_s, plain)
        mixed = times.linear(beside + tokens, beside + prompts, prompts=True)
        added_s = (mixed - linear_s) * times.pace * self._prompt_passes + prompts * self.prompt_attention_s
        if self.extra_share:
            added_s = added_s + self.extra_share * times.experts_s(tokens) * times.pace
        eager_s = self.launched_s(beside + tokens)
        mixed_s = np.maximum(found_s + self.engine.prompt_factor * added_s, eager_s)
        return Steps(step_s, mixed_s, eager_s, prompts, pieces, passes)

    def costs(self, steps: Steps) -> StepCosts:
        """What steps that last so long cost a token and a prompt."""
        beside_s: Quantity = 0.0 if self.engine.prompts_first else steps.step_s
        once_s = np.maximum(steps.mixed_s - beside_s, 0.0) / steps.prompts
        prompt_s = once_s * steps.passes
        own_s = np.maximum(beside_s * steps.pieces + once_s, steps.eager_s)
        decode_s = steps.step_s / self.yielded
        return StepCosts(steps.step_s, decode_s, prompt_s, own_s, steps.pieces)

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
