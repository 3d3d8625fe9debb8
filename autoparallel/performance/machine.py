"""A problem's model and hardware in the units that the formulas use."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.engine import EngineConstants
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import STATIC
from autoparallel.performance.architecture import expert_scale
from autoparallel.performance.expert_balance import BalanceTable
from autoparallel.performance.kernels import Kernels
from autoparallel.performance.links import Fabric, Placement
from autoparallel.performance.operators import Gpu


class Phase(NamedTuple):
    """One pass through the model.

    ``new_tokens`` are computed for every sequence; a decode step has one, or those that speculative
    decoding checks, against ``context`` cached tokens.
    """

    name: str
    new_tokens: float
    context: float
    is_decode: bool


class Machine:
    """What the operators need of a problem: peaks, constants, bytes per value, links, phases.

    ``engine`` holds the constants of the engine that batches continuously, and kernels are then its own;
    ``None`` for static batches.
    """

    def __init__(self, problem: Problem, placement: Placement | None = None) -> None:
        self.problem = problem
        self.model, self.workload = problem.model, problem.workload
        self.engine, self.hardware = _driven(problem)
        hardware, model = self.hardware, problem.model
        kernels = self._kernels = Kernels(hardware)
        formats = model.activation_dtype, model.kv_cache_dtype
        routed_dtype = model.expert_weights_dtype if model.is_moe else model.weights_dtype
        self.attention_gemm = kernels.gemm(model.attention_weights_dtype)
        self.ffn_gemm = kernels.gemm(model.weights_dtype)
        self.router_gemm = kernels.gemm(model.activation_dtype)
        self.head_gemm = kernels.gemm(model.embedding_dtype)
        self.prefill_constants = kernels.prefill_attention(*formats, mla=model.is_mla)
        self.decode_constants = kernels.decode_attention(*formats, mla=model.is_mla)
        self.expert_constants = kernels.experts(routed_dtype)
        self.elementwise_constants = kernels.elementwise
        self.collectives = kernels.collectives
        self.exchange_constants = {
            (direction, is_decode): kernels.exchange(direction, low_latency=is_decode)
            for direction in ("dispatch", "combine")
            for is_decode in (False, True)
        }
        self.fabric = Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)
        self.placement = placement or Placement(hardware.gpus_per_node)
        self._ordered: dict[Placement, Machine] = {self.placement: self}
        self.scale = expert_scale(problem.model)
        self.activation_bytes = DTYPES[self.model.activation_dtype].bytes
        self.kv_bytes = DTYPES[self.model.kv_cache_dtype].bytes
        self.attention_weight_bytes = DTYPES[self.model.attention_weights_dtype].bytes
        self.ffn_weight_bytes = DTYPES[self.model.weights_dtype].bytes
        self.expert_weight_bytes = DTYPES[routed_dtype].bytes
        self.embedding_bytes = DTYPES[self.model.embedding_dtype].bytes

    def ordered(self, order: tuple[str, ...], pp: int) -> Machine:
        """The same machine with the groups of layouts of ``pp`` stages in another order on the network."""
        placement = Placement(self.hardware.gpus_per_node, order, pp if "pp" in order else 1)
        if placement not in self._ordered:
            self._ordered[placement] = Machine(self.problem, placement)
        return self._ordered[placement]

    def gpu(self, dtype: str, operator: str = "gemm") -> Gpu:
        """The data sheet for an operator whose weights have this format."""
        hardware = self.hardware
        return Gpu(
            hardware.peak_tflops[self._kernels.computes_in(operator, dtype)] * 1e12,
            hardware.memory_bandwidth_gb_per_s * 1e9,
            hardware.streaming_multiprocessors,
        )

    def input_bytes(self, dtype: str, operator: str = "gemm") -> float:
        """Bytes per value of the activations that are multiplied with weights of a format.

        Where the GPU multiplies narrow weights in their own format, activations are narrowed to it.
        """
        computed = self._kernels.computes_in(operator, dtype)
        narrow = {"fp8": 1.0, "int8": 1.0, "fp4": DTYPES["nvfp4"].bytes, "int4": 1.0}
        return min(narrow.get(computed, self.activation_bytes), self.activation_bytes)

    @cached_property
    def expert_balances(self) -> BalanceTable | None:
        """How evenly tokens fall on expert ranks, where the loads of the experts are known."""
        loads = self.workload.expert_loads
        return BalanceTable(loads, self.model.num_experts_per_tok) if loads else None

    @cached_property
    def attention_input_bytes(self) -> float:
        """Bytes per value of the attention projections' inputs. [bytes]"""
        return self.input_bytes(self.model.attention_weights_dtype)

    @cached_property
    def ffn_input_bytes(self) -> float:
        """Bytes per value of the inputs of dense FFNs and shared experts. [bytes]"""
        return self.input_bytes(self.model.weights_dtype)

    @cached_property
    def expert_input_bytes(self) -> float:
        """Bytes per value of the experts' inputs. [bytes]"""
        routed = self.model.expert_weights_dtype if self.model.is_moe else self.model.weights_dtype
        return self.input_bytes(routed, "experts")

    @cached_property
    def attention_gpu(self) -> Gpu:
        """The data sheet for the attention projections."""
        return self.gpu(self.model.attention_weights_dtype)

    @cached_property
    def core_gpu(self) -> Gpu:
        """The data sheet for scores and values, which are computed in the activations' format."""
        return self.gpu(self.model.activation_dtype)

    @cached_property
    def ffn_gpu(self) -> Gpu:
        """The data sheet for dense FFNs and shared experts."""
        return self.gpu(self.model.weights_dtype)

    @cached_property
    def router_gpu(self) -> Gpu:
        """The data sheet for the router, whose weights are in the activations' format."""
        return self.gpu(self.model.activation_dtype)

    @cached_property
    def expert_gpu(self) -> Gpu:
        """The data sheet for the routed experts."""
        routed = self.model.expert_weights_dtype if self.model.is_moe else self.model.weights_dtype
        return self.gpu(routed, "experts")

    @cached_property
    def head_gpu(self) -> Gpu:
        """The data sheet for the projection to the vocabulary."""
        return self.gpu(self.model.embedding_dtype)

    @cached_property
    def longest_prefill(self) -> Phase:
        """Prefill of the workload's longest prompts, which TTFT is checked for."""
        return Phase("longest_prefill", float(self.workload.prompt_tokens.max), 0.0, False)

    @cached_property
    def prefill(self) -> Phase:
        """Prefill at the mean prompt length."""
        return Phase("prefill", self.workload.prompt_tokens.mean, 0.0, False)

    @cached_property
    def decode(self) -> Phase:
        """A decode step at the mean context: ISL + OSL / 2."""
        workload = self.workload
        context = workload.prompt_tokens.mean + workload.output_tokens.mean / 2
        return Phase("decode", 1.0, context, True)

    @property
    def with_draft(self) -> float:
        """Weights and KV cache, the draft's of speculative decoding included, over the model's. [1]"""
        speculation = self.workload.speculation
        return 1.0 + (speculation.draft_share if speculation else 0.0)

    @cached_property
    def longest_sequence(self) -> float:
        """Longest ISL + OSL. [tokens]"""
        return float(self.workload.longest_tokens)


def _driven(problem: Problem) -> tuple[EngineConstants | None, Hardware]:
    """The engine of a workload that is batched continuously, and the GPU as it drives it."""
    if problem.workload.mode == STATIC:
        return None, problem.hardware
    # Imported here: the package of the steady state is built upon machines.
    from autoparallel.performance.serving.engine import engine_of
    from autoparallel.performance.serving.kernels import engine_hardware

    engine = engine_of(problem)
    return engine, engine_hardware(problem.hardware, engine)
