"""Physical limits: throughputs that no layout of a model on a GPU can pass."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Limit
from autoparallel.performance.architecture import flops_per_token, kv_bytes_read
from autoparallel.performance.machine import Machine

UNIT = "tokens/ms/GPU"


def physical_limits(problem: Problem) -> tuple[Limit, ...]:
    """Limits of prefill, decode and total throughput per GPU.

    Decode has to read every sequence's KV cache once a token; prefill has to compute every token's
    FLOPs. Both are stated at the mean lengths, where throughput is checked, and decode at the longest
    context as well. The total follows from both for a request of mean lengths.
    """
    machine = Machine(problem)
    requirements, workload = problem.requirements, problem.workload
    isl, osl = workload.prompt_tokens.mean, workload.output_tokens.mean
    prefill = _prefill(machine, isl)
    mean, longest = _decode(machine, machine.decode.context), _decode(machine, machine.longest_sequence)
    total = (isl + osl) / (isl / prefill + max(osl - 1.0, 0.0) / mean)
    asked = requirements.throughput_tokens_per_ms_per_gpu
    required = {requirements.throughput_phase: asked}
    card, cores = _rates(machine)
    return (
        Limit(
            name="prefill",
            value=prefill,
            unit=UNIT,
            required=required.get("prefill"),
            sentence=f"prefill computes {flops_per_token(machine.model, isl) / 1e9:.3g} GFLOP a token at "
            f"{isl:,.0f} tokens; the GPU reaches {cores / 1e12:.4g} TFLOP/s",
        ),
        Limit(
            name="decode",
            value=mean,
            unit=UNIT,
            required=required.get("decode"),
            sentence=_decode_sentence(machine, machine.decode.context, card, required.get("decode")),
        ),
        Limit(
            name="decode at the longest context",
            value=longest,
            unit=UNIT,
            sentence=_decode_sentence(machine, machine.longest_sequence, card, required.get("decode")),
        ),
        Limit(
            name="total",
            value=total,
            unit=UNIT,
            required=required.get("total"),
            sentence=f"a request of {isl:,.0f} + {osl:,.0f} tokens at the limits of prefill and decode",
        ),
    )


def _rates(machine: Machine) -> tuple[float, float]:
    """Bytes/s of the cache and FLOP/s that the best operator reaches."""
    share = machine.decode_constants.memory_efficiency
    bandwidth = machine.hardware.memory_bandwidth_gb_per_s * 1e9 * share
    compute = max(
        gpu.peak_flops_per_s * constants.compute_efficiency
        for gpu, constants in (
            (machine.expert_gpu, machine.expert_constants),
            (machine.attention_gpu, machine.attention_gemm),
            (machine.ffn_gpu, machine.ffn_gemm),
            (machine.core_gpu, machine.prefill_constants),
        )
    )
    return bandwidth, compute


def _prefill(machine: Machine, isl: float) -> float:
    _, compute = _rates(machine)
    return compute / flops_per_token(machine.model, isl) / 1e3


def _decode(machine: Machine, context: float) -> float:
    bandwidth, compute = _rates(machine)
    speculation = machine.workload.speculation
    # A step reads the cache once for all the tokens that it checks, and yields some of them.
    yielded, checked = (speculation.tokens_per_step, speculation.verified) if speculation else (1.0, 1.0)
    by_memory = yielded * bandwidth / kv_bytes_read(machine.model, context)
    by_compute = (yielded / checked) * compute / flops_per_token(machine.model, 1.0, context)
    return min(by_memory, by_compute) / 1e3


def _decode_sentence(machine: Machine, context: float, bandwidth: float, required: float | None) -> str:
    speculation = machine.workload.speculation
    yielded = speculation.tokens_per_step if speculation else 1.0
    kv_bytes = kv_bytes_read(machine.model, context) / yielded
    sentence = (
        f"decode reads {kv_bytes / 1e6:.4g} MB of KV cache a token at {context:,.0f} tokens of context; "
        f"the GPU reaches {bandwidth / 1e12:.3g} TB/s"
    )
    if required is not None:
        sentence += f", {required:g} {UNIT} would need {required * 1e3 * kv_bytes / 1e12:.3g} TB/s"
    return sentence
