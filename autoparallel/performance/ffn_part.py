"""The FFN half of a layer on one GPU: what is laid out like attention, the experts, the token flow.

Two flows bring tokens to experts and back. *Replicated*: where the expert group lies inside the tp
group (``etp * ep`` divides ``tp``), every rank already has its group's tokens, computes its experts,
and one all-reduce over tp adds the parts up. *Dispatched*: otherwise every rank sends its own share of
the tokens, once to each expert rank that needs it, the etp ranks of an expert gather them, and the way
back is the same; where attention needs its tokens on all tp ranks they are gathered there.
"""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.collectives import Collective
from autoparallel.performance.degrees import ExpertDegrees
from autoparallel.performance.expert_balance import Balances
from autoparallel.performance.expert_exchange import Routing, distinct_groups, exchange
from autoparallel.performance.links import Group
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.operators import OperatorCost, elementwise, experts, gemm
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.terms import COMPUTE, EP, TP, Term


def is_dispatched(tp: Quantity, ep: Quantity, etp: Quantity) -> npt.NDArray[np.bool_]:
    """Whether tokens have to be sent to their experts: the expert group leaves the tp group."""
    groups = tp / (ep * etp)
    return np.asarray(groups != np.floor(groups))


class CommonFfn:
    """What of the FFN is laid out like attention: norms, dense layers, router, shared experts."""

    def __init__(self, attention: AttentionPart) -> None:
        self.attention, self.machine = attention, attention.machine

    def _ffn(self, phase: Phase, name: str, width: int) -> list[Term]:
        machine, tokens = self.machine, self.attention.tokens(phase)
        local, h = width / self.attention.degrees.tp, machine.model.hidden_size
        product = partial(
            gemm,
            gpu=machine.ffn_gpu,
            constants=machine.ffn_gemm,
            weight_bytes=machine.ffn_weight_bytes,
            activation_bytes=machine.ffn_input_bytes,
        )
        up = product(tokens, h, local * (machine.model.ffn_matrices - 1))
        down = product(tokens, local, h)
        return [Term(f"{name} up", COMPUTE, up), Term(f"{name} down", COMPUTE, down)]

    def _norm(self, phase: Phase) -> Term:
        return Term("ffn norm and residual", COMPUTE, self.attention.elementwise(phase))

    def dense_layer(self, phase: Phase) -> list[Term]:
        """The whole FFN of a dense layer in a model that has experts elsewhere."""
        terms = [self._norm(phase), *self._ffn(phase, "dense ffn", self.machine.model.intermediate_size)]
        return [*terms, self.all_reduce(phase)]

    def routed_layer(self, phase: Phase) -> list[Term]:
        """Norm, router and shared experts of a routed layer, without their communication."""
        machine, model, attention = self.machine, self.machine.model, self.attention
        terms = [self._norm(phase)]
        if model.is_moe:
            router = gemm(
                attention.tokens(phase) / attention.shard,
                model.hidden_size,
                model.num_experts,
                gpu=machine.router_gpu,
                constants=machine.router_gemm,
                weight_bytes=machine.activation_bytes,
                activation_bytes=machine.activation_bytes,
            )
            terms.append(Term("router", COMPUTE, router))
        if model.shared_expert_intermediate_size:
            terms += self._ffn(phase, "shared experts", model.shared_expert_intermediate_size)
        return terms

    def all_reduce(self, phase: Phase) -> Term:
        """Add up the parts of an FFN over tp (the replicated flow, and dense layers)."""
        return Term("ffn all-reduce", self.attention.tp_kind, self.attention.all_reduce(phase))

    def gather(self, phase: Phase) -> Term:
        """Bring combined tokens back to all tp ranks (the dispatched flow).

        Tensor sequence parallelism wants them split as they are. Shared experts, split over tp, have
        their parts added up as well.
        """
        attention = self.attention
        if self.machine.model.shared_expert_intermediate_size:
            return self.all_reduce(phase)._replace(name="shared experts all-reduce")
        gather = attention.groups.tp.all_gather(attention.stream_bytes(phase))
        idle = attention.degrees.tensor_sp
        cost = OperatorCost(*(np.where(idle, 0.0, value) for value in gather))
        return Term("token all-gather", attention.tp_kind, cost)


class ExpertGroups:
    """Groups of a table of expert layouts, and what loads make of them: no matter of the tokens.

    Attributes
    ----------
    balance : Balances or None
        What the experts' loads make of the ranks; ``None`` where they are not known.
    """

    def __init__(self, machine: Machine, degrees: ExpertDegrees) -> None:
        self._machine, self._degrees = machine, degrees
        d, table = degrees, machine.expert_balances
        self.balance: Balances | None = (
            None if table is None else table.of(d.ep, self.ep.local, d.redundant_experts)
        )

    @cached_property
    def ep(self) -> Group:
        """Ranks that share out the experts."""
        d = self._degrees
        return self._machine.placement.ep(d.etp, d.ep, d.gpus_per_stage)

    @cached_property
    def etp(self) -> Collective:
        """Collectives of the ranks that share an expert."""
        d, machine = self._degrees, self._machine
        ranks = machine.placement.etp(d.etp, d.ep, d.gpus_per_stage)
        return Collective(ranks, machine.fabric, machine.collectives)

    @cached_property
    def routing(self) -> Routing:
        """Expected different ranks and nodes among a token's experts."""
        model = self._machine.model
        routing = Routing.of(self.ep, model.routed_experts, model.routed_experts_per_tok)
        if self.balance is not None:
            return routing._replace(nodes=self.balance.nodes_per_token, ranks=self.balance.ranks_per_token)
        # A group that lies unevenly on nodes is placed as if they were alike, and has no more ranks for it.
        return routing._replace(ranks=self._even_ranks)

    @cached_property
    def hit(self) -> Quantity:
        """Probability that a token needs a given expert rank."""
        return self.routing.ranks / self._degrees.ep

    @cached_property
    def even_hit(self) -> Quantity:
        """Probability that a token needs a given expert rank, all experts alike."""
        return self._even_ranks / self._degrees.ep

    @cached_property
    def _even_ranks(self) -> Quantity:
        model = self._machine.model
        return distinct_groups(self._degrees.ep, model.routed_experts, model.routed_experts_per_tok)


class ExpertPart:
    """Costs of the routed experts for a table of expert layouts, whatever attention does.

    ``groups`` are those of the same layouts, where they are known.
    """

    def __init__(self, machine: Machine, degrees: ExpertDegrees, groups: ExpertGroups | None = None) -> None:
        self.machine, self.degrees = machine, degrees
        self.groups = groups or ExpertGroups(machine, degrees)
        factor = machine.workload.expert_imbalance
        # Beyond what the loads of experts make of the ranks, where they are known.
        self.factor: Quantity = 1.0 if factor == 1.0 else np.where(degrees.ep > 1, factor, 1.0)
        self.imbalance = self.worst_imbalance = self.factor
        if self.groups.balance is not None:
            # Of all layers for times, of the worst for what has to fit.
            self.worst_imbalance = self.factor * self.groups.balance.worst_imbalance
            self.imbalance = self.factor * self.groups.balance.imbalance

    def group_tokens(self, phase: Phase) -> Quantity:
        """Tokens of a microbatch that one expert group computes. [tokens]"""
        return np.maximum(self.degrees.microbatch * phase.new_tokens / self.degrees.edp, 1.0)

    def pairs(self, phase: Phase) -> Quantity:
        """Token-expert pairs of the fullest rank of the worst layer. [1]"""
        share = self.machine.model.routed_experts_per_tok * self.worst_imbalance
        return self.group_tokens(phase) * share / self.degrees.ep

    def received_bytes(self, phase: Phase, imbalance: Quantity) -> Quantity:
        """Tokens that the fullest ranks of one expert shard receive, each once. [bytes]"""
        hit = np.minimum(self.groups.hit * imbalance, 1.0)
        token = self.machine.model.hidden_size * self.machine.activation_bytes
        return self.group_tokens(phase) * hit * token

    def own_tokens(self, phase: Phase) -> Quantity:
        """Tokens of a microbatch that a rank sends to their experts. [tokens]"""
        return np.maximum(self.degrees.microbatch * phase.new_tokens / self.degrees.gpus_per_stage, 1.0)

    def sent_bytes(self, phase: Phase) -> Quantity:
        """Copies of its own tokens that a rank sends, one for every expert rank that needs them. [bytes]"""
        token = self.machine.model.hidden_size * self.machine.activation_bytes
        return self.own_tokens(phase) * (self.groups.routing.ranks * token)

    def compute(self, phase: Phase) -> list[Term]:
        """The experts themselves; the FFN of a dense model as the two products that it is."""
        if not self.machine.model.is_moe:
            up, down = self.dense_ffn(self.group_tokens(phase))
            return [Term("ffn up", COMPUTE, up), Term("ffn down", COMPUTE, down)]
        tokens, known = self.group_tokens(phase), self.groups.balance
        cost = self.of_rank(tokens, self.imbalance) if known is None else self.slowest(tokens, known.spread)
        return [Term("experts", COMPUTE, cost)]

    def slowest(self, tokens: Quantity, spread: Quantity = 0.0) -> OperatorCost:
        """Experts of the rank that takes longest, where their loads are known.

        It is the fullest, with what it reads, or the one that reads most, which is taken to have the mean
        load: never below the mean rank, and within some percent of the slowest of all ranks.
        """
        if self.groups.balance is None:
            raise ValueError("ranks are told apart without loads of experts")
        reads, loaded = self.groups.balance.reads, tokens * self.factor
        fullest = self.of_rank(tokens, self.imbalance, reads.of_fullest(loaded), spread)
        most = self.of_rank(tokens, self.factor, reads.of_most(loaded), spread)
        longer = most.time_s > fullest.time_s
        return OperatorCost(*(np.where(longer, b, a) for a, b in zip(fullest, most, strict=True)))

    def of_rank(
        self,
        tokens: Quantity,
        imbalance: Quantity,
        touched: Quantity | None = None,
        spread: Quantity = 0.0,
    ) -> OperatorCost:
        """Experts of a rank of ``imbalance`` times the mean load; arguments as of ``operators.experts``."""
        machine, model = self.machine, self.machine.model
        return experts(
            tokens,
            hidden_size=model.hidden_size,
            moe_intermediate_size=model.routed_width,
            num_experts=model.routed_experts,
            num_experts_per_tok=model.routed_experts_per_tok,
            etp=self.degrees.etp,
            ep=self.degrees.ep,
            imbalance=imbalance,
            gpu=machine.expert_gpu,
            constants=machine.expert_constants,
            weight_bytes=machine.expert_weight_bytes,
            activation_bytes=machine.expert_input_bytes,
            ffn_matrices=model.ffn_matrices,
            weight_scale=machine.scale,
            touched=touched,
            load_spread=spread,
        )

    def dense_ffn(self, tokens: Quantity) -> tuple[OperatorCost, OperatorCost]:
        """Products of a dense model's FFN, split over etp: into its width (gate and up as one) and back."""
        machine, h = self.machine, self.machine.model.hidden_size
        columns = machine.model.intermediate_size / self.degrees.etp
        product = partial(
            gemm,
            gpu=machine.ffn_gpu,
            constants=machine.ffn_gemm,
            weight_bytes=machine.ffn_weight_bytes,
            activation_bytes=machine.ffn_input_bytes,
            weight_scale=machine.scale,
        )
        return product(tokens, h, columns * (machine.model.ffn_matrices - 1)), product(tokens, columns, h)

    def _exchange(self, phase: Phase, direction: str) -> OperatorCost:
        """Own tokens to their experts or back; the fullest rank's links set the pace."""
        machine = self.machine
        # No rank gets more than every token.
        skew = np.minimum(self.imbalance, 1.0 / self.groups.even_hit)
        return exchange(
            self.own_tokens(phase) * skew,
            machine.model.hidden_size * machine.activation_bytes,
            group=self.groups.ep,
            routing=self.groups.routing,
            fabric=machine.fabric,
            constants=machine.exchange_constants[direction, phase.is_decode],
        )

    def dispatch(self, phase: Phase) -> list[Term]:
        """Tokens to the experts and back (the dispatched flow)."""
        received, etp = self.received_bytes(phase, self.imbalance), self.groups.etp
        there, gather = self._exchange(phase, "dispatch"), etp.all_gather(received)
        # Kernels without constants of their own take as long on the way back.
        kernels = self.machine.exchange_constants
        same = kernels["dispatch", phase.is_decode] == kernels["combine", phase.is_decode]
        return [
            Term("expert dispatch", EP, there),
            Term("expert shard all-gather", TP, gather),
            Term(
                "expert shard reduce-scatter",
                TP,
                gather if etp.is_symmetric else etp.reduce_scatter(received),
            ),
            Term("expert combine", EP, there if same else self._exchange(phase, "combine")),
        ]


def embedding_terms(attention: AttentionPart, phase: Phase) -> list[Term]:
    """Embedding of the first stage, split over tp."""
    machine = attention.machine
    if not machine.model.vocab_size:
        return []
    stream = attention.stream_bytes(phase)
    lookup = elementwise(2.0 * stream, gpu=machine.core_gpu, constants=machine.elementwise_constants)
    added, split = attention.all_reduce(phase), attention.degrees.tensor_sp
    if np.any(split):
        # Tensor sequence parallelism leaves the sums split by tokens: a reduce-scatter, half an all-reduce.
        halves = zip(attention.groups.tp.reduce_scatter(stream), added, strict=True)
        added = OperatorCost(*(np.where(split, half, whole) for half, whole in halves))
    return [
        Term("embedding", COMPUTE, lookup),
        Term("embedding all-reduce", attention.tp_kind, added),
    ]


def head_terms(attention: AttentionPart, phase: Phase) -> list[Term]:
    """Head of the last stage, split over tp.

    It computes one row a sequence, or a token of a decode step: after prefill only the last token is
    sampled from.
    """
    machine, model = attention.machine, attention.machine.model
    if not model.vocab_size:
        return []
    rows = np.ceil(attention.sequences / attention.degrees.cp) * (
        phase.new_tokens if phase.is_decode else 1.0
    )
    head = gemm(
        rows,
        model.hidden_size,
        model.vocab_size / attention.degrees.tp,
        gpu=machine.head_gpu,
        constants=machine.head_gemm,
        weight_bytes=machine.embedding_bytes,
        activation_bytes=machine.activation_bytes,
    )
    logits = attention.groups.tp.all_gather(rows * (model.vocab_size * machine.activation_bytes))
    return [Term("head", COMPUTE, head), Term("logits all-gather", TP, logits)]
